"""What the explorer costs at the size of SOP: to make, to save, and to move about in.

    python tests/benchmark_explorer.py [--images 60000] [--classes 5000]

Points around class centres, half of the classes with proxies, two epochs, the bundled emoji as thumbnails. The saved page is opened in chromium without a graphics card. A frame is all that is drawn when the map moves; hover is from the pointer's move to
the picture beside it, choosing from the release of a lasso to the images in the panel, both with what the driver of the browser takes.
"""
import argparse, shutil, statistics, tempfile, time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from vptsp.data import ImageSet, RetrievalData, load_emoji
from vptsp.explorer import Explorer, sprite, study

MAP = "document.querySelector('.vptsp-explorer').vptsp"

def made_up(n, classes, width=128):
    "A run's worth of arrays: data, and two stages."
    torch.manual_seed(0); emoji, half = load_emoji().query, n//2
    labels = torch.arange(n)*classes//n; centres = F.normalize(torch.randn(classes, width), dim=1); x = F.normalize(centres[labels] + 1.2*torch.randn(n, width)/width**.5, dim=1)
    part = lambda a, b, first: ImageSet([emoji.sources[i % len(emoji)] for i in range(a, b)], labels[a:b] - first, [f"class {c}" for c in range(first, int(labels[b - 1]) + 1)], emoji.sheet)
    first = int(labels[half]); data = RetrievalData("made up", part(0, half, 0), part(half, n, first), sha256="made up")
    stage = lambda t: {"epoch": t, "embeddings": x, "proxies": {k: F.normalize((1 - t)*torch.randn(first, width) + t*centres[:first], dim=1) for k in ("proxy", "semantic", "bias")}}
    return SimpleNamespace(data=data), [stage(0), stage(1)]

def clock(f):
    start = time.perf_counter(); out = f()
    return out, time.perf_counter() - start

def main(a):
    from playwright.sync_api import sync_playwright
    run, stages = made_up(a.images, a.classes)
    with tempfile.TemporaryDirectory() as d:
        seen, t_study = clock(lambda: study(run, stages, progress=None))
        maps, t_maps = clock(lambda: seen.maps(cache=d)); _, t_sprite = clock(lambda: sprite(seen, cache=d, progress=None))
        explorer, t_again = clock(lambda: Explorer(seen, cache=d, progress=None)); page = Path(d)/"map.html"; _, t_save = clock(lambda: explorer.save(page))
        print(f"{a.images:,} images, {len(seen.proxied):,} proxies, two epochs: figures and neighbours {t_study:.0f} s, two maps {t_maps:.0f} s, thumbnails {t_sprite:.0f} s; from the cache {t_again:.1f} s; page of {page.stat().st_size/1e6:.1f} MB in {t_save:.1f} s")
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox", "--disable-gpu"]); tab = browser.new_page(viewport={"width": 1250, "height": 760})
            _, t_open = clock(lambda: (tab.goto(f"file://{page}"), tab.wait_for_selector(".vptsp-explorer[data-ready]", timeout=120_000)))
            frames = [tab.evaluate(f"{MAP}.frame()") for _ in range(30)]
            hovers = []
            for i in range(0, a.images, a.images//20):
                x, y = tab.evaluate(f"{MAP}.screen({i})"); tab.mouse.move(5, 5); tab.wait_for_selector(".v-tip", state="hidden")
                hovers.append(clock(lambda: (tab.mouse.move(x, y), tab.wait_for_selector(".v-tip:not([hidden])")))[1])
            tab.get_by_role("button", name="lasso").click(); box = tab.locator(".v-map").bounding_box(); x, y, w, h = (box[k] for k in ("x", "y", "width", "height"))
            tab.mouse.move(x + .3*w, y + .3*h); tab.mouse.down(); [tab.mouse.move(x + u*w, y + v*h, steps=4) for u, v in ((.7, .3), (.7, .7), (.3, .7))]
            _, t_lasso = clock(lambda: (tab.mouse.up(), tab.wait_for_function(f"{MAP}.picked().length > 1")))
            print(f"open {t_open:.1f} s; frame {statistics.median(frames):.0f} ms ({min(frames):.0f} to {max(frames):.0f}); hover {1000*statistics.median(hovers):.0f} ms ({1000*min(hovers):.0f} to {1000*max(hovers):.0f}); choosing {tab.evaluate(f'{MAP}.picked().length'):,} images {1000*t_lasso:.0f} ms")

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=int, default=60_000); p.add_argument("--classes", type=int, default=5000)
    main(p.parse_args())
