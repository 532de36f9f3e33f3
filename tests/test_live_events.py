"What the live view shows of made-up events, and what its page holds."
from types import SimpleNamespace

import torch

from vptsp.loaders import ClassBalancedSampler
from vptsp.proxies import SemanticProxies
from vptsp.widgets.live import Live


def watched(live, until):
    "Two epochs of four steps, up to a step."
    t = SimpleNamespace(
        data=SimpleNamespace(name="made up"), model=SimpleNamespace(proxies=SemanticProxies(6, 4)),
        loader=SimpleNamespace(batch_sampler=ClassBalancedSampler([0, 0, 1, 1, 2, 2, 3, 3], 2, 1)),
        cfg=SimpleNamespace(epochs=2, eval_from=1, holdout=0), frozen={"R@1": .5, "MAP@R": .3},
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
    assert live.payload["phase"] == "running" and "image/png" not in live._repr_mimebundle_()[0]
    live.fit_end(t, SimpleNamespace(metrics={"R@1": .66, "MAP@R": .38, "frozen": t.frozen}))
    assert live.payload["text"].endswith("R@1 0.660 (frozen 0.500), MAP@R 0.380 (frozen 0.300)")
    assert {"image/png", "text/plain"} <= set(live._repr_mimebundle_()[0])
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
