"""What the explorer costs at the size of SOP: to make, to save, and to move about in.

    python tests/benchmark_explorer.py [--images 60000] [--classes 5000] [--epochs 2]
    python tests/benchmark_explorer.py --images 1000000 --classes 10000 --epochs 1

Points around class centres, half of the classes with proxies, the bundled emoji as thumbnails. Of more than 100,000
images the neighbours are made up, others of the class: to search a million for them is work for a GPU, and no part of
what is measured here.
The saved page is opened in chromium without a graphics card. A frame is all that is drawn when the map moves;
hover is from the pointer's move to the picture beside it, choosing from the release of a lasso to the images
in the panel, both with what the driver of the browser takes.
"""
import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F

from vptsp.analysis.study import MOST_LAID, _Judged, study
from vptsp.benchmarks import load_emoji
from vptsp.images import ImageSet
from vptsp.widgets.explorer import Explorer
from vptsp.widgets.mapped import sheet

MAP = "document.querySelector('.vptsp-explorer').vptsp"
LASSO = ((.3, .3), (.7, .3), (.7, .7), (.3, .7))  # corners, as shares of the map


def image_set(emoji, labels, first, rows):
    "Images numbered `rows`, with emoji as their pictures; `first` is the class that becomes number 0."
    last = int(labels[rows[-1]])
    sources = [emoji.sources[i % len(emoji)] for i in rows]
    names = [f"class {c}" for c in range(first, last + 1)]
    return ImageSet(sources, labels[rows[0]:rows[-1] + 1] - first, names, emoji.sheet)


def made_up(n, classes, epochs, width=128):
    "A run's worth of arrays: data, and stages."
    torch.manual_seed(0)
    emoji, half = load_emoji().query, n//2
    labels = torch.arange(n)*classes//n
    centres = F.normalize(torch.randn(classes, width), dim=1)
    embeddings = F.normalize(centres[labels] + 1.2*torch.randn(n, width)/width**.5, dim=1)
    first = int(labels[half])
    train = image_set(emoji, labels, 0, range(half))
    test = image_set(emoji, labels, first, range(half, n))

    def proxies(t):
        return F.normalize((1 - t)*torch.randn(first, width) + t*centres[:first], dim=1)

    def stage(t):
        return {"epoch": t, "embeddings": embeddings, "proxies": {k: proxies(t) for k in ("proxy", "semantic", "bias")}}

    sets = {"train": train, "query": test}  # one emoji stands for many images: a `RetrievalData` would refuse it
    data = SimpleNamespace(name="made up", train=train, sets=sets, sha256="made up")
    return SimpleNamespace(data=data), [stage(t) for t in range(2 - epochs, 2)]


def judged(embeddings, labels, spans, k):
    "Neighbours of the class, in place of those of a search; four of five are right."
    n = len(labels)
    near = (np.arange(n)[:, None] + np.arange(1, k + 1)) % n
    right = (np.arange(n) % 5 > 0).astype(float)
    return _Judged(near, right, right/2, np.arange(n - 12, n))


def clock(function, *args, **kwargs):
    "What the function returns, and the seconds that it took."
    start = time.perf_counter()
    result = function(*args, **kwargs)
    return result, time.perf_counter() - start


def make(a, folder):
    "Make and save the explorer; the page."
    run, stages = made_up(a.images, a.classes, a.epochs)
    many = a.images > MOST_LAID
    with patch("vptsp.analysis.study._judge", judged if many else study.__globals__["_judge"]):
        shown, t_study = clock(study, run, stages, most=a.images, progress=None)
    _, t_maps = clock(shown.maps, cache=folder)
    _, t_sprite = clock(sheet, shown, cache=folder)
    explorer, t_again = clock(Explorer, shown, cache=folder, progress=None)
    page = folder/"map.html"
    _, t_save = clock(explorer.save, page)
    print(f"{a.images:,} images, {len(shown.proxied):,} proxies, epochs: {a.epochs}; "
          f"figures {'without a search' if many else 'and neighbours'} {t_study:.0f} s, maps {t_maps:.0f} s, "
          f"thumbnails {t_sprite:.0f} s; from the cache {t_again:.1f} s; "
          f"page of {page.stat().st_size/1e6:.1f} MB in {t_save:.1f} s")
    return page


def open_page(tab, page):
    tab.goto(f"file://{page}")
    tab.wait_for_selector(".vptsp-explorer[data-ready]", timeout=120_000)


def hover_seconds(tab, i):
    "From the pointer's move onto image `i` to the picture beside it."
    x, y = tab.evaluate(f"{MAP}.screen({i})")
    tab.mouse.move(5, 5)
    tab.wait_for_selector(".v-tip", state="hidden")

    def hover():
        tab.mouse.move(x, y)
        tab.wait_for_selector(".v-tip:not([hidden])")

    return clock(hover)[1]


def lasso_seconds(tab):
    "From the release of a lasso around the middle of the map to the images in the panel."
    tab.get_by_role("button", name="lasso").click()
    box = tab.locator(".v-map").bounding_box()
    corners = [(box["x"] + u*box["width"], box["y"] + v*box["height"]) for u, v in LASSO]
    tab.mouse.move(*corners[0])
    tab.mouse.down()
    for x, y in corners[1:]: tab.mouse.move(x, y, steps=4)

    def release():
        tab.mouse.up()
        tab.wait_for_function(f"{MAP}.picked().length > 1")

    return clock(release)[1]


def milliseconds(seconds):
    return f"{1000*statistics.median(seconds):.0f} ms ({1000*min(seconds):.0f} to {1000*max(seconds):.0f})"


def move_about(a, page):
    from playwright.sync_api import sync_playwright
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1250, "height": 760})
        _, t_open = clock(open_page, tab, page)
        frames = [tab.evaluate(f"{MAP}.frame()")/1000 for _ in range(30)]
        hovers = [hover_seconds(tab, i) for i in range(0, a.images, a.images//20)]
        t_lasso = lasso_seconds(tab)
        chosen = tab.evaluate(f"{MAP}.picked().length")
        print(f"open {t_open:.1f} s; frame {milliseconds(frames)}; hover {milliseconds(hovers)}; "
              f"choosing {chosen:,} images {1000*t_lasso:.0f} ms")


def main(a):
    with tempfile.TemporaryDirectory() as folder: move_about(a, make(a, Path(folder)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--classes", type=int, default=5000)
    parser.add_argument("--epochs", type=int, choices=(1, 2), default=2)
    main(parser.parse_args())
