"Training as a person watches it: curves that move, and a stop by key, by click, and by interrupting the kernel."
import pytest

DATA = """import torch
from vptsp.all import *
from vptsp.widgets.live import Live
data = load_emoji()
small = RetrievalData("small", data.train.of_classes(range(24)), data.query.of_classes(range(24)))
cfg = Config.load("emoji", batch_size=16, epochs=500, eval_from=1, num_prompts=2, num_class_prompts=1)"""
FIT = "trainer = Trainer(cfg, small)\nrun = trainer.fit()"
USE = "shape = tuple(run.model.embed(torch.zeros(2, 3, 64, 64)).shape)"
FULL = """class Full(Callback):
    def step_end(self, t, loss):
        if t.step == 3: raise OSError('the disk is full')"""

# notes when the button was pressed, when the run ended, and what was fetched
WATCH = """() => {
    const ended = () => {
        const stopped = document.querySelector(".vptsp-live[data-phase=stopped]");
        if (!window.ended && stopped) window.ended = performance.now();
    };
    const changes = {subtree: true, attributes: true, attributeFilter: ["data-phase"]};
    new MutationObserver(ended).observe(document.body, changes);
    const press = () => { window.pressed = performance.now(); };
    document.querySelector(".vptsp-live button").addEventListener("click", press, true);
    window.asked = [];
    const usual = window.fetch;
    window.fetch = (r, ...o) => { window.asked.push(String(r.url ?? r)); return usual(r, ...o); };
}"""
INTERRUPT = """() => {
    window.pressed = performance.now();
    jupyterapp.commands.execute('notebook:interrupt-kernel');
}"""
STATUS = "document.querySelector('.vptsp-live [role=status]').textContent"
BAR = "document.querySelector('.vptsp-live progress').value"

def points(name): return f"document.querySelector('.vptsp-live polyline[data-name=\"{name}\"]')?.points.numberOfItems"

def check_curves_move(lab):
    "Loss, R@1 and the bar grow while it trains; drift is shown on demand."
    lab.until(f"{points('step')} > 2 && {points('R@1')} > 0", 90)
    step, recall, share = lab.page.evaluate(f"[{points('step')}, {points('R@1')}, {BAR}]")
    lab.until(f"{points('step')} > {step} && {points('R@1')} > {recall} && {BAR} > {share}", 60)
    lab.until(f"/epoch \\d+ of 500, step \\d+ of 8, loss .+ left/.test({STATUS})")
    for figure in ("R@1", "MAP@R"):
        assert lab.page.locator(f".vptsp-live line[data-name='{figure}, frozen']").count() == 1
    assert lab.page.locator(".vptsp-live svg").count() == 3
    lab.page.get_by_label("proxy drift").check()
    assert lab.page.locator(".vptsp-live svg").count() == 4
    lab.until(f"{points('median, quartiles shaded')} > 5")

def stop(lab, how):
    button = lab.page.get_by_role("button", name="Stop", exact=True)
    if how == "key":
        button.focus()
        lab.page.keyboard.press("Enter")
    elif how == "click": button.click()
    else:                                                                  # as in a page without Jupyter's server
        lab.page.evaluate("document.getElementById('jupyter-config-data').remove()")
        button.click()
        lab.until(f"{STATUS}.includes('press its interrupt button')")       # nothing is broken, and it says what to do
        lab.page.evaluate(INTERRUPT)

@pytest.mark.parametrize("how", ["key", "click", "kernel"])
def test_curves_move_and_training_stops(lab, how):
    lab.open("live.ipynb", [DATA, FIT, USE])
    lab.start()
    check_curves_move(lab)
    lab.page.evaluate(WATCH)
    stop(lab, how)
    lab.until("window.ended && window.ran", 30)
    seconds = lab.page.evaluate("(window.ended - window.pressed)/1000")
    print(f"{how}: stopped in {seconds:.2f} s")
    assert seconds < 1
    assert lab.page.evaluate("window.asked.some(u => u.includes('/interrupt'))") == (how != "kernel")
    assert not lab.errors()
    step = lab.python("trainer.step")
    assert lab.python("shape") == (2, 128) and lab.python("run.model.training") is False
    where = lab.python("run.metrics['stopped']")                          # in an epoch, or while it was measured
    assert where.endswith(f"after step {(step - 1) % 8 + 1} of 8") or where == f"behind epoch {step//8} of 500"
    assert f"stopped {where}" in lab.page.locator(".vptsp-live [role=status]").inner_text()
    assert lab.python("trainer.step") == step
    kept = [o["data"] for o in lab.outputs() if "image/png" in o.get("data", {})]
    assert len(kept) == 1 and f"stopped {where}" in "".join(kept[0]["text/plain"])   # what stays without a kernel

def test_an_error_is_raised_in_the_cell(lab):
    lab.open("broken.ipynb", [DATA, FULL, "Trainer(cfg, small, callbacks=[Live(), Full()]).fit()"])
    lab.start()
    lab.until("window.ran === true", 90)
    assert lab.errors() == ["OSError: the disk is full"]
    lab.until(f"{STATUS}.startsWith('broke off')")
