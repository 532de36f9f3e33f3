"""How near a training step comes to what two bare passes cost, and how far insert-and-drop is from it.

    python tests/benchmark_step.py [--rounds 5] [--threads 2] [--batch 16] [--device cpu]

ViT-S/16 at 224 px with random weights, fp32, published settings. A step is zero_grad, two passes, loss, backward,
optimizer step (and the bank's rows in and out). The limit is two bare frozen passes of timm's own blocks, forward and
backward to the tokens. All variants take turns within a round; the ratio is taken round by round and its median
printed, so a machine that is slow for a while is slow for all of them.
"""
import argparse
import statistics
import time

import torch
from timm.models.vision_transformer import VisionTransformer

from vptsp.config import Config
from vptsp.losses import build_loss
from vptsp.model import build_model
from vptsp.optimizer import build_optimizer
from vptsp.training import keep_memory


def small_vit(): return VisionTransformer(embed_dim=384, num_heads=6, num_classes=0)


def clock(function, sync):
    "Seconds that the function takes, the device's share of it done."
    sync()
    start = time.perf_counter()
    function()
    sync()
    return time.perf_counter() - start


def stepper(cfg, classes, images, labels, published_form):
    "One training step as a function."
    torch.manual_seed(0)
    model = build_model(cfg, classes, backbone=small_vit()).to(images.device).train()
    if published_form:
        model.backbone.exact = [False]*model.backbone.depth  # every block by insert_and_drop, the last one whole
    optimizer, loss_of = build_optimizer(model, cfg), build_loss(cfg)
    def step():
        optimizer.zero_grad()
        loss_of(model(images, labels), labels).backward()
        optimizer.step()
    return step


def limit(images):
    "Two bare frozen passes, forward and backward to the tokens."
    vit = small_vit().to(images.device).eval().requires_grad_(False)
    def step():
        for _ in range(2):
            x = vit._pos_embed(vit.patch_embed(images)).requires_grad_()
            vit.norm(vit.blocks(x))[:, 0].sum().backward()
    return step


def row(name, variants, rounds, sync):
    "variants: {name: function}; median over rounds of each variant's time over the last one's."
    for run in 4*list(variants.values()): run()  # until the heap has settled
    *compared, last = variants
    ratios = {v: [] for v in compared}
    for _ in range(rounds):
        seconds = {v: clock(run, sync) for v, run in variants.items()}
        for v in compared: ratios[v].append(seconds[v]/seconds[last])
    cells = [f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios.values()]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def training_steps(a, device, sync):
    images = torch.randn(a.batch, 3, 224, 224, device=device)
    for name, classes in (("cub200_small", 100), ("cars_small", 98), ("inshop_small", 400)):
        cfg = Config.load(name, batch_size=a.batch)
        labels = torch.arange(a.batch//cfg.samples_per_class, device=device).repeat_interleave(cfg.samples_per_class)
        variants = {
            "vptsp": stepper(cfg, classes, images, labels, published_form=False),
            "published": stepper(cfg, classes, images, labels, published_form=True),
            "limit": limit(images),
        }
        row(f"{name}, {classes} classes{', bank' if cfg.bank else ''}", variants, a.rounds, sync)


def embedding(a, device, sync):
    images = torch.randn(a.batch, 3, 224, 224, device=device)
    model = build_model(Config.load("inshop_small"), 10, backbone=small_vit()).to(device).eval()

    def bare():
        with torch.no_grad(): model.backbone.vit.forward_features(images)

    variants = {"vptsp": lambda: model.embed(images), "bare": bare}
    row("90 prompts, against the bare backbone", variants, max(a.rounds, 40), sync)


def main(a):
    torch.set_num_threads(a.threads)
    keep_memory()  # as training does; for all variants alike
    device = torch.device(a.device)
    sync = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    print(f"batch {a.batch}, {a.threads} threads, {device}, torch {torch.__version__}, {a.rounds} rounds; "
          "median (range) of time over the limit's\n\n| settings | vptsp | insert and drop |\n|---|---|---|")
    training_steps(a, device, sync)
    print("\n| embedding, no gradient | vptsp |\n|---|---|")
    embedding(a, device, sync)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    main(parser.parse_args())
