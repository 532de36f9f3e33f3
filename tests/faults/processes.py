"""Runs of several processes on the CPU (gloo, loopback), started by torchrun, accelerate launch and notebook_launcher.
Right: the work is shared, one process writes, and the end is that of one process but for the order of sums; a process
that dies or raises ends the run within a minute with its sentence, and the same command goes on, with as many
processes or with one. Commands that are for one process are refused in a sentence, or done once."""
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from _trial import (
    CHECKPOINT,
    FOLDER,
    ROOT,
    Trials,
    epoch_of,
    files_in,
    fresh,
    litter,
    must,
    photos,
    read_tensors,
    train,
    vptsp_,
)

trials, DATA, BIN = Trials(), photos(), Path(sys.executable).parent
LOG = FOLDER/"steps"
SCRIPT = FOLDER/"ranked.py"
SCRIPT.write_text('''
import os, signal, sys
from vptsp import training
from vptsp.cli import main

rank, kind, when = os.environ.get("RANK", "0"), os.environ.get("HARM"), int(os.environ.get("AT", 0))
real, calls = training.training_step, [0]

def step(model, loss_of, optimizer, images, labels, accelerator):
    calls[0] += 1
    with open(os.environ["STEPS"], "a") as log: print(rank, len(images), labels.tolist(), file=log)
    if kind and rank == os.environ["WHO"] and calls[0] == when:
        if kind == "kill": os.kill(os.getpid(), signal.SIGKILL)
        if kind == "raise": raise RuntimeError("a fault of this process")
        if kind == "exit": os._exit(3)
        if kind == "nan": images = images*float("nan")
        if kind == "term": os.kill(os.getpid(), signal.SIGTERM)
        if kind == "hang": os.kill(os.getpid(), signal.SIGSTOP)
    return real(model, loss_of, optimizer, images, labels, accelerator)

training.training_step = step
sys.exit(main())
''')
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "STEPS": str(LOG)}


def torchrun(n): return [BIN/"torchrun", "--standalone", "--nproc-per-node", n, SCRIPT]


def children(pid): return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Launched:
    "A command under a launcher, to its end."
    def __init__(self, launcher, words, limit=150., send=None, everyone=False, **environment):
        LOG.write_text("")
        start = time.monotonic()
        command = [str(w) for w in (*launcher, *words)]
        process = subprocess.Popen(command, env={**ENV, **environment}, stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.STDOUT, start_new_session=True, cwd=FOLDER)
        if send:
            while not LOG.read_text().count("\n") > 6 and process.poll() is None: time.sleep(.05)
            started = children(process.pid) if everyone else []
            for pid in (process.pid, *started): os.kill(pid, send)
        try: self.text, self.code = process.communicate(timeout=limit)[0], process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            self.text, self.code = process.communicate()[0], None
        self.seconds, self.still = time.monotonic() - start, time.time() - LOG.stat().st_mtime   # since its last step
        self.steps = [line.split(" ", 2) for line in LOG.read_text().splitlines()]
        self.sentences = [line for line in self.text.splitlines() if "vptsp: " in line]

    @property
    def images(self): return Counter(sum(([rank]*int(n) for rank, n, _ in self.steps), []))

    def __str__(self):
        said = list(dict.fromkeys(line[line.index("vptsp: "):][:200] for line in self.sentences))[:2]
        return f"exit {self.code} after {self.seconds:.0f} s, images by rank {dict(self.images)} {said}"


def distance(a, b):
    "Largest difference of the tuned tensors of two runs."
    ours, theirs = (read_tensors(Path(run)/CHECKPOINT)[0] for run in (a, b))
    if ours.keys() != theirs.keys(): return float("inf")
    return max(float((ours[k].double() - theirs[k].double()).abs().max()) for k in ours if k.startswith("model."))


def shared(case, variant, n, *changes, tolerance=1e-5, launcher=None):
    "A whole run in n processes beside the same in one."
    one, several = fresh("one"), fresh("several")
    changes = ("epochs=3", "eval_from=2", *changes)
    alone = must(Launched([sys.executable, SCRIPT], train(one, variant, *changes)))
    end = Launched(launcher or torchrun(n), train(several, variant, *changes))
    if end.code != 0: return trials.add(f"{case}, {variant}", False, f"{end} {end.text[-600:]!r}")
    far, once = distance(one, several), sum(end.images.values()) == sum(alone.images.values())
    figures = [json.loads((run/"metrics.json").read_text())["MAP@R"] for run in (one, several)]
    other = files_in(one) ^ files_in(several)
    told = end.text.count("epoch 1/3")
    held = len(end.images) == n and once and far <= tolerance and not other
    held = held and abs(figures[0] - figures[1]) < 1e-3 and told == 1 and not litter(several)
    detail = f"{end}; farthest {far:.1e}; MAP@R {figures}; files {other or 'alike'}; told {told} times"
    trials.add(f"{case}, {variant}", held, detail)


