"The report page as a person meets it: in a browser, without a network."
import pytest

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
    page.wait_for_function("document.getElementById('curves')._fullLayout !== undefined")
    assert page.title().startswith("vptsp: emoji <img") and page.locator("img[src=x]").count() == 0   # names are text
    assert page.locator("table.vptsp tr").count() == 1 + 4
    assert page.locator(".t").count() > 20
    ticks = page.locator("#curves .xtick").all_text_contents()
    assert ticks and all(tick.isdigit() for tick in ticks)  # whole epochs

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
