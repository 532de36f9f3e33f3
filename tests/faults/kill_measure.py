"""How much work is lost: a kill within an epoch's end (measuring, saving, the history, a callback), within the frozen
measurement and the warm start, in mid-epoch with checkpoints by the minute. Counted in training steps and measurements
that are done twice."""
import os
import signal

from _trial import FOLDER, Trials, before_call, call, die, differences, fresh, main, must, train

from vptsp import training
from vptsp.callbacks import Progress

STEPS = 16
LOG = FOLDER/"log"
trials = Trials()


def note(letter):
    with open(LOG, "a") as log: log.write(letter)


def times(letter): return LOG.read_text().count(letter) if LOG.exists() else 0


def counting():
    "Every training step, and every measurement of the frozen backbone, in the log."
    before_call(training, "training_step", 0, lambda *_, **__: note("s"))
    before_call(training, "measure_frozen", 0, lambda *_, **__: note("f"))


def killed_then_whole(variant, changes, harm, kills=1):
    "The run, killed by `harm` in each of `kills` processes, then left alone."
    run = fresh("run")
    LOG.unlink(missing_ok=True)
    for _ in range(kills):
        end = call(lambda: main(train(run, variant, *changes)), before=lambda: (counting(), harm()))
        if end.code != -signal.SIGKILL: return run, [f"was not killed: {end}"]
    end = call(lambda: main(train(run, variant, *changes)), before=counting)
    return run, [] if end.code == 0 else [str(end)]


def lost(case, harm, most, variant="dense", changes=(), kills=1):
    "Steps done twice, over what an undisturbed run does; at most so many."
    reference = fresh("reference")
    must(call(lambda: main(train(reference, variant, *changes))))
    run, wrong = killed_then_whole(variant, changes, harm, kills)
    wrong += differences(reference, run)
    twice = times("s") - STEPS
    trials.add(case, not wrong and twice <= most, f"{twice} steps done twice, at most {most} may be {wrong[:3] or ''}")


def at(name, number, owner=training.Trainer): return lambda: before_call(owner, name, number, die)


lost("killed while the classes are measured", at("_measure", 1), 0)
lost("killed while they are measured, second time", at("_measure", 2), 0)
lost("killed twice while they are measured", at("_measure", 1), 0, kills=2)
lost("killed while the model is written", at("_finish", 1), 0)
lost("killed before the first epoch's checkpoint", at("_checkpoint", 1), 4)
lost("killed before the third epoch's checkpoint", at("_checkpoint", 3), 4)
lost("killed in a callback at an epoch's end", lambda: before_call(Progress, "epoch_end", 0, die), 0)
BY_STEP = ("checkpoint_minutes=0.00001", "feature_dropout=0.1")
for variant in ("dense", "bank", "full"):
    lost(f"killed at step 7, saved at every step, {variant}", at("training_step", 7, training), 2, variant, BY_STEP)
lost("killed at step 3 five times, saved at every step", at("training_step", 3, training), 10, "bank", BY_STEP, 5)

# what was measured of the frozen backbone is kept at once
for name, number in (("training_step", 1), ("training_step", 2)):
    run, wrong = killed_then_whole("dense", (), at(name, number, training), kills=3)
    trials.add(f"killed three times at step {number}: the frozen backbone is measured once", times("f") == 1,
               f"{times('f')} times {wrong or ''}")
run, wrong = killed_then_whole("dense", (), lambda: before_call(training.Trainer, "_warm_up", 1, die), kills=2)
trials.add("killed twice in the warm start: the frozen backbone is measured once", times("f") == 1,
           f"{times('f')} times {wrong or ''}")

# a stop that is heeded loses nothing at all
def stopped(number):
    "A signal within step 7, then the same command."
    reference, run, words = fresh("reference"), fresh("run"), ("bank", "feature_dropout=0.1")
    must(call(lambda: main(train(reference, *words))))
    LOG.unlink(missing_ok=True)
    def signal_at_step(): before_call(training, "training_step", 7, lambda *_, **__: os.kill(os.getpid(), number))
    first = call(lambda: main(train(run, *words)), before=lambda: (counting(), signal_at_step()))
    last = call(lambda: main(train(run, *words)), before=counting)
    wrong = differences(reference, run) if last.code == 0 else [str(last)]
    trials.add(f"{number.name} at step 7 loses at most the step at work", not wrong and times("s") <= STEPS + 1,
               f"{first}; {times('s') - STEPS} steps done twice {wrong[:3] or ''}")


for number in (signal.SIGINT, signal.SIGTERM): stopped(number)
trials.end()
