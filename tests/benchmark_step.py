"""How near a training step comes to what two bare passes cost, how far insert-and-drop is from it, and what the
Trainer's loop, torch.compile, checkpointing and bf16 add or save.

    python tests/benchmark_step.py [limit late loop prices embedding] [--rounds 5] [--threads 2] [--batch 16]
                                   [--device cpu] [--busy]

ViT-S/16 at 224 px with random weights, fp32, published settings. A step is zero_grad, two passes, loss, backward,
optimizer step (and the bank's rows in and out). The limit is two bare frozen passes of timm's own blocks, forward and
backward to the tokens. All variants take turns within a round; the ratio is taken round by round and its median
printed, so a machine that is slow for a while is slow for all of them.

Late: the same step with class prompts in the last m blocks alone, where the second pass starts from the first one's
tokens (`semantic_blocks`), against the same limit. Counted in blocks it is (2L + 2m)/4L: 0.50 at m = 0, 0.67 at m = 4.

The loop: behind each step of a `Trainer` a twin takes a bare one (forward, loss, backward, step) on a batch from a
loader of its own, so both decode, and each pair shares its moment. The memory that a step keeps for its backward pass
is counted, not measured: the bytes of all distinct tensors that autograd saves.
"""
import argparse
import statistics
import time
from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer

from vptsp.benchmarks import load_emoji
from vptsp.callbacks import Callback
from vptsp.config import Config
from vptsp.loaders import train_loader
from vptsp.losses import build_loss
from vptsp.model import build_model
from vptsp.optimizer import build_optimizer
from vptsp.training import Trainer, keep_memory

now = time.perf_counter


def small_vit(): return VisionTransformer(embed_dim=384, num_heads=6, num_classes=0)


def clock(function, sync):
    "Seconds that the function takes, the device's share of it done."
    sync()
    start = now()
    function()
    sync()
    return now() - start


def bare_step(model, loss_of, optimizer, images, labels, precision=None):
    "Predict, loss, backward, step."
    optimizer.zero_grad()
    with torch.autocast(images.device.type, precision, enabled=precision is not None): out = model(images, labels)
    loss_of(out, labels).backward()
    optimizer.step()


def stepper(cfg, classes, images, labels, published_form=False, compiled=False, precision=None):
    "One training step as a function."
    torch.manual_seed(0)
    vit = None if cfg.backbone == "bundled" else small_vit()
    model = build_model(cfg, classes, backbone=vit).to(images.device).train()
    if published_form:
        model.backbone.exact = [False]*model.backbone.depth  # every block by insert_and_drop, the last one whole
    if compiled: model.compile()
    optimizer, loss_of = build_optimizer(model, cfg), build_loss(cfg)
    return lambda: bare_step(model, loss_of, optimizer, images, labels, precision)


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


LATE = (0, 1, 2, 4, 8, 12)


