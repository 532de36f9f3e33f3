"Going on: from a tuned model, with more epochs, without a test set; and a finished run that says so."
import logging
import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from vptsp import training
from vptsp.analysis.compare import compare
from vptsp.backbone import BackboneError
from vptsp.benchmarks import load_emoji
from vptsp.callbacks import Callback, Progress
from vptsp.cards import card_text
from vptsp.config import Config, ConfigError
from vptsp.data import RetrievalData
from vptsp.files import DataError, read_json
from vptsp.going_on import fitting, tuned_folder
from vptsp.images import ImageSet
from vptsp.model import Model, build_model
from vptsp.runs import Run, measure, read_history
from vptsp.training import Trainer

EMOJI = load_emoji()
QUERY = EMOJI.query.of_classes(range(12))
DATA = RetrievalData("emoji, 12 classes", EMOJI.train.of_classes(range(12)), QUERY)
OTHER = RetrievalData("emoji, other classes", EMOJI.train.of_classes(range(20, 32)), QUERY)
NO_TEST = RetrievalData("mine", EMOJI.train.of_classes(range(16)), EMOJI.query.of_classes([]))
CFG = Config.load("emoji", batch_size=16, epochs=2, eval_from=9, num_prompts=2, num_class_prompts=1, feature_dropout=.1,
                  lr_cosine_length=3)


def trainer(out=None, cfg=CFG, data=DATA, **kw):
    kw = {"callbacks": [], **kw}
    return Trainer(cfg, data, out, **kw)


def same(a, b):
    theirs = b.tuned_state()
    return all(torch.equal(t, theirs[name]) for name, t in a.tuned_state().items())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    "A finished run, not to be written to."
    out = tmp_path_factory.mktemp("done")/"run"
    return trainer(out).fit()


@pytest.fixture
def copy(done, tmp_path):
    "A finished run of one's own."
    return shutil.copytree(done.folder, tmp_path/"run")


class StopAt(Callback):
    "Pulls the plug in the middle of an epoch."
    def __init__(self, step): self.at = step
    def step_end(self, trainer, loss):
        if trainer.step == self.at: raise KeyboardInterrupt


class Stop(Callback):
    "The stop button, at a moment."
    def __init__(self, step): self.at = step
    def step_end(self, trainer, loss):
        if trainer.step == self.at: trainer.stop()


# a finished run

def test_a_finished_run_says_so(done, copy, caplog, monkeypatch):
    def never(*a, **k): raise AssertionError("nothing is to be trained or measured")
    for name in ("training_step", "measure", "measure_frozen"): monkeypatch.setattr(training, name, never)
    with caplog.at_level(logging.WARNING, "vptsp"): again = trainer(copy)
    run = again.fit()
    assert run.metrics == done.metrics and same(run.model, done.model) and run.history == done.history
    note = again.notes[-1]
    assert [r.message for r in caplog.records] == [note] and "it is finished (2 epochs)" in note
    assert "nothing is trained" in note and "more_epochs" in note and str(copy) in note


def test_a_finished_run_without_its_checkpoint_is_read_too(done, copy):
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file() and "checkpoint" not in p.parts}
    shutil.rmtree(copy/"checkpoint")
    run = trainer(copy).fit()
    assert run.metrics == done.metrics and same(run.model, done.model) and run.history == done.history
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before
    with pytest.raises(ConfigError, match="its checkpoint is gone.*start="): trainer(copy, more_epochs=1).fit()
    with pytest.raises(ConfigError, match="holds a run on other images"): trainer(copy, data=OTHER).fit()
    shutil.rmtree(copy/"model")
    with pytest.raises(ConfigError, match="its model and its checkpoint are gone"): trainer(copy).fit()


def test_a_finished_run_of_no_epochs_is_not_measured_again(tmp_path, monkeypatch):
    frozen = CFG.as_method("frozen")
    first = trainer(tmp_path/"f", frozen).fit()
    monkeypatch.setattr(training, "measure_frozen", None)
    again = trainer(tmp_path/"f", frozen)
    assert again.fit().metrics == first.metrics and "it is finished (0 epochs)" in again.notes[-1]


def test_a_loss_that_cannot_be_is_refused_before_anything_is_measured(monkeypatch, tmp_path):
    def refuse(cfg): raise ConfigError("no such loss")
    monkeypatch.setattr(training, "build_loss", refuse)
    with pytest.raises(ConfigError, match="no such loss"): trainer(tmp_path/"run")
    assert not (tmp_path/"run").exists()


# more epochs

