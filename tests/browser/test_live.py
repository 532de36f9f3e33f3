"Training as a person watches it in JupyterLab: curves that move, and a stop by key, by click, and by interrupting the kernel."
import pytest

DATA = """import torch
from vptsp.all import *
from vptsp.live import Live
data = load_emoji()
few = RetrievalData("few", data.train.of_classes(range(24)), data.query.of_classes(range(24)))
cfg = Config.load("emoji", batch_size=16, epochs=500, eval_from=1, num_prompts=2, num_class_prompts=1)"""
FIT = "trainer = Trainer(cfg, few)\nrun = trainer.fit()"
USE = "shape = tuple(run.model.embed(torch.zeros(2, 3, 64, 64)).shape)"

drawn = lambda name: f"document.querySelector('.vptsp-live polyline[data-name=\"{name}\"]')"

@pytest.mark.parametrize("how", ["key", "click", "kernel"])
def test_curves_move_and_training_stops(lab, how):
    lab.open("live.ipynb", [DATA, FIT, USE])
    lab.start()
    lab.until(f"{drawn('step')}?.points.numberOfItems > 2 && {drawn('R@1')}?.points.numberOfItems > 0", 90)
    before = lab.page.evaluate(f"[{drawn('step')}.points.numberOfItems, {drawn('R@1')}.points.numberOfItems, document.querySelector('.vptsp-live progress').value]")
    lab.until(f"{drawn('step')}.points.numberOfItems > {before[0]} && {drawn('R@1')}.points.numberOfItems > {before[1]} && document.querySelector('.vptsp-live progress').value > {before[2]}", 60)
    lab.until("/epoch \\d+ of 500, step \\d+ of 8, loss .+ left/.test(document.querySelector('.vptsp-live [role=status]').textContent)")
    assert lab.page.locator(".vptsp-live line[data-name='R@1, frozen']").count() == 1
    assert lab.page.locator(".vptsp-live svg").count() == 2
    lab.page.get_by_label("proxy drift").check()                         # on demand, while it trains
    assert lab.page.locator(".vptsp-live svg").count() == 3
    lab.until(f"{drawn('median, quartiles shaded')}?.points.numberOfItems > 5")
    lab.page.evaluate("""() => { new MutationObserver(() => { if (!window.ended && document.querySelector(".vptsp-live[data-phase=stopped]")) window.ended = performance.now(); })
                                    .observe(document.body, {subtree: true, attributes: true, attributeFilter: ["data-phase"]});
                                 document.querySelector(".vptsp-live button").addEventListener("click", () => { window.pressed = performance.now(); }, true);
                                 window.asked = []; const usual = window.fetch; window.fetch = (r, ...o) => { window.asked.push(String(r.url ?? r)); return usual(r, ...o); }; }""")
    button = lab.page.get_by_role("button", name="Stop", exact=True)
    if how == "key": button.focus(); lab.page.keyboard.press("Enter")
    elif how == "click": button.click()
    else:
        lab.page.evaluate("document.getElementById('jupyter-config-data').remove()"); button.click()         # as in a page without Jupyter's server: nothing is broken, and it says what to do
        lab.until("document.querySelector('.vptsp-live [role=status]').textContent.includes('press its interrupt button')")
        lab.page.evaluate("() => { window.pressed = performance.now(); jupyterapp.commands.execute('notebook:interrupt-kernel'); }")
    lab.until("window.ended && window.ran", 30)
    seconds = lab.page.evaluate("(window.ended - window.pressed)/1000"); print(f"{how}: stopped in {seconds:.2f} s")
    assert seconds < 1
    assert lab.page.evaluate("window.asked.some(u => u.includes('/interrupt'))") == (how != "kernel")
    assert not lab.errors()
    step = lab.python("trainer.step")
    assert lab.python("shape") == (2, 128) and lab.python("run.metrics['stopped']").endswith(f"after step {(step - 1) % 8 + 1} of 8") and lab.python("run.model.training") is False
    assert "stopped in epoch" in lab.page.locator(".vptsp-live [role=status]").inner_text() and lab.python("trainer.step") == step
    kept = [o["data"] for o in lab.outputs() if "image/png" in o.get("data", {})]
    assert len(kept) == 1 and "stopped in epoch" in "".join(kept[0]["text/plain"])            # what stays without a kernel

def test_an_error_is_raised_in_the_cell(lab):
    lab.open("broken.ipynb", [DATA, "class Full(Callback):\n    def step_end(self, t, loss):\n        if t.step == 3: raise OSError('the disk is full')", "Trainer(cfg, few, callbacks=[Live(), Full()]).fit()"])
    lab.start(); lab.until("window.ran === true", 90)
    assert lab.errors() == ["OSError: the disk is full"]
    lab.until("document.querySelector('.vptsp-live [role=status]')?.textContent.startsWith('broke off')")
