"Trackers, with stand-ins that have the real ones' signatures, and with the real ones where they are installed."
import importlib.machinery
import logging
import re
import sys
import types
from types import SimpleNamespace

import pytest
import torch

from vptsp.config import Config, ConfigError
from vptsp.trackers import MLflow, TensorBoard, Tracker, facts_of, numbers_in, plain_name

LINE = {"epoch": 1, "loss": 1.5, "lr": {"tuned": .005}, "seconds": 2., "R@1": .75, "MAP@R (published code)": .5}


def trainer(step=0, out=None):
    "What a tracker asks of a trainer."
    model = SimpleNamespace(trainable_parameters_by_part=lambda: {"prompts": 40, "heads": 2})
    return SimpleNamespace(cfg=Config.load("emoji"), data=SimpleNamespace(name="emoji"), data_is="ab"*32, model=model,
                           backbone_is="cd"*32, frozen={"R@1": .5}, step=step, out=out)


def play(tracker, t=None, steps=4, run="a run"):
    "What a trainer tells of an epoch."
    t = t or trainer()
    tracker.fit_prepare(t)
    tracker.fit_start(t)
    for _ in range(steps):
        t.step += 1
        tracker.step_end(t, torch.tensor(4. - t.step))
    tracker.epoch_end(t, LINE)
    tracker.fit_end(t, run)
    return t


# Stand-ins

class Run:
    "A run of wandb or trackio."
    def __init__(self, name, id): self.name, self.id, self.sent, self.code = name, id, [], "at work"


class WandbRun(Run):
    def log(self, data, step=None, commit=None): self.sent.append((step, data))
    def finish(self, exit_code=None): self.code = exit_code or 0


class TrackioRun(Run):
    def log(self, metrics, step=None): self.sent.append((step, metrics))
    def finish(self): self.code = 0


def wandb_like(begun):
    def init(entity=None, project=None, dir=None, id=None, name=None, notes=None, tags=None, config=None, group=None,
             mode=None, resume=None, settings=None):
        if project is None: raise ValueError("which project?")
        run = WandbRun(name or "brisk-dawn-1", id or "1a2b3c")
        begun.append((run, dict(project=project, id=id, resume=resume, config=config)))
        return run
    def log(data, step=None, commit=None): raise AssertionError("the run's own log is there")
    def finish(exit_code=None, quiet=None): raise AssertionError("the run's own finish is there")
    return SimpleNamespace(__name__="wandb", init=init, log=log, finish=finish)


def trackio_like(begun):
    def init(project, name=None, group=None, space_id=None, config=None, resume="never", settings=None, private=None,
             embed=True):
        run = TrackioRun(name or "brave-fox-1", None)
        begun.append((run, dict(project=project, name=name, resume=resume, config=config)))
        return run
    def log(metrics, step=None): raise AssertionError("the run's own log is there")
    def finish(): raise AssertionError("the run's own finish is there")
    return SimpleNamespace(__name__="trackio", init=init, log=log, finish=finish)


@pytest.mark.parametrize("like", (wandb_like, trackio_like))
@pytest.mark.parametrize("every", (1, 3, 10))
def test_all_of_a_run_is_sent(like, every):
    begun = []
    play(Tracker(like(begun), every=every, project="cub"))
    (run, given), = begun
    assert given["project"] == "cub" and given["config"]["lr"] == Config.load("emoji").lr
    assert run.sent[:4] == [(step, {"loss": 4. - step}) for step in range(1, 5)]
    assert run.sent[4:] == [(4, {"epoch": 1, "epoch loss": 1.5, "lr/tuned": .005, "seconds": 2., "R@1": .75,
                                 "MAP@R (published code)": .5, "frozen R@1": .5})]
    assert run.code == 0

@pytest.mark.parametrize("like, kept", [(wandb_like, {"id": "1a2b3c"}), (trackio_like, {"name": "brave-fox-1"})])
def test_fit_called_again_goes_on_in_the_same_run(like, kept):
    begun = []
    tracker = Tracker(like(begun), project="cub")
    t = play(tracker)
    play(tracker, t)
    assert begun[1][1].items() >= {**kept, "resume": "allow"}.items()
    assert begun[1][0].sent[0] == (5, {"loss": -1.})

