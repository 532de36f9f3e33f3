"""Images and workers that break within a run: deleted, cut, emptied, replaced by a folder, a pipe or another picture,
in this process or in workers; a worker that is killed; images that change between the parts of a run.
Right: one sentence that names the image (exit code 2), or, where the settings say skip, a run that goes on, counts and
lists them; and the same command once they are back."""
import json
import os
import shutil
import signal
import time
from pathlib import Path

from _trial import (
    FOLDER,
    Child,
    Trials,
    after_call,
    before_call,
    call,
    copied,
    die,
    differences,
    epoch_of,
    fresh,
    main,
    photos,
    train,
    trained,
    vptsp_,
)
from PIL import Image

from vptsp import training

trials, DATA = Trials(), photos()
REFERENCE = trained("reference", "dense")


def as_a_folder(path):
    path.unlink()
    path.mkdir()


def as_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def as_a_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def huge(path):
    "A picture that says it has more pixels than memory holds."
    import struct
    import zlib
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    size = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


WAYS = {"deleted": Path.unlink, "cut": lambda p: os.truncate(p, 60), "emptied": lambda p: os.truncate(p, 0),
        "garbage": lambda p: p.write_bytes(os.urandom(200)), "a folder": as_a_folder, "a pipe": as_a_pipe,
        "a link to itself": as_a_loop, "larger than memory": huge, "text": lambda p: p.write_text("no picture")}


def training_images(folder): return sorted(p for p in folder.rglob("*.png") if p.parent.name < "class 06")


def harmed_within(data, act, of=1):
    "Every image to train on, or one in `of`, breaks in step 6."
    def harm(*_, **__):
        for path in training_images(data)[::of]: act(path)
    return lambda: before_call(training, "training_step", 6, harm)


def fatal(way, act, workers):
    data, run = copied(DATA, "data"), fresh("run")
    words = train(run, "dense", f"workers={workers}", data=data)
    first = call(lambda: main(words), before=harmed_within(data, act), limit=90)
    kept = epoch_of(run)
    data = copied(DATA, "data")
    second = vptsp_(*words)
    held = first.refused and ".png" in first.last and kept and second.code == 0
    same = (FOLDER/"run"/"metrics.json").is_file() and (run/"history.jsonl").read_text().count("\n") == 4
    trials.add(f"images {way} within the run, {workers} workers", held and same, f"{first}; then {second}")


for way, act in WAYS.items():
    for workers in (0, 2): fatal(way, act, workers)


def listed(run):
    "Names of images in what the run keeps of itself."
    words = "".join(p.read_text() for p in (run/"run.json", run/"history.jsonl", run/"metrics.json") if p.is_file())
    return words.count(".png"), words


def skipped(way, act, workers):
    data, run = copied(DATA, "data"), fresh("run")
    words = train(run, "dense", f"workers={workers}", "broken_images=skip", data=data)
    end = call(lambda: main(words), before=harmed_within(data, act, of=5), limit=90)
    n, _ = listed(run)
    case = f"images {way}, to be skipped, {workers} workers: counted and listed"
    trials.add(case, end.code == 0 and n > 0, f"{end}; {n}")


for way in ("deleted", "cut", "garbage"):
    for workers in (0, 2): skipped(way, WAYS[way], workers)


def skipped_alike():
    "Two runs that skip the same images have the same bits, one of them killed in between."
    data, runs = copied(DATA, "data"), [fresh("one"), fresh("two")]
    for path in training_images(data)[::5]: WAYS["cut"](path)     # before they begin: a file that changes is other data
    def words(run): return train(run, "dense", "broken_images=skip", data=data)
    ends = [vptsp_(*words(runs[0]))]
    ends.append(call(lambda: main(words(runs[1])), before=lambda: before_call(training, "training_step", 11, die)))
    ends.append(vptsp_(*words(runs[1])))
    wrong = differences(*runs) if ends[0].code == ends[2].code == 0 else [str(end) for end in ends]
    trials.add("a run that skips, killed and taken up: as undisturbed", not wrong, wrong)


skipped_alike()


def all_of_a_class(workers):
    data, run = copied(DATA, "data"), fresh("run")
    def harm(*_, **__):
        for path in (data/"class 02").iterdir(): path.unlink()
    words = train(run, "dense", f"workers={workers}", "broken_images=skip", data=data)
    end = call(lambda: main(words), before=lambda: before_call(training, "training_step", 6, harm), limit=90)
    trials.add(f"all images of a class gone, to be skipped, {workers} workers: a sentence, or listed",
               end.refused and ("class 02" in end.last or ".png" in end.last) or end.code == 0 and listed(run)[0], end)


