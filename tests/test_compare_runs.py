"Comparisons over seeds: the same batches for all arms, killed and gone on with, refused where they do not fit."
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from scipy import stats

from vptsp import training
from vptsp.analysis import bench as benches
from vptsp.analysis.arms import arms_of
from vptsp.analysis.compare import Comparison, compare
from vptsp.analysis.differences import ClassFigures, class_interval, paired, seed_interval, verdict
from vptsp.analysis.regimes import Regime
from vptsp.analysis.summaries import summarized, table_cells, table_html, table_markdown
from vptsp.benchmarks import load_emoji
from vptsp.cli import main
from vptsp.config import Config, methods
from vptsp.data import RetrievalData
from vptsp.files import DamagedFile, DataError, read_lines, write_lines
from vptsp.locks import one_writer
from vptsp.registry import ConfigError

EMOJI = load_emoji()
DATA = RetrievalData("emoji, 12 classes", EMOJI.train.of_classes(range(12)), EMOJI.query.of_classes(range(12)))
OTHER = RetrievalData("emoji, others", EMOJI.train.of_classes(range(20, 32)), DATA.query)
CFG = Config.load("emoji", batch_size=16, epochs=2, eval_from=1, num_prompts=1, num_class_prompts=1)
CLOCK = {"seconds", "seconds a step", "peak memory, MB"}


def quiet(line): pass

def made(out=None, cfg=CFG, data=DATA, methods=("vpt", "vptsp-g"), seeds=2, **more):
    return compare(cfg, data, methods, out, say=quiet, seeds=seeds, **more)

def plain(rows): return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]

@pytest.fixture(scope="module")
def done(tmp_path_factory):
    "A comparison of two seeds, not to be written to."
    return made(tmp_path_factory.mktemp("done")/"compared")


# -- what the arms of a seed share --------------------------------------------------------------------------------

def test_all_arms_of_a_seed_see_the_same_batches_and_crops(monkeypatch):
    seen, step = [], training.training_step
    def watched(model, loss_of, optimizer, images, labels, precision):
        seen.append((images.double().sum().item(), images[0, 0, 3, :8].tolist(), labels.tolist()))
        return step(model, loss_of, optimizer, images, labels, precision)
    monkeypatch.setattr(training, "training_step", watched)
    trained = [name for name in methods if arms_of(CFG, [name])[0].cfg.epochs]
    cfg = CFG.replace(epochs=1, eval_from=9, crop_min=.3, flip=.5)
    assert len(trained) >= 8 and not made(None, cfg, methods=trained, seeds=1).failed
    each = len(seen)//len(trained)
    runs = [seen[i*each:(i + 1)*each] for i in range(len(trained))]
    assert each*len(trained) == len(seen) and each > 2 and all(run == runs[0] for run in runs)
    seen.clear()
    made(None, cfg.replace(seed=1), methods=["linear"], seeds=1)
    assert len(seen) == each and seen != runs[0]

def test_the_frozen_backbone_is_measured_once(tmp_path, monkeypatch):
    evaluated, times = benches._evaluated, []
    def counted(t):
        times.append(t.cfg.epochs)
        return evaluated(t)
    monkeypatch.setattr(benches, "_evaluated", counted)
    cfg = CFG.replace(epochs=1)
    made(tmp_path/"c", cfg, methods=["linear"], seeds=2)
    assert times == [0, 1, 1]
    c = made(tmp_path/"c", cfg, methods=["linear"], seeds=3)
    assert times == [0, 1, 1, 1]                                      # nor when the folder goes on
    frozen = [row for row in c.rows if row["arm"] == "frozen"]
    assert len(frozen) == 3 and {row["MAP@R"] for row in frozen} == {c.rows[-1]["frozen"]["MAP@R"]}

