"Settings: what is refused and how, what is read, and what stays out of it."
import subprocess
import sys
import warnings

import pytest
import yaml

from vptsp.config import Config, ConfigError, Method, Registry, from_published, methods, presets
from vptsp.files import DataError
from vptsp.settings import accumulators, losses


def refused(**settings) -> str:
    with pytest.raises(ConfigError) as e: Config(**settings)
    return str(e.value)


# one value

@pytest.mark.parametrize("value", ["x", None, True, float("inf"), float("nan"), "nan", [], {}])
def test_a_number_is_meant(value):
    assert "this must be a number" in refused(lr=value)


@pytest.mark.parametrize("value", ["1.5", 1e400, 2.5, True, None, "three"])
def test_a_whole_number_is_meant(value):
    assert "epochs = " in refused(epochs=value) and "a whole number" in refused(epochs=value)


def test_numbers_written_as_text_are_numbers():
    assert Config(lr="1e-3").lr == .001
    assert Config(epochs="3").epochs == Config(epochs=3.0).epochs == 3
    assert Config(seed=2**53 + 1).seed == 2**53 + 1                  # a large whole number stays what it is


def test_true_and_false():
    assert Config(head="False", head_init="xavier").head is False
    for value in (1, "yes", None): assert "head = " in refused(head=value) and "true or false" in refused(head=value)


def test_ranges():
    assert "epochs = -1: this must be at least 0" in refused(epochs=-1)
    assert "mix_keep = 2.0: this must be between 0 and 1" in refused(mix_keep=2)
    assert "flip = 'often'" in refused(flip="often")


def test_choices_name_the_nearest():
    assert "Did you mean 'bitfit'?" in refused(tune="bitfitt")
    for value in (3, None, ["none"], False): assert "one of none, bitfit, full" in refused(tune=value)


@pytest.mark.parametrize("accumulator", ["grue", "", "GRU", "last-1", "mean"])
def test_an_unknown_accumulator_lists_the_known(accumulator):
    assert "one of gru_relu, gru, mix" in refused(accumulator=accumulator)


def test_frozen():
    with pytest.raises(AttributeError): Config().lr = 1.


# values together

@pytest.mark.parametrize("settings, says", [
    (dict(samples_per_class=3), "no multiple of samples_per_class = 3"),
    (dict(num_class_prompts=0), "needs num_class_prompts and class_prompt_depth"),
    (dict(semantic_proxies="shared_prompts", num_prompts=0), "needs num_prompts and prompt_depth"),
    (dict(bank=True, semantic_proxies="none"), "bank = True"),
    (dict(accumulator_init="mean", accumulator="gru", mix_keep=1), "neither included"),
    (dict(accumulator_init="mean"), "needs accumulator = 'gru'"),
    (dict(positive_reduction="present", loss="norm_softmax"), "has no such choice"),
    (dict(head=False, head_init="pca"), "needs head = True"),
    (dict(resize=100), "resize = 100 is smaller than image_size = 224"),
])
def test_what_cannot_be_together(settings, says):
    assert says in refused(**settings)


# sources

@pytest.mark.parametrize("source, says", [
    ("cub200_smal", "did you mean 'cub200_small'?"),
    ("cub", "The presets are: "),
    ("missing.yaml", "cannot be read"),
    (["lr"], "expected settings"),
    ({1: 2}, "expected settings"),
    (None, "expected settings"),
    ({"lr_prox": 1}, "Did you mean 'lr_proxy'?"),
    ({"num_p_prompt": 1}, "Did you mean 'num_class_prompts'?"),
    ({"zzzzzz": 1}, "The settings are: dataset, "),
    ({"lr": -1}, "settings: lr = -1.0"),
])
def test_sources_that_are_none(source, says):
    with pytest.raises(ConfigError) as e: Config.load(source)
    assert says in str(e.value)


