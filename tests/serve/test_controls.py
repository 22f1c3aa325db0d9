"""Every control of the page, by a real mouse and by real keys; pictures dragged onto it."""

import json

import pytest
from PIL import Image

from .conftest import until

WATCH = """
window.used = [];
document.addEventListener("click", event => {
  const control = event.target.closest("button, a, input, label");
  if (control && event.isTrusted) {
    const name = control.id || control.className || control.htmlFor;
    window.used.push(`${name || control.closest("[id]").id} by ${event.detail ? "mouse" : "key"}`);
  }
}, true); 0
"""
CONTROLS = """
[...document.querySelectorAll("button[id], a, .button, #ask [type=submit]")]
  .map(control => control.id || control.className)
"""
LISTED = ["hit", "references", "gallery-list", "known-list", "choose"]
"""What the page makes: hits, and buttons without an id, by what they stand in."""


class Hand:
    """Uses a control of the page with a mouse, or by walking to it and pressing a key."""

    def __init__(self, page, by):
        self.page, self.by = page, by

    def use(self, selector, key="Enter"):
        if self.by == "mouse":
            self.page.browser.click(selector)
        else:
            self.focus(selector)
            self.page.browser.press(key)

    def focus(self, selector):
        """Reach it as Tab would: it has a place in the order, is shown, and takes the focus."""
        assert self.page.run(
            f"(e => {{ e.focus(); return document.activeElement === e && e.tabIndex >= 0; }})"
            f"(document.querySelector({json.dumps(selector)}))"
        ), selector

    def write(self, selector, text):
        if self.by == "mouse":
            self.page.browser.click(selector)
        else:
            self.focus(selector)
        self.page.run("document.activeElement.select()")
        self.page.write(text)