def test_held_out_classes_are_those_of_the_seed(tmp_path):
    cfg = CFG.replace(epochs=1, holdout=.4, batch_size=8)
    c = made(tmp_path/"c", cfg, methods=["linear"], baseline="frozen")
    first, second = (set(c.results.classes["linear", seed].names) for seed in (0, 1))
    assert first != second and first <= set(DATA.train.classes)
    assert "held-out training classes" in repr(c) and len(c.results.frozen) == 2
    assert all(d.over_classes is not None for d in c.differences()["linear"])


# -- stopped, killed, gone on with --------------------------------------------------------------------------------

@pytest.mark.parametrize("at", [2, 6])                    # in the first epoch of the second arm, and in its second
def test_broken_off_in_the_middle_and_gone_on_with(tmp_path, monkeypatch, done, at):
    step, count = training.training_step, []
    def broken(*words):
        count.append(1)
        if len(count) == done.rows[2]["steps"] + at: raise KeyboardInterrupt
        return step(*words)
    monkeypatch.setattr(training, "training_step", broken)
    with pytest.raises(KeyboardInterrupt): made(tmp_path/"c", seeds=1)
    half = Comparison.load(tmp_path/"c")
    assert [row["arm"] for row in half.rows] == ["pixels", "frozen", "vpt"]
    assert (tmp_path/"c"/"table.md").is_file()
    monkeypatch.setattr(training, "training_step", step)
    assert plain(made(tmp_path/"c", seeds=1).rows) == plain(done.rows[:4])
    assert plain(Comparison.load(tmp_path/"c").rows) == plain(done.rows[:4])

def test_a_line_that_was_not_written_is_read_from_the_run(tmp_path, monkeypatch, done):
    def killed(*_): raise KeyboardInterrupt
    monkeypatch.setattr(benches, "_figures", killed)
    with pytest.raises(KeyboardInterrupt): made(tmp_path/"c", seeds=1)
    monkeypatch.undo()
    keep = benches._curves
    monkeypatch.setattr(benches, "_curves", killed)       # the run is finished, its line is not
    with pytest.raises(KeyboardInterrupt): made(tmp_path/"c", seeds=1)
    monkeypatch.setattr(benches, "_curves", keep)
    again = made(tmp_path/"c", seeds=1)
    def same(rows): return [{n: v for n, v in row.items() if n not in ("notes", "steps", "curve", "proxies")}
                            for row in plain(rows)]
    assert same(again.rows) == same(done.rows[:4])
    assert [row.get("curve") for row in again.rows] == [row.get("curve") for row in done.rows[:4]]

def test_terminated_from_outside(tmp_path):
    out = tmp_path/"c"
    words = ["compare", "emoji", "--methods", "linear", "--seeds", "3", "train_classes=16", "test_classes=10",
             "epochs=30", "eval_from=99", "num_prompts=1", "batch_size=16", "--out", str(out)]
    code = f"import sys; from vptsp.cli import main; sys.argv[1:] = {words!r}; sys.exit(main())"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               text=True, env=environment)
    end = time.monotonic() + 120
    while time.monotonic() < end and not (out/"runs"/"linear"/"0"/"history.jsonl").exists(): time.sleep(.05)
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 143, err
    assert "the same command goes on" in err.splitlines()[-1]
    found = Comparison.load(out)
    assert [row["arm"] for row in found.rows][:2] == ["pixels", "frozen"]
    assert "frozen backbone" in (out/"compare.html").read_text(encoding="utf-8")    # the page of what there is
    assert (out/"runs"/"linear"/"0"/"checkpoint").is_dir() or len(found.rows) > 2

def test_more_methods_seeds_and_values(tmp_path):
    cfg = CFG.replace(epochs=1, eval_from=9)
    made(tmp_path/"c", cfg, methods=["linear"], seeds=1)
    made(tmp_path/"c", cfg, methods=["linear", "vpt"], seeds=1, vary={"lr": [.001, .002]})
    c = made(tmp_path/"c", cfg.replace(workers=1), methods=["linear"], seeds=2)
    assert [(row["arm"], row["seed"]) for row in c.rows] == [
        ("pixels", 0), ("frozen", 0), ("linear", 0), ("linear lr=0.001", 0), ("linear lr=0.002", 0),
        ("vpt lr=0.001", 0), ("vpt lr=0.002", 0), ("pixels", 1), ("frozen", 1), ("linear", 1)]

