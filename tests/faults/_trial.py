"""What the fault scripts share: a small data set, a run of it by name, children that do one thing and may die, and the
count of cases that held.

Every trial runs the real command line in a forked child, so that the package is imported once and a patch in a child
is gone with it. A child has its own session: what it starts can be ended with it.
"""
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

# before torch is imported: one thread gives the same bits each time, and there is nothing to fetch
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

import torch
from safetensors import safe_open

import vptsp.all  # noqa: F401
from vptsp.benchmarks import load_emoji
from vptsp.cli import main

ROOT = Path(__file__).resolve().parents[2]
NAME = Path(sys.argv[0]).stem
FOLDER = Path(tempfile.mkdtemp(prefix=f"vptsp-faults-{NAME}-"))
FOLDER.chmod(0o755)                                     # also for a child that is another user
CHECKPOINT = "checkpoint/last.safetensors"
torch.set_num_threads(1)
random.seed(NAME)

# twelve classes of three images, half to train on: 16 steps
BASE = ["epochs=4", "batch_size=4", "num_prompts=2", "num_class_prompts=1", "eval_from=3"]
GRU = ["semantic_proxies=class_prompts"]
VARIANTS = {
    "dense": GRU,
    "dense, SGD, dropout": [*GRU, "optimizer=sgd", "lr=0.01", "gru_dropout=0.1", "feature_dropout=0.1"],
    "bank": [*GRU, "bank=true"],
    "bank, 2 workers": [*GRU, "bank=true", "workers=2"],
    "mix, bank, SGD": [*GRU, "bank=true", "optimizer=sgd", "lr=0.01", "accumulator=mix", "accumulator_init=xavier"],
    "held-out classes, checkpointing": [*GRU, "holdout=0.3", "loss=proxy_anchor", "checkpointing=true"],
    "accumulate, clip": [*GRU, "accumulate=2", "clip=0.5"],
    "saved at every step": [*GRU, "bank=true", "checkpoint_minutes=0.0001", "feature_dropout=0.1"],
    "best epoch, patience": [*GRU, "holdout=0.3", "keep=best", "patience=2", "eval_from=1"],
    "vpt": ["--method", "vpt"],
    "full": ["--method", "full"],
    "lora": ["--method", "lora"],
    "adapter": ["--method", "adapter"],
    "bitfit": ["--method", "bitfit"],
}


# folders

def fresh(name):
    "A path in the work folder at which there is nothing."
    path = FOLDER/name
    if path.is_dir() and not path.is_symlink(): shutil.rmtree(path)
    else: path.unlink(missing_ok=True)
    return path


def copied(source, name="copy"): return Path(shutil.copytree(source, fresh(name), symlinks=True))


def photos(classes=12, each=3, name="photos"):
    "A folder of images, a folder a class, from the bundled emoji."
    root = FOLDER/name
    if root.is_dir(): return root
    images = load_emoji().train.of_classes(range(classes))
    for c in range(classes):
        (root/f"class {c:02}").mkdir(parents=True)
        for i in (images.labels == c).nonzero()[:each, 0].tolist(): images.open(i).save(root/f"class {c:02}"/f"{i}.png")
    return root


def train(out, variant="bank", *changes, data=None):
    "The words of a training command; of a setting or an option that is given again, the last."
    words, given = iter([*BASE, *VARIANTS[variant], *map(str, changes)]), {}
    for w in words: given[w.split("=")[0]] = [w, next(words)] if w.startswith("--") else [w]
    return ["train", "emoji", "dataset=folder", *sum(given.values(), []), "--data", str(data or photos()),
            "--out", str(out)]


# children

@dataclass
class End:
    "How a child ended."
    code: int | None   # exit code; negative: the signal; None: it had to be stopped
    text: str          # all that it wrote
    seconds: float

    @property
    def last(self): return (self.text.strip().splitlines() or [""])[-1]

    @property
    def traceback(self): return "Traceback (most recent" in self.text

    @property
    def refused(self): return self.code == 2 and not self.traceback and self.last.startswith("vptsp: ")

    def __str__(self):
        how = "stopped, it took too long" if self.code is None else f"exit {self.code}"
        return f"{how}{', traceback' if self.traceback else ''}: {self.last[:260]!r}" if self.code else how


class Child:
    "A forked process that does one thing."
    def __init__(self, work, user=None, before=None):
        self.output, self.start = tempfile.TemporaryFile(), time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid: self._do(work, user, before)

    def _do(self, work, user, before):
        code = 99                                       # what the interpreter would show as a traceback
        try:
            os.setsid()
            for number in (1, 2): os.dup2(self.output.fileno(), number)
            sys.stdout = os.fdopen(1, "w", 1, encoding="utf-8", closefd=False)
            sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if user: os.setgroups([])
            if user: os.setgid(user)
            if user: os.setuid(user)
            if before: before()
            code = work() or 0
        except SystemExit as e: code = e.code if isinstance(e.code, int) else 1
        except BaseException: traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException): sys.stdout.flush()
            with contextlib.suppress(BaseException): sys.stderr.flush()
            os._exit(code)

    def signal(self, number, group=False):
        with contextlib.suppress(ProcessLookupError): (os.killpg if group else os.kill)(self.pid, number)

    def children(self):
        "Process ids of what it has started."
        with contextlib.suppress(OSError):
            return [int(p) for p in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def ended(self):
        "Whether it has; it is not waited for."
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self, limit=180.):
        "Its end. It is killed, and all that it started, when the seconds are over."
        end, code = self.start + limit, None
        while time.monotonic() < end and not self.ended(): time.sleep(.003)
        if self.ended(): code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.signal(signal.SIGKILL, group=True)
        if code is None: os.waitpid(self.pid, 0)
        self.output.seek(0)
        text = self.output.read().decode(errors="replace").replace("\0", "")   # torch ends a worker's word with one
        return End(code, text, time.monotonic() - self.start)


