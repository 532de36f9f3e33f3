"""Places that cannot be written to: a small file system that is full within a run, one mounted read-only, folders
without permission (as another user), a run's folder that vanishes or becomes a file, planted links, an odd umask.
Right is one sentence that names the place (exit code 2), and the same command goes on once the cause is gone. What
needs to mount or to be another user is left out where we may not, and said."""
import os
import shutil
import stat
import subprocess

from _trial import (
    FOLDER,
    Trials,
    before_call,
    call,
    copied,
    differences,
    epoch_of,
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

trials, DATA, NOBODY = Trials(), photos(), 65534
REFERENCE, FULL = trained("reference"), trained("full reference", "full")
MOUNT = FOLDER/"mount"
MOUNT.mkdir()


class Mounted:
    "A file system of so many bytes at MOUNT, for a block."
    def __init__(self, size): self.size = size
    def __enter__(self): subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.size}", "none", MOUNT], check=True)
    def __exit__(self, *_): subprocess.run(["umount", "-l", MOUNT], check=True)


def may_mount():
    try:
        with Mounted("1m"): return True
    except (OSError, subprocess.CalledProcessError): return False


def fill(free):
    "Leave so many bytes of MOUNT free."
    found = os.statvfs(MOUNT)
    (MOUNT/"ballast").write_bytes(bytes(max(found.f_bavail*found.f_frsize - free, 0)))


def room_again(): (MOUNT/"ballast").unlink(missing_ok=True)


# a disk that is full from a moment of the run on; at an epoch's checkpoint, and at the end

def full_within(variant, reference, size, owner_name, number, free):
    with Mounted(size):
        run = MOUNT/"run"
        def harm(): before_call(training.Trainer, owner_name, number, lambda *_, **__: fill(free))
        first = call(lambda: main(train(run, variant)), before=harm)
        kept = epoch_of(run)
        room_again()
        second = vptsp_(*train(run, variant))
        wrong = differences(reference, run) + litter(run) if second.code == 0 else [str(second)]
        held = (first.refused and str(MOUNT) in first.last or first.code == 0) and kept is not None and not wrong
        trials.add(f"{variant}, full at {owner_name} {number}, {free:,} bytes left", held,
                   f"{first}; kept epoch {kept} {wrong or ''}")


if may_mount():
    for free in (0, 4096, 100_000, 1_000_000, 1_803_000, 1_900_000):
        full_within("bank", REFERENCE, "12m", "_checkpoint", 2, free)
    for free in (0, 5_000_000): full_within("full", FULL, "60m", "_checkpoint", 3, free)
    for free in (0, 50_000, 603_000, 610_000): full_within("bank", REFERENCE, "12m", "_finish", 1, free)
    for size in range(4, 200, 28):
        with Mounted(f"{size}k"):
            first = vptsp_("index", REFERENCE, DATA, "--out", MOUNT/"gallery")
            held = first.code == 0 or first.refused and str(MOUNT) in first.last and not list(MOUNT.iterdir())
            trials.add(f"gallery on a disk of {size} kB", held, f"{first} {[p.name for p in MOUNT.iterdir()]}")
    few = photos(1, 6, "few")
    for free in (0, 20_000, 60_000, 120_000):
        with Mounted("4m"):
            must(vptsp_("index", REFERENCE, few, "--out", MOUNT/"gallery"))
            fill(free)
            first = vptsp_("index", REFERENCE, DATA, "--out", MOUNT/"gallery")
            n = len(Gallery.load(MOUNT/"gallery"))
            room_again()
            stays = n == len(list(few.rglob("*.png")))
            held = first.refused and stays and [p.name for p in MOUNT.iterdir()] == ["gallery"]
            trials.add(f"an old gallery stays when the new one has {free:,} bytes", held, f"{first}; {n} images")
    for what in ("report", "explore"):
        with Mounted("8k"):
            first = vptsp_(what, REFERENCE, "--data", DATA, "--out", MOUNT/"page.html")
            held = first.refused and str(MOUNT) in first.last and not list(MOUNT.iterdir())
            trials.add(f"{what}: a page on a full disk", held, f"{first} {[p.name for p in MOUNT.iterdir()]}")
    with Mounted("12m"):
        subprocess.run(["mount", "-o", "remount,ro", MOUNT], check=True)
        for what, words in (("train", train(MOUNT/"run")), ("index", ["index", REFERENCE, DATA, "--out", MOUNT/"g"]),
                            ("report", ["report", REFERENCE, "--data", DATA, "--out", MOUNT/"page.html"])):
            first = vptsp_(*words)
            early = "epoch 1" not in first.text
            trials.add(f"read-only file system, {what}", first.refused and str(MOUNT) in first.last and early, first)
else: print("left out: a small file system (we may not mount one)")


# permissions

if os.getuid() == 0:
    ours = fresh("ours")
    ours.mkdir(0o755)
    for what, words in (("train", train(ours/"run")), ("index", ["index", REFERENCE, DATA, "--out", ours/"gallery"]),
                        ("report", ["report", REFERENCE, "--data", DATA, "--out", ours/"page.html"]),
                        ("report, into the run", ["report", REFERENCE, "--data", DATA])):
        end = vptsp_(*words, user=NOBODY)
        trials.add(f"no permission, {what}", end.refused and "ermission" in end.last and str(FOLDER) in end.last, end)
