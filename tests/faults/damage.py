"""Every file that a run keeps, damaged in every way: bits flipped, ends cut off, emptied, deleted, filled with garbage,
another run's put in its place, tensors missing or of another shape. Right is one sentence (exit code 2), or the numbers
of the undamaged file; wrong are other numbers without a word, and a traceback."""
import json
import shutil

from _damage import (
    COMMON,
    TENSORS,
    cut,
    damaged,
    deleted,
    first_is,
    flip,
    garbage,
    in_place_of,
    tensors_changed,
    text_changed,
    with_nan,
    with_one_more,
    without,
)
from _trial import (
    CHECKPOINT,
    ROOT,
    Trials,
    after_call,
    before_call,
    call,
    copied,
    die,
    differences,
    fresh,
    main,
    must,
    photos,
    train,
    trained,
    vptsp_,
)

from vptsp import training

trials, DATA = Trials(), photos()
MODEL = "model/model.safetensors"


# a run that was killed behind its third epoch, and one that is finished; another seed's beside them

def stopped_behind(folder, epoch, *changes):
    def kill(trainer): trainer.epoch == epoch and die()
    def harm(): after_call(training.Trainer, "_checkpoint", 0, kill)
    call(lambda: main(train(folder, "bank", *changes)), before=harm)
    return folder


half, other_half = stopped_behind(fresh("half"), 3), stopped_behind(fresh("other half"), 3, "seed=1")
whole, other = trained("whole"), trained("other", "bank", "seed=1")


def goes_on(folder): return main(train(folder))
def ends_alike(folder, _): return not [d for d in differences(whole, folder) if "notes" not in d]


parts = {f"without {p}": [without(p)] for p in ("model.proxies.memory", "optimizer.", "bank.", "model.head", "model.")}
changed = {"a tensor more": [tensors_changed(with_one_more)],
           "of another shape": [first_is(p, lambda t: t[..., :-1]) for p in ("model.head", "model.prompts", "bank.")],
           "of another dtype": [first_is("model.head", lambda t: t.double())],
           "NaN in it": [first_is(p, with_nan) for p in ("model.head", "optimizer.", "bank.")],
           "another seed's": [in_place_of(other_half/CHECKPOINT)], "a model's": [in_place_of(whole/MODEL)]}
damaged(trials, "stopped run", half, CHECKPOINT, {**COMMON, **TENSORS, **parts, **changed}, goes_on, ends_alike)
YAML = {"seed turned": [text_changed("seed: 0", "seed: 1")], "another run's": [in_place_of(other/"config.yaml")]}
damaged(trials, "stopped run", half, "config.yaml", {**COMMON, **YAML}, goes_on, ends_alike)
damaged(trials, "stopped run", half, "history.jsonl", COMMON, goes_on, ends_alike)


def both_damaged(folder):
    for file in (folder/"checkpoint").iterdir(): flip(high=True)(file)


folder = copied(half)
both_damaged(folder)
end = call(lambda: goes_on(folder))
trials.add("stopped run, both generations of the checkpoint damaged", end.refused and "safetensors" in end.last, end)
folder = copied(half)
flip(high=True)(folder/CHECKPOINT)
end = call(lambda: goes_on(folder))
trials.add("stopped run, the newest checkpoint damaged: it is named, the earlier one taken up",
           end.code == 0 and "last.safetensors" in end.text and ends_alike(folder, end), end)

# a finished run: trained again over its model, or read with other figures?
want = must(vptsp_("evaluate", whole, "--data", DATA, "--json")).last


def read_again(folder):
    "As `train` does with a finished run, the model's file watched."
    before = (folder/MODEL).read_bytes() if (folder/MODEL).is_file() else None
    before_call(training, "training_step", 0, lambda *_, **__: print("TRAINED"))
    code = main(train(folder))
    after = (folder/MODEL).read_bytes() if (folder/MODEL).is_file() else None
    if before and after != before: print("ANOTHER MODEL")
    return code


figure = next(line for line in must(vptsp_(*train(whole))).text.splitlines() if line.startswith("MAP@R "))


def untouched(folder, end):
    return "TRAINED" not in end.text and "ANOTHER MODEL" not in end.text and figure in end.text


