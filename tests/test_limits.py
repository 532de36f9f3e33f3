"""Settings that are obeyed or refused: methods and what is given by hand, sizes that no machine has, and files that say
more than they may. Every refusal is a sentence within a moment, before anything is allocated."""
import contextlib
import io
import json
import time
import warnings
from dataclasses import asdict, fields

import pytest
import torch

from vptsp.backbone import BackboneError
from vptsp.cli import main
from vptsp.config import Config, ConfigError, methods
from vptsp.effects import without_effect
from vptsp.limits import about_model, batch_need, check_model, check_run, needs, planned, without_memory
from vptsp.machine import free_memory, in_bytes
from vptsp.model import Model, _assembled, build_model
from vptsp.pretrained import bundled_vit
from vptsp.tensors import read_tensors, write_tensors
from vptsp.yaml12 import read_yaml

EMOJI = Config.load("emoji")


def shell(*words):
    "Exit code and what was printed."
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main([str(word) for word in words])
    return code, printed.getvalue().strip()


@contextlib.contextmanager
def within(seconds, bytes=200_000_000):
    "The block takes less, of time and of memory."
    import resource
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    took, grown = time.process_time() - start, 1024*(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert took < seconds and grown < bytes, f"{took:.1f} s, {in_bytes(grown)} more"


# -- methods, and what is given for them

OTHER = {"tune": ("none", "bitfit", "full"), "num_prompts": (0, 3), "semantic_proxies": ("none", "no_prompts"),
         "bank": (False, True), "adapter": ("none", "parallel", "sequential"), "lora_rank": (0, 4, 8), "epochs": (0, 3),
         "head": (True, False), "head_init": ("xavier", "pca"), "proxy_init": ("random", "class_mean"),
         "accumulator": ("mix", "gru", "gru_relu"), "guided_blocks": (0, 1), "semantic_blocks": (-1, 2),
         "proxy_noise": (0, .1), "adapter_num_blocks": (1,), "adapter_dim": (8, 256), "adapter_scale": (0, .5),
         "adapter_norm": ("pre", "post"), "adapter_init": ("lora", "bert")}

PAIRS = [(method, setting, value) for method in methods for setting in methods[method] for value in OTHER[setting]]
PAIRS += [("vptsp-g", "accumulator", value) for value in OTHER["accumulator"]]


@pytest.mark.parametrize("method, setting, value", PAIRS)
def test_what_is_given_by_hand_for_a_method_arrives_or_is_named(method, setting, value):
    typed = str(value).lower() if isinstance(value, bool) else value
    code, text = shell("settings", "emoji", "--method", method, f"{setting}={typed}", "--json")
    said = [line for line in text.splitlines() if line.startswith("vptsp: ")]
    named = any(f"{setting}={typed}" in line and "method" in line for line in said)
    named = named or setting == "accumulator" and "accumulator" in text
    if code == 2:
        assert named and len(said) == 1, text
        return
    found = {row["name"]: row["value"] for row in json.loads(text.splitlines()[-1])}[setting]
    assert code == 0 and (found == value or named), (found, text)
    assert found == value or value not in (0, "none", False), "what switches a part off is no size: it is refused"


def test_a_methods_own_setting_wins_wherever_it_was_given():
    assert Config(lora_rank=4).as_method("lora").lora_rank == EMOJI.as_method("lora", lora_rank=4).lora_rank == 4
    assert EMOJI.as_method("adapter", adapter="sequential").adapter == "sequential"
    assert EMOJI.as_method("vptsp-g", accumulator="gru", bank="true").bank
    with pytest.raises(ConfigError, match="lora_rank = 0 goes against the method lora"):
        EMOJI.as_method("lora", lora_rank="0")
    with pytest.raises(ConfigError, match="there is no setting 'lora_rang'"): EMOJI.as_method("lora", lora_rang=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in methods: EMOJI.as_method(method)                   # nothing is said of what a preset brings


def test_what_is_given_and_not_read_is_said():
    code, text = shell("settings", "emoji", "adapter_dim=8", "momentum=0.5", "optimizer=adamw")
    assert code == 0 and "adapter_dim=8 has no effect: adapter=none" in text
    assert "momentum=0.5 has no effect: optimizer=adamw" in text
    names = {f.name for f in fields(Config)}
    assert all(set(without_effect(Config(), [name])) <= {name} for name in names)
    assert without_effect(EMOJI.as_method("linear"), ["num_class_prompts"]) == {
        "num_class_prompts": "semantic_proxies = none"}


# -- numbers and texts without end

MASSES = ["9"*300, "9"*200_000, 10**5000, -10**5000, ["x"*1000]*10_000, {"a": 10**5000},
          {"a"*50_000: 10**400}, float("inf")]


@pytest.mark.parametrize("value", MASSES, ids=range(len(MASSES)))
def test_masses_in_any_setting_are_refused_in_a_moment(value):
    for f in fields(Config):
        if f.type is str and f.metadata["choices"] is None and isinstance(value, str): continue
        with within(1.), pytest.raises(ConfigError) as e: Config(**{f.name: value})
        message = str(e.value)
        assert f.name in message and len(message) < 700 and "\n" not in message, message[:300]


@pytest.mark.parametrize("text", [
    "lr: " + "9"*150_000, "lr: " + "9\n  "*40_000, "lr: |\n" + "  9\n"*40_000, "9"*190_000 + ": 1",
    "lr: 1." + "9"*19_000,
    "lr: " + "[9, "*40_000, "lr: !" + "a"*19_000 + " 9", "%YAML " + "1"*19_000 + ".1\n---\n",
    "seed: " + "9"*9_000, "epochs: " + "9"*99, "x"*9_000 + ": 1",
    f"loss_args: &a {{m: {'9'*9_000}}}\nminer_args: [{'*a, '*1_000}]",
    f"a: &a [{'1, '*2_000}]\nb: [{'*a, '*1_000}]"], ids=lambda text: text[:12])
def test_a_settings_file_without_end_is_refused_in_a_moment(tmp_path, text):
    file = tmp_path/"s.yaml"
    file.write_text(text)
    with within(3.):
        code, said = shell("settings", file)
    assert code == 2 and said.startswith("vptsp: ") and len(said.splitlines()) == 1 and len(said) < 1_500, said[:300]


def test_one_value_that_is_repeated_is_counted_by_its_characters():
    with pytest.raises(ConfigError, match="more than 200,000 characters"):
        read_yaml(f"a: &a {'9'*9_000}\nb: [{'*a, '*100}]")
    assert read_yaml(f"a: &a {'9'*9_000}\nb: [*a, *a]")["b"] == ["9"*9_000]*2


@pytest.mark.parametrize("words", [
    ("params", "emoji", "--classes", "9"*5_000), ("params", "emoji", "--classes", "9"*4_000),
    ("demo", "--epochs", "9"*4_000), ("train", "emoji", "--out", "r", "--more-epochs", "9"*40),
    ("evaluate", "r", "--workers", "9999"), ("settings", "emoji", "workers=9999"),
    ("settings", "emoji", "a"*9_000 + "=1"),
    ("settings", "emoji", "--method", "9"*9_000), ("settings", "emoji", "lr=" + "9"*9_000), ("settings", "x"*9_000)],
    ids=lambda words: " ".join(words)[:30])
def test_words_without_end_are_answered_with_one_short_line(words):
    with within(3.): code, said = shell(*words)
    assert code == 2 and len(said.splitlines()) == 1 and len(said) < 1_500, said[:300]


# -- sizes, against what there is

HUGE = [dict(num_class_prompts=10**8), dict(num_prompts=10**8), dict(num_prompts=10**12), dict(embed_dim=10**8),
        dict(bank=True, num_class_prompts=10**8), dict(lora_rank=10**9), dict(adapter="parallel", adapter_dim=10**9),
        dict(resize=10**6), dict(backbone="vit_tiny_patch16_224", image_size=16*10**5),
        dict(backbone="vit_tiny_patch16_224", resize=16*10**5, image_size=16*10**5)]


@pytest.mark.parametrize("change", HUGE, ids=str)
def test_what_no_machine_holds_is_refused_before_it_is_made(change):
    with within(5.), pytest.raises(ConfigError, match="would take .* [GTPE]B.*this machine has .* free") as e:
        build_model(EMOJI.replace(**change), 500, pretrained=False)
    assert f"{list(change)[-1]} = {list(change.values())[-1]}" in str(e.value) and "would fit" in str(e.value)


def test_more_numbers_than_can_be_counted():
    cfg = EMOJI.replace(num_class_prompts=10**12, class_prompt_depth=10**12)
    with within(5.), pytest.raises(ConfigError): build_model(cfg, 10**8, pretrained=False)
    code, said = shell("params", "emoji", "num_class_prompts=1000000000000", "--classes", 10**12)
    assert code == 2 and "more numbers than can be counted" in said


@pytest.mark.parametrize("change", [dict(), dict(bank=True), dict(adapter="parallel"), dict(lora_rank=4),
                                    dict(tune="full"), dict(semantic_proxies="none"), dict(accumulator="mix")], ids=str)
def test_the_plan_is_the_model_and_costs_no_random_number(change):
    cfg, state = EMOJI.replace(**change), torch.get_rng_state()
    plan, model = check_model(_assembled, cfg, 7), build_model(cfg, 7)
    assert torch.equal(torch.get_rng_state(), state)
    shapes = {name: t.shape for name, t in model.state_dict().items()}
    assert {name: t.shape for name, t in plan.state_dict().items()} == shapes
    assert {t.device.type for t in plan.state_dict().values()} == {"meta"}
    assert plan.tuned_state().keys() == model.tuned_state().keys()
    assert sum(need.bytes for need in needs(model)) == sum(t.nbytes for t in model.state_dict().values())


def test_a_backbone_of_ones_own_is_planned_and_not_touched():
    vit = bundled_vit()
    before = {name: t.clone() for name, t in vit.state_dict().items()}
    plan = check_model(_assembled, EMOJI, 5, vit)
    assert next(plan.parameters()).device.type == "meta" and next(vit.parameters()).device.type == "cpu"
    assert all(torch.equal(t, before[name]) for name, t in vit.state_dict().items())
    assert all(p.requires_grad for p in vit.parameters())               # `tune` froze the plan's own
    assert without_memory(vit).blocks[0].attn.qkv.weight.shape == vit.blocks[0].attn.qkv.weight.shape


def test_a_part_that_cannot_be_planned_is_made_as_it_is():
    def make(): return torch.nn.Linear(2, 2).weight.numpy()
    assert planned(make) is None


def test_a_batch_is_held_against_what_is_free(monkeypatch):
    from vptsp import limits
    model = build_model(EMOJI, 5)
    check_run(model, EMOJI, torch.device("cpu"))
    with pytest.raises(ConfigError, match="batch_size = 1000000000, .* a batch of 1,000,000,000 images would take"):
        check_run(model, EMOJI.replace(batch_size=10**9), torch.device("cpu"))
    cfg = EMOJI.replace(batch_size=4096)
    monkeypatch.setattr(limits, "free_memory", lambda: 100_000_000)
    with pytest.raises(ConfigError) as e: check_run(model, cfg, torch.device("cpu"))
    fits = int(str(e.value).partition("batch_size = ")[2].rpartition("batch_size = ")[2].split()[0])
    check_run(model, cfg.replace(batch_size=fits), torch.device("cpu"))            # what is advised is taken
    assert batch_need(model, cfg, 4096).bytes >= 2*batch_need(model, cfg.replace(checkpointing=True), 4096).bytes


def test_advice_is_taken(monkeypatch):
    from vptsp import limits
    monkeypatch.setattr(limits, "free_memory", lambda: 50_000_000)
    for name, value in (("num_class_prompts", 10**6), ("num_prompts", 10**7), ("embed_dim", 10**6)):
        with pytest.raises(ConfigError) as e: build_model(EMOJI.replace(**{name: value}), 50)
        fits = int(str(e.value).rpartition(f"{name} = ")[2].split()[0])
        assert 0 < fits < value
        build_model(EMOJI.replace(**{name: fits}), 50)


def test_free_memory_is_a_number_of_this_machine():
    free = free_memory()
    assert free is None or 10**6 < free < 10**15


# -- files that say more than they may

@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")/"m"
    model = build_model(EMOJI.replace(bank=True, workers=3), 4)
    model.classes = list("abcd")
    model.save(folder)
    return folder


def changed(saved, folder, **settings):
    "The model with other settings, hashed as if it were ours; what is no setting stands beside them."
    about, tensors = read_tensors(saved/"model.safetensors")
    names = {f.name for f in fields(Config)}
    about = about | {name: value for name, value in settings.items() if name not in names}
    if isinstance(about.get("settings"), dict):
        about["settings"] = about["settings"] | {name: value for name, value in settings.items() if name in names}
    folder.mkdir()
    write_tensors(folder/"model.safetensors", tensors, about)
    return folder


def test_a_loaded_model_starts_no_processes_and_embeds_few_at_a_time(saved, tmp_path):
    from vptsp.data import load_emoji
    from vptsp.loaders import eval_loader
    assert Model.load(saved).cfg.workers == 0
    model = Model.load(changed(saved, tmp_path/"m", workers=200, batch_size=10**9))
    assert model.cfg.workers == 0
    assert max(len(rows) for rows in model.class_prompts.rows.values()) <= 4       # there are four classes
    loader = eval_loader(load_emoji().query, model.cfg, (0, 0, 0), (1, 1, 1))
    assert loader.batch_size <= 512 and loader.num_workers == 0
    few = load_emoji().query.subset(range(66))
    assert eval_loader(few, EMOJI.replace(workers=30, batch_size=32), (0, 0, 0), (1, 1, 1)).num_workers == 3


@pytest.mark.parametrize("settings", [
    *(change for change in HUGE if "backbone" not in change), dict(num_classes=10**12), dict(num_classes=10**7),
    dict(num_classes=-1), dict(num_classes="9"*4_000), dict(num_classes=True), dict(num_classes=1.5),
    dict(classes=["a"]), dict(classes=7), dict(settings=[]), dict(settings=None), dict(with_backbone=1),
    dict(fingerprint=5), dict(skipped="x"), dict(dtypes={"head.": "load"}), dict(dtypes=[1]),
    dict(workers=10**9), dict(batch_size="x"),
    dict(image_size=10**6), dict(num_prompts=4)], ids=lambda s: str(s)[:40])
def test_a_model_file_that_asks_for_the_impossible_is_refused_in_a_moment(saved, tmp_path, settings):
    folder = changed(saved, tmp_path/"m", **settings)
    with within(5.), pytest.raises((BackboneError, ConfigError)) as e: Model.load(folder)
    message = str(e.value)
    assert "model.safetensors" in message and len(message) < 1_000 and "\n" not in message
    code, said = shell("evaluate", folder, "--data", tmp_path)
    assert code == 2 and len(said.splitlines()) == 1, said


def test_what_a_model_file_says_is_looked_at_one_by_one(saved):
    about, _ = read_tensors(saved/"model.safetensors")
    assert about_model(about, "m").classes == list("abcd")
    for name in ("num_classes", "classes", "with_backbone", "fingerprint", "skipped"):
        with pytest.raises(BackboneError, match=f"does not say its {name}"):
            about_model({key: value for key, value in about.items() if key != name}, "m")
    for wrong in (None, [], 5, "x"):
        with pytest.raises(BackboneError, match="where settings belong"): about_model(wrong, "m")


def test_shapes_are_compared_before_anything_is_allocated(saved, tmp_path, monkeypatch):
    from vptsp import model as module
    def never(*args, **kwargs): raise AssertionError("a model was built before its shapes were compared")
    folder = changed(saved, tmp_path/"m", num_prompts=EMOJI.num_prompts + 1)
    monkeypatch.setattr(module, "build_model", never)
    with pytest.raises(BackboneError, match="does not fit the model that its settings describe"): Model.load(folder)


def test_published_tensors_that_do_not_fit_are_named_and_not_copied():
    from vptsp.published_weights import load_published
    model = build_model(EMOJI, 4)
    before = model.proxies.bias.detach().clone()
    wide = torch.zeros(1).expand(10**6, 10**6)                         # four terabytes, were it written out
    with within(2.), pytest.raises(ValueError, match="do not fit this model"):
        load_published(model, {"proxies_bias": wide, "proxies_container": before})
    assert torch.equal(model.proxies.bias, before)


def test_settings_survive_the_file(tmp_path):
    cfg = EMOJI.replace(lora_rank=4, workers=3, seed=2**63 - 1)
    cfg.save(tmp_path/"s.yaml")
    assert asdict(Config.load(tmp_path/"s.yaml")) == asdict(cfg)
