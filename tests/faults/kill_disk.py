"""SIGKILL at every disk operation, and writes torn in half: train, index, update, a decoded cache. The same command
again must come to the same bits, with the same files and nothing unfinished left beside them.

    python tests/faults/kill_disk.py [EVERY]    # every operation, or every third for 3
"""
import sys

from _disk import KILL, TEAR, Disk, counted

disk = Disk()

import torch
from _trial import FOLDER, Child, Trials, copied, differences, files_in, fresh, litter, main, must, photos, skip, train

from vptsp.all import Gallery, from_folder

if disk.missing: skip(disk.missing)
EVERY = int(sys.argv[1]) if sys.argv[1:] else 1
DATA, LIST, BOX = photos(), FOLDER/"operations", FOLDER/"box"   # all that a trial writes is in the box
BOX.mkdir()
trials = Trials()


def same_cache(folder):
    images = from_folder(DATA).cached(folder, 32, None).train
    return [images.open(i).tobytes() for i in range(len(images))]


def emptied():
    "Nothing is in the box."
    fresh("box").mkdir()


def surplus(name): return [f"beside it: {p.name}" for p in BOX.iterdir() if p.name != name]


def at_every_operation(what, place, prepare, work, wrong):
    "`prepare` a place, kill `work` at each of its operations, repeat it; `wrong` lists what is not as it should be."
    def child(act, at=0, listed=None):
        return Child(lambda: work(place), before=lambda: disk.arm(BOX, at, act, listed)).wait()
    emptied()
    prepare()
    must(child(KILL, 0, LIST))
    operations = [tuple(line.split(" ", 1)) for line in LIST.read_text().splitlines()]
    print(f"{what}: {counted(operations)}", flush=True)
    bad, tried = [], 0
    for at, (kind, path) in enumerate(operations, 1):
        if (at - 1) % EVERY: continue
        for act in (KILL, TEAR) if kind == "write" else (KILL,):
            emptied()
            prepare()
            first, second = child(act, at), Child(lambda: work(place)).wait()
            found = wrong() if second.code == 0 else [str(second)]
            if first.code != -9: found = [f"was not killed ({first})", *found]
            tried += 1
            if found: bad.append(f"at {at} ({kind} {path}{', torn' if act == TEAR else ''}): {found[:3]}")
            if found: print("  ", bad[-1], flush=True)
    trials.add(f"{what}: {tried - len(bad)} of {tried} kills", not bad, "; ".join(bad[:2]))


# a run: two epochs, saved within them too
WORDS = ("epochs=2", "eval_from=2", "feature_dropout=0.1", "checkpoint_minutes=0.0003")
reference = fresh("reference")
must(Child(lambda: main(train(reference, "bank", *WORDS))).wait())
run = BOX/"run"
at_every_operation("train", run, emptied, lambda place: main(train(place, "bank", *WORDS)),
                   lambda: differences(reference, run) + litter(run) + surplus("run"))

# a gallery, new and over an old one; and brought up to date
gallery, few = BOX/"gallery", photos(2, 3, "few")
INDEX = ["index", str(reference), str(DATA), "--out"]
must(Child(lambda: main(["index", str(reference), str(few), "--out", str(FOLDER/"old gallery")])).wait())
must(Child(lambda: main([*INDEX, str(FOLDER/"new gallery")])).wait())


def wrong_gallery():
    if not files_in(gallery): return ["nothing there"]
    ours, theirs = Gallery.load(gallery), Gallery.load(FOLDER/"new gallery")
    found = [] if torch.equal(ours.embeddings, theirs.embeddings) else ["other embeddings"]
    return found + litter(gallery) + surplus("gallery")


at_every_operation("index", gallery, emptied, lambda place: main([*INDEX, str(place)]), wrong_gallery)
at_every_operation("index over a gallery", gallery, lambda: copied(FOLDER/"old gallery", "box/gallery"),
                   lambda place: main([*INDEX, str(place)]), wrong_gallery)
at_every_operation("update", gallery, lambda: copied(FOLDER/"old gallery", "box/gallery"),
                   lambda place: main(["update", str(place), str(DATA)]), wrong_gallery)

# a decoded cache
cache = BOX/"cache"
pixels = same_cache(FOLDER/"cache of nobody")
at_every_operation("cached", cache, emptied, lambda place: same_cache(place) and 0,
                   lambda: ([] if same_cache(cache) == pixels else ["other pixels"]) + litter(cache))
trials.end()
