"""What a kill, a stop or a signal costs: nothing that was trained, minutes within an epoch; and which epoch's model
stays."""
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from test_going_on import CFG, DATA, OTHER, Stop, StopAt, same, trainer

from vptsp import training
from vptsp.callbacks import Callback
from vptsp.config import ConfigError
from vptsp.files import DamagedFile, LockedError
from vptsp.process import heeding
from vptsp.runs import Run, read_history
from vptsp.summary import is_over
from vptsp.tensors import read_tensors, write_tensors
from vptsp.training import Trainer

STEPS = len(DATA.train)//CFG.batch_size
MEASURED = CFG.replace(eval_from=1)


class Killed(BaseException):
    "As good as SIGKILL for what is on disk."


def killed(*args, **kw): raise Killed


def counted(monkeypatch, name, of=training):
    "How often a function was called."
    calls, real = [], getattr(of, name)
    def count(*args, **kw):
        calls.append(name)
        return real(*args, **kw)
    monkeypatch.setattr(of, name, count)
    return calls


@pytest.fixture(scope="module")
def whole():
    "A run that was left alone."
    return trainer(cfg=MEASURED).fit()


def assert_equal(run, other):
    assert same(run.model, other.model)
    def no_clock(lines): return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    assert no_clock(run.history) == no_clock(other.history)
    assert {k: v for k, v in run.metrics.items() if k != "seconds"} == \
        {k: v for k, v in other.metrics.items() if k != "seconds"}


# kills

@pytest.mark.parametrize("epoch", [1, 2])
def test_a_kill_while_measuring_costs_no_step(tmp_path, monkeypatch, whole, epoch):
    real = Trainer._measure
    with monkeypatch.context() as m:
        m.setattr(Trainer, "_measure", lambda self: killed() if self.epoch == epoch else real(self))
        with pytest.raises(Killed): trainer(tmp_path/"run", MEASURED).fit()
    steps = counted(monkeypatch, "training_step")
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)
    assert len(steps) == (2 - epoch)*STEPS


def test_figures_that_were_written_before_a_kill_are_not_measured_again(tmp_path, monkeypatch, whole):
    with monkeypatch.context() as m:
        real = Trainer._train_epoch
        m.setattr(Trainer, "_train_epoch", lambda self: killed() if self.epoch else real(self))
        with pytest.raises(Killed): trainer(tmp_path/"run", MEASURED).fit()
    assert "R@1" in read_history(tmp_path/"run")[0]
    measured = counted(monkeypatch, "_measure", Trainer)
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)
    assert len(measured) == 1


@pytest.mark.parametrize("harm", [lambda f: f.unlink(), lambda f: f.write_bytes(b"{"),
                                  lambda f: f.write_text(f.read_text().replace('"R@1": 0.', '"R@1": 0.0'))])
def test_figures_that_are_damaged_are_measured_again(tmp_path, monkeypatch, whole, harm):
    with monkeypatch.context() as m:
        real = Trainer._train_epoch
        m.setattr(Trainer, "_train_epoch", lambda self: killed() if self.epoch else real(self))
        with pytest.raises(Killed): trainer(tmp_path/"run", MEASURED).fit()
    harm(tmp_path/"run"/"history.jsonl")
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)


def test_the_frozen_backbone_is_measured_once_however_often_the_start_is_killed(tmp_path, monkeypatch, whole):
    frozen = counted(monkeypatch, "measure_frozen")
    for name in ("_warm_up", "_train_epoch", "_measure_frozen", "_measure_epoch", "_measure_epoch"):
        with monkeypatch.context() as m:
            m.setattr(Trainer, name, killed)
            with pytest.raises(Killed): trainer(tmp_path/"run", MEASURED).fit()
        begun = name in ("_warm_up", "_train_epoch")
        assert (tmp_path/"run"/"history.jsonl").exists() != begun            # who waits for it waits for an epoch
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)
    assert len(frozen) == 1


@pytest.mark.parametrize("changes", [{}, {"bank": True}, {"gru_dropout": .2, "optimizer": "sgd"}, {"workers": 2},
                                     {"accumulate": 2}])
def test_within_an_epoch_a_kill_costs_minutes(tmp_path, monkeypatch, changes):
    cfg = MEASURED.replace(checkpoint_minutes=1e-9, **changes)           # behind every step
    whole = trainer(cfg=cfg).fit()
    with pytest.raises(KeyboardInterrupt): trainer(tmp_path/"run", cfg, callbacks=[StopAt(STEPS + 3)]).fit()
    steps = counted(monkeypatch, "training_step")
    assert_equal(trainer(tmp_path/"run", cfg).fit(), whole)
    assert len(steps) == STEPS - 2 if cfg.accumulate == 1 else STEPS - 2 <= len(steps) <= STEPS - 1


