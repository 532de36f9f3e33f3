"""SIGKILL at random moments of every kind of run, one to three times, the same command again until it is done; then
Ctrl-C, SIGTERM and SIGHUP. Each must end with the bits of a run that nobody disturbed.

    python tests/faults/kill_random.py [KILLS]    # runs a variant, 20 by default
"""
import random
import signal
import sys
import time

from _trial import VARIANTS, Child, Trials, differences, fresh, litter, main, must, train

TIMES = int(sys.argv[1]) if sys.argv[1:] else 20
trials = Trials()


def disturbed(words, took, numbers, group):
    "Send these signals, each at a random moment of a process of its own; then let it end. -> (ends, last end)"
    ends = []
    for number in numbers:
        child = Child(lambda: main(words))
        end = time.monotonic() + random.uniform(.02, 1.)*took
        while time.monotonic() < end and not child.ended(): time.sleep(.002)
        child.signal(number, group)
        ends.append(child.wait())
        if ends[-1].code == 0: break
    return ends, Child(lambda: main(words)).wait()


def reference_of(variant):
    reference = fresh("reference")
    end = must(Child(lambda: main(train(reference, variant))).wait())
    return reference, end.seconds


for variant in VARIANTS:
    reference, took = reference_of(variant)
    bad = []
    for _ in range(TIMES):
        run = fresh("run")
        kills = [signal.SIGKILL]*random.choice((1, 1, 2, 3))
        ends, last = disturbed(train(run, variant), took, kills, group=random.random() < .5)
        found = differences(reference, run) + litter(run) if last.code == 0 else [str(last)]
        if found: bad.append(found[:4])
    trials.add(f"SIGKILL, {variant}: {TIMES - len(bad)} of {TIMES} as if undisturbed", not bad, bad[:2] or "")

# a signal that is heeded: one line, and the exit code of its kind
CODES = {signal.SIGINT: (130,), signal.SIGTERM: (143, -15), signal.SIGHUP: (129, -1)}
for variant in ("bank", "bank, 2 workers"):
    reference, took = reference_of(variant)
    for number, codes in CODES.items():
        bad = []
        for _ in range(max(TIMES//2, 1)):
            run = fresh("run")
            ends, last = disturbed(train(run, variant), took, [number], group=random.random() < .5)
            found = differences(reference, run) + litter(run) if last.code == 0 else [str(last)]
            if ends[0].traceback or ends[0].code not in (0, *codes): found.append(f"ended with {ends[0]}")
            if found: bad.append(found[:4])
        name = signal.Signals(number).name
        trials.add(f"{name}, {variant}: {max(TIMES//2, 1) - len(bad)} as if undisturbed", not bad, bad[:2] or "")
trials.end()
