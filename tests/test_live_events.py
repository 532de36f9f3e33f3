"What the live view shows of made-up events, and what its page holds."
import io
import itertools
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from vptsp.config import Config
from vptsp.files import write_lines
from vptsp.loaders import ClassBalancedSampler
from vptsp.proxies import SemanticProxies
from vptsp.widgets import live as live_module
from vptsp.widgets.curves import curves
from vptsp.widgets.live import Live


def watched(live, until):
    "Two epochs of four steps, up to a step."
    t = SimpleNamespace(
        data=SimpleNamespace(name="made up", closed_set=False), model=SimpleNamespace(proxies=SemanticProxies(6, 4)),
        loader=SimpleNamespace(batch_sampler=ClassBalancedSampler([0, 0, 1, 1, 2, 2, 3, 3], 2, 1)),
        cfg=SimpleNamespace(epochs=2, eval_from=1, eval_every=1, holdout=0), frozen={"R@1": .5, "MAP@R": .3},
        history=[], epoch=0, step=0, steps=4, stopping=False)
    live.fit_prepare(t)
    live.fit_start(t)
    for step in range(1, until + 1):
        t.step = step
        live.step_end(t, torch.tensor(4 - .3*step))
        if step % 4 == 0:
            t.epoch = step//4 - 1
            t.history.append({"epoch": t.epoch + 1, "loss": 2., "R@1": .6, "MAP@R": .4})
            live.epoch_end(t, t.history[-1])
    return t

def test_a_picture_only_of_what_is_over():
    live = Live(every=0)
    assert live.alt == "a run that has not begun"
    t = watched(live, 8)
    assert live.payload["phase"] == "running" and "image/png" not in live.widget.outputs()[0][0]
    live.fit_end(t, SimpleNamespace(metrics={"R@1": .66, "MAP@R": .38, "frozen": t.frozen}))
    assert live.payload["text"].endswith("R@1 0.660 (frozen 0.500), MAP@R 0.380 (frozen 0.300)")
    assert {"image/png", "text/plain"} <= set(live.widget.outputs()[0][0])
    titles = [panel["title"] for panel in live.payload["panels"]]
    assert titles == ["training loss", "R@1 on test classes, %", "MAP@R on test classes, %", "proxy drift, 1 - cos"]

def test_a_stopped_run_and_its_page(tmp_path):
    live = Live(every=0)
    t = watched(live, 6)
    t.stopping = True
    live._show(t, "running", "")                                           # until the step at work is done
    assert live.payload["phase"] == "stopping"
    live.fit_end(t, SimpleNamespace(metrics={"frozen": t.frozen, "stopped": "in epoch 2 of 2, after step 2 of 4"}))
    page = live.save(tmp_path/"run.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")    # nothing is fetched from elsewhere
    assert page.count("</script>") == 2
    assert "stopped in epoch 2 of 2" in live.alt


# Where nothing can be shown

class Handle:
    "Of an output that is gone."
    def update(self, shown, **about): raise RuntimeError("no such comm")

DONE = {"R@1": .66, "MAP@R": .38, "frozen": {"R@1": .5, "MAP@R": .3}}

INCOMPLETE = [{}, DONE | {"frozen": {}}, DONE | {"frozen": None}, {"R@1": .66}, {"stopped": "early"}]

@pytest.mark.parametrize("metrics", INCOMPLETE)
def test_figures_that_are_not_there(metrics, capsys):
    live = Live(every=0)
    t = watched(live, 4)
    t.frozen = metrics.get("frozen")
    live.fit_end(t, SimpleNamespace(metrics=metrics))
    live.fit_end(t, None)
    assert live.payload["phase"] == "failed" and capsys.readouterr().out.count("\n") >= 4
    assert not live.blind

def test_an_output_that_is_gone(caplog):
    live = Live(every=0)
    t = watched(live, 8)
    live.handles = [Handle(), Handle()]
    for _ in range(2): live.fit_end(t, SimpleNamespace(metrics=DONE))
    assert live.payload["phase"] == "done" and caplog.text.count("the run goes on") == 1

