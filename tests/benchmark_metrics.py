"""Time and memory of the retrieval figures at the size of SOP, against pytorch-metric-learning and a bare faiss search;
approximate searches; and a million images in blocks.

    python tests/benchmark_metrics.py [--images 60502] [--classes 11316] [--width 384] [--threads 2] [--rounds 3]
                                      [--million 8192]

All figures of `evaluate` (R@1, 10, 100, 1000, MAP@R, RP, mAP@1000, the published code's) against the three of
AccuracyCalculator, and against one flat faiss search with k = 101. They take turns; the ratio is taken round by round
and its median printed. Memory is the peak beyond the embeddings, in a process of its own. The images are points around


class centres, R@1 about 0.7.
"""
import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

from vptsp.metrics import evaluate, neighbours
from vptsp.search import compare_searches


def images(n, classes, width):
    "Embeddings and labels, every class at least twice."
    torch.manual_seed(0)
    labels = torch.cat([torch.arange(classes).repeat(2), torch.randint(classes, (n - 2*classes,))])
    x = F.normalize(torch.randn(classes, width), dim=1)[labels]
    for part in x.split(1 << 16): part += 2*torch.randn_like(part)/width**.5
    return F.normalize(x, dim=1), labels


def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20  # GiB


def clock(function, *args, **kwargs):
    "Seconds that the function takes."
    start = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - start


def memory(a):
    x, y = images(a.images, a.classes, a.width)
    neighbours(x[:100], k=1)  # libraries loaded
    before = peak()
    evaluation = evaluate(x, y, ks=(1, 10, 100, 1000))
    beyond, mean = peak() - before, evaluation.mean()
    print(f"{beyond:.2f} GiB beyond the embeddings ({x.nbytes/2**30:.2f} GiB); "
          f"R@1 {mean['R@1']:.3f}, MAP@R {mean['MAP@R']:.3f}")


def million(a):
    x, y = images(1_000_000, 50_000, 128)
    before, n = peak(), a.million
    seconds = clock(evaluate, x[:n], y[:n], x[n:], y[n:], ks=(1, 10, 100))
    print(f"{n:,} queries against {1_000_000 - n:,} x 128: {seconds:.0f} s, "
          f"peak of the process {peak():.2f} GiB ({peak() - before:.2f} beyond what was there)")


def times(a):
    import faiss
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    torch.set_num_threads(a.threads)
    faiss.omp_set_num_threads(a.threads)
    x, y = images(a.images, a.classes, a.width)
    index = faiss.IndexFlatIP(a.width)
    index.add(x.numpy())
    figures = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    library = AccuracyCalculator(include=figures, k="max_bin_count")
    ways = {
        "vptsp, all figures": lambda: evaluate(x, y, ks=(1, 10, 100, 1000)),
        "AccuracyCalculator, three": lambda: library.get_accuracy(x, y),
        "faiss, k = 101, search alone": lambda: index.search(x.numpy(), 101),
    }
    rounds = [{name: clock(run) for name, run in ways.items()} for _ in range(a.rounds)]
    print(f"{a.images:,} x {a.width}, {a.classes:,} classes, {a.threads} threads, torch {torch.__version__}, "
          f"faiss {faiss.__version__}, {a.rounds} rounds\n\n| | seconds | vptsp's time over it |\n|---|---|---|")
    for name in ways:
        seconds = statistics.median(r[name] for r in rounds)
        ratio = statistics.median(r["vptsp, all figures"]/r[name] for r in rounds)
        print(f"| {name} | {seconds:.1f} | {ratio:.2f} |")


def searches(a):
    x, _ = images(2*a.images, a.classes, a.width)
    rows = compare_searches(x[::2], x[1::2], k=10)  # no query is its own neighbour
    print("\n| search | breadth | build, s | search, over the exact one's | of the true 10 found "
          "| true nearest found |\n|---|---|---|---|---|---|")
    for r in rows:
        ratio = r["search seconds"]/rows[0]["search seconds"]
        print(f"| {r['search']} | {r['breadth'] or ''} | {r['build']:.0f} | {ratio:.3f} "
              f"| {r['found']:.3f} | {r['nearest found']:.3f} |")

PARTS = {"times": times, "memory": memory, "searches": searches, "million": million}
NUMBERS = dict(images=60502, classes=11316, width=384, threads=2, rounds=3, million=8192)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in NUMBERS.items(): parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=PARTS)
    a = parser.parse_args()
    if a.only: PARTS[a.only](a)
    else:
        for name in PARTS: subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", name], check=True)