def test_what_does_not_fit_is_refused(tmp_path, done):
    out = done.results.folder
    before = [(out/name).read_bytes() for name in ("compare.json", "runs.jsonl")]
    with pytest.raises(ConfigError, match="other images"): made(out, data=OTHER)
    with pytest.raises(ConfigError, match=r"lr = 0\.002 there, 0\.1 here"): made(out, CFG.replace(lr=.1))
    with pytest.raises(ConfigError, match="other parts of the data"): made(out, regime=Regime(train_classes=8))
    for own in ({"lr": .5}, {"train_classes": 8}, {"method": "pixels"}):
        with pytest.raises(ConfigError, match="arm 'vpt' with other settings"): made(out, methods={"vpt": own}, seeds=3)
    with pytest.raises(ConfigError, match="another backbone"): made(out, pretrained=False, seeds=3)
    with pytest.raises(ConfigError, match="no arm 'vtp'"): made(out, baseline="vtp")
    with pytest.raises(DataError, match="is writing the comparison"), one_writer(out, "comparison"): made(out)
    for wrong in (0, True, 1.5):
        with pytest.raises(ConfigError, match="seeds ="): made(tmp_path/"new", seeds=wrong)
    assert [(out/name).read_bytes() for name in ("compare.json", "runs.jsonl")] == before

def test_the_baseline_stays(tmp_path):
    made(tmp_path/"c", CFG.replace(epochs=0), methods=["frozen", "pixels"], seeds=1)
    c = made(tmp_path/"c", CFG.replace(epochs=0), methods=["pixels"], seeds=1)
    assert c.baseline == "frozen"
    c = made(tmp_path/"c", CFG.replace(epochs=0), methods=["pixels"], seeds=1, baseline="pixels")
    assert c.baseline == "pixels"

def test_a_changed_line_is_seen(tmp_path):
    made(tmp_path/"c", CFG.replace(epochs=0), methods=["frozen"], seeds=1)
    file = tmp_path/"c"/"runs.jsonl"
    file.write_text(file.read_text().replace('"R@1": 0.', '"R@1": 0.9', 1))
    with pytest.raises(DamagedFile, match="line 1"): Comparison.load(tmp_path/"c")


# -- the folder ---------------------------------------------------------------------------------------------------

