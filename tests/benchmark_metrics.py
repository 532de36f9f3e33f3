"""Time and memory of the retrieval figures at the size of SOP, against pytorch-metric-learning and a bare faiss search; approximate searches; and a million images in blocks.

    python tests/benchmark_metrics.py [--images 60502] [--classes 11316] [--width 384] [--threads 2] [--rounds 3] [--million 8192]

All figures of `evaluate` (R@1, 10, 100, 1000, MAP@R, RP, mAP@1000, the published code's) against the three of AccuracyCalculator, and against one flat faiss search with
k = 101. They take turns; the ratio is taken round by round and its median printed. Memory is the peak beyond the embeddings, in a process of its own. The images are
points around class centres, R@1 about 0.7.
"""
import argparse, resource, statistics, subprocess, sys, time

import torch
import torch.nn.functional as F

from vptsp.metrics import compare_searches, evaluate, neighbours

def images(n, classes, width):
    "Embeddings and labels, every class at least twice."
    torch.manual_seed(0)
    labels = torch.cat([torch.arange(classes).repeat(2), torch.randint(classes, (n - 2*classes,))])
    x = F.normalize(torch.randn(classes, width), dim=1)[labels]
    for part in x.split(1 << 16): part += 2*torch.randn_like(part)/width**.5
    return F.normalize(x, dim=1), labels

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20             # GiB

def clock(f):
    start = time.perf_counter(); f()
    return time.perf_counter() - start

def memory(a):
    x, y = images(a.images, a.classes, a.width)
    neighbours(x[:100], k=1); before = peak()                                            # libraries loaded
    e = evaluate(x, y, ks=(1, 10, 100, 1000))
    print(f"{peak() - before:.2f} GiB beyond the embeddings ({x.nbytes/2**30:.2f} GiB); R@1 {e.mean()['R@1']:.3f}, MAP@R {e.mean()['MAP@R']:.3f}")

def million(a):
    x, y = images(1_000_000, 50_000, 128)
    before = peak(); seconds = clock(lambda: evaluate(x[:a.million], y[:a.million], x[a.million:], y[a.million:], ks=(1, 10, 100)))
    print(f"{a.million:,} queries against {1_000_000 - a.million:,} x 128: {seconds:.0f} s, peak of the process {peak():.2f} GiB ({peak() - before:.2f} beyond what was there)")

def times(a):
    import faiss
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    torch.set_num_threads(a.threads); faiss.omp_set_num_threads(a.threads)
    x, y = images(a.images, a.classes, a.width)
    index = faiss.IndexFlatIP(a.width); index.add(x.numpy())
    library = AccuracyCalculator(include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k="max_bin_count")
    ways = {"vptsp, all figures": lambda: evaluate(x, y, ks=(1, 10, 100, 1000)), "AccuracyCalculator, three": lambda: library.get_accuracy(x, y), "faiss, k = 101, search alone": lambda: index.search(x.numpy(), 101)}
    rounds = [{k: clock(f) for k, f in ways.items()} for _ in range(a.rounds)]
    print(f"{a.images:,} x {a.width}, {a.classes:,} classes, {a.threads} threads, torch {torch.__version__}, faiss {faiss.__version__}, {a.rounds} rounds\n\n| | seconds | vptsp's time over it |\n|---|---|---|")
    for k in ways: print(f"| {k} | {statistics.median(r[k] for r in rounds):.1f} | {statistics.median(next(iter(r.values()))/r[k] for r in rounds):.2f} |")

def searches(a):
    x, _ = images(2*a.images, a.classes, a.width)
    rows = compare_searches(x[::2], x[1::2], k=10)                                       # no query is its own neighbour
    print("\n| search | breadth | build, s | search, over the exact one's | of the true 10 found | true nearest found |\n|---|---|---|---|---|---|")
    for r in rows: print(f"| {r['search']} | {r['breadth'] or ''} | {r['build']:.0f} | {r['search seconds']/rows[0]['search seconds']:.3f} | {r['found']:.3f} | {r['nearest found']:.3f} |")

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in dict(images=60502, classes=11316, width=384, threads=2, rounds=3, million=8192).items(): p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--only", choices=("memory", "million", "searches", "times"))
    a = p.parse_args()
    if a.only: globals()[a.only](a)
    else:
        for part in ("times", "memory", "searches", "million"): subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", part], check=True)