def test_what_is_given_by_hand_wins():
    begun = []
    tracker = Tracker(wandb_like(begun), project="cub", id="mine", resume="must")
    play(tracker, play(tracker))
    assert [given["id"] for _, given in begun] == ["mine", "mine"] and begun[1][1]["resume"] == "must"

def test_a_run_that_broke_off_is_told():
    begun = []
    play(Tracker(wandb_like(begun), project="cub"), run=None)
    play(Tracker(trackio_like(begun), project="cub"), run=None)             # its `finish` takes no code
    assert [run.code for run, _ in begun] == [1, 0]

def test_losses_wait_on_the_device():
    "Until `every` of them are there, nothing is asked of a loss."
    begun, read = [], []
    class Loss(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, kinds, args=(), kwargs=None):
            read.append(function)
            return super().__torch_function__(function, kinds, args, kwargs or {})
    tracker, t = Tracker(wandb_like(begun), every=5, project="cub"), trainer()
    tracker.fit_start(t)
    for t.step in range(1, 5): tracker.step_end(t, torch.tensor(1.).as_subclass(Loss))
    assert not read and not begun[0][0].sent
    t.step = 5
    tracker.step_end(t, torch.tensor(1.).as_subclass(Loss))
    assert len(begun[0][0].sent) == 5

def test_a_module_whose_init_gives_nothing():
    sent = []
    play(Tracker(SimpleNamespace(init=lambda config: None, log=lambda values, step: sent.append(step),
                                 finish=lambda: sent.append("end"))))
    assert sent == [1, 2, 3, 4, 4, "end"]

@pytest.mark.parametrize("method", ("log", "finish"))
def test_what_fails_later_ends_the_tracker_alone(method, caplog, monkeypatch):
    begun, calls = [], []
    def away(*args, **kwargs):
        calls.append(args)
        raise ConnectionError("no route\nto host")
    tracker, t = Tracker(wandb_like(begun), every=1, project="cub"), trainer()
    monkeypatch.setattr(WandbRun, method, away)
    with caplog.at_level(logging.WARNING): play(tracker, t)
    assert len(calls) == 1 and caplog.text.count("the run goes on") == 1 and "wandb failed" in caplog.text
    monkeypatch.undo()
    play(tracker, t)                                                         # the next `fit` tries again
    assert begun[1][0].code == 0

def test_what_cannot_begin_is_said_at_once():
    with pytest.raises(ConfigError, match="wandb does not begin .which project") as e: play(Tracker(wandb_like([])))
    assert "\n" not in str(e.value)
    for wrong in (None, SimpleNamespace(init=print), torch):
        with pytest.raises(ConfigError, match="is no tracker"): Tracker(wrong)

def test_ended_before_it_began():
    begun = []
    tracker = Tracker(wandb_like(begun), project="cub")
    tracker.fit_end(trainer(), None)
    assert not begun

def test_numbers_and_facts():
    line = {"a": {"b": {"c": 1}}, "skipped": [{}, {}], "text": "x", "none": None}
    assert numbers_in(line) == {"a/b/c": 1, "skipped": 2}
    facts = facts_of(trainer())
    assert facts["trainable parameters"] == 42 and facts["frozen R@1"] == .5
    assert all(isinstance(value, (int, float, str)) for value in facts.values())
    assert [plain_name(n) for n in ("R@1", "lr/tuned", "NMI")] == ["R at 1", "lr/tuned", "NMI"]


# Through accelerate

def module(name, monkeypatch, **content):
    "A stand-in for an installed package."
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)
    return made


@pytest.fixture
def writers(monkeypatch):
    "SummaryWriters that keep what they are told."
    made = []
    class SummaryWriter:
        def __init__(self, log_dir=None, comment="", purge_step=None, max_queue=10, flush_secs=120, filename_suffix=""):
            self.folder, self.purge_step, self.scalars, self.hparams, self.closed = log_dir, purge_step, [], {}, False
            made.append(self)
        def add_hparams(self, hparam_dict, metric_dict):
            assert all(isinstance(v, (bool, int, float, str)) for v in hparam_dict.values())
            self.hparams = hparam_dict
        def add_scalar(self, tag, scalar_value, global_step=None): self.scalars.append((tag, scalar_value, global_step))
        def flush(self): pass
        def close(self): self.closed = True
    pytest.importorskip("accelerate")
    module("tensorboard", monkeypatch)
    monkeypatch.setattr(torch.utils, "tensorboard", module("torch.utils.tensorboard", monkeypatch,
                                                           SummaryWriter=SummaryWriter), raising=False)
    return made