# what another user does from beginning to end needs a Python that this user may read
theirs = fresh("theirs")
theirs.mkdir()
theirs.chmod(0o777)
if os.getuid() == 0 and vptsp_(*train(theirs/"whole"), user=NOBODY).code == 0:
    hidden = copied(DATA, "hidden")
    image = sorted(hidden.glob("*/*.png"))[3]
    image.chmod(0)
    end = vptsp_(*train(theirs/"run", data=hidden), user=NOBODY)
    trials.add("an image without permission", end.refused and image.name in end.last and "ermission" in end.last, end)

    def locked_within(part):
        run = theirs/f"run {part or 'itself'}"
        def lock(trainer): (trainer.out/part).chmod(0o555)
        def harm(): before_call(training.Trainer, "_checkpoint", 2, lock)
        first = call(lambda: main(train(run)), user=NOBODY, before=harm)
        kept = epoch_of(run)
        (run/part).chmod(0o755)
        second = vptsp_(*train(run), user=NOBODY)
        wrong = differences(REFERENCE, run) if second.code == 0 else [str(second)]
        held = (first.refused and str(run) in first.last or first.code == 0) and kept and not wrong
        detail = f"{first}; epoch {kept} {wrong or ''}"
        trials.add(f"permission taken within the run, {part or 'its folder'}", held, detail)

    for part in ("checkpoint", ""): locked_within(part)
    run = copied(REFERENCE, "readable")
    for path in (run, *run.rglob("*")): path.chmod(0o555 if path.is_dir() else 0o444)
    for what, words in (("evaluate", ["evaluate", run, "--data", DATA]), ("train, finished", train(run))):
        end = vptsp_(*words, user=NOBODY)
        trials.add(f"a finished run that may only be read, {what}", end.code == 0, end)
else: print("left out: runs of another user (we are not root, or Python's own files are closed to others)")


# folders that vanish or are something else

def vanishing(what, part, act, number=2):
    run = fresh("vanishing")
    def harm(): before_call(training.Trainer, "_checkpoint", number, lambda trainer: act(trainer.out/part))
    first = call(lambda: main(train(run)), before=harm)
    if run.is_file(): run.unlink()
    if part == "checkpoint" and (run/part).is_file(): (run/part).unlink()
    second = vptsp_(*train(run))
    wrong = differences(REFERENCE, run) if second.code == 0 else [str(second)]
    held = (first.refused and str(run) in first.last or first.code == 0) and not wrong
    trials.add(f"{part or 'the run folder'} {what}", held, f"{first}; {wrong or 'then as undisturbed'}")


def into_a_file(path):
    shutil.rmtree(path)
    path.write_text("no folder")


for part in ("", "checkpoint"):
    vanishing("removed within the run", part, shutil.rmtree)
    vanishing("becomes a file within the run", part, into_a_file)
vanishing("removed within the run", "history.jsonl", lambda path: path.unlink(), 3)
vanishing("removed within the run", "config.yaml", lambda path: path.unlink())
for where in ("run", "checkpoint", "model", "history.jsonl"):
    run = fresh("taken")
    if where == "run": run.write_text("a file")
    elif where == "history.jsonl": (run/where).mkdir(parents=True)
    else:
        run.mkdir()
        (run/where).write_text("a file")
    end = vptsp_(*train(run))
    early = where == "model" or "epoch 1/" not in end.text
    trials.add(f"{where} is something else already", end.refused and str(run) in end.last and early, end)
end = vptsp_(*train("/proc/nowhere/run"))
trials.add("a folder that cannot be", end.refused and "/proc" in end.last, end)
end = vptsp_(*train(FOLDER/("x"*300)))
trials.add("a name that is too long", end.refused, f"{end.code} {end.last[-120:]!r}")


# links that someone planted where a temporary or a final file will be, and the mode of what is written

def planted(names):
    run, victim = fresh("planted"), FOLDER/"victim"
    victim.write_text("untouched")
    for name in names:
        (run/name).parent.mkdir(parents=True, exist_ok=True)
        (run/name).symlink_to(victim)
    end = vptsp_(*train(run))
    wrong = differences(REFERENCE, run) if end.code == 0 else []
    wrong = [d for d in wrong if d.removeprefix("the file ") not in names]      # links beside ours stay
    held = victim.read_text() == "untouched" and (end.code == 0 and not wrong or end.refused)
    trials.add(f"planted links: {', '.join(names)}", held, f"{end} {victim.read_text()[:30]!r} {wrong or ''}")


planted(["config.yaml.part", "history.jsonl.part", "checkpoint/last.safetensors.part", "metrics.json.part"])
planted(["history.jsonl", "run.json", "model/README.md"])
planted(["model/model.safetensors"])
planted([".lock"])
for mask, mode in ((0o022, 0o644), (0o002, 0o664), (0o077, 0o600)):
    run, gallery = fresh("of a mask"), fresh("gallery of a mask")
    def masked(mask=mask): os.umask(mask)
    must(vptsp_(*train(run, "bank", "epochs=1"), before=masked))
    must(vptsp_("index", run, DATA, "--out", gallery, before=masked))
    files = [p for folder in (run, gallery) for p in folder.rglob("*") if p.is_file()]
    modes = {str(p.relative_to(FOLDER)): stat.S_IMODE(p.stat().st_mode) for p in files}
    other = {name: f"{found:o}" for name, found in modes.items() if found != mode}
    trials.add(f"umask {mask:03o}: every file is {mode:o}", not other and len(modes) > 8, other or "")
trials.end()
