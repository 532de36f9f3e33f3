"The report page as a person meets it: in a browser, without a network."
import pytest

from vptsp.config import Config
from vptsp.data import RetrievalData, load_emoji
from vptsp.report import compare, report_page

@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    data = load_emoji()
    few = RetrievalData('emoji <img src=x onerror="document.title=1">', data.train.of_classes(range(24)), data.query.of_classes(range(24)))
    few.train.classes[0] = few.train.classes[0] + "</script><script>document.title='broken'</script>"
    comparison = compare(Config.load("emoji", batch_size=16, epochs=1), few, methods=("linear", "vptsp-g"), say=lambda line: None)
    file = tmp_path_factory.mktemp("page")/"report.html"
    file.write_text(report_page(comparison), encoding="utf-8")
    return file

def test_page_in_a_browser(browser, page_file, tmp_path):
    asked, errors = [], []
    page = browser.new_page(viewport={"width": 1200, "height": 1600})
    page.on("request", lambda r: asked.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    page.on("pageerror", lambda e: errors.append(str(e))); page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(page_file.as_uri())
    page.wait_for_function("document.getElementById('map')._fullLayout !== undefined")
    assert page.title().startswith("vptsp: emoji <img") and page.locator("img[src=x]").count() == 0      # names are text, never markup
    assert page.locator("table.vptsp tr").count() == 1 + 4
    assert page.locator(".t").count() > 20
    shown = page.evaluate("document.getElementById('map')._fullData.filter(t => t.visible === true).map(t => t.x.length)")
    assert sum(shown) > 100
    page.locator("#map").scroll_into_view_if_needed()
    x, y = page.evaluate("""() => { const m = document.getElementById('map'), r = m.getBoundingClientRect(), l = m._fullLayout, t = m._fullData[0];
                                    return [r.left + l.xaxis._offset + l.xaxis.l2p(t.x[0]), r.top + l.yaxis._offset + l.yaxis.l2p(t.y[0])]; }""")
    page.mouse.move(x - 40, y - 40); page.mouse.move(x, y, steps=4)
    page.wait_for_function("getComputedStyle(document.getElementById('tip')).display === 'block'", timeout=10_000)   # the image under the pointer
    assert "url(\"data:image/webp" in page.evaluate("getComputedStyle(document.getElementById('tip')).backgroundImage")
    page.screenshot(path=str(tmp_path/"page.png"), full_page=True)
    page.close()
    assert not asked, f"the page asked the network for {asked[:3]}"
    assert not errors, errors