@pytest.mark.parametrize("by", ["mouse", "key"])
def test_every_control_does_what_it_says(page, service, tmp_path, by):
    hand, run, ids = Hand(page, by), page.run, service.search.index.ids
    page.visit("/", width=700, height=1000)  # as narrow as lists are chosen by a button
    run("localStorage.clear()")
    run(WATCH)
    # references: files, the gallery, taken away
    page.browser.call("Page.setInterceptFileChooserDialog", enabled=True)
    hand.use("label.button" if by == "mouse" else "#files")
    chooser = page.browser.wait_for("Page.fileChooserOpened")
    assert chooser["mode"] == "selectMultiple"
    files = [picture_file(tmp_path / name) for name in ("one.png", "two.png")]
    page.browser.call(
        "DOM.setFileInputFiles", files=files, backendNodeId=chooser["backendNodeId"]
    )  # fmt: skip
    until(lambda: page.count("#references li") == 2)
    hand.use("#references li button")
    hand.use("#references li button")
    assert page.count("#references li") == 0
    hand.use("#show-gallery")
    until(lambda: page.count("#gallery-list button") == 24)
    hand.use("#gallery-next")
    until(lambda: page.count("#gallery-list button") == 1)
    hand.use("#gallery-back")
    until(lambda: page.count("#gallery-list button") == 24)
    hand.write("#find-image", ids[3])
    until(lambda: page.count("#gallery-list button") == 1)
    hand.use("#gallery-list button")
    assert page.text("#references li bdi") == ids[3]
    # a query
    hand.write("#text", "red")
    hand.write("#filter", f"image_id <> '{ids[4]}'")
    hand.write("#k", "9")
    hand.use("#ask [type=submit]")
    page.answered()
    assert page.count(".list.fused .hit") == 9
    assert "k=9" in run("location.search")
    hand.use("#choose button:nth-child(2)")
    assert run("document.querySelector('.list.shown').dataset.title") == "scenes-color"
    hand.use("#choose button:nth-child(1)")
    # one hit
    hand.use(".list.fused .hit")
    first = page.text("#detail-title")
    assert page.browser.violations() == []
    hand.use("#meant")
    until(lambda: run("document.querySelector('#meant').ariaPressed") == "true")
    hand.use("#next", " ")
    assert page.text("#detail-title") != first
    hand.use("#not", " ")
    until(lambda: run("document.querySelector('#not').ariaPressed") == "true")
    hand.use("#back")
    assert page.text("#detail-title") == first
    hand.use("#close")
    until(lambda: "hit" in page.focused())
    hand.use(".list.fused .hit")
    hand.use("#use")
    assert page.text("#references li bdi") == first
    # known queries
    hand.use("#show-known")
    until(lambda: page.count("#known-list button") == 10)
    assert page.browser.violations() == []
    shown = page.text("#known-list button")
    hand.use("#known-next")
    until(lambda: page.text("#known-list button") not in (shown, None))
    hand.use("#known-back")
    until(lambda: page.text("#known-list button") == shown)
    row = service.known.rows[5]
    hand.write("#find", row["id"])
    until(lambda: page.count("#known-list button") == 1)
    hand.use("#known-list button")
    page.answered("target")
    assert page.run(f"document.querySelectorAll('.hit.target').length && {TARGETS}") == sorted(
        set(row["targets"])
    )
    assert page.browser.violations() == []
    target = ".list.fused .hit.target"
    hand.use(target)
    hand.use("#meant")
    until(lambda: page.text(".list.fused .hit.meant .flag") == "target · meant")
    hand.use("#close")
    until(lambda: "hit" in page.focused())
    # the rest
    theme = run("document.documentElement.dataset.theme")
    hand.use("#theme")
    assert run("document.documentElement.dataset.theme") != theme
    hand.use("#show-keys")
    assert page.browser.violations() == []
    hand.use("#keys-close", " ")
    assert not run("document.querySelector('#keys').open")
    run("document.querySelector('.skip').focus()")  # it is shown only then
    hand.use(".skip")
    assert page.focused() == "results"
    hand.use("#reset")
    until(lambda: page.count(".hit") == 0)
    used = {name.rpartition(" by ")[0] for name in run("window.used") if name.endswith(f" {by}")}
    wanted = {*run(CONTROLS), *LISTED}
    opener = {"button", "files"}  # the label opens the chooser by mouse, the input by key
    assert {name.split()[0] for name in wanted - opener} <= {name.split()[0] for name in used}
    assert used & opener
    assert page.browser.complaints == []
    assert all(url.startswith((page.address, "data:", "blob:")) for url in page.browser.requests)


TARGETS = (
    "[...new Set([...document.querySelectorAll('.hit.target')].map(h => h.dataset.id))].sort()"
)


def picture_file(path):
    Image.new("RGB", (40, 30), "teal").save(path)
    return str(path)


def test_every_key_does_what_the_list_of_keys_says(page, service):
    ids, press = service.search.index.ids, page.browser.press
    page.visit(f"/?reference={ids[1]}&text=red")
    page.answered()
    press("?")
    assert page.run("document.querySelector('#keys').open")
    listed = page.run("[...document.querySelectorAll('#keys dt')].map(e => e.textContent)")
    assert listed == ["/", "← → ↑ ↓", "Enter", "r", "m · n", "g", "q", "Esc", "?"]
    press("Escape")
    assert not page.run("document.querySelector('#keys').open")
    for key, panel in {"g": "gallery", "q": "known"}.items():
        press(key)
        until(lambda panel=panel: page.count(f"#{panel} li button") > 3)
        assert "find" in page.focused()
        press("Escape")
        assert page.run(f"document.querySelector('#{panel}').hidden")
        assert page.focused() == f"show-{panel}"
    page.run("document.activeElement.blur()")
    press("ArrowRight")
    first = page.run("document.activeElement.dataset.id")
    press("ArrowDown")
    second = page.run("document.activeElement.dataset.id")
    assert second != first
    press("ArrowUp")
    assert page.run("document.activeElement.dataset.id") == first
    press("n")
    until(lambda: page.count(".list.fused .hit.not") == 1)
    press("m")
    until(lambda: page.count(".list.fused .hit.meant") == 1)
    press("Enter")
    assert page.run("document.querySelector('#detail').open")
    press("ArrowRight")
    assert page.text("#detail-title") == second
    press("ArrowLeft")
    assert page.text("#detail-title") == first
    press("Escape")
    assert page.run("document.activeElement.dataset.id") == first
    press("r")
    assert page.text("#references li bdi") == first
    assert page.focused() == "text"
    press("Enter")
    page.answered()
    assert page.browser.complaints == []


