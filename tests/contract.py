"""Every name that other people's scripts rely on, called as they call it.

Nothing runs here: pyright reads it (`pyright tests/contract.py`, a part of the tests), and complains where an editor
could not follow a call or where what comes back is not what is promised.
"""
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from vptsp.all import (
    AttentionViewer,
    Callback,
    Config,
    Curves,
    DataCheck,
    Explorer,
    Gallery,
    Hits,
    ImageSet,
    Live,
    Model,
    Output,
    ProxyAnchorLoss,
    ProxyInspector,
    RetrievalData,
    Run,
    Snapshots,
    Trainer,
    build_loss,
    build_model,
    check_data,
    compare,
    curves,
    demo,
    embed_images,
    from_csv,
    from_folder,
    from_pairs,
    load_dataset,
    load_emoji,
    load_published,
    methods,
    neighbours,
    presets,
    register_accumulator,
    register_benchmark,
    register_loss,
    report_page,
    retrieval_metrics,
    show_classes,
    show_retrievals,
    study,
)
from vptsp.analysis.compare import Comparison
from vptsp.analysis.study import Study


def settings() -> Config:
    cfg: Config = Config.load("cub200_small")
    cfg = Config.load({"epochs": 3}, lr=1e-3)
    cfg = cfg.replace(lr=1e-3).as_method("vptsp-g")
    cfg.save("settings.yaml")
    changed: dict[str, tuple[Any, Any]] = cfg.diff(Config())
    names: list[str] = [*presets, *methods]
    print(changed, names)
    return cfg


def model(cfg: Config, images: torch.Tensor, labels: torch.Tensor, vit: nn.Module) -> Model:
    model: Model = build_model(cfg, num_classes=100)
    model = build_model(cfg, 100, pretrained=False, weights="weights.safetensors", backbone=vit)
    out: Output = model(images, labels)
    e: torch.Tensor = out.embeddings
    e = model.embed(images)
    loss: torch.Tensor = build_loss(cfg)(out, labels)
    loss = ProxyAnchorLoss(32., 32.)(e, labels, out.proxies)
    parts: dict[str, int] = model.trainable_parameters_by_part()
    model.save("folder", metrics={"R@1": .5})
    unused: list[str] = load_published(model, {"prompts.0": torch.zeros(1, 10, 384)})
    print(loss, parts, unused)
    return Model.load("folder", weights=Path("weights.safetensors"))


def data() -> RetrievalData:
    data: RetrievalData = load_dataset("cub200", "root")
    data = load_emoji()
    data = from_folder("root", split=.5)
    data = from_csv("table.csv", "root", split=["cat"])
    data = from_pairs([("a.jpg", "cat")], name="mine")
    images: ImageSet = data.train.subset([0, 1])
    image, label = images[0]
    held: RetrievalData = data.holdout(.25, seed=1).cached("cache", 256)
    print(data.counts(), image, label, images.open(0).size)
    return held


def from_outside() -> None:
    @register_accumulator("last")
    class Last(nn.Module):
        def __init__(self, embed_dim: int, cfg: Config) -> None:
            super().__init__()

        def forward(self, features: torch.Tensor, class_index: torch.Tensor, occurrence: torch.Tensor,
                    old: torch.Tensor) -> torch.Tensor:
            return old.index_copy(0, class_index, features)

    @register_loss("hinge")
    def hinge(cfg: Config) -> nn.Module:
        return nn.Identity()

    @register_benchmark("pets", ks=(1, 10))
    def pets(root: str) -> RetrievalData:
        return from_folder(root)

    print(Last, hinge, pets)


def figures(e: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    m: dict[str, float] = retrieval_metrics(e, y, ks=(1, 2, 4, 8))
    m = retrieval_metrics(e, y, gallery=e, gallery_labels=y, ks=(1, 10), clustering=True)
    similarity, ids = neighbours(e, k=5)
    print(m["R@1"], similarity.shape, ids.shape)
    return m


def run(cfg: Config, data: RetrievalData) -> Run:
    trainer = Trainer(cfg, data, out="runs/cub", callbacks=[Live(), Snapshots(every=2)])
    run: Run = trainer.fit()
    run = Run.load("runs/cub", data)
    e: torch.Tensor = embed_images(run.model, data.query)
    e = run.embed(data.query)
    figure: float = run.metrics["R@1"]
    last: dict[str, Any] = run.history[-1]
    over: Curves = curves({"now": run, "before": "runs/before"})
    over = curves([run, Path("runs/before")])
    print(e, figure, last, run.data, run.folder, over.save("curves.html"))
    return run


def gallery(model: Model) -> Gallery:
    gallery: Gallery = Gallery.build(model, "photos/")
    hits: Hits = gallery.search("query.jpg", k=5)
    several: list[Hits] = gallery.search(["a.jpg", "b.jpg"], k=5)
    hits = gallery.search(Image.new("RGB", (8, 8)))
    path: Path = gallery.save("gallery")
    print(hits.paths, hits.similarity, hits.rows(), several, path)
    return Gallery.load("gallery", root="moved")


def inside(run: Run, data: RetrievalData) -> None:
    seen: Study = study(run)
    explorer = Explorer(run)
    explorer.selected = explorer.search("cat")
    for widget in (explorer, Explorer(seen), ProxyInspector(run), AttentionViewer(run.model, "query.jpg")):
        print(widget.static().data, widget.payload)
        widget.save("page.html")
    found: DataCheck = check_data(data)
    table: Comparison = compare(run.cfg, data)
    print(found.ok, found.lines(), table.report(), report_page(table), demo("demo"))
    show_classes(data.sets)
    show_retrievals(run)
    run.show_worst(8)


class Quiet(Callback):
    def epoch_end(self, trainer: Trainer, line: dict) -> None:
        print(line["loss"])
