"""One writer for a run's folder, for a gallery, for a cache: a second one is refused in a sentence that names its pid
and host, or waits its turn and finds the same; a lock of a dead process is taken over; readers beside a writer see one
save or the other."""
import contextlib
import os
import signal
import socket
import time
from collections import Counter

import torch
from _trial import (
    FOLDER,
    Child,
    Trials,
    before_call,
    call,
    copied,
    die,
    differences,
    epoch_of,
    files_in,
    fresh,
    litter,
    main,
    must,
    photos,
    train,
    trained,
    vptsp_,
)

from vptsp import training
from vptsp.all import Gallery
from vptsp.retrieval import GalleryError

trials, DATA = Trials(), photos()
REFERENCE, OTHER = trained("reference"), trained("other", "bank", "seed=1")


def together(commands, lag):
    "Commands that run at the same time, each so many seconds behind the one before; their ends and process ids."
    children = []
    for words in commands:
        children.append(Child(lambda words=words: main([str(w) for w in words])))
        time.sleep(lag)
    return [child.wait() for child in children], [child.pid for child in children]


def names_the_other(end, pids): return any(str(p) in end.last for p in pids) and socket.gethostname() in end.last


# runs

def two_in_one_folder(case, *commands, lags, references):
    bad, seen = [], Counter()
    for lag in lags:
        run = fresh("run")
        ends, pids = together([[run if w is None else w for w in words] for words in commands], lag)
        refused = [end for end in ends if end.refused and names_the_other(end, pids)]
        done = [i for i, end in enumerate(ends) if end.code == 0]
        seen[str(sorted(str(end.code) for end in ends))] += 1
        wrong = differences(references[done[0]], run) + litter(run) if done else ["none was done"]
        if len(refused) != len(ends) - 1 or wrong: bad.append(f"{[str(e) for e in ends]} {wrong[:3]}")
    trials.add(f"{case}: one is refused", not bad, f"exits {dict(seen)} {bad[:2] or ''}")


def words_of(*changes): return [None if w == "?" else w for w in train("?", "bank", *changes)]


LAGS = [0, .02, .1, .2, .4, .6, .8, 1.]
two_in_one_folder("two of one command", words_of(), words_of(), lags=LAGS, references=[REFERENCE]*2)
two_in_one_folder("two seeds", words_of(), words_of("seed=1"), lags=LAGS[:5], references=[REFERENCE, OTHER])
two_in_one_folder("two numbers of workers", words_of(), words_of("workers=2"), lags=LAGS[:3],
                  references=[REFERENCE, trained("reference of workers", "bank", "workers=2")])
two_in_one_folder("three of one command", words_of(), words_of(), words_of(), lags=[0, .2], references=[REFERENCE]*3)


def held_while(case, lock, command, pid_named=True):
    "`lock` a folder in one process, then `command` in another."
    ready = fresh("ready")
    holder = Child(lambda: lock(ready))
    while not ready.exists() and not holder.ended(): time.sleep(.01)
    end = call(command)
    named = not pid_named or names_the_other(end, [holder.pid])
    holder.signal(signal.SIGKILL, group=True)
    held = holder.wait()
    trials.add(case, end.refused and named, f"{end} (of {holder.pid}) {held.last if not ready.exists() else ''}")


def sleeping_run(ready):
    def wait(*_, **__):
        ready.touch()
        time.sleep(60)
    before_call(training, "training_step", 3, wait)
    return main(train(FOLDER/"slow"))


for words in ((), ("seed=1",), ("epochs=5",)):
    fresh("slow")
    case = f"train {' '.join(words)} while a run is at work"
    again = train(FOLDER/"slow", "bank", *words)
    held_while(case, sleeping_run, lambda again=again: main(again))
end = vptsp_(*train(FOLDER/"slow"))
trials.add("the lock of a run that was killed is taken over",
           end.code == 0 and not differences(REFERENCE, FOLDER/"slow"), end)


def killed_with_children(group):
    "A run with workers, killed alone: they may hold its lock for a moment."
    run = fresh("run")
    child = Child(lambda: main(train(run, "bank, 2 workers", "epochs=400")))
    while epoch_of(run) is None and not child.ended(): time.sleep(.01)
    left = child.children()
    child.signal(signal.SIGKILL, group)
    while not child.ended(): time.sleep(.001)
    at_once = Child(lambda: main(train(run, "bank, 2 workers", "epochs=400")))
    time.sleep(4)
    refused = at_once.ended()
    at_once.signal(signal.SIGKILL, group=True)
    end = at_once.wait()
    child.wait()
    for pid in left:
        if os.path.exists(f"/proc/{pid}"): os.kill(pid, signal.SIGKILL)
    return not refused, end


for group in (True, False):
    held, end = killed_with_children(group)
    case = f"a run with workers killed{' with them' if group else ''}: taken over at once"
    trials.add(case, held and not end.traceback, end)


def stopped_holder():
    "A process of the run that neither lives on nor dies: stopped by a signal."
    run = fresh("run")
    child = Child(lambda: main(train(run, "bank", "epochs=400")))
    while epoch_of(run) is None and not child.ended(): time.sleep(.01)
    child.signal(signal.SIGSTOP)
    end = vptsp_(*train(run, "bank", "epochs=400"))
    named = names_the_other(end, [child.pid])
    child.signal(signal.SIGKILL, group=True)
    child.wait()
    return end, named