def drag(page, selector, **data):
    """Drag from outside of the browser over an element, and let go."""
    x, y = page.browser.middle(selector)
    data = {"items": [], "dragOperationsMask": 1, **data}
    for kind in ("dragEnter", "dragOver", "drop"):
        if kind == "drop":
            assert page.count("#drop.over") == 1
        page.browser.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)
    assert page.count("#drop.over") == 0


def labels(page):
    return page.run("[...document.querySelectorAll('#references bdi')].map(e => e.textContent)")


def test_pictures_are_dropped_onto_the_page(page, service, tmp_path):
    one = service.search.index.ids[1]
    files = [picture_file(tmp_path / name) for name in ("one.png", "two\u202e.png")]
    (tmp_path / "words.txt").write_text("no image")
    page.visit("/")
    drag(page, "#drop", files=files[:1])
    assert labels(page) == ["one.png"]
    page.click("#ask [type=submit]")
    page.answered()
    assert page.count(".list.fused .hit") == 20
    page.click("#reset")
    page.visit(f"/?reference={one}&text=red")
    page.answered()
    drag(page, "#results", files=[*files, str(tmp_path / "words.txt")])  # anywhere on the page
    assert labels(page) == [one, "one.png", "two\\u202e.png"]
    assert page.text("#status") == "words.txt: no image."
    page.click(".list.fused .hit")
    drag(page, "#detail", files=files[:1])
    assert len(labels(page)) == 4
    page.visit("/")
    for selector, link in {"#drop": "https://example.org/dress.jpg", "#ask": "nowhere"}.items():
        drag(page, selector, items=[{"mimeType": "text/uri-list", "data": link}])
        assert "nothing is fetched from a link" in page.text("#status")
    drag(page, "#drop", items=[{"mimeType": "text/plain", "data": "words"}])
    assert labels(page) == []
    assert page.browser.complaints == []
    assert all(url.startswith((page.address, "data:", "blob:")) for url in page.browser.requests)


def test_an_image_of_the_page_is_dropped_as_a_reference_by_its_id(page, service):
    odd = next(i for i in service.search.index.ids if "<" in i)
    page.visit(
        f"/?reference={service.search.index.ids[1]}&text=red&filter=image_id%20LIKE%20'a/%25'"
    )
    page.answered()
    browser = page.browser
    browser.call("Input.setInterceptDrags", enabled=True)
    browser.told.pop("Input.dragIntercepted", None)
    x, y = browser.middle(".list.fused .hit img")
    browser.mouse("mouseMoved", x, y, 0)
    browser.mouse("mousePressed", x, y, 1)
    for step in range(1, 4):
        browser.mouse("mouseMoved", x + 9 * step, y + 9 * step, 1)
    data = browser.wait_for("Input.dragIntercepted")["data"]
    browser.call("Input.setInterceptDrags", enabled=False)
    drag(page, "#drop", **data)
    browser.mouse("mouseReleased", x, y, 0)
    assert labels(page)[1] == odd.replace("\u202e", "\\u202e")
    page.click("#ask [type=submit]")
    until(lambda: page.run("new URLSearchParams(location.search).getAll('reference')[1]") == odd)


def test_a_picture_is_pasted(page):
    page.visit("/")
    page.run(
        """
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(8)], "pasted.png", {type: "image/png"}));
        document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data})); 0
        """
    )
    assert labels(page) == ["pasted.png"]