@pytest.mark.parametrize("changes", [{}, {"bank": True}, {"optimizer": "sgd", "lr": 1e-3, "lr_proxy": 1e-3}])
def test_more_epochs_are_those_of_a_longer_run(changes, tmp_path):
    cfg = CFG.replace(**changes)
    longer = trainer(cfg=cfg.replace(epochs=4)).fit()
    trainer(tmp_path/"run", cfg).fit()
    short = read_json(tmp_path/"run"/"metrics.json")
    more = trainer(tmp_path/"run", cfg, more_epochs=2)
    run = more.fit()
    assert same(run.model, longer.model) and [line["loss"] for line in run.history] == [
        line["loss"] for line in longer.history]
    assert run.cfg.epochs == 4 == Config.load(tmp_path/"run"/"config.yaml").epochs == run.metrics["epoch"]
    assert run.metrics["MAP@R"] == longer.metrics["MAP@R"]
    assert read_json(tmp_path/"run"/"metrics-2-epochs.json") == short
    note, = more.notes
    assert "goes on from epoch 2 to 4" in note and "the rates go from 25% to 0%" in note and "it rises again" in note
    assert Run.load(tmp_path/"run").metrics == run.metrics

    twice = trainer(tmp_path/"run", cfg, more_epochs=2)                # the same call: finished
    assert twice.fit().metrics == run.metrics and "it is finished (4 epochs)" in twice.notes[-1]
    further = trainer(tmp_path/"run", run.cfg, more_epochs=1).fit()    # from the settings in the folder
    assert further.cfg.epochs == 5 and len(read_history(tmp_path/"run")) == 5


def test_more_epochs_that_were_killed_go_on(copy):
    longer = trainer(cfg=CFG.replace(epochs=4)).fit()
    steps = len(trainer().data.train)//CFG.batch_size
    with pytest.raises(KeyboardInterrupt): trainer(copy, more_epochs=2, callbacks=[StopAt(2*steps + 2)]).fit()
    assert not (copy/"metrics.json").exists() and (copy/"metrics-2-epochs.json").exists()
    with pytest.raises(KeyboardInterrupt): trainer(copy, more_epochs=2, callbacks=[StopAt(3*steps + 2)]).fit()
    with pytest.raises(ConfigError, match="epochs = 4 there, 2 here"): trainer(copy)
    run = trainer(copy, CFG.replace(epochs=4)).fit()                                # the folder's own settings do, too
    assert same(run.model, longer.model) and "goes on from epoch 2 to 4" in run.metrics["notes"][0]


@pytest.mark.parametrize("is_finished", [True, False])
def test_more_epochs_stand_in_the_settings_whenever_they_were_asked_for(is_finished, tmp_path, monkeypatch):
    out, one = tmp_path/"run", CFG.replace(epochs=1)
    def killed(*_): raise KeyboardInterrupt
    if is_finished:                                                                 # killed as it is made longer
        trainer(out, one).fit()
        with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
            m.setattr(Config, "save", killed)
            trainer(out, one, more_epochs=1).fit()
    else:                                                                           # made longer before its end
        trainer(out, one, callbacks=[Stop(2)]).fit()
    run = trainer(out, one, more_epochs=1).fit()
    assert Run.load(out).cfg.epochs == 2 and len(run.metrics["notes"]) == 1
    assert trainer(out, one, more_epochs=1).fit().metrics == run.metrics


def test_more_epochs_that_cannot_be(done, copy, tmp_path):
    with pytest.raises(ConfigError, match="more_epochs = 3, or choose another folder"):
        trainer(copy, CFG.replace(epochs=5))
    with pytest.raises(ConfigError, match="lr = 0.002 there, 0.5 here"):
        trainer(copy, CFG.replace(lr=.5), more_epochs=1)
    with pytest.raises(ConfigError, match="holds none"): trainer(tmp_path/"new", more_epochs=1)
    with pytest.raises(ConfigError, match="give it as out"): trainer(more_epochs=1)
    for number in (-1, 1.5, "2", True):
        with pytest.raises(ConfigError, match="more_epochs = "): trainer(copy, more_epochs=number)
    assert trainer(copy, CFG.replace(epochs=0), more_epochs=2).fit().metrics == done.metrics
    assert (copy/"metrics.json").read_text() == (done.folder/"metrics.json").read_text()


# from a tuned model

def test_the_same_classes_go_on_with_everything(done, tmp_path):
    run = trainer(tmp_path/"new", start=done.folder, cfg=CFG.replace(epochs=0)).fit()
    assert same(run.model, done.model)
    about = run.metrics["started from"]
    assert about["model"] == done.model.fingerprint()
    assert about["not taken"] == [] and "shared prompts" in about["taken"]
    assert "starts from the model in" in run.metrics["notes"][0] and "not taken" not in run.metrics["notes"][0]
    assert f"| started from | {card_text(done.folder/'model')} |" in (tmp_path/"new"/"model"/"README.md").read_text()


