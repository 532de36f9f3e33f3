"What the analysis does with unusual input: few points, odd splits, resumed runs."
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vptsp.analysis.maps import layout, umap_layout
from vptsp.analysis.proxies import proxy_figures
from vptsp.analysis.study import Snapshots, Study, study
from vptsp.benchmarks import load_emoji
from vptsp.callbacks import Callback, Silence
from vptsp.config import Config
from vptsp.data import RetrievalData
from vptsp.images import ImageSet
from vptsp.runs import Run
from vptsp.search import MetricsError
from vptsp.training import Trainer


def images(counts: dict[str, int], **about) -> ImageSet:
    "Plain pictures of classes, as many as `counts` says."
    labels = [c for c, n in enumerate(counts.values()) for _ in range(n)]
    pictures = [Image.new("RGB", (8, 8), (20*i % 256, 90, 90)) for i in range(len(labels))]
    return ImageSet(pictures, labels, list(counts), about={name: values for name, values in about.items()})


def made_up(data: RetrievalData, kinds=("proxy",), epochs=2) -> tuple[SimpleNamespace, list[dict]]:
    "A run's worth of arrays: its data, and stages."
    generator = torch.Generator().manual_seed(0)
    n, p = sum(map(len, data.sets.values())), len(data.train.classes)
    def points(m): return F.normalize(torch.randn(m, 12, generator=generator), dim=1)
    stages = [{"epoch": t, "embeddings": points(n), "proxies": {k: points(p) for k in kinds}} for t in range(epochs)]
    return SimpleNamespace(data=data), stages


@pytest.fixture
def plain():
    data = RetrievalData("plain", images({"a": 4, "b": 3, "c": 2}), images({"d": 3, "e": 3}), sha256="plain")
    return made_up(data, ("proxy", "semantic", "bias"))


def test_map_is_kept_by_content(tmp_path, monkeypatch):
    x = torch.randn(30, 8, generator=torch.Generator().manual_seed(1))
    first = umap_layout(x, cache=tmp_path, epochs=5)
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".npy" and (np.load(file) == first).all()
    with monkeypatch.context() as m:
        m.setitem(sys.modules, "umap", None)                          # what is kept is what is given
        assert (umap_layout(x, cache=tmp_path, epochs=5) == first).all()
    np.save(file, first + 1)                                          # unless somebody changed it
    assert (umap_layout(x, cache=tmp_path, epochs=5) == first).all()
    umap_layout(x, cache=tmp_path, epochs=6)                          # another setting, another map
    assert len(list(tmp_path.iterdir())) == 2


def test_a_map_leaves_the_number_of_threads_alone():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        umap_layout(torch.randn(30, 8), epochs=5)
        assert torch.get_num_threads() == 1
    finally: torch.set_num_threads(before)


def test_map_of_few_or_bad_points():
    assert umap_layout(np.eye(4, 6), epochs=5).shape == (4, 2)
    with pytest.raises(ValueError, match="four points at least; there are 3"): umap_layout(torch.eye(3))
    with pytest.raises(MetricsError, match="not finite"): umap_layout(torch.full((5, 3), torch.nan))


def test_tsne_is_seeded():
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(2))
    assert layout(x).shape == (20, 2) and (layout(x) == layout(x)).all()


def test_rows(plain):
    found = study(*plain, progress=None)
    assert found.labels.tolist() == [0]*4 + [1]*3 + [2]*2 + [3]*3 + [4]*3 and found.classes == list("abcde")
    assert found.place(10)[0] is plain[0].data.query and found.place(10)[1] == 1
    assert found.row(10)["class"] == "d" and found.row(10)["split"] == "query"
    assert found.near.shape == (15, 10) and (found.near[:9] < 9).all() and (found.near[9:][:, :5] >= 9).all()
    assert (found.near[9:][:, 5:] == -1).all()                        # a query has five others
    assert repr(found) == "Study(plain: 15 images of 5 classes, epochs 0, 1)"