def test_nowhere_to_print(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    live = Live(every=0)
    live.fit_end(watched(live, 8), SimpleNamespace(metrics=DONE))
    assert live.payload["phase"] == "done"

def test_a_drawing_that_fails(monkeypatch, caplog):
    monkeypatch.setattr(live_module, "panels", lambda *a: 1/0)
    live = Live(every=0)
    live.fit_end(watched(live, 8), SimpleNamespace(metrics=DONE))
    assert caplog.text.count("ZeroDivisionError") == 1

def test_ended_before_it_began():
    live = Live(every=0)
    cfg = SimpleNamespace(epochs=0, eval_from=1, eval_every=1, holdout=0)
    t = SimpleNamespace(cfg=cfg, history=[], frozen=None, step=0, steps=0,
                        stopping=False)
    live.fit_end(t, None)
    assert "broke off" in live.alt

def test_the_clock_is_set_back(monkeypatch):
    monkeypatch.setattr("time.time", itertools.count(10**9, -3600).__next__)
    live = Live(every=0)
    live.fit_end(watched(live, 8), SimpleNamespace(metrics=DONE))
    assert live.stepping >= 0 and min(live.measured) >= 0 and "-" not in live.payload["text"]

def test_in_a_terminal_of_ipython():
    "Where IPython has a shell, but no kernel."
    code = ("from vptsp.widgets.live import Live; from types import SimpleNamespace as N; live = Live(); "
            "t = N(cfg=N(epochs=0, holdout=0), history=[], frozen={}, step=0, steps=0, stopping=False); "
            "live.fit_prepare(t); live.fit_end(t, N(metrics={})); print(live.payload['phase'], live.blind)")
    done = subprocess.run([sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code],
                          capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().splitlines()[-1] == "done False", done.stdout + done.stderr


# Several runs

def told(folder, epochs, **settings):
    "A folder as a run leaves it."
    folder.mkdir()
    write_lines(folder/"history.jsonl", [{"epoch": e, "loss": 4/e, "R@1": .5 + .01*e, "MAP@R": .3} for e in epochs])
    Config.load("emoji", **settings).save(folder/"config.yaml")
    return folder

def test_runs_lie_over_one_another_and_say_what_they_are_of(tmp_path):
    one, other = told(tmp_path/"one", range(1, 6)), told(tmp_path/"other", range(1, 4))
    loss, recall, _ = curves([one, other]).state["panels"]
    assert [line["name"] for line in loss["lines"]] == ["one", "other"]
    assert len({line["color"] for line in loss["lines"]}) == len({line["mark"] for line in loss["lines"]}) == 2
    assert recall["title"] == "R@1 on test classes, %" and recall["lines"][0]["x"] == [1, 2, 3, 4, 5]
    held = told(tmp_path/"held", range(1, 4), holdout=.4)
    assert curves({"a": held}).state["panels"][1]["title"] == "R@1 on held-out training classes, %"
    names = [line["name"] for line in curves({"a": one, "b": held}).state["panels"][1]["lines"]]
    assert names == ["a (test classes)", "b (held-out training classes)"]

def test_names_of_runs_differ_and_are_text(tmp_path):
    for parent in ("x", "y"): (tmp_path/parent).mkdir()
    shown = curves([told(tmp_path/parent/"run", range(1, 3)) for parent in ("x", "y")])
    assert [line["name"] for line in shown.state["panels"][0]["lines"]] == ["x/run", "y/run"]
    named = curves({"</script><b>\u202e$x$": tmp_path/"x"/"run"})
    page = named._page(None)
    assert page.count("</script>") == 2 and "\u202e" not in page
    named.log, named.smooth = True, .9
    assert named.static().data.startswith(b"\x89PNG")
    with pytest.raises(FileNotFoundError, match=r"no history\.jsonl"): curves([tmp_path])

def test_what_a_person_chose_is_in_the_picture_and_the_page(tmp_path):
    live = Live(every=0)
    t = watched(live, 8)
    live.fit_end(t, SimpleNamespace(metrics=DONE))
    before = live.static().data
    live.widget.log, live.widget.smooth = True, .9
    assert live.static().data != before
    page = live.save(tmp_path/"run.html").read_text(encoding="utf-8")
    assert '"smooth": 0.9' in page and '"log": true' in page and '"kernel":' not in page

def test_a_closed_set_is_named():
    live = Live(every=0)
    t = watched(live, 4)
    t.data.closed_set = True
    live._show(t, "running", "")
    assert live.payload["panels"][1]["title"] == "R@1 on other images of the classes trained on, %"
