"""The page in a real browser, by mouse and by keyboard; runs where Chromium is found."""

import pytest

from .conftest import until


def reference(page):
    return page.text("#references li bdi")


def test_a_query_by_keyboard(page, service):
    one = service.search.index.ids[1]
    page.visit(f"/?reference={one}")
    page.answered()
    press = page.browser.press
    page.run("document.activeElement.blur()")
    press("/")
    assert page.focused() == "text"
    page.write("red")
    press("Enter")
    page.answered()
    assert page.count(".list") == 3  # fused, and one per model
    assert page.count(".list.fused .hit") > 3
    assert page.run("location.search") == f"?reference={one}&text=red"
    page.run("document.activeElement.blur()")
    press("ArrowDown")
    first = page.run("document.activeElement.dataset.id")
    press("ArrowRight")
    assert page.run("document.activeElement.dataset.list") == "scenes-color"
    press("ArrowLeft")
    assert page.run("document.activeElement.dataset.id") == first
    press("m")
    until(lambda: page.count(".list.fused .hit.meant") == 1)
    assert service.judgements.n_queries == 1
    press("Enter")
    assert page.run("document.querySelector('#detail').open")
    assert page.text("#detail-title") == first
    assert page.count("#why tbody tr") == 2
    press("ArrowRight")
    assert page.text("#detail-title") != first
    press("n")
    until(lambda: page.run("document.querySelector('#not').ariaPressed") == "true")
    press("r")
    until(lambda: reference(page) != one)
    assert page.focused() == "text"
    assert page.browser.complaints == []
    assert all(url.startswith((page.address, "data:", "blob:")) for url in page.browser.requests)


def test_axe_finds_nothing_while_a_query_is_asked_and_answered(page, service):
    one = service.search.index.ids[1]
    for dark in (False, True):
        page.visit(f"/?reference={one}&text=blue", dark=dark)
        page.answered()
        assert page.browser.violations() == []
        page.click(".list.fused .hit")
        assert page.run("document.querySelector('#detail').open")
        assert page.browser.violations() == []


def test_a_query_by_mouse(page, service):
    one = service.search.index.ids[1]
    page.visit(f"/?reference={one}&text=blue")  # a link to a query
    page.answered()
    page.click(".list.fused .hit")
    assert page.run("document.querySelector('#detail').open")
    page.click("#meant")
    until(lambda: page.run("document.querySelector('#meant').ariaPressed") == "true")
    page.click("#next")
    page.click("#not")
    until(lambda: page.run("document.querySelector('#not').ariaPressed") == "true")
    page.click("#back")
    page.click("#use")
    until(lambda: reference(page) != one)
    page.click("#ask [type=submit]")
    until(lambda: "Searching" not in page.text("#status"))
    assert one not in page.run("location.search")
    page.run("history.back()")
    until(lambda: reference(page) == one)
    page.click("#show-known")
    until(lambda: page.count("#known-list button") > 3)
    page.click("#known-list button")
    page.answered("target")
    assert "query=" in page.run("location.search")
    theme = page.run("document.documentElement.dataset.theme")
    page.click("#theme")
    assert page.run("document.documentElement.dataset.theme") != theme
    page.click("#reset")
    until(lambda: page.count(".hit") == 0)
    page.click("#show-gallery")
    until(lambda: page.count("#gallery-list button") > 3)
    assert page.browser.violations() == []
    page.click("#gallery-list button")
    until(lambda: reference(page) == service.search.index.ids[0])
    page.click("#show-keys")
    assert page.run("document.querySelector('#keys').open")
    assert page.browser.complaints == []


def test_what_goes_wrong_is_said_and_markup_stays_text(page, service):
    one = service.search.index.ids[1]
    page.visit(f"/?reference={one}&text=red&filter=colour%20%3D%201")
    until(lambda: "no column 'colour'" in page.text("#status"))
    assert page.count(".hit") == 0
    page.visit(f"/?reference={one}&text=red&filter=image_id%20LIKE%20%27a/%25%27")
    page.answered()
    assert page.count(".list.fused .hit") == 1
    assert "<b>'\\u202e" in page.text(".list.fused .hit .name")
    assert page.count(".hit b") == 0


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_screen(page, service, width):
    page.visit(
        f"/?reference={service.search.index.ids[1]}&text=red", width=width, mobile=width < 500
    )
    page.answered()
    assert page.run("document.documentElement.scrollWidth") <= width
    shown = [s for s in range(page.count(".list")) if page.run(
        f"document.querySelectorAll('.list')[{s}].offsetParent !== null")]  # fmt: skip
    assert len(shown) == (1 if width < 500 else 3)


FEW = """
const real = window.fetch;
window.fetch = async (url, options) => {
  const answer = await real(url, options);
  return url === "/health"
    ? new Response(JSON.stringify({ ...(await answer.json()), images: 12 })) : answer;
};
"""


def test_a_small_gallery_is_asked_for_as_many_hits_as_it_has(page, service):
    call = page.browser.call
    script = call("Page.addScriptToEvaluateOnNewDocument", source=FEW)
    page.visit(f"/?reference={service.search.index.ids[1]}&text=red")
    page.answered()
    assert page.count(".list.fused .hit") == 12
    page.click("#reset")
    assert page.run("document.querySelector('#k').value") == "12"
    call("Page.removeScriptToEvaluateOnNewDocument", **script)
