"""How near loading comes to what decoding and transforming cost alone.

    python tests/benchmark_loading.py [--images 3000] [--workers 2] [--rounds 5]

JPEG files of 500 x 375 (CUB's size). The bare loop: as many processes as workers, each going through its share of the files under the same transform, no batches. Both take turns;
the ratio of images a second is taken round by round and its median printed; for the cache, against the same bare loop.
"""
import argparse, statistics, tempfile, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vptsp.config import Config
from vptsp.data import eval_loader, eval_transform, from_folder, open_image, train_loader, train_transform

half = ((.5,)*3,)*2

def photographs(root, n):
    rng = np.random.default_rng(0)
    for i in range(n):
        folder = Path(root)/f"{i % 100:03d}"; folder.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (15, 20, 3), dtype=np.uint8)).resize((500, 375), Image.BICUBIC).save(folder/f"{i}.jpg", quality=90)

def bare(job):
    files, transform = job
    torch.set_num_threads(1)
    for f in files: transform(open_image(f))

def clock(f):
    start = time.perf_counter(); f()
    return time.perf_counter() - start

def main(a):
    with tempfile.TemporaryDirectory() as d:
        (Path(d)/"in").mkdir(); photographs(Path(d)/"in", a.images)
        data, cfg = from_folder(Path(d)/"in", split=.02), Config.load("cub200_small", workers=a.workers)
        images = data.query; small = data.cached(Path(d)/"cache", cfg.resize).query
        drain = lambda loader: [None for _ in loader]
        with ProcessPoolExecutor(a.workers) as pool:
            print(f"{len(images)} images, {a.workers} workers, {a.rounds} rounds; median (range) of images a second over the bare loop's\n\n| | from files | from the cache |\n|---|---|---|")
            for name, loader, transform in (("training", train_loader, train_transform(cfg, *half)), ("testing", eval_loader, eval_transform(cfg, *half))):
                loaders = [loader(s, cfg, *half) for s in (images, small)]
                counts = [len(l.batch_sampler)*cfg.batch_size if name == "training" else len(images) for l in loaders]
                jobs = [(images.sources[w::a.workers], transform) for w in range(a.workers)]
                ratios = [[], []]
                for r in range(a.rounds + 1):
                    base = len(images)/clock(lambda: list(pool.map(bare, jobs)))
                    for l, n, out in zip(loaders, counts, ratios):
                        rate = n/clock(lambda: drain(l))
                        if r: out.append(rate/base)                                     # the first round starts the workers
                print(f"| {name} | " + " | ".join(f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios) + " |", flush=True)

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=int, default=3000); p.add_argument("--workers", type=int, default=2); p.add_argument("--rounds", type=int, default=5)
    main(p.parse_args())