def test_files_that_are_none(tmp_path):
    file = tmp_path/"broken.yaml"
    file.write_text("lr: [1")
    with pytest.raises(ConfigError, match="not YAML"): Config.load(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"): Config.load(file)
    file.write_text("lr: -1")
    with pytest.raises(ConfigError, match="broken.yaml: lr = -1"): Config.load(file)


@pytest.mark.parametrize("name", presets)
def test_a_file_says_what_the_object_said(name, tmp_path):
    cfg = Config.load(name)
    cfg.save(tmp_path/"c.yaml")
    assert Config.load(tmp_path/"c.yaml") == cfg == Config.load(yaml.safe_load((tmp_path/"c.yaml").read_text()))
    assert [f.name for f in tmp_path.iterdir()] == ["c.yaml"]
    assert {k: getattr(cfg, k) for k in presets[name]} == presets[name]         # nothing a preset says is converted
    assert all(type(getattr(cfg, k)) is type(v) for k, v in presets[name].items())


def test_changes_are_replaced():
    assert Config.load("cub200_small", lr="1e-3").lr == .001
    assert Config.load(Config(seed=3), lr=1.) == Config(seed=3, lr=1.)
    with pytest.raises(ConfigError, match="replace: there is no setting 'num_promts'"): Config().replace(num_promts=5)


# the published code's files

THEIRS = {"pretrained_model": "vit_small_patch16_224_in21k", "vit_prompt": True, "vit_proxy_net": True,
          "proxy_mix_bias": True, "vit_bitfit": True, "num_p_prompt": 5, "lr": "1e-4"}


def test_published_settings_with_and_without_descriptions():
    described = {k: {"desc": None, "value": v} for k, v in THEIRS.items()}
    cfg = from_published(THEIRS)
    assert from_published(described) == cfg == Config.load(described) == Config.load(THEIRS)
    assert (cfg.backbone, cfg.num_class_prompts, cfg.lr) == ("vit_small_patch16_224.augreg_in21k", 5, 1e-4)
    assert (cfg.tune, cfg.semantic_proxies) == ("bitfit", "class_prompts")


@pytest.mark.parametrize("settings, says", [
    ({"vit_bitfit": "yes"}, "vit_bitfit = 'yes': this must be true or false"),
    ({"vit_proxy_net": True}, "needs proxy_mix_bias or simple_proxies"),
    ({"loss_oproxy_mode": "triplet"}, "must be anchor or nca"),
    ({"scheduler": "step"}, "the one scheduler is cosine"),
    ({"lr": -1}, "cub.yaml: lr = -1.0"),
])
def test_published_settings_that_are_wrong(settings, says):
    with pytest.raises(ConfigError) as e: from_published(settings, "cub.yaml")
    assert says in str(e.value) and str(e.value).startswith("cub.yaml")


def test_keys_without_effect_are_named():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from_published({"negative_push": False, "colour": 1}, "cub.yaml")
    says = "cub.yaml: no effect here: colour, negative_push (nor in the published code)"
    assert [str(w.message) for w in caught] == [says]


@pytest.mark.parametrize("simple, simple_vpt, expected",
                         [(False, False, "class_prompts"), (True, False, "no_prompts"), (True, True, "shared_prompts")])
def test_published_second_passes(simple, simple_vpt, expected):
    switches = {**THEIRS, "simple_proxies": simple, "simple_proxies_vpt": simple_vpt, "prompt_memory_bank": True}
    cfg = from_published(switches)
    assert cfg.semantic_proxies == expected and cfg.bank == (expected == "class_prompts")


# methods

def test_methods():
    assert Config().diff(Config().as_method("vpt")) == {"semantic_proxies": ("class_prompts", "none")}
    assert Config(adapter="parallel").as_method("linear").adapter == "none"
    mixed = Config(accumulator="mix")
    assert mixed.as_method("vptsp-g").accumulator == "gru_relu"
    assert mixed.replace(accumulator_init="mean").as_method("vptsp-g").accumulator == "gru"
    with pytest.raises(ConfigError, match="The methods are: frozen, linear"): Config().as_method("vptsp")
    for name in methods: assert methods[name].title and Config().as_method(name)


# registries

def test_settings_are_checked_without_torch():
    code = ("import sys, vptsp.config as c; [c.Config.load(n) for n in c.presets]; c.Config(accumulator='mix');"
            "assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_built_in_names_are_those_of_their_home():
    for registry in (accumulators, losses):
        registered = [name for name in registry if getattr(registry[name], "__module__", "") == registry.home]
        assert registered == registry.builtin


def test_registry():
    spices: Registry[str] = Registry("spice")
    spices["salt"] = "white"
    spices.register("pepper")("black")
    assert dict(spices) == {"salt": "white", "pepper": "black"} and len(spices) == 2
    assert "sugar" not in spices and spices.get("sugar") is None and spices.get("salt") == "white"
    with pytest.raises(ConfigError) as e: spices["peper"]
    assert str(e.value) == "there is no spice 'peper'; did you mean 'pepper'? The spices are: salt, pepper."
    with pytest.raises(DataError): Registry("spice", error=DataError)["salt"]


def test_who_registers_last_has_the_name(tmp_path, monkeypatch):
    (tmp_path/"pantry.py").write_text("import shelf\nshelf.spices['salt'] = 'white'\n")
    (tmp_path/"shelf.py").write_text("from vptsp.config import Registry\n"
                                      "spices = Registry('spice', 'pantry', 'salt')\n")
    monkeypatch.syspath_prepend(tmp_path)
    import shelf
    assert "salt" in shelf.spices and list(shelf.spices) == ["salt"]
    shelf.spices["salt"] = "black"
    import pantry  # noqa: F401
    assert shelf.spices["salt"] == "black"


def test_a_method_of_ones_own():
    methods["vpt-20"] = Method("VPT, 20 prompts", methods["vpt"], num_prompts=20)
    try: assert Config().as_method("vpt-20").num_prompts == 20
    finally: del methods._entries["vpt-20"]