for workers in (0, 2): all_of_a_class(workers)


# workers

def worker_harmed(number, at, setting):
    def harm(*_, **__):
        import multiprocessing
        os.kill(multiprocessing.active_children()[0].pid, number)
    run = fresh("run")
    words = train(run, "dense", "workers=2", f"broken_images={setting}")
    first = call(lambda: main(words), before=lambda: before_call(training, "training_step", at, harm), limit=90)
    second = vptsp_(*words)
    told = first.refused and "worker" in first.last or first.code == 0
    trials.add(f"a worker hears {signal.Signals(number).name} at step {at}, {setting}", told and second.code == 0,
               f"{first}; then {second}")


for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
    for at in (1, 6, 9): worker_harmed(number, at, "fatal")
worker_harmed(signal.SIGKILL, 6, "skip")


def orphans():
    run = fresh("run")
    child = Child(lambda: main(train(run, "dense", "workers=2", "epochs=400")))
    workers = []     # none between two epochs
    while not workers and not child.ended():
        time.sleep(.02)
        workers = child.children() if epoch_of(run) is not None else []
    child.signal(signal.SIGKILL)
    end = time.monotonic() + 30
    def alive(pid): return os.path.exists(f"/proc/{pid}") and ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    def left(): return [pid for pid in workers if alive(pid)]
    while left() and time.monotonic() < end: time.sleep(.1)
    case = "workers of a killed run end within half a minute"
    trials.add(case, workers and not left(), f"{len(workers)}, left {left()}")
    child.wait()


orphans()

# data that is another when the run comes back
half_data, half = copied(DATA, "half data"), fresh("half")
def stop(trainer): trainer.epoch == 2 and die()
call(lambda: main(train(half, "dense", data=half_data)),
     before=lambda: after_call(training.Trainer, "_checkpoint", 0, stop))


def changed(case, act, goes_on=False):
    data = copied(DATA, "half data")
    act(data, training_images(data)[0])
    end = vptsp_(*train(copied(half, "run"), "dense", data=data))
    trials.add(f"{case} between the parts of a run: {'goes on' if goes_on else 'noticed'}",
               end.code == 0 if goes_on else end.refused and "other images" in end.last, end)


def another_of_the_same_size(_, path):
    size, times = path.stat().st_size, path.stat()
    Image.new("RGB", (64, 64), "red").save(path)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def exchanged(data, path):
    other = sorted((data/"class 05").iterdir())[0]
    a, b = path.read_bytes(), other.read_bytes()
    path.write_bytes(b)
    other.write_bytes(a)


changed("an image removed", lambda _, path: path.unlink())
changed("an image added", lambda _, path: shutil.copy(path, path.with_name("zz.png")))
changed("an image replaced, of the same name, size and time", another_of_the_same_size)
changed("two images exchanged", exchanged)
changed("a class renamed", lambda data, _: (data/"class 01").rename(data/"class 01b"))
changed("an image of the test classes replaced", lambda data, _: another_of_the_same_size(
    data, sorted((data/"class 08").iterdir())[0]))
changed("an image only touched", lambda _, path: os.utime(path), goes_on=True)
changed("the folder copied", lambda *_: None, goes_on=True)


# clocks

def clock(step_back, kind):
    "The clock of the day jumps at its ninth reading."
    def harm():
        real, calls = getattr(time, kind), [0]
        def told():
            calls[0] += 1
            return real() + (step_back if calls[0] > 8 else 0)
        setattr(time, kind, told)
    run = fresh("run")
    end = call(lambda: main(train(run, "dense")), before=harm)
    wrong = differences(REFERENCE, run) if end.code == 0 else [str(end)]
    seconds = [json.loads(line)["seconds"] for line in (run/"history.jsonl").read_text().splitlines()]
    card = json.loads((run/"run.json").read_text()) if (run/"run.json").is_file() else {}
    seconds += [value for key, value in card.items() if "seconds" in key and isinstance(value, float)]
    trials.add(f"time.{kind} jumps by {step_back} s: no negative and no absurd seconds",
               not wrong and all(0 <= s < 1000 for s in seconds), f"{[round(s, 1) for s in seconds]} {wrong or ''}")


for seconds in (-3600, 3600, -10**9): clock(seconds, "time")
trials.end()
