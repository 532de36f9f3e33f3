"""Two and three processes that make one decoded cache, with decoding slowed and lags of 0 to 0.5 s, one of
them killed in some tries. Right: each ends well with the right pixels, and so does one that comes later."""
import hashlib
import random
import time
from collections import Counter

from _trial import Child, Trials, call, fresh, must, photos

import vptsp.data
from vptsp.all import from_folder

trials, DATA, TRIES = Trials(), photos(), 16


def slowly():
    real = vptsp.data._decode
    def decode(images, folder, side, progress):
        time.sleep(.05)
        real(images, folder, side, progress)
        time.sleep(.1)
    vptsp.data._decode = decode


def pixels(folder):
    h = hashlib.sha256()
    for images in from_folder(DATA).cached(folder, 48, None).sets.values():
        for i in range(len(images)): h.update(images.open(i).tobytes())
    print(h.hexdigest())


want = must(call(lambda: pixels(fresh("cache")))).last


def race(n, kill):
    "So many processes at one cache; the first is killed in mid-work, if asked for."
    cache, children = fresh("raced"), []
    for _ in range(n):
        children.append(Child(lambda: pixels(cache), before=slowly))
        time.sleep(random.uniform(0, .5/(n - 1)))
    if kill: children[0].signal(9, group=True)
    ends = [child.wait(60) for child in children]
    later = call(lambda: pixels(cache))
    left = sorted(p.name for p in cache.iterdir())
    wrong = [str(e) for e in (*ends[kill:], later) if e.code or e.last != want]
    return wrong or (["left: " + ", ".join(left)] if len(left) > 1 else [])


for n, kill in ((2, False), (2, True), (3, False)):
    wrong = Counter(str(race(n, kill)) for _ in range(TRIES))
    good = wrong.pop("[]", 0)
    case = f"{n} processes{', the first killed' if kill else ''}"
    trials.add(f"{case}: {good} of {TRIES} tries", good == TRIES, dict(wrong) or "")
trials.end()