def test_the_folder_is_small(done):
    files = [p for p in done.results.folder.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {".json", ".jsonl", ".yaml", ".md", ".html"}
    assert sum(p.stat().st_size for p in files) < 80_000
    row = done.rows[-1]
    wanted = {"arm", "method", "seed", "R@1", "R@8", "MAP@R", "trainable", "seconds", "seconds a step", "epochs",
              "curve", "proxies", "frozen", "data sha256", "backbone sha256", "versions", "cpu", "measured on"}
    assert wanted <= row.keys()
    assert row["curve"]["MAP@R"][-1] == row["MAP@R"] and row["curve"]["steps"][-1] == row["steps"]
    assert row["proxies"].keys() == {"steps", "align", "age", "spread"}
    if sys.platform == "linux": assert row["peak memory, MB"] > 100
    for (arm, seed), classes in done.results.classes.items():
        line = next(row for row in done.rows if (row["arm"], row["seed"]) == (arm, seed))
        assert abs(classes.mean("R@1") - line["R@1"]) < 1e-5 and abs(classes.mean("MAP@R") - line["MAP@R"]) < 1e-5

def test_models_are_kept_when_asked_for(tmp_path):
    c = made(tmp_path/"c", CFG.replace(epochs=1), methods=["linear"], seeds=1, keep_models=True)
    assert (c.results.place("linear", 0)/"model"/"model.safetensors").is_file()
    from vptsp.runs import Run
    run = Run.load(c.results.place("linear", 0), DATA)
    assert round(run.metrics["R@1"], 6) == c.rows[-1]["R@1"]

def test_the_best_epochs_classes(tmp_path, monkeypatch):
    "With keep = best the classes are of the model that is reported, not of the last one."
    cfg = CFG.replace(epochs=3, holdout=.4, keep="best", batch_size=8, lr=.05)
    c = made(tmp_path/"c", cfg, methods=["vpt"], seeds=1)
    row = c.rows[-1]
    assert row["R@1"] == max(row["curve"]["R@1"])
    assert abs(c.results.classes["vpt", 0].mean("R@1") - row["R@1"]) < 1e-5

def test_loaded_is_what_was_made(done):
    loaded = Comparison.load(done.results.folder)
    assert repr(loaded) == repr(done).replace(DATA.name, loaded.results.about["dataset"])
    assert loaded.rows == done.rows and loaded.report()["rows"] == done.report()["rows"]
    def means(c): return {arm: [d.mean for d in found] for arm, found in c.differences("frozen").items()}
    assert means(loaded) == means(done) != {}
    with pytest.raises(FileNotFoundError, match="no comparison"): Comparison.load(done.results.folder/"runs")

def test_without_a_folder_the_runs_are_at_hand():
    c = made(None, CFG.replace(epochs=1), methods=["linear"], seeds=2)
    assert list(c.runs) == ["frozen", "linear"] and c.runs["linear"].cfg.seed == 0
    assert c.runs["frozen"].metrics["frozen"]["R@1"] == c.frozen["R@1"]


# -- failures -----------------------------------------------------------------------------------------------------

def test_a_run_that_fails_is_a_line(tmp_path, capfd):
    words = ["compare", "emoji", "--methods", "vpt", "--arm", "wild: vptsp-g lr=1e30", "--out",
             str(tmp_path/"c"), "train_classes=16", "test_classes=10", "epochs=1", "num_prompts=1", "batch_size=16"]
    assert main(words) == 1
    out, err = capfd.readouterr()
    assert "1 of 4 runs failed" in err and "--retry" in err and "Traceback" not in err
    assert re.search(r"^wild +failed: step 2: the loss is nan", out, re.M)
    assert (tmp_path/"c"/"compare.html").is_file()
    c = Comparison.load(tmp_path/"c")
    assert len(c.failed) == 1 and len(c.rows) == 4
    wild = next(s for s in c.summaries() if s.arm == "wild")
    assert (wild.seeds, wild.failed, wild.difference["R@1"]) == (0, 1, None)
    assert "failed" in (tmp_path/"c"/"table.md").read_text()
    assert main(words) == 1                                           # not made again
    before = (tmp_path/"c"/"runs.jsonl").read_bytes()
    assert main([*words, "--retry"]) == 1
    assert len((tmp_path/"c"/"runs.jsonl").read_bytes()) == len(before)

def test_an_arm_that_starts_and_does_not_train(tmp_path):
    "What a whitened head on the frozen backbone is: no step, but its start depends on the training classes."
    arms = {"whitened": {"method": "linear", "epochs": 0, "head_init": "whiten"}, "linear": {"epochs": 1}}
    c = made(tmp_path/"c", CFG, methods=arms, vary={"train_classes": [8, 12], "lr": [.1, .2]}, seeds=1)
    assert [row["arm"] for row in c.rows][2:4] == ["whitened train_classes=8", "whitened train_classes=12"]
    assert [row["steps"] for row in c.rows[2:4]] == [0, 0] and c.rows[2]["MAP@R"] != c.rows[3]["MAP@R"]
    assert len(c.rows) == 8 and not c.failed and ("whitened train_classes=8", 0) in c.results.classes

def test_what_every_run_would_meet_ends_the_comparison(tmp_path):
    with pytest.raises(DataError, match="batch"): made(tmp_path/"c", CFG.replace(batch_size=64), methods=["vpt"])
    assert [row["arm"] for row in Comparison.load(tmp_path/"c").rows] == ["pixels", "frozen"]

def test_mistakes_on_the_command_line(tmp_path, capfd):
    out = ["--out", str(tmp_path/"c")]
    for words, said in (([], "which settings"), (["emoji", "--methods", "vpt"], "where to"),
                        (["emoji", *out], "which methods"),
                        (["emoji", "--methods", "vpt,vptspg", *out], "there is no method"),
                        (["emoji", "--methods", "vpt", "--vary", "lrr=1,2", *out], "did you mean 'lr'"),
                        (["emoji", "--methods", "vpt", "--vary", "lr", *out], "a setting and its values"),
                        (["emoji", "--methods", "vpt", "--baseline", "vtp", *out], "did you mean 'vpt'"),
                        (["emoji", "--methods", "vpt", "train_classes=9999", *out], "there are 517"),
                        (["emoji", "--methods", "vpt", "label_noise=2", *out], "below 1"),
                        (["emoji", "--methods", "vpt", "--seeds", "0", *out], "1 or more")):
        assert main(["compare", *words]) == 2
        err = capfd.readouterr().err
        assert said in err and len(err.strip().splitlines()) == 1, err
    assert not (tmp_path/"c"/"runs.jsonl").exists()


# -- statistics ---------------------------------------------------------------------------------------------------

def test_the_paired_interval_is_that_of_the_t_test():
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 12):
        a, b = rng.random((2, n))
        theirs = stats.ttest_rel(a, b).confidence_interval(.95)
        assert np.allclose(seed_interval(a - b), (theirs.low, theirs.high))
    assert seed_interval([.1]) is None and seed_interval([]) is None