def test_settings_that_vanish_within_a_run_are_written_again(tmp_path, monkeypatch, whole):
    real = Trainer._measure
    def measure(self):
        (self.out/"config.yaml").unlink(missing_ok=True)
        return real(self)
    monkeypatch.setattr(Trainer, "_measure", measure)
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)         # which is read


def test_without_the_setting_only_epochs_are_saved(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path/"run", MEASURED.replace(checkpoint_minutes=0), callbacks=[StopAt(STEPS + 3)]).fit()
    new = trainer(tmp_path/"run", MEASURED)                              # the setting may change: it is no other run
    assert new._prepare() and (new.epoch, new.so_far) == (1, None)


@pytest.mark.parametrize("generations", [1, 2])
def test_a_checkpoint_of_another_run_is_not_taken_up(tmp_path, whole, generations):
    for name, cfg in (("run", MEASURED), ("other", MEASURED.replace(seed=1))):
        with pytest.raises(KeyboardInterrupt): trainer(tmp_path/name, cfg, callbacks=[StopAt(STEPS + 3)]).fit()
    for file in ("last.safetensors", "previous.safetensors")[:generations]:
        shutil.copy(tmp_path/"other"/"checkpoint"/file, tmp_path/"run"/"checkpoint"/file)
    if generations == 1: assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)
    else:
        with pytest.raises(DamagedFile, match="is of another run .seed = 1 there, 0 here"):
            trainer(tmp_path/"run", MEASURED).fit()


# stops and signals

class Press(Callback):
    def __init__(self, step, number): self.at, self.number = step, number
    def step_end(self, trainer, loss):
        if trainer.step == self.at: signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_saves_what_there_is_and_then_has_its_effect(tmp_path, monkeypatch, whole, number):
    seen = []
    usual = signal.signal(number, lambda *_: seen.append(number))
    try:
        stopped = trainer(tmp_path/"run", MEASURED, callbacks=[Press(STEPS + 2, number)]).fit()
        assert seen == [number] and "stopped" in stopped.metrics
        assert signal.getsignal(number).__name__ == "<lambda>"
    finally: signal.signal(number, usual)
    assert not (tmp_path/"run"/"metrics.json").exists()
    steps = counted(monkeypatch, "training_step")
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)
    assert len(steps) == STEPS - 2


def test_the_second_signal_is_not_waited_for():
    stops = []
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), heeding(lambda: stops.append(1), signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
            assert stops == [1]
            signal.raise_signal(signal.SIGINT)
            stops.append("never")
        assert stops == [1] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt), heeding(lambda: stops.append(2), signal.SIGINT, echo=60.):
            for _ in range(3): signal.raise_signal(signal.SIGINT)       # a launcher passes on what it heard
            stops.append("the step is finished")
        assert stops == [1, 2, "the step is finished"]
        stops[:] = [1]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with heeding(lambda: stops.append("ignored"), signal.SIGINT): signal.raise_signal(signal.SIGINT)
        assert stops == [1]
    finally: signal.signal(signal.SIGINT, usual)


def test_sigterm_to_a_script(tmp_path):
    "As a scheduler sends it: the process ends by the signal, and the run can be gone on with."
    code = ("import sys; sys.path.insert(0, 'tests')\n"
            "from test_lose_less import MEASURED, trainer\n"
            "from vptsp.callbacks import Callback\n"
            "class Say(Callback):\n"
            "    def step_end(self, trainer, loss): print(trainer.step, flush=True)\n"
            f"trainer({str(tmp_path/'run')!r}, MEASURED.replace(epochs=500), callbacks=[Say()]).fit()\n"
            "print('never')")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)
    for line in process.stdout:
        if line.strip() == "3": break
    process.terminate()
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM and "never" not in rest
    new = trainer(tmp_path/"run", MEASURED.replace(epochs=500))
    assert new._prepare() and new.step >= 3


def test_another_trainer_goes_on_behind_the_step_that_was_stopped(tmp_path, monkeypatch, whole):
    trainer(tmp_path/"run", MEASURED, callbacks=[Stop(2)]).fit()
    steps = counted(monkeypatch, "training_step")
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)
    assert len(steps) == 2*STEPS - 2


def test_a_stopped_trainer_sees_that_another_went_on(tmp_path, monkeypatch, whole):
    first = trainer(tmp_path/"run", MEASURED, callbacks=[Stop(2)])
    first.fit()
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)
    steps = counted(monkeypatch, "training_step")
    assert_equal(first.fit(), whole)
    assert not steps


def test_a_stop_while_measuring_goes_on_with_the_measuring(monkeypatch, whole):
    t = trainer(cfg=MEASURED)
    real = Trainer._measure
    def stop_once(self):
        if self.epoch == 1 and not stopped:
            stopped.append(self.stop())
        return real(self)
    stopped = []
    monkeypatch.setattr(Trainer, "_measure", stop_once)
    run = t.fit()
    assert run.metrics["stopped"] == "behind epoch 1 of 2"
    assert_equal(t.fit(), whole)