def late(a, device, sync):
    "A branch in the last m blocks, of twelve; without one VPT, whose step is what the Encoder's should cost."
    images, cfg = torch.randn(a.batch, 3, 224, 224, device=device), Config.load("cub200_small", batch_size=a.batch)
    labels = torch.arange(a.batch//cfg.samples_per_class, device=device).repeat_interleave(cfg.samples_per_class)
    variants = {m: stepper(cfg.replace(semantic_blocks=m), 100, images, labels) for m in LATE}
    variants = {"VPT": stepper(cfg.as_method("vpt"), 100, images, labels), **variants, "limit": limit(images)}
    row("cub200_small", variants, a.rounds, sync)


def embedding(a, device, sync):
    images = torch.randn(a.batch, 3, 224, 224, device=device)
    model = build_model(Config.load("inshop_small"), 10, backbone=small_vit()).to(device).eval()

    def bare():
        with torch.no_grad(): model.backbone.vit.forward_features(images)

    variants = {"vptsp": lambda: model.embed(images), "bare": bare}
    row("90 prompts, against the bare backbone", variants, max(a.rounds, 40), sync)


class Beside(Callback):
    "Behind each step of a Trainer, a bare one of a twin: (seconds of the Trainer's, of the bare one), step by step."
    def __init__(self, twin, steps, sync):
        self.twin, self.steps, self.sync, self.pairs, self.left = twin.train(), steps, sync, [], None

    def fit_start(self, trainer):
        self.optimizer, self.loss_of = build_optimizer(self.twin, trainer.cfg), build_loss(trainer.cfg)
        self.batches = iter(train_loader(trainer.data.train, trainer.cfg, trainer.mean, trainer.std))
        self.device = trainer.device

    def bare(self):
        images, labels = next(self.batches)
        bare_step(self.twin, self.loss_of, self.optimizer, images.to(self.device), labels.to(self.device))

    def step_end(self, trainer, loss):
        self.sync()
        seconds = now() - self.left if self.left else None
        bare = clock(self.bare, self.sync)
        if seconds: self.pairs.append((seconds, bare))
        if len(self.pairs) == self.steps: trainer.stop()
        self.left = now()


def beside_a_trainer(cfg, data, vit, steps, sync, device):
    "Seconds of a Trainer's steps and of bare ones, in pairs, behind the first few; `vit()` makes a backbone."
    twin = build_model(cfg, len(data.train.classes), backbone=vit()).to(device)
    beside = Beside(twin, steps + 4, sync)
    Trainer(cfg, data, backbone=vit(), frozen={}, callbacks=[beside]).fit()
    return beside.pairs[4:]


def smallest():
    "Settings and a backbone whose step is short, so that the rest of the loop shows."
    cfg = Config.load("emoji", image_size=16, embed_dim=8, batch_size=8, head_init="xavier", proxy_init="random")
    small = partial(VisionTransformer, img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0)
    return cfg, small


def loop(a, device, sync):
    "What the Trainer adds to the step: loading is in both."
    data = load_emoji()
    runs = {"smallest": smallest(), "emoji, bundled backbone": (Config.load("emoji"), lambda: None),
            "cub200_small, ViT-S": (Config.load("cub200_small", batch_size=a.batch, workers=0), small_vit)}
    for name, (cfg, vit) in runs.items():
        pairs = beside_a_trainer(cfg, data, vit, 8*a.rounds, sync, device)
        low, ratio, high = statistics.quantiles([ours/bare for ours, bare in pairs], n=4)
        more = statistics.median(ours - bare for ours, bare in pairs)
        print(f"| {name} | {ratio:.3f} ({low:.3f} to {high:.3f}) | {1000*more:.1f} | {len(pairs)} |", flush=True)


def kept_bytes(step):
    "Bytes of the distinct tensors that autograd saves in a step."
    sizes = {}
    def pack(t):
        storage = t.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return t
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t): step()
    return sum(sizes.values())


def prices(a, device, sync):
    "Checkpointing, torch.compile and bf16 against the same step without them."
    for name in ("emoji", "cub200_small"):
        cfg = Config.load(name, batch_size=a.batch)
        images = torch.randn(a.batch, 3, cfg.image_size, cfg.image_size, device=device)
        labels = torch.arange(a.batch//cfg.samples_per_class, device=device).repeat_interleave(cfg.samples_per_class)
        plain = stepper(cfg, 100, images, labels)
        memory = kept_bytes(plain)
        for way, step in (("checkpointing", stepper(cfg.replace(checkpointing=True), 100, images, labels)),
                          ("bf16", stepper(cfg, 100, images, labels, precision=torch.bfloat16)),
                          ("compiled", stepper(cfg, 100, images, labels, compiled=True))):
            first = clock(step, sync)
            share = "" if way == "compiled" else f"{kept_bytes(step)/memory:.2f}"
            pairs = [(clock(step, sync), clock(plain, sync)) for _ in range(2 + a.rounds)][2:]
            ratios = [one/other for one, other in pairs]
            time_over = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {name}, {way} | {time_over} | {share} | {first:.1f} s |", flush=True)


def main(a):
    global now
    if a.busy: now = time.process_time
    torch.set_num_threads(a.threads)
    keep_memory()  # as training does; for all variants alike
    device = torch.device(a.device)
    sync = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    print(f"batch {a.batch}, {a.threads} threads, {device}, torch {torch.__version__}, {a.rounds} rounds; "
          f"{'CPU seconds; ' if a.busy else ''}median (range) of time over the limit's, or over the plain step's")
    for part in a.parts or PARTS:
        heads, measure = PARTS[part]
        print(f"\n| {' | '.join(heads)} |\n{'|---'*len(heads)}|")
        measure(a, device, sync)


PARTS = {
    "limit": (("settings", "vptsp", "insert and drop"), training_steps),
    "late": (("settings", "VPT", *(f"m = {m}" for m in LATE)), late),
    "loop": (("Trainer over the bare step", "median of pairs (quartiles)", "ms more a step", "pairs"), loop),
    "prices": (("over the plain step", "time", "kept for backward", "first step"), prices),
    "embedding": (("embedding, no gradient", "vptsp"), embedding),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"what to measure: {', '.join(PARTS)}; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--busy", action="store_true", help="CPU seconds, on a machine that has other work")
    main(parser.parse_args())