def of(sums, queries=None, names=None):
    sums = np.asarray(sums, float)
    names = names or [f"c{i}" for i in range(len(sums))]
    return ClassFigures(names, np.ones(len(sums)) if queries is None else np.asarray(queries, float), {"R@1": sums})

def test_the_bootstrap_is_scipys():
    rng = np.random.default_rng(1)
    queries = rng.integers(1, 9, 80)
    one, other = (rng.binomial(queries, p) for p in (.7, .6))
    ours = class_interval([(of(one, queries), of(other, queries))], "R@1", draws=6000)
    def ratio(gained, n, axis): return gained.sum(axis)/n.sum(axis)
    theirs = stats.bootstrap((one - other, queries), ratio, paired=True, vectorized=True, method="percentile",
                             n_resamples=6000, rng=2).confidence_interval
    assert np.allclose(ours, theirs, atol=.006)

def test_the_bootstrap_over_seeds_draws_the_same_classes():
    "Of two seeds whose differences are opposite, class by class, nothing is left."
    gain = np.random.default_rng(0).standard_normal(50)
    nothing = of(np.zeros(50))
    assert np.allclose(class_interval([(of(gain), nothing), (of(-gain), nothing)], "R@1"), 0)
    low, high = class_interval([(of(gain), nothing), (of(gain), nothing)], "R@1")
    assert np.allclose((low, high), class_interval([(of(gain), nothing)], "R@1"))

def test_classes_that_only_one_seed_has():
    first, second = of([1., 0], names=["a", "b"]), of([1., 1], names=["b", "c"])
    pairs = [(first, of([0., 0], names=["a", "b"])), (second, of([0., 0], names=["b", "c"]))]
    low, high = class_interval(pairs, "R@1")
    assert 0 <= low < .75 < high <= 1
    assert class_interval([], "R@1") is None and class_interval([(of([1.]), of([0.]))], "R@1") is None

def test_verdicts_by_hand():
    assert verdict(.005, [(.001, .009)]) == "shown" and verdict(.0049, [(.001, .009)]) == "open"
    assert verdict(0, [(-.004, .004)]) == "refuted" and verdict(0, [(-.005, .004)]) == "open"
    assert verdict(.02, [(.01, .03), None]) == "open" and verdict(.02, []) == "open"
    assert verdict(-.02, [(-.03, -.01)]) == "behind"
    one = paired({0: .6}, {0: .5}, "R@1", {0: of([.6]*9)}, {0: of([.5]*9)})
    assert one.over_seeds is None and one.verdict == "open" and "over 1 seeds none" in str(one)
    assert paired({0: .6}, {1: .5}, "R@1") is None

