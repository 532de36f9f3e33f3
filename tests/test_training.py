"""The road to embeddings, callbacks, runs and the trainer: edge cases that would hide the idea in a lesson."""
import json
import shutil
import signal
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vptsp import callbacks, training
from vptsp.backbone import bundled_vit
from vptsp.benchmarks import load_emoji
from vptsp.callbacks import Callback, Progress, Silence, interruptible, watcher
from vptsp.config import Config, ConfigError
from vptsp.data import RetrievalData
from vptsp.embedding import embed_all, embed_images, embed_readable
from vptsp.files import DataError, read_json
from vptsp.loaders import eval_transform
from vptsp.model import build_model
from vptsp.optimizer import build_optimizer, parameter_groups, set_epoch_lr
from vptsp.runs import Run, read_history
from vptsp.training import Trainer, measure, measure_frozen

EMOJI = load_emoji()
FEW = RetrievalData("emoji, 24 classes", EMOJI.train.of_classes(range(24)), EMOJI.query.of_classes(range(24)))
CFG = Config.load("emoji", batch_size=16, epochs=3, num_prompts=2, num_class_prompts=1, lr_semantic=.1, crop_min=.5,
                  feature_dropout=.1, optimizer="adamw", lr=1e-3, proxy_init="class_mean", eval_from=9)

def trainer(cfg=CFG, out=None, callbacks=(), **kw):
    return Trainer(cfg, FEW, out, pretrained=False, callbacks=list(callbacks), **kw)

def same_weights(a, b):
    b = b.tuned_state()
    return all(torch.equal(t, b[name]) for name, t in a.tuned_state().items())

@pytest.fixture(scope="module")
def whole():
    "A run that was left alone."
    return trainer().fit()

class StopAt(Callback):
    "Pulls the plug in the middle of an epoch."
    def __init__(self, step): self.at = step
    def step_end(self, trainer, loss):
        if trainer.step == self.at: raise KeyboardInterrupt

class Interrupt(StopAt):
    "The interrupt button, pressed behind a step."
    stops = True
    def step_end(self, trainer, loss):
        if trainer.step == self.at:
            signal.raise_signal(signal.SIGINT)
            while not trainer.stopping: time.sleep(.01)

def test_callbacks_come_on_top_of_what_watches(monkeypatch):
    def names(callbacks): return [type(c).__name__ for c in Trainer(CFG, FEW, callbacks=callbacks).callbacks]
    assert names([StopAt(1)]) == ["Progress", "StopAt"] and names(None) == ["Progress"] and names([]) == []
    assert names([StopAt(1), Silence()]) == ["StopAt", "Silence"]
    monkeypatch.setattr(callbacks, "in_notebook", lambda: True)
    assert names([StopAt(1)]) == ["Live", "StopAt"] and names([Progress(), StopAt(1)]) == ["Progress", "StopAt"]

# embedding

def test_embeddings_are_those_of_the_plain_road(tmp_path):
    model, images = build_model(Config.load("emoji"), 1), EMOJI.query.subset(range(20))
    transform = eval_transform(model.cfg, model.backbone.mean, model.backbone.std)
    plain = [model.embed(x) for x, _ in DataLoader(images.with_transform(transform), 8)]
    found = embed_images(model, images, batch_size=8)
    assert torch.equal(found, torch.cat(plain))
    assert torch.equal(embed_images(model, images, batch_size=8, workers=1), found)
    assert torch.equal(embed_readable(model, images, batch_size=8)[0], found)
    cfg = model.cfg.replace(batch_size=8)
    E, labels = embed_all(model.embed, images, cfg, model.backbone.mean, model.backbone.std)
    assert torch.equal(E, found) and torch.equal(labels, images.labels)

def test_images_that_cannot_be_read(tmp_path):
    model = build_model(Config.load("emoji"), 1, pretrained=False)
    good, bad = tmp_path/"good.png", tmp_path/"bad.png"
    EMOJI.query.open(0).save(good)
    bad.write_bytes(b"no picture")
    for workers in (0, 1):
        with pytest.raises(DataError, match="bad.png' cannot be decoded"):
            embed_images(model, [good, bad], workers=workers)
        E, broken = embed_readable(model, [bad, good, bad, tmp_path/"none.png"], batch_size=2, workers=workers)
        assert E.shape == (1, 128) and list(broken) == [0, 2, 3] and "there is no image" in broken[3]
        assert torch.equal(E, embed_images(model, [good]))
    E, broken = embed_readable(model, [bad])
    assert E.shape == (0, 128) and list(broken) == [0]
    assert embed_images(model, []).shape == (0, 128)
    assert embed_images(model, [Image.new("RGBA", (3, 9))]).shape == (1, 128)

