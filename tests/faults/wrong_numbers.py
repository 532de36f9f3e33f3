"""Numbers that go wrong within a run, in its files and in its settings. Right: one sentence (exit code 2) that names
step, images and tensor and says what to do, the last good checkpoint stays, the same command goes on once the cause is
gone; what is computed all the same says that it collapsed, is below the frozen backbone, or proves nothing."""
import json
import shutil

import torch
from _trial import (
    FOLDER,
    ROOT,
    Trials,
    before_call,
    call,
    copied,
    differences,
    epoch_of,
    fresh,
    main,
    must,
    photos,
    read_tensors,
    train,
    vptsp_,
)
from safetensors.torch import load_file, save_file

from vptsp import training

trials, DATA = Trials(), photos()
REFERENCES = {}


def metrics_of(run):
    file = run/"metrics.json"
    return json.loads(file.read_text()) if file.exists() else {}


def notes_of(run): return " ".join(metrics_of(run).get("notes", []))


def reference(variant):
    if variant not in REFERENCES:
        REFERENCES[variant] = FOLDER/f"reference {len(REFERENCES)}"
        must(vptsp_(*train(REFERENCES[variant], variant)))
    return REFERENCES[variant]


def finite(run):
    "Whether every tensor of its checkpoints is; None where there is none."
    files = sorted((run/"checkpoint").glob("*.safetensors")) if (run/"checkpoint").is_dir() else []
    tensors = [t for file in files for t in read_tensors(file)[0].values() if t.is_floating_point()]
    return all(bool(t.isfinite().all()) for t in tensors) if files else None


# a fault in one step: what is given to `training_step`, and what happens within

def step_with(number, change):
    "Step `number` of a process with other arguments."
    real, calls = training.training_step, [0]
    def step(model, loss_of, optimizer, images, labels, accelerator):
        calls[0] += 1
        if calls[0] != number: return real(model, loss_of, optimizer, images, labels, accelerator)
        with change(model, optimizer, images) as (images, wrap):
            return real(model, wrap(loss_of), optimizer, images, labels, accelerator)
    training.training_step = step


class Change:
    "One way to break a step."
    def __init__(self, kind, value=float("nan")): self.kind, self.value, self.hooks = kind, value, []
    def __call__(self, model, optimizer, images):
        self.model, self.images = model, images
        return self

    def __enter__(self):
        tuned = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        images, value = self.images, self.value
        if self.kind == "images": images = images*value
        if self.kind == "one image":
            images = images.clone()
            images[3] = value
        if self.kind == "one pixel":
            images = images.clone()
            images[-1, 0, 5, 5] = value
        chosen = [p for name, p in tuned.items() if "head" in name] if self.kind == "gradient of the head" else \
            list(tuned.values()) if self.kind == "gradient" else []
        for p in chosen: self.hooks.append(p.register_hook(lambda g: g*value))
        def spoiled(loss_of): return lambda out, labels: loss_of(out, labels)*value
        return images, spoiled if self.kind == "loss" else lambda loss_of: loss_of

    def __exit__(self, *_):
        for hook in self.hooks: hook.remove()


def broken_step(variant, number, kind, value, names=("step",)):
    run = fresh("run")
    words = train(run, variant)
    first = call(lambda: main(words), before=lambda: step_with(number, Change(kind, value)))
    kept, sound = epoch_of(run), finite(run)
    second = vptsp_(*words)
    wrong = differences(reference(variant), run) if second.code == 0 else [str(second)]
    wrong = [d for d in wrong if "notes" not in d]
    named = [n for n in names if n not in first.last]
    held = first.refused and not named and sound is not False and not wrong
    trials.add(f"{variant}: {value} in the {kind} of step {number}", held,
               f"{first}; not named {named}; kept epoch {kept}, finite {sound}; then {wrong or 'as undisturbed'}")


NAN, INF = float("nan"), float("inf")
for variant in ("dense", "bank", "accumulate, clip", "full", "vpt"):
    for number in (1, 6, 8, 16):
        for kind in ("loss", "gradient", "images"): broken_step(variant, number, kind, NAN, ("step", str(number)))
for kind in ("one image", "one pixel"): broken_step("dense", 6, kind, NAN, ("step 6", ".png"))
for kind in ("loss", "gradient of the head", "images"): broken_step("dense", 8, kind, INF)
broken_step("dense, SGD, dropout", 8, "gradient of the head", -INF)
broken_step("held-out classes, checkpointing", 4, "gradient", NAN)
broken_step("saved at every step", 7, "gradient", NAN)
broken_step("bank, 2 workers", 7, "one image", INF, ("step 7", ".png"))


def state_spoiled(what):
    "A number in the optimizer's state or the memory turns to NaN between two steps; the next step shows it."
    def spoil(model, loss_of, optimizer, *_):
        if what == "weight": next(p for p in model.parameters() if p.requires_grad).data.view(-1)[0] = NAN
        if what == "memory": model.proxies.memory.view(-1)[0] = NAN
        if what == "optimizer":
            for state in optimizer.state.values():
                for t in state.values():
                    if torch.is_tensor(t) and t.ndim: t.view(-1)[0] = NAN
    run = fresh("run")
    first = call(lambda: main(train(run, "dense")), before=lambda: before_call(training, "training_step", 7, spoil))
    sound = finite(run)
    second = vptsp_(*train(run, "dense"))
    wrong = [str(second)] if second.code else [d for d in differences(reference("dense"), run) if "notes" not in d]
    held = first.refused and sound and not wrong
    trials.add(f"NaN in a {what} ahead of step 7", held, f"{first}; finite {sound}; then {wrong or 'as undisturbed'}")