def test_intervals_cover():
    rng, n = np.random.default_rng(3), 1500
    intervals = [seed_interval(.02 + .005*rng.standard_normal(5)) for _ in range(n)]
    missed = sum(not low <= .02 <= high for low, high in intervals)
    assert .035 < missed/n < .065
    wrongly = sum(verdict(d.mean(), [seed_interval(d)]) == "shown" for d in .004*rng.standard_normal((n, 5)))
    assert wrongly/n < .035                                           # nothing is there, and one side counts

def test_a_table_holds_markup_as_text():
    rows = [{"arm": a, "seed": s, "R@1": .5 + .01*s, "MAP@R": .2, "trainable": 1, "seconds": 1}
            for a in "ab" for s in (0, 1)]
    cells = table_cells(summarized(rows, {"a": "<script>|x", "b": "b"}, {"b": "a"}))
    assert "<script>" not in table_html(cells, "<b>") and "<b>" not in table_html(cells, "<b>")
    assert "<script>" not in table_markdown(cells)
    assert len({line.count("|") for line in table_markdown(cells).splitlines()}) == 1


def standing(arms, cfg=CFG):
    "A comparison that was not made: figures by arm; every run has that of its arm and, by the seed, a little more."
    c = Comparison(cfg)
    c.results.about |= {"dataset": "d", "measured on": "test classes", "baseline": arms[0].name, "arms": {
        a.name: {"method": a.method, "title": a.title, "regime": a.regime.changes,
                 "settings": {n: v for n, v in vars(a.cfg).items() if v != getattr(cfg, n)}} for a in arms}}
    for place, a in enumerate(arms):
        c.rows.extend({"arm": a.name, "method": a.method, "seed": s, "R@1": .01*(place + s), "MAP@R": .1,
                       "trainable": 1, "seconds": 1.} for s in (0, 1))
    return c

@pytest.mark.parametrize("vary", [{"label_noise": [0, .2]}, {"epochs+lr_cosine_length": [2, 3]},
                                  {"epochs": [2, 3], "images_a_class": [2, 3]}])
def test_an_arm_is_compared_with_the_baseline_of_its_own_values(vary):
    c = standing(arms_of(CFG, ["frozen", "vpt", "vptsp-g", "encoder"], vary))
    names = [s.arm for s in c.summaries() if s.arm.startswith("vpt ")]
    over = {s.arm: s.over for s in c.summaries(names[0])}
    for name in names:
        values = name.removeprefix("vpt ")
        assert over[f"vptsp-g {values}"] == over[f"encoder {values}"] == name
        assert over[name] == (None if name == names[0] else names[0])
    assert "compared with" in table_markdown(table_cells(c.summaries(names[0])))
    low = c.differences(names[0])[f"vptsp-g {names[1].removeprefix('vpt ')}"][0]
    assert low.mean == pytest.approx(.01*len(names))             # as many places further down

def test_arms_with_names_are_compared_with_the_one_like_them():
    own = {"vpt": {}, "VPT, PCA": {"method": "vpt", "head_init": "pca", "loss_args": {"scale": 8.}}, "vptsp-g": {},
           "G, PCA": {"method": "vptsp-g", "head_init": "pca", "loss_args": {"scale": 8.}},
           "G, random": {"method": "vptsp-g", "head_init": "xavier"}}
    over = {s.arm: s.over for s in standing(arms_of(CFG, own)).summaries()}
    assert over == {"vpt": None, "VPT, PCA": "vpt", "vptsp-g": "vpt", "G, PCA": "VPT, PCA", "G, random": "vpt"}

