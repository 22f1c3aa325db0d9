"""A service over a few scenes, asked without a network or by a browser."""

import asyncio
import io
import json
import threading
import time
from urllib.parse import urlencode

import pytest
from PIL import Image

import dafm_core as dafm
from dafm_core.search.building import build_index
from dafm_core.search.search import Search
from dafm_core.search.sources import Images
from dafm_core.serve.app import Service
from dafm_core.serve.judging import Judgements
from dafm_core.serve.known import KnownQueries
from dafm_core.serve.limits import Limits
from tests.reporting.conftest import browser  # noqa: F401  # a fixture

BOUNDARY = "frontier"


class Answered:
    """Status, headers and body of an answer."""

    def __init__(self, messages):
        self.status = messages[0]["status"]
        self.headers = {k.decode(): v.decode() for k, v in messages[0]["headers"]}
        self.body = b"".join(m.get("body", b"") for m in messages[1:])

    @property
    def json(self):
        return json.loads(self.body)


async def call(app, method, path, *, body=b"", headers=None, query=()):
    """Ask an ASGI application once."""
    sent = [{"type": "http.request", "body": body}]
    messages = []

    async def receive():
        return sent.pop(0) if sent else {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)

    named = {"host": "127.0.0.1:8765"} | (headers or {})
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": urlencode(query).encode(),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8765),
    }
    await app(scope, receive, send)
    return Answered(messages)


def form(fields=(), files=()):
    """Return the body of a multipart form."""
    out = io.BytesIO()
    for name, value in fields:
        out.write(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode())
        out.write(str(value).encode() + b"\r\n")
    for name, data in files:
        out.write(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="x.png"\r\n'
            "Content-Type: image/png\r\n\r\n".encode()
        )
        out.write(data + b"\r\n")
    out.write(f"--{BOUNDARY}--\r\n".encode())
    return out.getvalue()


def picture(kind="PNG", size=(40, 30), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, kind, **options)
    return buffer.getvalue()


class Client:
    """Asks one service."""

    def __init__(self, app):
        self.app = app

    def get(self, path, *query, **headers):
        return asyncio.run(call(self.app, "GET", path, query=query, headers=headers))

    def post(self, path, body, **headers):
        return asyncio.run(call(self.app, "POST", path, body=body, headers=headers))

    def search(self, *fields, files=()):
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.post("/search", form(fields, files), **{"content-type": kind})

    def judge(self, **value):
        return self.post("/judgements", json.dumps(value).encode())


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Return (dataset, index, fuser) of a few scenes; one image has an id that is markup."""
    root = tmp_path_factory.mktemp("serve")
    dataset = dafm.load_dataset("scenes", families="4")
    names = ["scenes-color", "scenes-words"]
    fuser = dafm.LightFusion(network="linear").fit(dafm.score(dataset, names, store=root / "s"))
    build_index(root / "index", dataset, names, fuser=fuser)
    odd = root / "odd" / "images" / "a"
    odd.mkdir(parents=True)
    Image.new("RGB", (30, 60), "red").save(odd / "<b>'\u202e.png")
    from dafm_core.search.building import add_images

    add_images(root / "index", Images.of_folder(root / "odd"))
    return dataset, dafm.GalleryIndex.open(root / "index"), fuser


@pytest.fixture
def service(world, tmp_path):
    dataset, index, fuser = world
    made = Service(
        Search(index, fuser),
        known=KnownQueries.of(dataset, index, fuser),
        judgements=Judgements(tmp_path / "judged.jsonl", index),
        limits=Limits(body_bytes=1 << 20, image_bytes=200_000, image_pixels=100_000, k=20),
    )
    yield made
    made.stop()


@pytest.fixture
def client(service):
    return Client(service.app())


@pytest.fixture
def address(service):
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is of the extra dafm-core[serve]")
    config = uvicorn.Config(service.app(), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=20)


def until(holds, seconds=30):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


class Page:
    """The page as somebody uses it."""

    def __init__(self, opened, address):
        self.browser, self.address = opened, address

    def visit(self, path="/", **settings):
        self.browser.visit(self.address + path, **settings)
        until(lambda: self.run("document.querySelector('#about').textContent.length > 0"))

    def run(self, script):
        return self.browser.run(script)

    def count(self, selector):
        return self.run(f"document.querySelectorAll({json.dumps(selector)}).length")

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})?.textContent")

    def click(self, selector):
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def focused(self):
        return self.run("document.activeElement.id || document.activeElement.className")

    def write(self, text):
        self.browser.call("Input.insertText", text=text)

    def answered(self, words="images in"):
        try:
            until(lambda: words in self.text("#status"), 15)
        except AssertionError:
            pytest.fail(f"the page says {self.text('#status')!r} {self.browser.complaints}")


@pytest.fixture
def page(browser, address):  # noqa: F811  # the fixture
    yield Page(browser, address)
    browser.visit("about:blank")  # before the service ends, so that it is asked nothing any more
