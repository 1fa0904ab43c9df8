"""The report's page in headless Chromium, from disk: sorting, filters, the slider, keys, curves and awkward names."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_results.html_report.page import SCRIPTS

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -r requirements-dev.txt"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """A page of the report, with all that it asked for and all that went wrong."""

    def __init__(self, page, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.requests: list[str] = []
        self.problems: list[str] = []
        page.set_default_timeout(30_000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", self._failed)
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _failed(self, request) -> None:
        """Take down a failed request; leaving a page ends what it still loads, which is no failure."""
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"failed: {request.url}: {request.failure}")

    def open(self, address: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto((self.folder / "index.html").as_uri() + address)

    def stems(self) -> list[str]:
        return self.page.locator("#grid .stem").all_text_contents()

    def values(self) -> list[float]:
        texts = self.page.locator("#grid .value").all_text_contents()
        return [float(text.split()[-1].replace("−", "-")) for text in texts if not text.endswith("–")]

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).select_option(label=option)

    def heading(self) -> str:
        return self.page.locator("#view-image h2").text_content()

    def painted(self, stem: str) -> None:
        self.page.wait_for_function("stem => document.getElementById('view-image').dataset.painted === stem", arg=stem)

    def pixel(self, selector: str, x: float, y: float) -> list[int]:
        """The color of a canvas at a place given in shares of its size."""
        return self.page.locator(selector).evaluate(
            """(canvas, [x, y]) => {
                const one = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
                one.drawImage(canvas, -Math.floor(x * canvas.width), -Math.floor(y * canvas.height));
                return [...one.getImageData(0, 0, 1, 1).data].slice(0, 3);
            }""",
            [x, y],
        )


@pytest.fixture(scope="module")
def browser(report) -> Iterator[Browser]:
    """Chromium with the report's page; at the end no request left the folder and nothing went wrong."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # tests may run as root
        opened = Browser(chromium.new_page(viewport={"width": 1280, "height": 800}), report.folder)
        yield opened
        chromium.close()


@pytest.fixture(autouse=True)
def nothing_goes_wrong(browser) -> Iterator[None]:
    """No request leaves the folder, no message is in the console, and no name becomes a script."""
    browser.requests.clear()
    browser.problems.clear()
    yield
    inside = browser.folder.as_uri() + "/"
    assert not [url for url in browser.requests if not url.startswith((inside, "data:", "about:"))]
    assert not browser.problems


def test_tables_show_names_as_they_are(browser):
    browser.open()
    text = browser.page.inner_text("#view-scores")
    assert 'A & "B" <b>$x$</b>' in text
    assert "O'Ré%20{y}</script>" in text
    assert "Set <i>&amp;" in browser.page.inner_text("header")
    assert browser.page.locator("#view-scores table").count() == 12
    assert not any("plotly" in url or "pictures/" in url for url in browser.requests)


def test_a_group_leads_to_its_images(browser):
    browser.open()
    browser.page.get_by_text("Scores by scene").first.click()
    browser.page.get_by_role("link", name="port </td>").first.click()
    browser.page.wait_for_selector("#grid li")
    assert sorted(browser.stems()) == ["0000", "0001", "0002", "0003", "0004"]


def test_the_grid_sorts_worst_first_and_fills_while_scrolling(browser):
    browser.open("#images")
    browser.page.wait_for_selector("#grid li")
    assert len(browser.stems()) == 60
    browser.page.mouse.wheel(0, 50_000)
    browser.page.wait_for_function("document.querySelectorAll('#grid li').length === 66")
    assert len(set(browser.stems())) == 66
    assert browser.stems()[-1] == "0002"
    assert "1 without this figure come last" in browser.page.inner_text("#grid-count")
    assert browser.values() == sorted(browser.values())
    browser.choose("Sort by", "MAE ↓ (field)")
    browser.choose("of", 'A & "B" <b>$x$</b>')
    assert browser.values() == sorted(browser.values(), reverse=True)
    browser.choose("Order", "best first")
    assert browser.values() == sorted(browser.values())
    browser.choose("Order", "by name")
    assert browser.stems()[:3] == ["0000", "0001", "0002"]