def test_a_baseline_with_a_name_of_its_own_is_the_one_that_is_meant():
    c = standing(arms_of(CFG, {"vpt": {}, "vptsp-g": {}, "follows": {"method": "vpt", "lr_proxy": .5}}))
    def over(baseline): return {s.arm: s.over for s in c.summaries(baseline)}
    assert over(None) == {"vpt": None, "vptsp-g": "vpt", "follows": "vpt"}
    assert over("follows") == {"vpt": "follows", "vptsp-g": "follows", "follows": None}
    named = {"vptsp-g": {}, "follows": {"method": "vpt", "lr_proxy": .5}, "vpt": {}}
    both = standing(arms_of(CFG, named, {"epochs": [2, 3]}))
    over = {s.arm: s.over for s in both.summaries("follows epochs=2")}
    assert over["vptsp-g epochs=3"] == "follows epochs=3" and over["vptsp-g epochs=2"] == "follows epochs=2"

def test_what_does_not_vary_for_the_baseline_leaves_one_baseline():
    c = standing(arms_of(CFG, ["vpt", "vptsp-g"], {"lr_semantic": [.1, .3, 1.]}))
    assert {s.over for s in c.summaries()} == {None, "vpt"}
    assert "compared with" not in table_markdown(table_cells(c.summaries()))


# -- arms and regimes ---------------------------------------------------------------------------------------------

def test_arms_that_would_be_the_same_run_are_one():
    arms = arms_of(CFG, ["pixels", "frozen", "linear", "vpt", "vptsp-m"], {"num_prompts": [1, 2], "mix_keep": [.5, .8]})
    assert [arm.name for arm in arms] == [
        "pixels", "frozen", "linear", "vpt num_prompts=1", "vpt num_prompts=2",
        *(f"vptsp-m num_prompts={p} mix_keep={k}" for p in (1, 2) for k in (.5, .8))]
    by_data = arms_of(CFG, ["frozen", "linear"], {"images_a_class": [2, 4], "test_classes": [5, 9]})
    assert len(by_data) == 2 + 4                                     # frozen: only what is tested matters
    assert len({arm.folder for arm in arms}) == len(arms)
    odd = arms_of(CFG, {"a/b": {"method": "vpt"}, "a:b": {"method": "vpt"}, "..": {"method": "vpt"}})
    assert len({arm.folder for arm in odd}) == 3 and not any(set("/:") & set(arm.folder) for arm in odd)

def test_every_method_of_the_registry_can_be_an_arm():
    arms = arms_of(CFG, list(methods), {"batch_size": [32, 64]})
    assert {arm.method for arm in arms} == set(methods)

def test_a_regime_is_of_the_data_and_the_seed():
    regime = Regime(train_classes=8, images_a_class=2, label_noise=.25)
    a, b, other = (regime.of(DATA, seed) for seed in (0, 0, 1))
    assert a.sha256 == b.sha256 != other.sha256
    assert torch.equal(a.train.labels, b.train.labels) and a.query is DATA.query
    assert json.dumps(regime.changes) in json.dumps([regime.changes])
    with pytest.raises(ConfigError, match="whole number"): Regime(train_classes=2.5)
    with pytest.raises(ConfigError, match="a share of 0 or more"): Regime(label_noise=float("nan"))

def test_what_an_untrained_arm_starts_from_is_read():
    arms = arms_of(CFG, ["frozen", "linear", "whitened"], {"epochs": [0, 3], "embed_dim": [64, 128], "lr": [.1, .2]})
    assert [(arm.name, arm.cfg.epochs, arm.cfg.embed_dim) for arm in arms[1:]] == [
        ("linear epochs=0 embed_dim=64", 0, 64), ("linear epochs=0 embed_dim=128", 0, 128),
        *((f"linear epochs=3 embed_dim={e} lr={lr:g}", 3, e) for e in (64, 128) for lr in (.1, .2)),
        ("whitened embed_dim=64", 0, 64), ("whitened embed_dim=128", 0, 128)]
    starts = arms_of(CFG, {"start": {"method": "linear", "epochs": 0}}, {"head_init": ["pca", "whiten"]})
    assert [arm.cfg.head_init for arm in starts] == ["pca", "whiten"] and arms[0].name == "frozen"

