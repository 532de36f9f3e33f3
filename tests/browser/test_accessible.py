"""Every saved page by axe-core, in light and dark: names for a screen reader, contrast AA; and no text below 9 px."""
from pathlib import Path
from unittest.mock import patch

import pytest
from axe_playwright_python.sync_playwright import Axe

from vptsp.analysis.compare import Comparison
from vptsp.benchmarks import load_emoji
from vptsp.config import Config, methods
from vptsp.data import RetrievalData
from vptsp.training import Trainer
from vptsp.widgets.attention import AttentionViewer
from vptsp.widgets.comparison import comparison_page
from vptsp.widgets.explorer import Explorer
from vptsp.widgets.inspector import ProxyInspector
from vptsp.widgets.live import Live
from vptsp.widgets.pair import ExplorerPair

TUNED = Path(__file__).parents[2]/"data"/"experiments"/"tuned"
OPENED = {  # page -> what stands in it once it is drawn
    "explorer": ".vptsp-explorer[data-ready]", "chosen": ".vptsp-explorer[data-ready]",
    "pair": ".vptsp-explorer[data-ready]", "table": ".vptsp-inspector", "proxy": ".vptsp-inspector",
    "attention": ".vptsp-attention", "curves": ".vptsp-live", "comparison": "h1",
}
SMALL = """() => [...document.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 9).map((e) => e.outerHTML.slice(0, 80))"""


def first_axes(points, *args):
    "A map in no time: how a page is drawn does not depend on where the points lie."
    return points[:, :2].numpy()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    "A saved page of each widget, of a short training on every 26th class of the bundled emoji."
    with patch("vptsp.analysis.study.umap_layout", first_axes): return saved(tmp_path_factory.mktemp("pages"))


def saved(folder):
    emoji = load_emoji()
    small = RetrievalData("emoji", emoji.train.of_classes(range(0, 517, 26)),
                          emoji.query.of_classes(range(0, 532, 26)))
    cfg = Config.load("emoji", epochs=1, batch_size=32)
    live = Live()
    linear = Trainer(cfg.replace(**methods["linear"]), small, callbacks=[]).fit()
    run = Trainer(cfg, small, callbacks=[live]).fit()
    chosen = Explorer(run, progress=None)
    chosen.selected = [7, 3]
    proxy = ProxyInspector(run, progress=None)
    proxy.shown = 2
    made = {"explorer": Explorer(run, progress=None), "chosen": chosen, "proxy": proxy,
            "pair": ExplorerPair(linear, run, ("last layer", "VPTSP-G"), progress=None),
            "table": ProxyInspector(run, progress=None),
            "attention": AttentionViewer(run.model, small.query.open(0)), "curves": live}
    pages = {name: widget.save(folder/f"{name}.html") for name, widget in made.items()}
    pages["comparison"] = folder/"comparison.html"
    pages["comparison"].write_text(comparison_page(Comparison.load(TUNED)), encoding="utf-8")
    return pages


def violations(page):
    "What axe-core finds: the rule, the element and what is the matter."
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
    return [f"{v['id']}: {node['html'][:120]} {node['failureSummary'][:200]}" for v in found for node in v["nodes"][:3]]


def test_what_cannot_be_read_is_found(browser):
    page = browser.new_page()
    page.set_content('<html lang="en"><title>t</title><p style="color: #aaa">grey</p><button></button>')
    told = " ".join(violations(page))
    page.close()
    assert "color-contrast" in told and "button-name" in told


@pytest.mark.parametrize("name", list(OPENED))
def test_a_saved_page_can_be_read_by_all(browser, pages, name):
    page = browser.new_page(viewport={"width": 1024, "height": 900}, color_scheme="light")
    page.goto(pages[name].as_uri())
    page.wait_for_selector(OPENED[name])
    told = violations(page)
    page.emulate_media(color_scheme="dark")
    told += violations(page)
    page.set_viewport_size({"width": 390, "height": 800})
    small, wide = page.evaluate(SMALL), page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert not told, "\n".join(told)
    assert not small and wide <= 390, (small, wide)


def test_two_runs_choose_and_hide_the_same(browser, pages):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.goto(pages["pair"].as_uri())
    page.wait_for_function("document.querySelectorAll('.vptsp-explorer[data-ready]').length === 2")
    first, second = page.locator(".vptsp-explorer").all()
    def picked(half): return half.evaluate("e => e.vptsp.picked().join()")
    first.get_by_role("button", name="wrong in both").click()
    assert picked(first) and picked(first) == picked(second)
    second.get_by_role("button", name="worst queries").click()
    assert len(picked(second).split(",")) == 12 and picked(first) == picked(second)
    first.get_by_label("train").check()
    assert second.get_by_label("train").is_checked()
    first.get_by_label("colour by").select_option("class")
    assert second.get_by_label("colour by").input_value() == "class"
    headings = page.locator("section > h4").all_inner_texts()
    page.close()
    assert [words.split(":")[0] for words in headings] == ["last layer", "VPTSP-G"]