def test_the_grid_sorts_by_the_difference_of_two_methods(browser):
    browser.open("#images")
    browser.choose("minus", 'A & "B" <b>$x$</b>')
    shown = browser.values()
    assert shown == sorted(shown)
    assert min(shown) < 0
    assert browser.page.locator("#grid li").first.locator("img").count() == 4
    content = next((browser.folder / "assets").glob("data.*.js")).read_text()
    data = json.loads(content.removeprefix("window.reportData = ").rstrip(";\n"))
    image = data["stems"].index(browser.stems()[0])
    first, second = (data["figures"][2][method][image] for method in (0, 1))
    assert shown[0] == pytest.approx(second - first, abs=1e-4)


def test_filters_by_group_and_name(browser):
    browser.open("#images")
    browser.choose("Group", "port </td> (5)")
    assert sorted(browser.stems()) == ["0000", "0001", "0002", "0003", "0004"]
    browser.page.get_by_label("Name", exact=True).fill("3")
    browser.page.wait_for_function("document.querySelectorAll('#grid li').length === 1")
    assert browser.stems() == ["0003"]
    browser.choose("Group", "all images")
    browser.page.get_by_label("Name", exact=True).fill("<SCRIPT")
    assert browser.stems() == []
    browser.page.get_by_label("Name", exact=True).fill("</SCRIPT onerror")
    browser.page.wait_for_function("document.querySelectorAll('#grid li').length === 1")
    assert browser.page.get_by_label("Name", exact=True).evaluate("field => field === document.activeElement")


def test_thumbnails_are_seen(browser):
    browser.open("#images?order=name")
    tiles = browser.page.locator("#grid li:nth-child(1) img")
    tiles.nth(2).evaluate("picture => picture.decode()")
    assert [tile.evaluate("picture => picture.naturalWidth") for tile in tiles.all()] == [512] * 3
    assert "no map" in browser.page.inner_text("#grid li:nth-child(3)")


def test_one_image_is_reached_and_left_by_keys(browser):
    browser.open("#images?order=name&text=000")
    browser.page.click("#grid li:nth-child(3) a")
    browser.painted("0002")
    assert "No map of O'Ré%20{y}</script>." in browser.page.inner_text("#view-image")
    assert "3 of 10" in browser.page.inner_text(".steps")
    browser.page.keyboard.press("ArrowRight")
    browser.painted("0003")
    browser.page.keyboard.press("p")
    browser.page.keyboard.press("ArrowLeft")
    browser.painted("0001")
    assert "the mask is empty" in browser.page.inner_text("#view-image")
    browser.page.keyboard.press("ArrowLeft")
    browser.page.keyboard.press("ArrowLeft")
    browser.painted("0000")
    assert "the map has 32×32 pixels, the mask 40×30" in browser.page.inner_text("#view-image")
    browser.page.keyboard.press("Escape")
    browser.page.wait_for_selector("#grid li")
    assert len(browser.stems()) == 10


def test_every_awkward_name_has_its_page(browser):
    content = next((browser.folder / "assets").glob("data.*.js")).read_text()
    stems = json.loads(content.removeprefix("window.reportData = ").rstrip(";\n"))["stems"]
    for stem in [stem for stem in stems if not re.fullmatch(r"\d+", stem)]:
        browser.open("#images?order=name")
        browser.page.get_by_label("Name", exact=True).fill(stem)
        browser.page.get_by_text(stem, exact=True).click()
        browser.painted(stem)
        assert browser.heading() == stem
        address = browser.page.url
        browser.page.goto("about:blank")
        browser.page.goto(address)
        browser.painted(stem)


