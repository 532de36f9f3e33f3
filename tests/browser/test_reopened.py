"A notebook that was run, saved and opened again when its kernel is gone: every widget is there, and answers."
import nbformat
from nbformat.sign import NotebookNotary
from test_live import DATA

CELLS = [DATA, "run = Trainer(cfg.replace(epochs=2, eval_from=2), small).fit()", "explorer = Explorer(run)\nexplorer",
         "ProxyInspector(run)", "AttentionViewer(run.model, small.query.open(0))",
         "explorer.most_below = 1000                 # so its page is too large to stand below\nexplorer",
         "embed_images(run.model, [small.query.open(0)], progress='embedding').shape"]
BELOW = ".jp-OutputArea-child .vptsp-fallback"
DRAWN = "document.querySelectorAll('.vptsp-widget').length === 5"
MAP = "document.querySelector('.vptsp-explorer').vptsp"


def reopened(lab):
    "The page of the notebook, when whatever could be shown is."
    lab.open("reopened.ipynb")
    lab.page.wait_for_timeout(1000)
    lab.until("!/Loading widget/.test(document.querySelector('.jp-Notebook').innerText)")
    assert "Error displaying" not in lab.page.locator(".jp-Notebook").inner_text()       # as a person sees it
    return lab.page


def test_widgets_outlive_their_kernel(lab):
    lab.expected = "widget model not found"                               # Jupyter's own, early or late
    lab.open("reopened.ipynb", CELLS)
    lab.run_all(240)
    lab.until(DRAWN)
    assert lab.page.locator(BELOW).filter(visible=True).count() == 0      # the widgets are seen, not what is below
    bars = [o for o in lab.outputs() if o.get("data") == {}]
    assert bars, "a bar that is done leaves an empty output"
    assert not [o for o in lab.outputs() if "it/s" in str(o.get("data", {}).get("text/plain", ""))]
    lab.page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    lab.until("!jupyterapp.shell.currentWidget.context.model.dirty")
    lab.page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")

    page = reopened(lab)                                                  # by `make lab`, with the widgets' state
    lab.until(DRAWN)
    lab.until(f"{MAP}.screen(0)")
    assert page.locator(BELOW).filter(visible=True).count() == 0
    page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")

    file = lab.folder/"reopened.ipynb"                                    # by others, without it, as it came by mail
    notebook = nbformat.read(file, 4)
    assert notebook.metadata.pop("widgets")
    nbformat.write(notebook, file)
    page = reopened(lab)
    assert page.locator("iframe, .vptsp-widget").count() == 0             # what is not trusted runs nothing
    assert page.locator(".jp-OutputArea img").filter(visible=True).count() == 5
    page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")

    NotebookNotary(data_dir=str(lab.folder.parent/"data")).sign(notebook)  # and by whoever made it
    page = reopened(lab)
    assert page.locator(".vptsp-widget").count() == 0
    assert page.locator(f"{BELOW} iframe").filter(visible=True).count() == 5
    assert page.frame_locator(f"{BELOW} iframe >> nth=4").locator("img").is_visible()
    frame = page.frame_locator(f"{BELOW} iframe >> nth=1")
    frame.locator(".v-map").click()
    frame.get_by_role("button", name="worst queries", exact=True).click()
    assert frame.locator(".v-panel .v-tile").count() > 0                  # it answers without a kernel
