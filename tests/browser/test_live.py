"Training as a person watches it: curves that move, and a stop by key, by click, and by interrupting the kernel."
import re

import pytest

from vptsp.analysis.curves import panels
from vptsp.widgets.curves import Curves

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
    assert lab.page.locator(".vptsp-live section").count() == 3
    lab.page.get_by_label("proxy drift").check()
    assert lab.page.locator(".vptsp-live section").count() == 4
    lab.page.get_by_label("smoothing").fill("0.9")
    lab.until("document.querySelector('.vptsp-live polyline[data-raw=step]')")
    chart = lab.page.locator(".vptsp-live section > svg").first
    chart.focus()
    lab.page.keyboard.press("ArrowRight")
    lab.until(f"{points('R@1')} > {recall + 1}")                            # drawn anew, and still the focus
    assert chart.evaluate("e => e === document.activeElement")
    assert re.match("epoch .*step .*raw", lab.page.locator(".vptsp-live .values").first.inner_text(), re.S)
    lab.until(f"{points('median, quartiles shaded')} > 5")

def stop(lab, how):
    button = lab.page.get_by_role("button", name="Stop", exact=True)
    if how == "key":
        button.focus()
        lab.page.keyboard.press("Enter")
    elif how == "click": button.click()
    else:                                                                  # as in VS Code, without Jupyter's server
        how = lab.page.locator(".vptsp-live .how")
        assert not how.is_visible()
        lab.page.evaluate("document.getElementById('jupyter-config-data').remove()")
        how.wait_for()                                                     # it says what stops, in place of a button
        assert "VS Code: Interrupt; Colab: Runtime, Interrupt execution" in how.inner_text()
        assert not button.is_visible()
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

@pytest.fixture
def saved(browser, tmp_path):
    "The page of a finished run with held-out classes, one of whose lines has a long name with markup in it."
    losses = [(step, 4*.9**step + .5*(step % 2)) for step in range(1, 81)]
    history = [{"epoch": e, "loss": 4*.9**(8*e), "R@1": .5 + .02*e, "MAP@R": .3 + .01*e} for e in range(1, 11)]
    shown = panels(losses, history, {"R@1": .5, "MAP@R": .3}, 8, measured_on="held-out training classes")
    shown[1]["lines"][0]["name"] = "<img src=x> " + "a long name "*20
    state = {"phase": "shown", "text": "", "done": 1., "epochs": 10, "panels": shown}
    page, errors = browser.new_page(viewport={"width": 390, "height": 1400}), []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(Curves(state=state).save(tmp_path/"curves.html").as_uri())
    yield page
    page.close()
    assert not errors

def words(page): return [" ".join(text.split()) for text in page.locator(".values").all_inner_texts()]

def epochs_shown(page):
    chart = page.locator("section > svg").nth(1)
    return chart.locator("> text:not([text-anchor=end])").all_text_contents()

def test_curves_answer_hands_and_keys(saved):
    page, chart = saved, saved.locator("section > svg").nth(1)
    assert not page.locator(".head").is_visible()
    titles = page.locator(".title").all_text_contents()
    assert titles == ["training loss", "R@1 on held-out training classes, %", "MAP@R on held-out training classes, %"]
    chart.focus()
    for _ in range(2): page.keyboard.press("ArrowRight")
    assert words(page)[2] == "epoch 2 MAP@R 32 MAP@R, frozen 30"            # all panels, at one time
    assert words(page)[0].startswith("epoch 2 step ") and "epoch 0.7" in words(page)[0]
    box = chart.bounding_box()
    def at(epoch): return box["x"] + box["width"]*(46 + epoch/10*(360 - 46 - 46))/360, box["y"] + 60
    page.mouse.move(*at(7.1))
    assert words(page)[2].startswith("epoch 7 MAP@R 37")
    assert page.locator(".at").count() == 3
    page.mouse.move(*at(3.9))
    page.mouse.down()
    page.mouse.move(*at(6.1), steps=4)
    page.mouse.up()                                                         # three whole epochs are seen
    whole = [text for text in epochs_shown(page) if text.isdigit()]
    assert whole == ["4", "5", "6"] and page.get_by_role("button", name="whole run").is_visible()
    chart.dblclick()
    assert "10" in epochs_shown(page) and not page.get_by_role("button", name="whole run").is_visible()
    page.get_by_label("loss on a log scale").check()
    assert page.locator(".title").first.inner_text() == "training loss, log scale"

def test_names_are_measured_and_levels_are_named(saved):
    page = saved
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and page.locator("img").count() == 0
    edges = "e => { const {left, right} = e.getBoundingClientRect(); return [left, right]; }"
    for name in page.locator(".legend li").all():
        left, right = name.evaluate(edges)
        assert left >= 0 and right <= 390
    assert page.locator("svg text", has_text="frozen").count() == 2
    for label in page.locator("svg text").all():
        left, right = label.evaluate(edges)
        assert left >= 0 and right <= 390

def test_an_error_is_raised_in_the_cell(lab):
    lab.open("broken.ipynb", [DATA, FULL, "Trainer(cfg, small, callbacks=[Live(), Full()]).fit()"])
    lab.start()
    lab.until("window.ran === true", 90)
    assert lab.errors() == ["OSError: the disk is full"]
    lab.until(f"{STATUS}.startsWith('broke off')")