def test_the_slider_shows_one_method_against_the_other(browser):
    browser.open("#image?image=0007")
    browser.painted("0007")
    stage = browser.page.locator(".stage")
    box = stage.bounding_box()
    browser.page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    share = stage.evaluate("stage => parseFloat(stage.style.getPropertyValue('--share'))")
    assert share == pytest.approx(25, abs=3)
    clip = browser.page.locator(".stage .left").evaluate("canvas => getComputedStyle(canvas).clipPath")
    assert float(re.findall(r"([\d.]+)%", clip)[-1]) == pytest.approx(100 - share, abs=0.1)
    browser.page.keyboard.press("ArrowRight")
    assert stage.evaluate("stage => parseFloat(stage.style.getPropertyValue('--share'))") == share + 0.5
    assert browser.heading() == "0007"
    browser.page.keyboard.press("n")
    browser.page.wait_for_function("() => document.getElementById('view-image').dataset.painted !== '0007'")
    assert browser.heading() != "0007"


def test_errors_are_painted_where_they_are(browser):
    browser.open("#image?image=0007&show=errors")
    browser.painted("0007")
    errors = ".cards figure:nth-child(3) canvas:nth-child(2)"  # the map is eight pixels too far to the right
    red, green, blue = browser.pixel(errors, 0.52, 0.5)
    assert green > max(red, blue), "found"
    red, green, blue = browser.pixel(errors, 0.88, 0.5)
    assert red > max(green, blue) + 40, "false alarm"
    red, green, blue = browser.pixel(errors, 0.31, 0.5)
    assert blue > red + 40, "missed"
    red, green, blue = browser.pixel(errors, 0.05, 0.05)
    assert red == green == blue, "gray image"
    browser.page.get_by_label("Errors at threshold", exact=True).fill("1")  # above every level of the map
    browser.page.wait_for_url("**threshold=1")
    browser.page.wait_for_timeout(200)
    red, green, blue = browser.pixel(errors, 0.52, 0.5)
    assert blue > max(red, green), "missed"
    right = browser.pixel(".stage .right", 0.88, 0.5)
    assert right[0] == right[1] == right[2], "no false alarm is left"


def test_curves_respond_to_the_pointer(browser):
    browser.open("#curves?protocol=field")
    browser.page.wait_for_function("document.getElementById('view-curves').dataset.painted === 'field'")
    assert browser.page.locator(".charts .main-svg:visible").count() >= 3
    plot = browser.page.locator("#chart-f .nsewdrag").bounding_box()
    browser.page.mouse.move(plot["x"] + 0.4 * plot["width"], plot["y"] + 0.5 * plot["height"])
    browser.page.mouse.move(plot["x"] + 0.5 * plot["width"], plot["y"] + 0.5 * plot["height"])
    label = browser.page.wait_for_selector("#chart-f .hoverlayer .legend")
    assert 'A & "B" <b>$x$</b>' in label.text_content()
    assert re.search(r"0\.\d{4}", label.text_content())
    browser.choose("Protocol", "authors")
    browser.page.wait_for_function("document.getElementById('view-curves').dataset.painted === 'authors'")
    assert browser.page.locator("#chart-e").is_hidden()
    assert "authors has no E-measure" in browser.page.inner_text("#curve-state")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(browser, scheme):
    page = browser.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 700})
    try:
        for address in ("", "#curves", "#images?minus=A+%26+%22B%22+%3Cb%3E%24x%24%3C%2Fb%3E", "#image?image=0007"):
            browser.open(address)
            page.wait_for_timeout(100)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, address
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", ground)[0]) > 128) == (scheme == "light")
    finally:
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(color_scheme="light")


def test_every_script_is_loaded():
    folder = Path(__file__).parents[2] / "compute_results" / "html_report" / "assets"
    assert {path.name for path in folder.glob("*.js")} == set(SCRIPTS)