def test_gallery_is_what_is_searched():
    counts = {"d": 2, "e": 2}
    data = RetrievalData("pairs", images({"a": 2, "b": 2}), images(counts), images(counts), sha256="pairs")
    found = study(*made_up(data), k=3, progress=None)
    assert (found.near[4:8] >= 8).all() and (found.near[8:] >= 8).all()
    assert found.columns["split"].tolist() == ["train"]*4 + ["query"]*4 + ["gallery"]*4
    e = F.normalize(found.stages[-1]["embeddings"], dim=1)
    assert found.near[4].tolist() == ((e[4] @ e[8:].T).argsort(descending=True)[:3] + 8).tolist()


def test_nothing_to_find():
    data = RetrievalData("alone", images({"a": 1, "b": 1}), images({"d": 1}), sha256="alone")
    found = study(*made_up(data), progress=None)
    assert found.columns["R@1"].tolist() == [None]*3 and np.isnan(found.columns["MAP@R"]).all()
    assert [rate["rate"] for rate in found.rates] == [None]*3 and len(found.worst) == 0
    assert found.near[2].tolist() == [-1]*10                          # one query alone has no neighbours


def test_columns():
    data = RetrievalData("about", images({"a": 2, "b": 2}, colour=list("rgbr"), year=[1, 2, 3, 4]),
                         images({"d": 2}, colour=list("gb"), source=["x", "y"]), sha256="about")
    run, stages = made_up(data)
    found = study(run, stages, columns={"mood": range(6)}, progress=None)
    assert list(found.columns) == ["class", "split", "colour", "R@1", "MAP@R", "mood"]      # `year` is not of all
    assert found.row(5)["mood"] == 5 and type(found.row(5)["mood"]) is int
    with pytest.raises(ValueError, match="column 'mood' has 2 values for 6 images"):
        study(run, stages, columns={"mood": [1, 2]})


def test_what_a_study_needs(plain):
    run, stages = plain
    with pytest.raises(ValueError, match="without its data"): study(SimpleNamespace(data=None))
    with pytest.raises(ValueError, match="snapshots show 15 images, the run's data 7"): study(run, stages, most=8)


def test_sample_is_in_proportion():
    data = RetrievalData("many", images({"a": 60}), images({"d": 30}), sha256="many")
    run, stages = made_up(data)
    few = [{**s, "embeddings": s["embeddings"][:30]} for s in stages]
    found = study(run, few, most=30, progress=None)
    assert {name: len(pool) for name, pool in found.pools.items()} == {"train": 20, "query": 10}
    assert (found.pools["train"].labels == 0).all() and len(set(map(id, found.pools["train"].sources))) == 20


def test_maps_are_scaled_to_the_last(plain):
    found = study(*plain, progress=None)
    maps = found.maps()
    assert [m.shape for m in maps] == [(15 + 3*3, 2)]*2 and all(m.dtype == np.float32 for m in maps)
    assert maps[-1].min() >= -1e-6 and maps[-1].max() <= 1 + 1e-6 and np.isclose(np.ptp(maps[-1], axis=0).max(), 1)


def test_proxy_figures(plain):
    found = study(*plain, progress=None)
    figures = proxy_figures(found, k=20, rivals=9)
    assert [rows.tolist() for rows in figures.members] == [[0, 1, 2, 3], [4, 5, 6], [7, 8]]
    assert list(figures.near) == ["proxy", "semantic", "bias"] and figures.near["bias"].shape == (3, 9)
    assert figures.rivals.shape == (3, 2) and (figures.rivals != np.arange(3)[:, None]).all()
    assert figures.norms.shape == (3, 0) and figures.blocks == []
    assert abs(figures.drift["semantic"][0]).max() < 1e-6
    last = found.stages[-1]
    mean = F.normalize(F.normalize(last["embeddings"][4:7], dim=1).sum(0), dim=0)
    assert np.isclose(figures.own["proxy"][-1, 1], float(last["proxies"]["proxy"][1] @ mean), atol=1e-6)
    wrong = (found.columns["R@1"][:9] == "wrong").sum()
    assert sum(count for taken in figures.taken for _, count in taken) == wrong


