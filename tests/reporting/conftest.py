"""Headless Chromium over its debugging pipe: no driver, no network, no dependency."""

import base64
import importlib.util
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

KEY_CODES = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


PATIENCE = 120
"""Seconds without a word from the browser: axe takes long over a long page on a busy machine."""
AXE = """
axe.run().then(found => found.violations.map(
  rule => `${rule.id} (${rule.impact}): ${rule.nodes.length} x ${rule.nodes[0].html.slice(0, 200)}`
))
"""
MIDDLE = """
element => {
  element.scrollIntoView({ block: "center" });
  const box = element.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  return [x, y, element.contains(document.elementFromPoint(x, y))];
}
"""


class Browser:
    """One page of a headless Chromium; keeps every console message, exception and request."""

    def __init__(self, executable, profile):
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        command = [
            executable, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run",
        ]  # fmt: skip

        def wire():  # the browser reads descriptor 3 and writes descriptor 4
            spare = os.dup(to_read), os.dup(to_write)
            os.dup2(spare[0], 3)
            os.dup2(spare[1], 4)

        self._process = subprocess.Popen(
            command, preexec_fn=wire, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._session, self._last = b"", None, 0
        self.complaints, self.requests = [], []
        self.told = {}  # by method: what the last event of that name said
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def open(self, path, **settings):
        self.visit(Path(path).resolve().as_uri(), **settings)

    def visit(self, url, *, width=1280, height=900, dark=False, mobile=False):
        self.complaints.clear()
        self.requests.clear()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=mobile,
        )  # fmt: skip
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._next()

    def run(self, script):
        """Return what a JavaScript expression evaluates to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def violations(self):
        """Return the rules of axe-core that the page breaks, each with an element that does."""
        source = Path(importlib.util.find_spec("axe_core_python").origin).with_name("axe.min.js")
        self.run(f"{source.read_text()};0")
        found = self.call("Runtime.evaluate", expression=AXE, returnByValue=True, awaitPromise=True)
        return found["result"]["value"]

    def press(self, key):
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            code = KEY_CODES.get(key, 0)
            self.call(
                "Input.dispatchKeyEvent",
                type=kind, key=key, text=text if kind == "keyDown" else "",
                windowsVirtualKeyCode=code,
            )  # fmt: skip

    def click(self, selector):
        """Press and let go the mouse over an element, as somebody would."""
        x, y = self.middle(selector)
        for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            self.mouse(kind, x, y, buttons)

    def mouse(self, kind, x, y, buttons):
        button = "none" if kind == "mouseMoved" and not buttons else "left"
        self.call(
            "Input.dispatchMouseEvent",
            type=kind, x=x, y=y, button=button, buttons=buttons, clickCount=1,
        )  # fmt: skip

    def middle(self, selector):
        """Return where the middle of an element is, which is scrolled to, once it stands still and
        nothing lies over it.
        """
        last, end = None, time.monotonic() + PATIENCE
        while True:
            *place, is_free = self.run(
                f"({MIDDLE})(document.querySelector({json.dumps(selector)}))"
            )
            if is_free and place == last:
                return place
            assert time.monotonic() < end, f"{selector} cannot be reached"
            last = place
            time.sleep(0.05)

    def wait_for(self, method):
        """Return what the next event of that name says, or the last if it has come."""
        while method not in self.told:
            self._next()
        return self.told.pop(method)

    def screenshot(self, path, *, full=True):
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=full)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._out)
        os.close(self._in)

    def _next(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], PATIENCE)
            assert ready, f"the browser has said nothing for {PATIENCE} seconds"
            received = os.read(self._in, 1 << 20)
            assert received, "the browser has gone"
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        method, params = message.get("method"), message.get("params", {})
        self.told[method] = params
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(params)
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"])
        return message


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip("no Chromium on this machine: install Debian's chromium to run browser checks")
    page = Browser(executable, tmp_path_factory.mktemp("chromium"))
    yield page
    page.close()