for what in ("weight", "memory", "optimizer"): state_spoiled(what)

# rates that cannot be; the same folder with a lower one, as a word
for changes in (("lr=1e6", "lr_proxy=1e6"), ("lr=1e6", "lr_proxy=1e6", "optimizer=sgd"), ("lr=1e30", "optimizer=sgd"),
                ("lr_proxy=1e20", "optimizer=sgd"), ("lr=1e4", "bank=true"), ("lr=1e12",)):
    run = fresh("run")
    end = vptsp_(*train(run, "dense", *changes))
    said = end.refused or "collapse" in notes_of(run)
    held = said and not end.traceback and finite(run) is not False
    trials.add(f"{' '.join(changes)}: refused, or said to have collapsed", held, f"{end} {notes_of(run)}")
run = fresh("run")
call(lambda: main(train(run, "dense")), before=lambda: step_with(6, Change("gradient")))
refused = vptsp_(*train(run, "dense", "lr=0.0001"))
trials.add("behind a NaN, a lower lr in the same folder: goes on, or one sentence with the way to it",
           refused.code == 0 or refused.refused and "lr" in refused.last, refused)

# weights and models with NaN
weights = load_file(ROOT/"data/backbone/model.safetensors")
for part in ("blocks.0.attn.qkv.weight", "norm.weight", "pos_embed", "patch_embed.proj.bias", "blocks.3.mlp.fc2.bias"):
    name = next((k for k in weights if k.endswith(part)), None)
    if name is None: continue
    for value in (NAN, INF, -INF):
        spoiled = {k: t.clone() for k, t in weights.items()}
        spoiled[name].view(-1)[-1] = value
        save_file(spoiled, FOLDER/"bad.safetensors")
        end = vptsp_(*train(fresh("run"), "dense", "--weights", FOLDER/"bad.safetensors"))
        trials.add(f"{value} in {part} of the weights", end.refused and part in end.last, end)

sick = copied(reference("bank"), "sick")
model = sick/"model/model.safetensors"
tensors, about = read_tensors(model)
for name in ("head.linears.0.weight", next(k for k in tensors if "prompt" in k)):
    spoiled = {k: t.clone() for k, t in tensors.items()}
    spoiled[name].view(-1)[0] = NAN
    save_file(spoiled, model, metadata={k: v for k, v in about.items() if k != "sha256"})
    for words in (["evaluate", sick, "--data", DATA], ["index", sick, DATA, "--out", fresh("gallery")],
                  ["report", sick, "--data", DATA, "--out", FOLDER/"page.html"],
                  train(fresh("run"), "bank", "--weights", sick)):
        end = vptsp_(*words)
        trials.add(f"NaN in {name} of a model, {words[0]}", end.refused and not (FOLDER/"gallery").exists(), end)

# a collapse, and less than the frozen backbone
def collapsing(model, *_):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "head" in name and p.ndim == 2: p.fill_(1e-3)


run = fresh("run")
end = call(lambda: main(train(run, "dense")), before=lambda: before_call(training, "training_step", 16, collapsing))
notes = notes_of(run)
said = "collapse" in notes and "collapse" in end.text
trials.add("a collapsed model says so", end.code == 0 and said, f"{end} {notes}")
trials.add("and that it is below the frozen backbone", "frozen" in notes, notes)


def shuffled_head(model, *_):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "head" in name and p.ndim == 2: p.copy_(torch.randn_like(p)[:, torch.arange(p.shape[1]) % 3])


run = fresh("run")
end = call(lambda: main(train(run, "dense")), before=lambda: before_call(training, "training_step", 16, shuffled_head))
found = metrics_of(run)
above = bool(found) and found["MAP@R"] >= found["frozen"]["MAP@R"]
trials.add("a head at random: below the frozen backbone is said where it is", end.code == 0 and (
    above or "frozen" in notes_of(run)), f"{end} {notes_of(run)}")
notes = notes_of(reference("dense"))
trials.add("a sound run is not said to have collapsed", "collapse" not in notes, notes)


# tasks that prove nothing
def task(case, classes, each, word, *changes):
    data = photos(classes, each, f"task of {classes} and {each}")
    end = vptsp_(*train(fresh("run"), "dense", *changes, data=data))
    notes = notes_of(FOLDER/"run")
    trials.add(f"{case}: said", end.refused or word in notes and word in end.text, f"{end} {notes[:200]}")
    shutil.rmtree(data)


task("two class folders", 2, 6, "class", "batch_size=2")
task("three class folders", 3, 6, "class", "batch_size=4")
task("one image a class", 12, 1, "image", "batch_size=2")
task("two images a class, fewer images than K", 4, 2, "images", "batch_size=2")
trials.end()