def test_proxies_of_any_numbering(plain):
    found = study(*plain, progress=None)
    turned = Study(**{**found.__dict__, "proxied": found.proxied[::-1].copy()})
    assert [rows.tolist() for rows in proxy_figures(turned).members] == [[7, 8], [4, 5, 6], [0, 1, 2, 3]]


def test_snapshots_of_a_resumed_run(monkeypatch):
    def stage_of(model, pools, epoch): return {"epoch": epoch}
    monkeypatch.setattr("vptsp.analysis.snapshots.stage_of", stage_of)
    data = RetrievalData("few", images({"a": 2}), images({"d": 2}), sha256="few")
    cfg = SimpleNamespace(epochs=5)
    trainer = SimpleNamespace(model=None, data=data, out=None, epoch=0, step=0, cfg=cfg)
    snapshots = Snapshots(every=2)
    def epochs(): return [stage["epoch"] for stage in snapshots.stages]
    snapshots.fit_start(trainer)
    for epoch in (1, 2, 3): snapshots.epoch_end(trainer, {"epoch": epoch})
    assert epochs() == [0, 2]
    trainer.epoch, trainer.step = 3, 12
    snapshots.fit_start(trainer)                                      # goes on: keeps what it has
    for epoch in (4, 5): snapshots.epoch_end(trainer, {"epoch": epoch})
    assert epochs() == [0, 2, 4, 5]                                   # the last epoch always
    trainer.epoch, trainer.step = 0, 0
    snapshots.fit_start(trainer)                                      # another run: begins anew
    assert epochs() == [0]


class StopBehind(Callback):
    "Asks for a stop behind a step."
    def __init__(self, step): self.at = step
    def step_end(self, trainer, loss):
        if trainer.step == self.at: trainer.stop()


def epochs_of(run): return [stage["epoch"] for stage in study(run, progress=None).stages]


def test_a_run_that_is_loaded_has_its_epochs(tmp_path):
    emoji = load_emoji()
    data = RetrievalData("few", emoji.train.of_classes(range(8)), emoji.query.of_classes(range(8)))
    cfg = Config.load("emoji", epochs=3, eval_from=9, batch_size=16, num_prompts=1, num_class_prompts=1)
    def train(*callbacks): return Trainer(cfg, data, tmp_path/"run", callbacks=[Silence(), *callbacks]).fit()
    stopped = train(Snapshots(), StopBehind(5))
    assert epochs_of(stopped)[-1] == len(stopped.history) and len(epochs_of(stopped)) == len(stopped.history) + 2
    snapshots = Snapshots()                                           # another kernel, with a new object
    train(snapshots)
    assert [stage["epoch"] for stage in snapshots.stages] == [0, 1, 2, 3]
    run = Run.load(tmp_path/"run", data)
    found = study(run, progress=None)
    for one, other in zip(found.stages, snapshots.stages, strict=True):
        assert torch.equal(one["embeddings"], other["embeddings"])
        assert list(one["proxies"]) == list(other["proxies"]) == ["proxy", "semantic", "bias"]
        assert all(torch.equal(one["proxies"][name], points) for name, points in other["proxies"].items())
    assert epochs_of(Run.load(tmp_path/"run", RetrievalData("others", data.train, emoji.query))) == [3]
    run.cfg = run.cfg.replace(keep="best", holdout=.5)                # then the model is that of the best epoch
    run.history = [{"epoch": e, "R@1": r, "MAP@R": r, "loss": 1.} for e, r in ((1, .5), (2, .6), (3, .4))]
    assert epochs_of(run) == [0, 1, 2]
    Trainer(cfg, data, tmp_path/"run", callbacks=[Silence(), Snapshots(every=3)], anew=True).fit()
    assert epochs_of(Run.load(tmp_path/"run", data)) == [0, 3]