def test_values_that_differ_in_the_last_digit_are_two_arms():
    arms = arms_of(CFG, ["vpt"], {"lr": [.0012345671, .0012345672, .001]})
    assert [arm.name for arm in arms] == ["vpt lr=0.0012345671", "vpt lr=0.0012345672", "vpt lr=0.001"]

def test_arms_of_nearly_the_same_name_have_folders_of_their_own(tmp_path):
    cfg = CFG.replace(epochs=0)
    alike = {name: {"method": "linear", "lr": lr} for name, lr in (("a b", .1), ("a_b", .2), ("A_b", .3))}
    made(tmp_path/"c", cfg, methods={"a b": alike["a b"]}, seeds=1)
    c = made(tmp_path/"c", cfg, methods=alike, seeds=1)
    assert c.results.place("a b", 0).parent.name == "a_b"
    assert len({c.results.place(name, 0).parent.name.lower() for name in alike}) == 3 and len(c.results.classes) == 5

def test_lines_that_are_of_no_arm_or_twice_there_are_refused(tmp_path):
    made(tmp_path/"c", CFG.replace(epochs=0), methods=["frozen"], seeds=2)
    file = tmp_path/"c"/"runs.jsonl"
    rows = read_lines(file)
    for wrong, why in (([*rows, rows[1]], "two lines are of 'frozen', seed 0"),
                       ([*rows, {**rows[1], "arm": "vpt"}], "knows no arm 'vpt'")):
        write_lines(file, wrong)
        with pytest.raises(DamagedFile, match=why): Comparison.load(tmp_path/"c")

@pytest.mark.parametrize("changes", [dict(label_noise=.4), dict(images_a_class=2),
                                     dict(images_a_class=3, label_noise=.3)])
def test_held_out_classes_are_measured_with_their_own_labels_and_images(changes):
    for seed in (0, 3):
        plain, regime = DATA.holdout(.4, seed), Regime(**changes)
        held = regime.of(DATA, seed, .4).holdout(.4, seed)
        assert held.query.classes == plain.query.classes and held.query.sources == plain.query.sources
        assert torch.equal(held.query.labels, plain.query.labels)
        number = {source: label for source, label in zip(plain.train.sources, plain.train.labels.tolist())}
        wrong = sum(number[s] != label for s, label in zip(held.train.sources, held.train.labels.tolist()))
        assert wrong == round(changes.get("label_noise", 0)*len(held.train))
    bench = benches.Bench(benches.Results(), DATA)
    arm, = arms_of(CFG.replace(holdout=.4), ["vpt"], regime=Regime(label_noise=.4))
    assert torch.equal(bench.data_of(arm, 3).holdout(.4, 3).query.labels, DATA.holdout(.4, 3).query.labels)

def test_pixels_are_opened_as_their_arm_says(monkeypatch):
    opened = []
    def evaluated(data):
        opened.append((data.query.full_scale, data.query.srgb))
        return evaluation(data)
    evaluation = benches._pixel_evaluation
    monkeypatch.setattr(benches, "_pixel_evaluation", evaluated)
    bench = benches.Bench(benches.Results(), DATA)
    for arm in arms_of(CFG, ["pixels"], {"full_scale": [255, 4095], "srgb": [False, True]}): bench.run(arm, 0)
    assert opened == [(255, False), (255, True), (4095, False), (4095, True)]

def test_runs_whose_lines_are_lost_are_made_again(tmp_path):
    cfg = CFG.replace(epochs=1)
    before = made(tmp_path/"c", cfg, methods=["linear"], seeds=1).rows
    (tmp_path/"c"/"runs.jsonl").unlink()
    assert plain(made(tmp_path/"c", cfg, methods=["linear"], seeds=1).rows) == plain(before)