@pytest.mark.parametrize("word", ["weights", "start"])
@pytest.mark.parametrize("place", ["", "model"])
def test_other_classes_begin_anew(done, word, place):
    new = trainer(data=OTHER, cfg=CFG.replace(epochs=1), **{word: done.folder/place})
    plain = trainer(data=OTHER, cfg=CFG.replace(epochs=1))
    fresh = {name: t.clone() for name, t in new.model.state_dict().items()}
    assert all(torch.equal(t, fresh[name]) for name, t in plain.model.state_dict().items())
    assert new._prepare()
    theirs, ours = done.model.state_dict(), new.model.state_dict()
    for name, t in ours.items():
        if name.startswith(("prompts.", "head.", "proxy_head.", "proxies.accumulator.")):
            assert torch.equal(t, theirs[name]), name
        if name.startswith("class_prompts."): assert torch.equal(t, fresh[name]), name
    assert not torch.equal(ours["proxies.bias"], theirs["proxies.bias"])
    assert not torch.equal(ours["proxies.bias"], fresh["proxies.bias"])             # class means, under the tuned model
    assert new.model.cfg == new.cfg
    assert {"class prompts", "proxies"} == set(new.started_from["not taken"])
    run = new.fit()
    assert run.metrics["frozen"] == plain.fit().metrics["frozen"], "the bare backbone, not the tuned one"
    assert "not taken: class prompts, proxies" in " ".join(run.metrics["notes"])


def test_a_start_is_better_than_none(done):
    started = trainer(start=done.folder, data=OTHER, cfg=CFG.replace(epochs=0)).fit()
    assert started.model.embed(torch.zeros(1, 3, 64, 64)).equal(done.model.embed(torch.zeros(1, 3, 64, 64)))


def test_a_head_that_is_not_taken_starts_as_the_settings_ask(tmp_path):
    trainer(tmp_path/"vpt", CFG.as_method("vpt")).fit()
    new = trainer(cfg=CFG, start=tmp_path/"vpt")
    assert new._prepare() and CFG.head_init == "whiten"
    ours, theirs = new.model, Run.load(tmp_path/"vpt").model
    assert all(torch.equal(t, theirs.state_dict()[f"head.{name}"]) for name, t in ours.head.state_dict().items())
    axes = deepcopy(ours.proxy_head)
    images = torch.stack([ours.transform(train=False)(DATA.train.open(i)) for i in range(len(DATA.train))])
    with torch.no_grad(): features = theirs.backbone(images, theirs.prompts())
    axes.start_at_axes(features, DATA.train.labels)
    first, second = axes.linears[0].weight[:20], ours.proxy_head.linears[0].weight[:20]    # more are not determined
    assert torch.allclose(first, second, atol=1e-4)


def test_groups_of_classes_stay_those_of_the_start(tmp_path):
    cfg = CFG.replace(epochs=1, guided_blocks=1, semantic_proxies="none")
    began = trainer(tmp_path/"run", cfg).fit().model.guide.state_dict()
    class Look(Callback):
        def fit_start(self, t):
            for name, groups in t.model.guide.state_dict().items(): assert torch.equal(began[name], groups)
    trainer(cfg=cfg.replace(seed=5), start=tmp_path/"run", callbacks=[Look()]).fit()


def test_classes_in_another_order(done, tmp_path):
    names = done.model.classes
    order = [(i*5) % 12 for i in range(12)]
    model = trainer(start=done.folder).model
    model.classes = [names[i] for i in order]
    taken, left = fitting(done.model, model)
    assert not left and torch.equal(taken["proxies.memory"], done.model.proxies.memory[order])
    layer = next(name for name in taken if name.startswith("class_prompts."))
    assert torch.equal(taken[layer], done.model.state_dict()[layer][order])


def test_a_run_that_started_from_a_model_is_taken_up(done, tmp_path):
    cfg = CFG.replace(epochs=2)
    whole = trainer(start=done.folder, data=OTHER, cfg=cfg).fit()
    steps = len(OTHER.train)//cfg.batch_size
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path/"r", cfg, OTHER, start=done.folder, callbacks=[StopAt(steps + 2)]).fit()
    again = trainer(tmp_path/"r", cfg, OTHER).fit()                                    # even without the word
    assert same(again.model, whole.model)
    for name in ("started from", "notes"): assert again.metrics[name] == whole.metrics[name]
    assert trainer(tmp_path/"r", cfg, OTHER, start=done.folder).fit().metrics == again.metrics
    with pytest.raises(ConfigError, match="did not start from the model"):
        trainer(tmp_path/"r", cfg, OTHER, start=tmp_path/"r").fit()