def call(work, limit=180., **how): return Child(work, **how).wait(limit)


def vptsp_(*words, **how): return call(lambda: main([str(w) for w in words]), **how)


def must(end):
    "An end that a trial rests on."
    if end.code != 0: sys.exit(f"{NAME}: what the trials start from failed, {end}\n{end.text[-3000:]}")
    return end


def trained(name, variant="bank", *changes):
    "A finished run."
    place = fresh(name)
    must(vptsp_(*train(place, variant, *changes)))
    return place


# patches, for use in a child

def before_call(owner, name, number, act):
    "`act` on the arguments of call `number` of a function, ahead of it; 0 for every call."
    real, calls = getattr(owner, name), [0]
    def patched(*args, **kw):
        calls[0] += 1
        if number in (0, calls[0]): act(*args, **kw)
        return real(*args, **kw)
    setattr(owner, name, patched)


def after_call(owner, name, number, act):
    "The same behind it."
    real, calls = getattr(owner, name), [0]
    def patched(*args, **kw):
        calls[0] += 1
        out = real(*args, **kw)
        if number in (0, calls[0]): act(*args, **kw)
        return out
    setattr(owner, name, patched)


def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)


# what a run's folder holds

def read_tensors(file):
    "Tensors by name, and the file's words on itself."
    with safe_open(file, "pt") as f: return {name: f.get_tensor(name) for name in f.keys()}, f.metadata() or {}


def without_seconds(value):
    "The same JSON without what a clock has said."
    if isinstance(value, dict): return {k: without_seconds(v) for k, v in value.items() if k != "seconds"}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


def read_json(path): return without_seconds(json.loads(Path(path).read_text(encoding="utf-8")))


def read_lines(path):
    return [without_seconds(json.loads(line)) for line in Path(path).read_text(encoding="utf-8").splitlines() if line]


def lines_but_seconds(path): return [line for line in path.read_text().splitlines() if "seconds" not in line]


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def files_in(folder): return {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if not p.is_dir()}


def epoch_of(run):
    "Epochs behind a run's checkpoint; None where there is none that can be read."
    try: return json.loads(read_tensors(Path(run)/CHECKPOINT)[1]["run"])["epoch"]
    except Exception: return None


def differences(a, b):
    "What differs between the folders of two finished runs, to the bit, clocks left out."
    a, b = Path(a), Path(b)
    if not (b/"metrics.json").is_file(): return ["not finished"]
    found = [f"the file {name}" for name in sorted(files_in(a) ^ files_in(b))]
    (ours, about), (theirs, other) = read_tensors(a/CHECKPOINT), read_tensors(b/CHECKPOINT)
    found += [f"checkpoint: {name}" for name in sorted(ours.keys() ^ theirs.keys())]
    found += [f"checkpoint: {n}" for n in ours.keys() & theirs.keys() if not same_bits(ours[n], theirs[n])]
    about, other = (without_seconds(json.loads(words["run"])) for words in (about, other))
    found += [f"checkpoint about: {key}" for key in about.keys() | other.keys() if about.get(key) != other.get(key)]
    model = "model/model.safetensors"
    if (a/model).read_bytes() != (b/model).read_bytes(): found.append(model)
    for name in ("config.yaml", "model/README.md"):
        if lines_but_seconds(a/name) != lines_but_seconds(b/name): found.append(name)
    for name in ("metrics.json", "model/config.json"):
        if read_json(a/name) != read_json(b/name): found.append(name)
    if read_lines(a/"history.jsonl") != read_lines(b/"history.jsonl"): found.append("history.jsonl")
    return found


def litter(folder):
    "Names of unfinished files and of locks that stayed."
    marks = (".part", ".tmp", ".lock", ".old", ".new")
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if any(m in p.name for m in marks))


# the count

class Trials:
    "Cases, printed as they come; at the end their figure."
    def __init__(self): self.held = self.all = 0

    def add(self, case, held, detail=""):
        self.all += 1
        self.held += bool(held)
        print(f"{'ok  ' if held else 'FAIL'} {case}{': ' if str(detail) else ''}{detail}", flush=True)

    def end(self):
        shutil.rmtree(FOLDER, ignore_errors=True)
        print(f"FIGURE {NAME} {self.held}/{self.all}")
        sys.exit(self.held != self.all)


def skip(reason):
    "End a script that cannot be run here."
    shutil.rmtree(FOLDER, ignore_errors=True)
    print(f"FIGURE {NAME} 0/0 (skipped: {reason})")
    sys.exit(0)