SGD = ("optimizer=sgd", "lr=0.01")
for variant in ("dense", "bank", "mix, bank, SGD", "vpt", "full", "lora"): shared("torchrun, 2", variant, 2, *SGD)
shared("torchrun, 2", "bank", 2, tolerance=1e-3)     # AdamW: rounding of small gradients is amplified
for n in (3, 4): shared(f"torchrun, {n}, uneven shares", "bank", n, *SGD)
shared("torchrun, 2, odd batches", "dense", 2, *SGD, "batch_size=6")
shared("torchrun, 2", "accumulate, clip", 2, *SGD)
shared("torchrun, 2, workers", "bank, 2 workers", 2, *SGD)
accelerate = [BIN/"accelerate", "launch", "--cpu", "--num_processes", 1, "--num_machines", 1, "--mixed_precision", "no",
              "--dynamo_backend", "no", SCRIPT]
shared("accelerate launch, 1", "bank", 1, *SGD, launcher=accelerate)


def harmed(case, go_on=2, want=None, **harm):
    "A run that a fault ends within a minute; then the same command in so many processes."
    one, run = fresh("one"), fresh("several")
    words = ("epochs=3", "eval_from=2", *SGD)
    must(vptsp_(*train(one, "bank", *words)))
    first = Launched(torchrun(2), train(run, "bank", *words), **harm)
    kept = epoch_of(run)
    second = Launched(torchrun(go_on), train(run, "bank", *words)) if go_on > 1 else vptsp_(*train(run, "bank", *words))
    far = distance(one, run) if second.code == 0 else float("inf")
    said = want is None or any(want in s for s in first.sentences)
    held = first.code not in (0, None) and first.still < 60 and kept and far <= 1e-5 and said
    detail = f"{first}, {first.still:.0f} s behind the last step; kept epoch {kept}; then {second}; farthest {far:.1e}"
    trials.add(case, held and not litter(run), detail)


for who in "01":
    for kind in ("kill", "raise", "exit", "nan"):
        want = {"nan": "step", "raise": None}.get(kind, "another process of this run ended")
        harmed(f"rank {who}: {kind} at step 6", HARM=kind, WHO=who, AT="6", want=want)
harmed("rank 1 is killed, then one process goes on", go_on=1, HARM="kill", WHO="1", AT="6")
harmed("rank 1 is killed in the first step of an epoch", HARM="kill", WHO="1", AT="9")
harmed("rank 1 hears SIGTERM", HARM="term", WHO="1", AT="6")
for number in (signal.SIGTERM, signal.SIGINT): harmed(f"the launcher hears {number.name}", send=number)
for who in "01": harmed(f"rank {who} hangs", HARM="hang", WHO=who, AT="6", want="gives no sign of life")
harmed("a scheduler tells all of it, and the launcher tells its processes", send=signal.SIGTERM, everyone=True)

# one process writes; other commands and the wrong number of machines
reference = fresh("reference")
must(vptsp_(*train(reference)))
for words in (["index", reference, DATA, "--out", fresh("gallery")], ["evaluate", reference, "--data", DATA],
              ["report", reference, "--data", DATA, "--out", FOLDER/"page.html"],
              ["demo", "--out", fresh("demo")], ["data", "check", "folder", "--data", DATA]):
    end = Launched(torchrun(2), words)
    once = end.code == 0 and len(set(end.text.splitlines())) == len(end.text.splitlines())
    trials.add(f"{words[0]} under torchrun", bool(end.sentences) and end.code != 0 or once, end)
again = Launched(torchrun(2), train(reference))
trials.add("a finished run under torchrun is read", again.code == 0 and not again.steps, again)
taken = fresh("taken")
end = Launched(torchrun(2), train(taken, "bank", "batch_size=1"))
trials.add("fewer images a batch than processes: a sentence, or one done well",
           bool(end.sentences) and end.code not in (0, None) or end.code == 0 and epoch_of(taken) == 4, end)
for name, value in (("WORLD_SIZE", "2"), ("WORLD_SIZE", "x"), ("RANK", "1")):
    start = time.monotonic()
    end = Launched([sys.executable, SCRIPT], train(fresh("taken")), limit=100, **{name: value})
    sound = end.code == 0 and len(end.images) == 1 or end.code == 2 and end.sentences
    case = f"{name}={value} without a launcher: a sentence, or one process"
    trials.add(case, sound and "Traceback" not in end.text, end)

# from a notebook
NOTEBOOK = FOLDER/"launch.py"
NOTEBOOK.write_text(f'''
from accelerate import notebook_launcher
from vptsp.all import Config, Trainer, from_folder

def fit():
    cfg = Config.load("emoji", semantic_proxies="class_prompts", bank=True, epochs=2, batch_size=8, eval_from=2)
    Trainer(cfg, from_folder({str(DATA)!r}), {str(fresh("of notebook"))!r}, callbacks=[]).fit()

if __name__ == "__main__": notebook_launcher(fit, num_processes=2, use_port="29613")
''')
end = Launched([sys.executable, NOTEBOOK], [])
done = FOLDER/"of notebook"/"metrics.json"
sound = end.code == 0 and done.is_file() and not litter(done.parent)
trials.add("notebook_launcher, 2", sound, f"{end} {end.text[-300:]!r}")
trials.end()
