"The report page as a person meets it: in a browser, without a network."
import pytest
from test_accessible import violations

from vptsp.analysis.compare import compare
from vptsp.benchmarks import load_emoji
from vptsp.config import Config
from vptsp.data import RetrievalData
from vptsp.widgets.report import report_page

NAME = 'emoji <img src=x onerror="document.title=1">'
CLASS = "</script><script>document.title='broken'</script>"

@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    "A report of two dozen emoji, with a data set and classes named like markup."
    data = load_emoji()
    small = RetrievalData(NAME, data.train.of_classes(range(24)), data.query.of_classes(range(24)))
    small.query.classes[0] += CLASS
    cfg = Config.load("emoji", batch_size=16, epochs=1)
    comparison = compare(cfg, small, methods=("linear", "vptsp-g"), say=lambda line: None)
    file = tmp_path_factory.mktemp("page")/"report.html"
    file.write_text(report_page(comparison), encoding="utf-8")
    return file

@pytest.fixture
def page(browser, page_file, tmp_path):
    "The page, and afterwards whether it asked for anything or logged an error."
    outside, errors = [], []
    page = browser.new_page(viewport={"width": 1200, "height": 1600})
    def ask(request):
        if not request.url.startswith(("file:", "data:", "blob:", "about:")): outside.append(request.url)
    def log(message):
        if message.type == "error": errors.append(message.text)
    page.on("request", ask)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", log)
    page.goto(page_file.as_uri())
    yield page
    page.screenshot(path=str(tmp_path/"page.png"), full_page=True)
    page.close()
    assert not outside, f"the page asked the network for {outside[:3]}"
    assert not errors, errors

def test_table_curves_and_retrievals(page):
    chart = page.locator(".vptsp-live section > svg").first
    chart.wait_for()
    assert page.title().startswith("vptsp: emoji <img") and page.locator("img[src=x]").count() == 0   # names are text
    assert page.locator("table.vptsp tr").count() == 1 + 4 + 1                                         # and the axis
    assert page.locator(".t").count() > 20
    ticks = chart.locator("> text[text-anchor=middle]").all_text_contents()
    assert ticks == ["0", "1", "epoch"]                                                                # whole epochs
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert "VPTSP-G" in page.locator(".values").first.inner_text()
    edges = page.locator("table.vptsp .bar span:has(.gain, .loss)").evaluate_all("""spans => spans.map(span =>
        ['.zero', '.gain, .loss'].map(part => span.querySelector(part).getBoundingClientRect())
            .flatMap(({left, right}) => [left, right]))""")
    assert len(edges) == 2*3 and all(min(abs(zero - a), abs(zero - b)) < 2 for zero, _, a, b in edges)  # at it

@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(page, scheme):
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390      # what is wide scrolls in its box
    look = "e => ['color', 'backgroundColor'].map(n => Number(getComputedStyle(e)[n].match(/\\d+/)[0]))"
    ink, back = page.locator("body").evaluate(look)
    assert abs(ink - back) > 150 and (back > 200) == (scheme == "light")
    small = page.locator("body").evaluate("""body => [...body.querySelectorAll('p, td, th, b, li, text')]
        .filter(e => e.textContent.trim() && parseFloat(getComputedStyle(e).fontSize) < 9).length""")
    assert small == 0

def test_map_of_the_test_images(page):
    frame = page.frame_locator("#map")
    frame.locator(".vptsp-explorer[data-ready=true]").wait_for(timeout=20_000)
    explorer = page.frames[1]
    assert explorer.locator("img[src=x]").count() == 0
    assert "query" in explorer.locator(".vptsp-explorer").inner_text()
    page.locator("#map").scroll_into_view_if_needed()
    place = "document.querySelector('.vptsp-explorer').vptsp.screen(0)"
    x, y = explorer.evaluate(place)
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + x - 40, box["y"] + y - 40)
    page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
    tip = explorer.locator(".v-tip")
    tip.wait_for(state="visible", timeout=10_000)  # the image under the pointer
    pixels = tip.locator("canvas").evaluate("c => [...c.getContext('2d').getImageData(0, 0, 96, 96).data]")
    assert len(set(pixels)) > 10
    page.mouse.click(box["x"] + x, box["y"] + y)  # and its neighbours
    explorer.locator(".v-tile").first.wait_for()
    assert explorer.locator(".v-tile").count() >= 7

def test_it_can_be_read_by_all(page):
    page.frame_locator("#map").locator(".vptsp-explorer[data-ready=true]").wait_for(timeout=20_000)
    found = violations(page)
    page.emulate_media(color_scheme="dark")
    assert not (found := found + violations(page)), "\n".join(found)