# one writer

def test_a_folder_has_one_writer(tmp_path):
    inner = []
    class Second(Callback):
        def step_end(self, t, loss):
            if t.step != 2: return
            with pytest.raises(LockedError, match=rf"pid {os.getpid()}"): trainer(tmp_path/"run", MEASURED).fit()
            inner.append(1)
    trainer(tmp_path/"run", MEASURED, callbacks=[Second()]).fit()
    assert inner == [1] and not [p for p in (tmp_path/"run").rglob("*") if "lock" in p.name]


def test_settings_are_compared_again_once_the_folder_is_ours(tmp_path):
    late = trainer(tmp_path/"run", MEASURED.replace(seed=1))
    trainer(tmp_path/"run", MEASURED).fit()
    with pytest.raises(ConfigError, match="seed = 0 there, 1 here"): late.fit()


# begin anew

def test_begin_anew_puts_what_was_there_beside(tmp_path, whole):
    out = tmp_path/"run"
    trainer(out, MEASURED.replace(lr=.1)).fit()
    (out/"mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="anew=True"): trainer(out, MEASURED)
    assert_equal(trainer(out, MEASURED, anew=True).fit(), whole)
    assert Run.load(tmp_path/"run.before-1").cfg.lr == .1 and (out/"mine.txt").read_text() == "mine"
    trainer(out, MEASURED.replace(seed=3, epochs=1), anew=True).fit()
    assert_equal(Run.load(tmp_path/"run.before-2"), whole)
    for wrong in (dict(anew=True, more_epochs=1), dict(out=None, anew=True)):
        with pytest.raises(ConfigError, match="anew = True begins again"): trainer(**{"out": out, **wrong})


def test_a_run_without_a_step_has_nothing_to_lose(tmp_path, monkeypatch, whole):
    with monkeypatch.context() as m:
        m.setattr(Trainer, "_train_epoch", killed)
        with pytest.raises(Killed): trainer(tmp_path/"run", MEASURED.replace(lr=.1)).fit()
        with pytest.raises(Killed): trainer(tmp_path/"run", MEASURED, OTHER).fit()
    assert_equal(trainer(tmp_path/"run", MEASURED).fit(), whole)


# the best on held-out classes

HELD = MEASURED.replace(holdout=.5, batch_size=12, epochs=5, lr=.05)


def figures(monkeypatch, r1):
    "R@1 behind each epoch, as if it had been measured."
    real = Trainer._measure
    monkeypatch.setattr(Trainer, "_measure", lambda self: {**real(self), "R@1": r1[self.epoch - 1]})


def test_patience(tmp_path, monkeypatch):
    figures(monkeypatch, [.1, .3, .2, .3, .9])
    cfg = HELD.replace(patience=2)
    run = trainer(tmp_path/"run", cfg).fit()
    assert len(run.history) == 4 and any("since epoch 2" in note for note in run.metrics["notes"])
    assert run.metrics["R@1"] == .3 and run.metrics["epoch"] == 4
    again = trainer(tmp_path/"run", cfg).fit()
    assert again.metrics == run.metrics
    with pytest.raises(ConfigError, match="patience = 2"): trainer(tmp_path/"run", cfg, more_epochs=2).fit()
    with pytest.raises(ConfigError, match="set holdout"): MEASURED.replace(patience=2)
    assert not is_over(MEASURED, run.history)


def test_patience_ends_a_run_where_it_was_measured(monkeypatch):
    figures(monkeypatch, [.5, 0, 0, .4, 0])
    run = trainer(cfg=HELD.replace(patience=1, eval_every=3)).fit()
    assert len(run.history) == 4 and run.metrics["R@1"] == .4 and "since epoch 1" in run.metrics["notes"][0]


@pytest.mark.parametrize("kill", [None, 3, 4])
def test_the_best_epoch_is_kept(tmp_path, monkeypatch, kill):
    figures(monkeypatch, [.1, .3, .2, .3, .25])
    cfg, at = HELD.replace(keep="best"), {}
    class Look(Callback):
        def epoch_end(self, t, line): at[t.epoch] = {n: v.clone() for n, v in t.model.tuned_state().items()}
    if kill:
        with monkeypatch.context() as m:
            real = Trainer._train_epoch
            m.setattr(Trainer, "_train_epoch", lambda self: killed() if self.epoch == kill else real(self))
            with pytest.raises(Killed): trainer(tmp_path/"run", cfg, callbacks=[Look()]).fit()
    run = trainer(tmp_path/"run", cfg, callbacks=[Look()]).fit()
    assert run.metrics["R@1"] == .3 and run.metrics["epoch"] == 2
    assert "best epoch on the held-out classes" in run.metrics["definitions"]
    assert all(torch.equal(t, at[2][name]) for name, t in run.model.tuned_state().items())
    assert same(Run.load(tmp_path/"run").model, run.model)
    assert same(trainer(tmp_path/"run", cfg).fit().model, run.model)


def test_the_best_epoch_of_another_trainer_is_taken_and_a_planted_link_replaced(tmp_path, monkeypatch):
    figures(monkeypatch, [.1, .3, .2, .25])
    class StopBehind(Callback):
        def epoch_end(self, t, line):
            if t.epoch in (1, 3): t.stop()
    cfg, mine = HELD.replace(keep="best", epochs=4), tmp_path/"mine"
    best = tmp_path/"run"/"checkpoint"/"best.safetensors"
    first = trainer(tmp_path/"run", cfg, callbacks=[StopBehind()])
    first.fit()
    mine.write_text("mine")
    best.unlink()
    best.symlink_to(mine)
    trainer(tmp_path/"run", cfg, callbacks=[StopBehind()]).fit()
    run = first.fit()
    assert run.metrics["epoch"] == 2 and mine.read_text() == "mine"
    assert same(run.model, trainer(cfg=cfg).fit().model)
    (tmp_path/"run"/"history.jsonl").unlink()                      # figures are the best epoch's, not the last one's
    for again in (Run.load(tmp_path/"run"), trainer(tmp_path/"run", cfg).fit()):
        assert [line.get("R@1") for line in again.history] == [.1, .3, .2, None]


def test_a_best_model_that_is_of_another_epoch_is_not_taken(tmp_path, monkeypatch):
    figures(monkeypatch, [.1, .3, .2, .3, .25])
    cfg = HELD.replace(keep="best")
    with monkeypatch.context() as m:
        real = Trainer._train_epoch
        m.setattr(Trainer, "_train_epoch", lambda self: killed() if self.epoch == 3 else real(self))
        with pytest.raises(Killed): trainer(tmp_path/"run", cfg).fit()
    file = tmp_path/"run"/"checkpoint"/"best.safetensors"
    about, tensors = read_tensors(file)
    write_tensors(file, tensors, about | {"epoch": 1})
    with pytest.raises(ValueError, match="it is of epoch 1"): trainer(tmp_path/"run", cfg).fit()
    file.unlink()
    with pytest.raises(ConfigError, match=r"best.safetensors.* is gone"): trainer(tmp_path/"run", cfg).fit()


# folders that are not whole

def test_a_finished_run_with_the_model_of_another_says_so(tmp_path):
    for seed in (0, 1): trainer(tmp_path/f"{seed}", CFG.replace(epochs=1, seed=seed)).fit()
    shutil.copy(tmp_path/"1"/"model"/"model.safetensors", tmp_path/"0"/"model")
    with pytest.raises(DamagedFile, match="of another run than the model .seed = 0 and 1"):
        trainer(tmp_path/"0", CFG.replace(epochs=1)).fit()


def test_a_finished_run_without_its_model_says_so(tmp_path):
    out = tmp_path/"run"
    whole = trainer(out, MEASURED).fit()
    for f in (out/"model").iterdir(): f.unlink()
    with pytest.raises(ConfigError, match="its model is gone: remove metrics.json"): trainer(out, MEASURED).fit()
    (out/"metrics.json").unlink()
    assert_equal(trainer(out, MEASURED).fit(), whole)
    for f in (out/"checkpoint").iterdir(): f.unlink()
    for f in (out/"model").iterdir(): f.unlink()
    with pytest.raises(ConfigError, match="its model and its checkpoint are gone"): trainer(out, MEASURED).fit()


def test_a_finished_run_without_its_checkpoint_is_read_and_not_trained(tmp_path, monkeypatch):
    out = tmp_path/"run"
    whole = trainer(out, MEASURED).fit()
    for f in (out/"checkpoint").iterdir(): f.unlink()
    (out/"checkpoint").rmdir()
    steps, before = counted(monkeypatch, "training_step"), (out/"model"/"model.safetensors").stat().st_mtime_ns
    assert_equal(trainer(out, MEASURED).fit(), whole)
    assert not steps and (out/"model"/"model.safetensors").stat().st_mtime_ns == before
    assert json.loads((out/"metrics.json").read_text())["R@1"] == whole.metrics["R@1"]


def test_a_finished_folder_holds_the_same_files_however_it_came_to_be(tmp_path):
    for minutes in (0, 1e-9): trainer(tmp_path/str(minutes), CFG.replace(checkpoint_minutes=minutes)).fit()
    left = [sorted(str(p.relative_to(f)) for p in f.rglob("*")) for f in tmp_path.iterdir()]
    assert left[0] == left[1] and {"checkpoint/last.safetensors", "checkpoint/previous.safetensors"} < set(left[0])