def test_starts_that_do_not_fit(done, tmp_path):
    with pytest.raises(ConfigError, match="set tune = 'bitfit'"):
        trainer(start=done.folder, cfg=CFG.replace(tune="none"))
    with pytest.raises(ConfigError, match="is no folder of a run or of a model"): trainer(start=tmp_path)
    with pytest.raises(ConfigError, match="is no folder of a run or of a model"): trainer(start=tmp_path/"nothing")
    with pytest.raises(ConfigError, match="both name a tuned model"): trainer(start=done.folder, weights=done.folder)
    (tmp_path/"begun"/"checkpoint").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not finished and has no model yet"): trainer(start=tmp_path/"begun")
    file = done.folder/"model"/"model.safetensors"
    assert tuned_folder(file) is None and tuned_folder(None) is None and tuned_folder(tmp_path) is None
    vit = VisionTransformer(img_size=64, patch_size=16, embed_dim=32, depth=1, num_heads=2, num_classes=0)
    with pytest.raises(BackboneError): trainer(start=done.folder, cfg=CFG.replace(embed_dim=16), backbone=vit)


def test_another_width_takes_what_fits(done):
    new = trainer(start=done.folder, cfg=CFG.replace(embed_dim=64, head_init="xavier"))
    assert {"heads", "accumulator", "proxies"} <= set(new.started_from["not taken"])
    assert {"shared prompts", "the backbone's biases", "class prompts"} <= set(new.started_from["taken"])


