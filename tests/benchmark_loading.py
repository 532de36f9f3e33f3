"""How near loading comes to what decoding and transforming cost alone.

    python tests/benchmark_loading.py [--images 3000] [--workers 2] [--rounds 5]

JPEG files of 500 x 375 (CUB's size). The bare loop: as many processes as workers, each going through its share of
the files under the same transform, no batches. Both take turns; the ratio of images a second is taken round by round
and its median printed; for the cache, against the same bare loop.
"""
import argparse
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vptsp.config import Config
from vptsp.images import open_image
from vptsp.loaders import eval_loader, eval_transform, train_loader, train_transform
from vptsp.readers import from_folder

HALF = ((.5,)*3,)*2  # mean and standard deviation


def photographs(root, n):
    rng = np.random.default_rng(0)
    for i in range(n):
        folder = Path(root)/f"{i % 100:03d}"
        folder.mkdir(exist_ok=True)
        image = Image.fromarray(rng.integers(0, 255, (15, 20, 3), dtype=np.uint8))
        image.resize((500, 375), Image.BICUBIC).save(folder/f"{i}.jpg", quality=90)


def bare(job):
    "One process's share of the bare loop."
    files, transform = job
    torch.set_num_threads(1)
    for f in files: transform(open_image(f))


def clock(function, *args):
    "Seconds that the function takes."
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def drain(loader):
    for _ in loader: pass


def bare_loop(pool, jobs): list(pool.map(bare, jobs))


def measure(a, pool, images, loaders, counts, transform):
    "Images a second of each loader over the bare loop's, round by round."
    jobs = [(images.sources[w::a.workers], transform) for w in range(a.workers)]
    ratios = [[] for _ in loaders]
    for i in range(a.rounds + 1):
        base = len(images)/clock(bare_loop, pool, jobs)
        for loader, n, found in zip(loaders, counts, ratios):
            rate = n/clock(drain, loader)
            if i: found.append(rate/base)  # the first round starts the workers
    return ratios


def row(name, ratios):
    cells = [f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios]
    return f"| {name} | {' | '.join(cells)} |"


def main(a):
    cfg = Config.load("cub200_small", workers=a.workers)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(a.workers) as pool:
        files = Path(folder)/"in"
        files.mkdir()
        photographs(files, a.images)
        data = from_folder(files, split=.02)
        images, small = data.query, data.cached(Path(folder)/"cache", cfg.resize).query
        print(f"{len(images)} images, {a.workers} workers, {a.rounds} rounds; "
              "median (range) of images a second over the bare loop's\n\n"
              "| | from files | from the cache |\n|---|---|---|")
        loaders = [train_loader(s, cfg, *HALF) for s in (images, small)]
        counts = [len(loader.batch_sampler)*cfg.batch_size for loader in loaders]
        print(row("training", measure(a, pool, images, loaders, counts, train_transform(cfg, *HALF))), flush=True)
        loaders = [eval_loader(s, cfg, *HALF) for s in (images, small)]
        counts = [len(images)]*2
        print(row("testing", measure(a, pool, images, loaders, counts, eval_transform(cfg, *HALF))), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args())