def loaded(folder):
    from vptsp.all import Run
    run = Run.load(folder)
    print(json.dumps([run.metrics["R@1"], run.metrics["MAP@R"], len(run.history), run.cfg.seed]))


must(call(lambda: loaded(whole)))
figures = call(lambda: loaded(whole)).last
for name in ("metrics.json", "history.jsonl", "config.yaml", MODEL):
    damaged(trials, "finished run, train", whole, name, COMMON, read_again, untouched)


def figure_turned(file):
    found = json.loads(file.read_text())
    file.write_text(json.dumps({**found, "MAP@R": 1 - found["MAP@R"]}))


JSON = {"a figure turned": [figure_turned], "an empty mapping": [lambda file: file.write_text("{}")],
        "another run's": [in_place_of(other/"metrics.json")],
        "a list": [lambda file: file.write_text("[]")], "null": [lambda file: file.write_text("null")]}


def load_or_say(folder):
    try: loaded(folder)
    except (ValueError, OSError) as e:
        print(f"vptsp: {e}")
        return 2
    return 0


def loads_alike(_, end): return end.last == figures


damaged(trials, "finished run, Run.load", whole, "metrics.json", {**COMMON, **JSON}, load_or_say, loads_alike)
damaged(trials, "finished run, Run.load", whole, "history.jsonl", COMMON, load_or_say, loads_alike)
damaged(trials, "finished run, Run.load", whole, "config.yaml", {**COMMON, **YAML}, load_or_say, loads_alike)
damaged(trials, "finished run, report", whole, "metrics.json", {**COMMON, **JSON},
        lambda folder: main(["report", str(folder), "--data", str(DATA), "--out", str(fresh("page.html"))]),
        lambda *_: False)


def without_folder(gone):
    folder = copied(whole)
    shutil.rmtree(folder/gone)
    return folder, call(lambda: read_again(folder))


folder, end = without_folder("checkpoint")
trials.add("finished run without checkpoint/ is read", untouched(folder, end) and end.code == 0, end)
folder, end = without_folder("model")
trials.add("finished run without model/: a sentence", end.refused and str(folder) in end.last, end)

# its model
def measured(folder): return main(["evaluate", str(folder), "--data", str(DATA), "--json"])
def measured_alike(_, end): return end.last == want


model_parts = {"without the head": [without("head.")], "NaN in it": [first_is("head.", with_nan)],
               "of another shape": [first_is("head.", lambda t: t[..., :-1])]}
damaged(trials, "model", whole, MODEL, {**COMMON, **TENSORS, **model_parts}, measured, measured_alike)
damaged(trials, "model, report", whole, MODEL, {"cut": [cut(.5)], "an exponent's bit flipped": [flip(high=True)]*2},
        lambda folder: main(["report", str(folder), "--data", str(DATA), "--out", str(fresh("page.html"))]),
        lambda *_: False)
damaged(trials, "model to start from", whole, MODEL,
        {"cut": [cut(.5)], "an exponent's bit flipped": [flip(high=True)]*3},
        lambda folder: main(train(fresh("started"), "bank", "--weights", str(folder))), lambda *_: False)

# what comes with the package
def with_bundle(folder):
    import vptsp.backbone
    import vptsp.data
    vptsp.data.bundled_folder = vptsp.backbone.bundled_folder = lambda: folder
    return main(["train", "emoji", "epochs=0", "--method", "frozen", "--out", str(fresh("of bundle"))])


bundle = fresh("bundle")
for kind in ("emoji", "backbone"):
    shutil.copytree(ROOT/"data"/kind, bundle/kind, ignore=shutil.ignore_patterns("pretraining.json"))
frozen = must(call(lambda: with_bundle(bundle))).text.split("R@1")[1][:60]
FEW = {"a bit flipped": [flip()], "cut": [cut(.5)], "emptied": [cut(0)], "deleted": [deleted], "garbage": [garbage]}
for name in ("emoji/emoji.webp", "emoji/emoji.csv", "emoji/emoji.json", "backbone/model.safetensors",
             "backbone/backbone.json"):
    damaged(trials, "bundled", bundle, name, FEW, with_bundle, lambda _, end: frozen in end.text)
trials.end()
