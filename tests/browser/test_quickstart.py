"The quickstart as a person runs it: Run All in JupyterLab."


def test_quickstart_runs(lab):
    lab.open("tutorials/quickstart.ipynb")
    lab.page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    lab.until("document.querySelectorAll('.jp-Notebook .jp-OutputArea-output').length === 0")
    lab.run_all(900)
    pictures = lab.page.locator(".jp-Notebook .jp-OutputArea-output img")
    assert pictures.count() >= 4  # strips of images, curves, retrievals, proxies
    for i in range(pictures.count()):
        picture = pictures.nth(i)
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        assert box["width"] > 100 and box["height"] > 50
        assert picture.evaluate("i => i.complete && i.naturalWidth") > 100
    assert lab.python("run.metrics['R@1'] > run.metrics['frozen']['R@1']")
    assert lab.python("len(run.history)") == 2