def test_a_module_of_ones_own_is_not_tuned_behind_ones_back(tmp_path):
    def vit():
        torch.manual_seed(0)
        return VisionTransformer(img_size=64, patch_size=16, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    cfg = CFG.replace(embed_dim=16, head_init="xavier", epochs=1)
    trainer(tmp_path/"a", cfg, backbone=vit()).fit()
    module = vit()
    before = {name: t.clone() for name, t in module.state_dict().items()}
    new = trainer(tmp_path/"b", cfg, OTHER, start=tmp_path/"a", backbone=module)
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    new.fit()
    assert Model.load(tmp_path/"b"/"model", backbone=vit()).fingerprint() == new.model.fingerprint()


def test_training_opens_images_as_the_settings_say(tmp_path):
    files = []
    for i in range(12):
        files.append(tmp_path/f"{i}.png")
        Image.fromarray(np.full((64, 64), 100*i, np.uint16)).save(files[-1])
    images = ImageSet(files, [i//3 for i in range(12)], "abcd")
    data = RetrievalData("16 bits", images.of_classes([0, 1]), images.of_classes([2, 3]))
    cfg = CFG.replace(batch_size=4, epochs=1, crop_min=1., full_scale=1200.)
    t = trainer(cfg=cfg, data=data)
    for half, part in (("train", t.data.train), ("query", t.data.query)):
        plain = getattr(data, half).opened(1200.)
        for i in range(len(part)): assert part.open(i).tobytes() == plain.open(i).tobytes()
    assert np.asarray(t.data.query.open(5)).max() > 200


# a model that diverged

def test_a_step_that_breaks_the_model_does_not_reach_the_checkpoint(tmp_path, monkeypatch):
    real, steps = training.training_step, len(DATA.train)//CFG.batch_size
    count = []
    def broken(model, *args):
        loss = real(model, *args)
        count.append(1)
        if len(count) == 2*steps:
            with torch.no_grad(): model.proxies.bias[0, 0] = float("nan")       # behind the last step: the loss is fine
        return loss
    monkeypatch.setattr(training, "training_step", broken)
    with pytest.raises(FloatingPointError, match="behind epoch 2 the numbers of proxies.bias are not finite"):
        trainer(tmp_path/"run").fit()
    monkeypatch.setattr(training, "training_step", real)
    assert len(read_history(tmp_path/"run")) == 1
    assert same(trainer(tmp_path/"run").fit().model, trainer().fit().model)


# all classes train

def test_all_classes_train_and_everything_says_so(tmp_path, capsys):
    assert not NO_TEST.has_test
    run = trainer(tmp_path/"run", CFG.replace(epochs=1), NO_TEST, callbacks=[Progress()]).fit()
    assert len(run.model.classes) == 16 and run.history[0].keys() == {"epoch", "loss", "seconds", "lr"}
    assert run.metrics["frozen"] == {} and "R@1" not in run.metrics
    assert run.metrics["measured on"] == "nothing: all classes train and none is held out"
    assert "nothing is measured" in run.metrics["notes"][0] and "holdout = 0.2" in run.metrics["notes"][0]
    assert "no class to measure on" in run.metrics["definitions"]
    assert repr(run) == "Run(mine: nothing measured)" and "measured on nothing" in run._repr_html_()
    assert "| measured on | nothing: all classes train" in (tmp_path/"run"/"model"/"README.md").read_text()
    assert Run.load(tmp_path/"run").metrics == read_json(tmp_path/"run"/"metrics.json") == run.metrics
    assert "epoch 1/1, loss" in capsys.readouterr().out
    assert trainer(tmp_path/"run", CFG.replace(epochs=1), NO_TEST).fit().metrics == run.metrics
    with pytest.raises(DataError, match="no class to measure on"): measure(run.model, NO_TEST)
    with pytest.raises(ValueError, match="no test images to show"): run.show_worst()
    assert run.embed(QUERY.subset(range(3))).shape[0] == 3
    with pytest.raises(DataError, match="nothing to compare methods on"): compare(CFG, NO_TEST)


def test_held_out_classes_measure_where_there_is_no_test_set():
    run = trainer(cfg=CFG.replace(epochs=1, holdout=.25), data=NO_TEST).fit()
    assert run.metrics["measured on"] == "held-out training classes" and "R@1" in run.metrics["frozen"]
    assert len(run.model.classes) == 12
    assert set(run.data.query.classes) | set(run.model.classes) == set(NO_TEST.train.classes)


def test_a_closed_set_is_called_one():
    some = EMOJI.train.of_classes(range(12))
    parts = [some.subset(range(half, len(some), 2)) for half in (0, 1)]
    both = RetrievalData("closed", *parts, closed_set=True)
    run = trainer(cfg=CFG.replace(epochs=0), data=both).fit()
    assert run.metrics["measured on"] == "other images of the training classes (closed set)"


def test_stopped_without_a_test_set():
    stopping = trainer(cfg=CFG, data=NO_TEST, callbacks=[])
    class Stop(Callback):
        def step_end(self, trainer, loss): trainer.stop()
    stopping.callbacks = [Stop()]
    run = stopping.fit()
    assert "stopped" in run.metrics and repr(run).startswith("Run(mine: nothing measured, stopped")
    assert build_model(CFG, 3).cfg.resize == 64


def test_data_without_training_classes_is_for_measuring(done, tmp_path):
    none = EMOJI.train.of_classes([])
    gallery = RetrievalData("both", none, QUERY.subset(range(0, len(QUERY), 2)), QUERY.subset(range(1, len(QUERY), 2)))
    plain = CFG.replace(head_init="xavier")
    for data in (RetrievalData("a test", none, QUERY), gallery):
        for cfg in (CFG, CFG.replace(epochs=0, holdout=.2)):
            with pytest.raises(DataError, match="nothing to train on: such data is for measuring"):
                trainer(tmp_path/"no", cfg, data)
        for cfg in (CFG.as_method("frozen"), plain.replace(epochs=0), plain.replace(epochs=0, proxy_init="class_mean")):
            run = trainer(cfg=cfg, data=data).fit()
            assert 0 < run.metrics["R@1"] <= 1 and "R@1" in run.metrics["frozen"]
        with pytest.raises(DataError, match="from which head_init = whiten would start the head"):
            trainer(cfg=CFG.replace(epochs=0, head_init="whiten"), data=data)
        run = trainer(tmp_path/data.name, CFG.replace(epochs=0), data, start=done.folder).fit()      # a tuned model
        assert run.metrics["R@1"] == pytest.approx(measure(done.model, data)["R@1"])
        assert Run.load(tmp_path/data.name, data).metrics == run.metrics
    assert not (tmp_path/"no").exists()


@pytest.mark.parametrize("change", [{"pool": "avg"}, {"resize": 128}])
def test_settings_that_embed_otherwise_are_named(done, change):
    (name, value), = change.items()
    new = trainer(start=done.folder, cfg=CFG.replace(**change))
    there = getattr(done.model.cfg, name)
    assert f"{name} = {value!r}, there {there!r}" in str(new.start)
    assert new.started_from["settings"][name] == [there, value]


def test_the_file_of_a_tuned_model_is_its_folder(done):
    new = trainer(start=done.folder/"model"/"model.safetensors")
    assert new.start.folder == done.folder/"model"
    assert "settings" not in new.started_from and "differ" not in str(new.start)