def test_tensorboard(writers, tmp_path):
    threads = torch.get_num_threads()
    tracker = TensorBoard(tmp_path, every=2)
    t = play(tracker, trainer(out=tmp_path/"cub small"))
    first, = writers
    assert first.folder == str(tmp_path/"cub small") and first.purge_step is None and first.closed
    assert first.hparams["lr"] == t.cfg.lr
    assert first.scalars[:4] == [("loss", 4. - step, step) for step in range(1, 5)]
    assert ("R@1", .75, 4) in first.scalars
    play(tracker, t)
    assert writers[1].purge_step == 5 and torch.get_num_threads() == threads

def test_mlflow(monkeypatch):
    pytest.importorskip("accelerate")
    called, valid = [], re.compile(r"^[/\w.\- :]*$")
    def log_metrics(metrics, step=None, synchronous=None, run_id=None):
        assert all(valid.match(name) for name in metrics), metrics          # as the real one
        called.append((step, metrics))
    def log_params(params):
        assert all(valid.match(name) for name in params), params
        called.append(("params", len(params)))
    def start_run(run_id=None, experiment_id=None, run_name=None, nested=False, tags=None, description=None):
        called.append(("run", run_id, experiment_id))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "f00"))
    limits = SimpleNamespace(MAX_PARAM_VAL_LENGTH=6000, MAX_PARAMS_TAGS_PER_BATCH=100)
    module("mlflow", monkeypatch, log_metrics=log_metrics, log_params=log_params, start_run=start_run,
           search_experiments=lambda filter_string: [], end_run=lambda: called.append("end"),
           create_experiment=lambda name, artifact_location, tags: f"of {name}",
           utils=SimpleNamespace(validation=limits))
    tracker = MLflow("cub")
    t = play(tracker)
    assert called[0] == ("run", None, "of cub") and called[1][0] == "params" and called[-1] == "end"
    assert (4, {"epoch": 1, "epoch loss": 1.5, "lr/tuned": .005, "seconds": 2., "R at 1": .75,
                "MAP at R published code": .5, "frozen R at 1": .5}) in called
    called.clear()
    play(tracker, t)
    assert called[0] == ("run", "f00", "of cub")                            # the same run goes on

@pytest.mark.parametrize("made, needs", [(lambda: TensorBoard("x"), "accelerate tensorboard"),
                                         (lambda: MLflow("x"), "accelerate mlflow")])
def test_without_their_packages_a_sentence(made, needs, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"pip install {needs}"): made()


# The real ones, where they are installed

def test_the_real_tensorboard(tmp_path):
    pytest.importorskip("accelerate")
    pytest.importorskip("tensorboard", reason="pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    tracker = TensorBoard(tmp_path, name="run")
    t = play(tracker)
    t.step = 2                                                               # killed, and taken up at a checkpoint
    play(tracker, t)
    events = EventAccumulator(str(tmp_path/"run")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(step, 4. - step) for step in range(1, 7)]
    assert [e.value for e in events.Scalars("R@1")] == [.75]

def test_the_real_mlflow(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    mlflow = pytest.importorskip("mlflow", reason="pip install mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    tracker = MLflow("cub")
    play(tracker, play(tracker))
    run, = mlflow.search_runs(experiment_names=["cub"], output_format="list")
    assert run.data.metrics["R at 1"] == .75 and run.data.params["data"] == "emoji" and run.info.status == "FINISHED"
    losses = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in losses] == [(step, 4. - step) for step in range(1, 9)]

def test_the_real_wandb(tmp_path):
    wandb = pytest.importorskip("wandb", reason="pip install wandb")
    tracker = Tracker(wandb, project="cub", mode="offline", dir=str(tmp_path), settings={"console": "off"})
    play(tracker)
    file, = tmp_path.rglob("*.wandb")
    assert b"MAP@R (published code)" in file.read_bytes() and not tracker.sends
