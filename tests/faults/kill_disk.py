"""SIGKILL at every disk operation, and writes torn in half: train, index, update, a decoded cache. The same command
again must come to the same bits, with the same files and nothing unfinished left beside them.

    python tests/faults/kill_disk.py [EVERY]    # every operation, or every third for 3
"""
import sys

from _disk import KILL, TEAR, Disk, counted

disk = Disk()

from _trial import FOLDER, Child, Trials, copied, differences, files_in, fresh, litter, main, must, photos, skip, train

from vptsp.all import Gallery, from_folder

if disk.missing: skip(disk.missing)
EVERY = int(sys.argv[1]) if sys.argv[1:] else 1
DATA, LIST = photos(), FOLDER/"operations"
trials = Trials()


def same_cache(folder):
    images = from_folder(DATA).cached(folder, 32, None).train
    return [images.open(i).tobytes() for i in range(len(images))]


def at_every_operation(what, place, prepare, work, wrong):
    "`prepare` a place, kill `work` at each of its operations, repeat it; `wrong` lists what is not as it should be."
    def child(act, at=0, listed=None):
        return Child(lambda: work(place), before=lambda: disk.arm(place, at, act, listed)).wait()
    prepare()
    must(child(KILL, 0, LIST))
    operations = [tuple(line.split(" ", 1)) for line in LIST.read_text().splitlines()]
    print(f"{what}: {counted(operations)}", flush=True)
    bad, tried = [], 0
    for at, (kind, path) in enumerate(operations, 1):
        if (at - 1) % EVERY: continue
        for act in (KILL, TEAR) if kind == "write" else (KILL,):
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
run = FOLDER/"run"
at_every_operation("train", run, lambda: fresh("run"), lambda place: main(train(place, "bank", *WORDS)),
                   lambda: differences(reference, run) + litter(run))

# a gallery, new and over an old one; and brought up to date
gallery, few = FOLDER/"gallery", photos(2, 3, "few")
INDEX = ["index", str(reference), str(DATA), "--out"]
must(Child(lambda: main(["index", str(reference), str(few), "--out", str(FOLDER/"old gallery")])).wait())
must(Child(lambda: main([*INDEX, str(FOLDER/"new gallery")])).wait())


def wrong_gallery():
    if not files_in(gallery): return ["nothing there"]
    ours, theirs = Gallery.load(gallery), Gallery.load(FOLDER/"new gallery")
    found = [] if (ours.embeddings == theirs.embeddings).all() else ["other embeddings"]
    return found + litter(gallery) + [p.name for p in FOLDER.iterdir() if p.name.startswith(".")]


at_every_operation("index", gallery, lambda: fresh("gallery"), lambda place: main([*INDEX, str(place)]), wrong_gallery)
at_every_operation("index over a gallery", gallery, lambda: copied(FOLDER/"old gallery", "gallery"),
                   lambda place: main([*INDEX, str(place)]), wrong_gallery)
at_every_operation("update", gallery, lambda: copied(FOLDER/"old gallery", "gallery"),
                   lambda place: main(["update", str(place), str(DATA)]), wrong_gallery)

# a decoded cache
cache = FOLDER/"cache"
pixels = same_cache(FOLDER/"cache of nobody")
at_every_operation("cached", cache, lambda: fresh("cache"), lambda place: same_cache(place) and 0,
                   lambda: [] if same_cache(cache) == pixels else ["other pixels"])
trials.end()
