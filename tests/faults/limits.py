"""Memory that runs out, sizes that are absurd, settings that contradict a method, model files that ask for processes or
sizes of their own, texts that cost more than they look. Right: what was given by hand is obeyed, or one sentence (exit
code 2), at once and before anything large is made."""
import json
import resource
import time
from pathlib import Path

from _trial import FOLDER, Child, Trials, copied, fresh, main, must, photos, read_tensors, train, trained, vptsp_
from safetensors.torch import save_file

trials, DATA = Trials(), photos()
RUN = trained("run")
GALLERY = fresh("gallery")
must(vptsp_("index", RUN, DATA, "--out", GALLERY))


def address_space():
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmSize")).split()[1])*1024


def with_memory(more): return lambda: resource.setrlimit(resource.RLIMIT_AS, (address_space() + more,)*2)


# memory that runs out within the run
for variant in ("full", "bank", "lora"):
    for more in (20, 40, 80, 150, 300):
        run = fresh("short")
        first = vptsp_(*train(run, variant), before=with_memory(more*1_000_000))
        second = vptsp_(*train(run, variant))
        held = first.code == 0 or first.refused and ("batch_size" in first.last or "memory" in first.last)
        case = f"{variant}, {more} MB more than it begins with"
        trials.add(case, held and second.code == 0, f"{first}; then {second}")


# sizes that cannot be
def at_once(case, words, seconds=20., word=None, memory=4_000_000_000):
    end = vptsp_(*words, before=with_memory(memory), limit=90)
    held = end.refused and end.seconds < seconds and (word is None or word in end.last)
    trials.add(f"{case}: one sentence, at once", held, f"{end} ({end.seconds:.1f} s)")


for setting in ("num_class_prompts=100000000", "num_prompts=100000000", "image_size=1000000", "batch_size=1000000000",
                "embed_dim=100000000", "lora_rank=100000000", "num_class_prompts=10000000000000000000"):
    variant = "lora" if "lora" in setting else "dense"
    at_once(setting, train(fresh("large"), variant, setting), word=setting.split("=")[0])
for setting in ("workers=100000", "epochs=1000000000000000000000000", "accumulate=1000000000000"):
    end = vptsp_(*train(fresh("large"), "dense", setting), limit=20, before=with_memory(6_000_000_000))
    held = end.refused and end.seconds < 20 or setting.startswith("epochs") and end.code is None and not end.traceback
    trials.add(f"{setting}: one sentence", held, end)
    fresh("large")


# texts that cost more than they look
def file_with(text):
    path = fresh("settings.yaml")
    path.write_text(text)
    return path


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}']*9)}]\n" for a, b in zip("abcdefghi", "bcdefghij")) + "epochs: *j\n"
for case, text in (("digits", f"epochs: {'9'*200_000}\n"), ("digits of a fraction", f"lr: 0.{'3'*200_000}\n"),
                   ("an exponent", "lr: 1e999999999\n"), ("underscores", f"epochs: {'1_'*100_000}1\n"),
                   ("octal", f"epochs: 0o{'7'*200_000}\n"), ("hexadecimal", f"epochs: 0x{'f'*200_000}\n"),
                   ("base sixty", f"epochs: {':'.join(['59']*50_000)}\n"), ("a bomb of anchors", BOMB),
                   ("a bomb in one value", f"epochs: {'['*50_000}{']'*50_000}\n"),
                   ("braces", f"epochs: {'{a: '*50_000}\n"),
                   ("dashes", f"epochs:\n{'- '*50_000}1\n"), ("a long key", f"{'k'*2_000_000}: 1\n"),
                   ("keys", "".join(f"k{i}: 1\n" for i in range(200_000))), ("a date", "epochs: 2024-01-01\n"),
                   ("quotes", f"dataset: \"{'x'*2_000_000}\"\n"), ("comments", "# x\n"*500_000 + "epochs: x\n"),
                   ("a merge of itself", "a: &a\n  <<: *a\n"),
                   ("python", "epochs: !!python/object/apply:os.abort []\n")):
    end = vptsp_("train", file_with(text), "--data", DATA, "--out", fresh("large"), limit=60)
    small = len(end.text) < 5000
    trials.add(f"settings file: {case}", end.refused and end.seconds < 5 and small, f"{end} ({end.seconds:.1f} s)")
