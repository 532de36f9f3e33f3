"The quickstart as a person runs it: Run All in JupyterLab."


def drawn(lab, what, number, side):
    "So many pictures of a kind, each loaded and at least `side` pixels wide."
    pictures = lab.page.locator(f".jp-Notebook {what}")
    assert pictures.count() == number
    for i in range(number):
        pictures.nth(i).scroll_into_view_if_needed()
        box = pictures.nth(i).bounding_box()
        assert box["width"] > side and box["height"] > side/2
        assert pictures.nth(i).evaluate("i => i.complete && i.naturalWidth") > side


def test_quickstart_runs(lab):
    lab.open("tutorials/quickstart.ipynb")
    lab.page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    lab.until("document.querySelectorAll('.jp-Notebook .jp-OutputArea-output').length === 0")
    lab.run_all(900)
    drawn(lab, ".jp-RenderedImage img", 3, 100)         # classes, retrievals, cosines to proxies
    drawn(lab, ".jp-RenderedHTMLCommon figure img", 12, 60)  # two queries and their nearest five
    for widget in ("live", "explorer"): assert lab.page.locator(f".jp-Notebook .vptsp-{widget}").count() >= 1
    assert lab.python("run.metrics['R@1'] > run.metrics['frozen']['R@1']")
    assert lab.python("len(run.history)") == 2
