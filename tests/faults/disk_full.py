"""A disk on which every operation in turn fails, from there on: no space left, quota, input/output errors, read-only.
Right is one sentence that names a path (exit code 2), what was there is as it was, and the same command comes to the
same bits once the disk is sound again.

    python tests/faults/disk_full.py [EVERY]    # every operation, or every third for 3
"""
import sys

from _disk import ERRORS, KILL, Disk, counted

disk = Disk()

import torch
from _trial import (
    CHECKPOINT,
    FOLDER,
    Child,
    Trials,
    copied,
    differences,
    epoch_of,
    files_in,
    fresh,
    litter,
    main,
    must,
    photos,
    skip,
    train,
)

from vptsp.all import Gallery, from_folder

if disk.missing: skip(disk.missing)
EVERY = int(sys.argv[1]) if sys.argv[1:] else 1
DATA, LIST, BOX = photos(), FOLDER/"operations", FOLDER/"box"   # all that a trial writes is in the box
BOX.mkdir()
trials = Trials()


def emptied():
    "Nothing is in the box."
    fresh("box").mkdir()


def surplus(name): return [f"beside it: {p.name}" for p in BOX.iterdir() if p.name != name]


def at_every_operation(what, prepare, work, kept, wrong):
    "Fail at each operation of `work`; `kept` and `wrong` list what is not as it should be then, and in the end."
    def child(at, act, listed=None): return Child(work, before=lambda: disk.arm(BOX, at, act, listed)).wait()
    emptied()
    prepare()
    must(child(0, KILL, LIST))
    operations = [tuple(line.split(" ", 1)) for line in LIST.read_text().splitlines()]
    print(f"{what}: {counted(operations)}", flush=True)
    for error, number in ERRORS.items():
        bad, tried = [], 0
        for at in range(1, len(operations) + 1, EVERY):
            emptied()
            prepare()
            first = child(at, number)
            found = [] if first.code == 0 or first.refused and str(FOLDER) in first.last else [str(first)]
            found += kept()
            second = Child(work).wait()
            found += wrong() if second.code == 0 else [f"then {second}"]
            tried += 1
            if found: bad.append(f"at {at} ({' '.join(operations[at - 1])}): {found[:3]}")
            if found: print("  ", bad[-1], flush=True)
        trials.add(f"{what}, {error}: {tried - len(bad)} of {tried} operations", not bad, "; ".join(bad[:2]))


WORDS = ("epochs=2", "eval_from=2", "feature_dropout=0.1", "checkpoint_minutes=0.0003")
reference, run = fresh("reference"), BOX/"run"
must(Child(lambda: main(train(reference, "bank", *WORDS))).wait())


def whole_checkpoint():
    "What is there can be read."
    if not (run/CHECKPOINT).exists(): return []
    return [] if epoch_of(run) is not None else ["the checkpoint cannot be read"]


at_every_operation("train", lambda: None, lambda: main(train(run, "bank", *WORDS)), whole_checkpoint,
                   lambda: differences(reference, run) + litter(run) + surplus("run"))

gallery, few = BOX/"gallery", photos(2, 3, "few")
INDEX = ["index", str(reference), str(DATA), "--out"]
must(Child(lambda: main(["index", str(reference), str(few), "--out", str(FOLDER/"old")])).wait())
must(Child(lambda: main([*INDEX, str(FOLDER/"new")])).wait())


def same_gallery(*names):
    if not files_in(gallery): return ["nothing there"]
    ours = Gallery.load(gallery).embeddings
    known = [Gallery.load(FOLDER/name).embeddings for name in names]
    return [] if any(torch.equal(ours, theirs) for theirs in known) else ["other embeddings"]


def new_gallery(): return same_gallery("new") + litter(gallery) + surplus("gallery")
def old_or_new(): return same_gallery("old", "new")


at_every_operation("index", lambda: None, lambda: main([*INDEX, str(gallery)]), lambda: [], new_gallery)
at_every_operation("index over a gallery", lambda: copied(FOLDER/"old", "box/gallery"),
                   lambda: main([*INDEX, str(gallery)]), old_or_new, new_gallery)
at_every_operation("update", lambda: copied(FOLDER/"old", "box/gallery"),
                   lambda: main(["update", str(gallery), str(DATA)]), old_or_new, new_gallery)

page = BOX/"page.html"
for what, words in (("report", ["report", str(reference)]), ("explore", ["explore", str(reference)]),
                    ("data check", ["data", "check", "folder"])):
    words = [*words, "--data", str(DATA), "--out", str(page)]
    at_every_operation(what, lambda: page.write_text("an old page"), lambda words=words: main(words) and 0,
                       lambda: [] if page.is_file() and page.stat().st_size else ["the old page is gone"],
                       lambda: surplus("page.html"))


def pixels(folder):
    images = from_folder(DATA).cached(folder, 32, None).train
    return [images.open(i).tobytes() for i in range(len(images))]


def cached_or_say(folder):
    try: pixels(folder)
    except (ValueError, OSError) as e:
        print(f"vptsp: {e}")
        return 2
    return 0


known = pixels(FOLDER/"cache")
at_every_operation("cached", lambda: None, lambda: cached_or_say(BOX/"cache"), lambda: [],
                   lambda: [] if pixels(BOX/"cache") == known else ["other pixels"])
trials.end()