for word in (f"epochs={'9'*100_000}", f"lr=0.{'3'*100_000}", f"seed={'9'*5000}", f"epochs={'['*20_000}",
             "lr=1e999999999"):
    end = vptsp_(*train(fresh("large"), "dense", word), limit=60)
    case = f"a word of {len(word)} characters, {word[:12]}..."
    trials.add(case, end.refused and end.seconds < 5, f"{end.code} {end.last[-100:]}")

# what is given by hand wins over a method, or is named
GIVEN = {"lora": ["lora_rank=4"], "adapter": ["num_prompts=3"], "vpt": ["semantic_proxies=class_prompts"],
         "linear": ["tune=bitfit"], "frozen": ["epochs=2"], "bitfit": ["tune=none"], "full": ["tune=none"],
         "vptsp-m": ["accumulator=gru"], "vptsp-g": ["semantic_proxies=none"]}
for method, (setting,) in GIVEN.items():
    run = fresh("given")
    end = vptsp_(*train(run, "vpt", "--method", method, "epochs=1", "eval_from=1", setting))
    name, value = setting.split("=")
    lines = (run/"config.yaml").read_text().splitlines() if (run/"config.yaml").is_file() else []
    obeyed = any(line.split("#")[0].replace('"', "").split() == [f"{name}:", value] for line in lines)
    idle = any(f"{name}={value}" in line and "no effect" in line for line in end.text.splitlines())
    trials.add(f"--method {method} {setting}: obeyed, refused by name, or said to have no effect",
               end.code == 0 and (obeyed or idle) or end.refused and name in end.last, end)


# a model file that asks for what is not its business
def model_that_says(**settings):
    folder = copied(RUN, "asking")
    file = folder/"model/model.safetensors"
    tensors, about = read_tensors(file)
    words = json.loads(about["vptsp"])
    words["settings"] |= settings
    save_file(tensors, file, metadata={"vptsp": json.dumps(words)})
    return folder


def processes_of(child):
    most, end = 0, time.monotonic() + 60
    while not child.ended() and time.monotonic() < end:
        most = max(most, len(child.children()))
        time.sleep(.02)
    return most


for n in (30, 100_000, -1, 2.5, "30", None, True):
    folder = model_that_says(workers=n)
    for words in (["evaluate", folder, "--data", DATA], ["index", folder, DATA, "--out", fresh("asked")],
                  ["report", folder, "--data", DATA, "--out", FOLDER/"page.html"]):
        child = Child(lambda words=words: main([str(w) for w in words]))
        most, end = processes_of(child), child.wait()
        trials.add(f"a model that says workers = {n!r}, {words[0]}", most <= 4 and (end.code == 0 or end.refused),
                   f"{most} processes; {end}")
for name, value in (("batch_size", 10**9), ("num_prompts", 10**8), ("num_class_prompts", 10**8), ("embed_dim", 10**8),
                    ("image_size", 10**6), ("lora_rank", 10**7), ("batch_size", "x"),
                    ("backbone", "vit_giant_patch14_224"), ("backbone", "../../etc/passwd"),
                    ("resize", 10**7), ("ks", list(range(10**5)))):
    asking = model_that_says(**{name: value})
    end = vptsp_("evaluate", asking, "--data", DATA, before=with_memory(4_000_000_000), limit=60)
    trials.add(f"a model that says {name} = {str(value)[:20]}", (end.refused or end.code == 0) and end.seconds < 30,
               f"{end} ({end.seconds:.1f} s)")


def classes_of(n):
    folder = copied(RUN, "asking")
    file = folder/"model/model.safetensors"
    tensors, about = read_tensors(file)
    words = json.loads(about["vptsp"])
    for key in ("num_classes", "classes"):
        if isinstance(words.get(key), int): words[key] = n
    save_file(tensors, file, metadata={"vptsp": json.dumps(words)})
    return folder


end = vptsp_("evaluate", classes_of(10**10), "--data", DATA, before=with_memory(4_000_000_000), limit=60)
trials.add("a model that says it has 10,000,000,000 classes", (end.refused or end.code == 0) and end.seconds < 30, end)
for text in ("[" * 100_000, "9" * 100_000, '{"images": ' + "9" * 10_000 + "}", '{"a": ' * 50_000):
    folder = copied(GALLERY, "asking")
    (folder/"gallery.json").write_text(text)
    end = vptsp_("search", folder, sorted(DATA.rglob("*.png"))[0], limit=60)
    trials.add(f"gallery.json: {text[:14]}...", end.refused and end.seconds < 5 and len(end.text) < 3000,
               f"{end.code} {end.last[-160:]}")
trials.end()