end, named = stopped_holder()
trials.add("a run that was stopped (SIGSTOP) still holds its folder", end.refused and named, end)
trials.add("no lock stays in a finished run", not litter(REFERENCE), litter(REFERENCE))

# reading a run at work
run = fresh("run")
child = Child(lambda: main(train(run, "bank", "epochs=400", "eval_from=1")))
while epoch_of(run) is None and not child.ended(): time.sleep(.01)
ends = [vptsp_("report", run, "--data", DATA, "--out", FOLDER/"page.html") for _ in range(3)]
ends += [vptsp_("evaluate", run, "--data", DATA) for _ in range(3)]
child.signal(signal.SIGKILL, group=True)
child.wait()
trials.add("report and evaluate of a run at work: a page, or a sentence", all(e.code == 0 or e.refused for e in ends),
           Counter(str(e) for e in ends))

# galleries
few = photos(4, 3, "few")
FIRST, SECOND = fresh("first"), fresh("second")
must(vptsp_("index", REFERENCE, DATA, "--out", FIRST))
must(vptsp_("index", OTHER, few, "--out", SECOND))
INDEX = ["index", REFERENCE, DATA, "--out"]


def is_whole(place, *known):
    "Whether a gallery is one of those known, to the bit."
    ours = Gallery.load(place)
    return any(torch.equal(ours.embeddings, g.embeddings) for g in map(Gallery.load, known))


def gallery_case(case, commands, before, known, lags):
    bad = []
    for lag in lags:
        place = fresh("place") if before is None else copied(before, "place")
        ends, pids = together([[place if w is None else w for w in words] for words in commands], lag)
        fine = all(e.code == 0 or e.refused and names_the_other(e, pids) for e in ends)
        beside = [p.name for p in FOLDER.iterdir() if p.name.startswith((".place", ".part"))]
        done = any(e.code == 0 for e in ends)
        if not fine or not done or not is_whole(place, *known) or litter(place) or beside:
            bad.append(f"{[str(e) for e in ends]} {litter(place)} {beside}")
    trials.add(f"{case}: each is done in turn or refused", not bad, bad[:2] or "")


gallery_case("two index one place", [[*INDEX, None]]*2, None, [FIRST], [0, .05, .1, .2, .3])
gallery_case("three index over a gallery", [[*INDEX, None]]*3, SECOND, [FIRST], [0, .05, .1])
gallery_case("two of other runs index one place", [[*INDEX, None], ["index", OTHER, few, "--out", None]], FIRST,
             [FIRST, SECOND], [0, .05, .1, .2])
must(vptsp_("index", REFERENCE, few, "--out", fresh("to update")))
gallery_case("two update one gallery", [["update", None, DATA]]*2, FOLDER/"to update", [FIRST], [0, .05, .1, .2])
gallery_case("index while it is updated", [["update", None, DATA], [*INDEX, None]], FOLDER/"to update", [FIRST],
             [0, .05, .1, .2])


def readers_beside_a_writer(seconds=15):
    "A gallery saved in turns as one and as another, and loaded all the while."
    place, one, two = fresh("turns"), Gallery.load(FIRST), Gallery.load(SECOND)
    assert one.model is not two.model                # read now: once another is saved over them, they cannot be
    one.save(place)
    def write():
        while True:
            two.save(place)
            one.save(place)
    def read():
        end, loads, mixed = time.monotonic() + seconds, 0, 0
        while time.monotonic() < end:
            g = Gallery.load(place)
            like = one if len(g) == len(one) else two
            names = [str(i) for i in g.images.sources]
            loads += 1
            with contextlib.suppress(GalleryError):             # saved anew since it was loaded, and says so
                others = names != [str(i) for i in like.images.sources]
                mixed += others or not torch.equal(g.embeddings, like.embeddings)
                if loads % 10 == 0: mixed += g.model.fingerprint() != like.model.fingerprint()
        print(loads, mixed)
    writer, readers = Child(write), [Child(read), Child(read)]
    ends = [reader.wait() for reader in readers]
    writer.signal(signal.SIGKILL, group=True)
    wrote = writer.wait()
    numbers = [e.last.split() for e in ends if e.code == 0]
    held = wrote.code == -9 and len(numbers) == 2 and all(int(m) == 0 and int(n) > 10 for n, m in numbers)
    wrong = [str(e) for e in ends if e.code]
    trials.add("readers beside a writer: loads, of them mixed", held, f"{numbers} {wrong or ''} {wrote}")
    trials.add("and behind the killed writer it is whole", is_whole(place, FIRST, SECOND))


readers_beside_a_writer()


# a save that was killed is repaired by the next load
def killed_save(name, number):
    place = copied(SECOND, "place")
    call(lambda: main([str(w) for w in (*INDEX, place)]), before=lambda: before_call(os, name, number, die))
    return call(lambda: print(is_whole(place, FIRST, SECOND), len(files_in(place))))


for name in ("rename", "replace", "fsync", "unlink", "rmdir"):
    ends = [killed_save(name, number) for number in (1, 2, 3, 5, 8)]
    trials.add(f"a save killed at os.{name}: whole on load", all(e.last.startswith("True") for e in ends),
               Counter(e.last for e in ends))
trials.end()