# callbacks

def test_watcher_fits_the_place(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert isinstance(watcher(), Progress)
    live = ModuleType("vptsp.widgets.live")
    class Live(Callback): pass
    live.Live = Live
    monkeypatch.setitem(sys.modules, "vptsp.widgets", ModuleType("vptsp.widgets"))
    monkeypatch.setitem(sys.modules, "vptsp.widgets.live", live)
    monkeypatch.setattr(callbacks, "in_notebook", lambda: True)
    assert isinstance(watcher(), Live)

def test_progress_with_a_name_writes_no_lines(capsys):
    t = SimpleNamespace(data=SimpleNamespace(name="emoji"), cfg=SimpleNamespace(epochs=2), steps=4, step=0, epoch=0,
                        frozen={"R@1": .5, "MAP@R": .25})
    bar = Progress("vpt")
    bar.fit_end(t, None)                    # before it began
    bar.fit_start(t)
    bar.step_end(t, torch.tensor(2.5))
    bar.epoch_end(t, {"epoch": 1, "loss": 2.5, "seconds": 3., "R@1": .75})
    bar.fit_end(t, None)
    assert capsys.readouterr().out == ""

def test_interruptible(interrupts):
    stops = []
    def endless():
        signal.raise_signal(signal.SIGINT)
        while not stops: time.sleep(.01)
        return "came to its end"
    assert interruptible(endless, lambda: stops.append(1)) == "came to its end" and len(stops) == 1
    def wrong(): return [][0]
    with pytest.raises(IndexError): interruptible(wrong, lambda: None)

# optimizer

def test_groups_hold_each_trainable_parameter_once():
    model = build_model(CFG, 24, pretrained=False)
    optimizer = build_optimizer(model, CFG)
    assert [g["name"] for g in optimizer.param_groups] == list(parameter_groups(model)) == ["tuned", "semantic", "bias"]
    assert sum(len(g["params"]) for g in optimizer.param_groups) == sum(p.requires_grad for p in model.parameters())
    slow = CFG.replace(lr_cosine_length=50, lr_cosine_min=1e-4)
    for epoch, tuned in ((0, CFG.lr), (50, 1e-4)):
        set_epoch_lr(optimizer, slow, epoch)
        rates = {g["name"]: g["lr"] for g in optimizer.param_groups}
        assert rates["tuned"] == pytest.approx(tuned) and rates["semantic"] == pytest.approx(.1*rates["tuned"])

# measuring

def test_measure_takes_a_model_or_a_function():
    model = build_model(CFG, 24, pretrained=False)
    old = measure(model.embed, FEW, model.cfg, model.backbone.mean, model.backbone.std, "cpu")
    assert measure(model, FEW) == old
    with pytest.raises(TypeError, match="how images are prepared"): measure(model.embed, FEW)

def test_frozen_figures_know_nothing_of_prompts_and_adapters():
    plain = build_model(CFG.as_method("frozen"), 24, pretrained=False)
    tuned = build_model(CFG.as_method("adapter"), 24, pretrained=False).train()
    for p in tuned.parameters():
        if p.requires_grad: p.data.normal_()
    assert measure_frozen(tuned, FEW) == measure(plain, FEW)
    assert tuned.training

@pytest.mark.parametrize("method", ["vptsp-g", "bitfit", "full", "lora", "adapter"])
def test_frozen_figures_are_those_of_before_training(tmp_path, method):
    cfg = CFG.as_method(method).replace(epochs=2)
    before = measure_frozen(build_model(cfg, 24, pretrained=False), FEW)
    run = trainer(cfg).fit()
    assert run.metrics["frozen"] == before
    known = trainer(cfg, frozen=before).fit()           # nothing was measured in its midst
    for name, t in run.model.tuned_state().items(): assert torch.equal(t, known.model.tuned_state()[name]), name

# runs

def test_a_run_as_text_and_table():
    metrics = {"data": "<b>", "frozen": {"R@1": .5, "MAP@R": .25}, "R@1": .75, "epoch": 2,
               "measured on": "test classes", "seed": 0, "trainable": {"prompts": 1000, "head": 24}}
    run = Run(CFG, None, metrics)
    assert repr(run) == "Run(<b>: R@1 0.750, frozen 0.500)"
    assert run._repr_html_() == (
        "<table><caption>&lt;b&gt;, test classes, seed 0: 1,024 trainable parameters</caption>"
        "<tr><th></th><th>R@1</th><th>MAP@R</th></tr><tr><td>frozen</td><td>0.500</td><td>0.250</td></tr>"
        "<tr><td>trained</td><td>0.750</td><td></td></tr></table>")
    stopped = Run(CFG, None, metrics | {"stopped": "in epoch 3 of 4, after step 1 of 8"})
    assert repr(stopped).endswith("stopped in epoch 3 of 4, after step 1 of 8)")
    assert "<td>after epoch 2</td>" in stopped._repr_html_() and "; stopped in epoch 3" in stopped._repr_html_()
    with pytest.raises(ValueError, match="no images to show"): run.show_worst()

def test_only_a_finished_run_is_loaded(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run"): Run.load(tmp_path)

def test_the_worst_queries_are_the_worst():
    model = build_model(CFG.as_method("frozen"), 24)
    figures = {"R@1": 0.}
    run = Run(model.cfg, model, {"data": FEW.name, "frozen": figures}, data=FEW)
    assert run.embed(FEW.query).shape == (len(FEW.query), 128)
    shown = run.show_worst(2, 3)
    assert shown.data[:4] == b"\x89PNG" and shown.alt.count("MAP@R") == 2
    gallery = RetrievalData("with a gallery", FEW.train, FEW.query.subset(range(0, 130, 2)),
                            FEW.query.subset(range(1, 130, 2)))
    assert Run(model.cfg, model, {}, data=gallery).show_worst(1, 2).alt.count(",") >= 2

# the trainer

@pytest.mark.parametrize("bank", [False, True])
def test_the_plug_is_pulled(tmp_path, whole, bank):
    cfg = CFG.replace(bank=bank)
    alone = trainer(cfg, tmp_path/"alone").fit() if bank else whole
    torch.manual_seed(5)                                                  # the state of the world means nothing
    with pytest.raises(KeyboardInterrupt): trainer(cfg, tmp_path/"cut", [StopAt(12)]).fit()
    assert len(read_history(tmp_path/"cut")) == 1
    again = trainer(cfg, tmp_path/"cut").fit()
    assert same_weights(alone.model, again.model) and alone.metrics["R@1"] == again.metrics["R@1"]
    names = ["checkpoint", "config.yaml", "history.jsonl", "metrics.json", "model", "run.json"]
    assert sorted(p.name for p in (tmp_path/"cut").iterdir()) == names
    kept = ["last.safetensors", "previous.safetensors"]
    assert sorted(p.name for p in (tmp_path/"cut"/"checkpoint").iterdir()) == kept
    assert trainer(cfg, tmp_path/"cut").fit().metrics == read_json(tmp_path/"cut"/"metrics.json")
    assert Run.load(tmp_path/"cut", backbone=again.model.backbone.vit).history == again.history

def test_a_folder_belongs_to_one_run(tmp_path):
    cfg, out = CFG.replace(epochs=1), tmp_path/"run"
    trainer(cfg, out).fit()
    with pytest.raises(ConfigError, match=r"other settings \(lr = 0.001 there, 0.5 here\)"):
        trainer(cfg.replace(lr=.5), out)
    with pytest.raises(ConfigError, match="and 1 more"): trainer(cfg.replace(lr=.5, seed=3), out)
    trainer(cfg.replace(workers=1), out)                                  # how many decode is no setting of the run
    with pytest.raises(ConfigError, match="on another backbone"): trainer(cfg, out, backbone=bundled_vit()).fit()
    other = RetrievalData("others", FEW.train, FEW.query.subset(range(50)))
    with pytest.raises(ConfigError, match="on other images"):
        Trainer(cfg, other, out, pretrained=False, callbacks=[]).fit()
    (tmp_path/"file").write_text("")
    with pytest.raises(ConfigError, match="is a file"): trainer(cfg, tmp_path/"file")
    with pytest.raises(KeyboardInterrupt): trainer(cfg, tmp_path/"early", [StopAt(2)]).fit()
    trainer(cfg.replace(lr=.5), tmp_path/"early")                         # no epoch was finished: the folder is free

def test_checkpoints_of_older_names_are_taken_up(tmp_path):
    from safetensors.torch import load_file, save_file

    from vptsp.runs import read_checkpoint
    cfg = CFG.as_method("adapter").replace(epochs=2)
    alone = trainer(cfg, tmp_path/"alone").fit()
    with pytest.raises(KeyboardInterrupt): trainer(cfg, tmp_path/"cut", [StopAt(12)]).fit()
    file = tmp_path/"cut"/"checkpoint"/"last.safetensors"
    about, tensors = read_checkpoint(file)[0], load_file(file)
    assert any("backbone.adapters." in name for name in tensors)
    older = {name.replace("backbone.adapters.", "backbone.beside."): t for name, t in tensors.items()}
    save_file(older, file, metadata={"run": json.dumps(about)})
    assert same_weights(alone.model, trainer(cfg, tmp_path/"cut").fit().model)

def test_what_cannot_go_on_says_so():
    once = trainer(CFG.replace(epochs=1))
    once.fit()
    with pytest.raises(RuntimeError, match="has trained already"): once.fit()
    with pytest.raises(FloatingPointError, match="lower lr"): trainer(CFG.replace(lr=1e30, optimizer="sgd")).fit()

def test_held_out_classes_are_training_classes():
    run = trainer(CFG.replace(holdout=.25, epochs=1)).fit()
    assert run.metrics["measured on"] == "held-out training classes"
    assert set(run.data.query.classes) <= set(FEW.train.classes)

def test_stopped_in_a_thread_and_on_again(interrupts, whole):
    stopped = trainer(CFG, None, [Interrupt(12)])
    run, steps = stopped.fit(), stopped.steps
    assert run.metrics["stopped"] == f"in epoch 2 of 3, after step {12 - steps} of {steps}"
    assert (stopped.step, len(run.history)) == (12, 1)
    assert not run.model.training and run.metrics["frozen"]
    on = stopped.fit()
    assert same_weights(whole.model, on.model)
    assert [line["loss"] for line in on.history] == [line["loss"] for line in whole.history]

def test_a_stopped_cell_that_runs_again_says_that_it_begins_anew(interrupts, caplog, tmp_path):
    def cell(**kw): return trainer(callbacks=[Interrupt(7)], **kw).fit()
    assert "stopped" in cell().metrics and "begins anew" not in caplog.text
    assert "stopped" in cell().metrics
    assert caplog.text.count("begins anew: what was stopped in epoch 1") == 1 and "out=FOLDER" in caplog.text
    again = trainer(callbacks=[Interrupt(7)])
    for _ in range(2): run = again.fit()                       # the same Trainer goes on
    assert "stopped" not in run.metrics and caplog.text.count("begins anew") == 2
    cell(out=tmp_path/"run")
    assert trainer(out=tmp_path/"run").fit().history[-1]["epoch"] == 3 and caplog.text.count("begins anew") == 2

def test_a_stop_before_anything():
    class AtOnce(Callback):
        def fit_prepare(self, trainer): trainer.stop()
    none = trainer(CFG, None, [AtOnce()]).fit()
    assert (none.metrics["stopped"], none.metrics["frozen"]) == ("before training", {})

def test_a_stop_while_the_test_classes_are_measured(monkeypatch, whole):
    "It need not wait for the last batch, and no step is done twice."
    run = trainer(CFG.replace(eval_from=1))
    real, asked = training.measure, []
    def measure(model, *args, **kw):
        if not asked: run.stop()
        asked.append(1)
        return real(model, *args, **kw)
    monkeypatch.setattr(training, "measure", measure)
    stopped = run.fit()
    assert stopped.metrics["stopped"] == "behind epoch 1 of 3"
    assert run.step == run.steps and "R@1" not in stopped.history[0]
    on = run.fit()
    assert same_weights(whole.model, on.model) and run.step == 3*run.steps and len(on.history) == 3

def test_callbacks_are_told_in_order():
    told = []
    class Told(Callback):
        def fit_prepare(self, trainer): told.append("prepare")
        def fit_start(self, trainer): told.append("start")
        def step_end(self, trainer, loss): told.append(trainer.step)
        def epoch_end(self, trainer, line): told.append(line["epoch"])
        def fit_end(self, trainer, run): told.append(run)
    steps = trainer(CFG.replace(epochs=1), None, [Told()])
    run = steps.fit()
    assert told == ["prepare", "start", *range(1, steps.steps + 1), 1, run]

def test_names_that_others_put_something_else_in_place_of(monkeypatch, tmp_path):
    "Looked up when they are called: scripts that try faults rely on it."
    calls = []
    for name in ("training_step", "measure_frozen", "build_optimizer"):
        real = getattr(training, name)
        def counted(*args, real=real, name=name, **kw):
            calls.append(name)
            return real(*args, **kw)
        monkeypatch.setattr(training, name, counted)
    for name in ("_checkpoint", "_finish", "_measure"):
        real = getattr(Trainer, name)
        def counted(self, *args, real=real, name=name):
            calls.append(name)
            return real(self, *args)
        monkeypatch.setattr(Trainer, name, counted)
    steps = trainer(CFG.replace(epochs=1), tmp_path/"run")
    steps.fit()
    epoch = [*["training_step"]*steps.steps, "_checkpoint", "measure_frozen", "_checkpoint", "_measure"]
    assert calls == ["build_optimizer", "_checkpoint", *epoch, "_finish"]
    shutil.rmtree(tmp_path/"run")
