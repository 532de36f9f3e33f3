"Trainable parameters against the counts taken from the published code, part by part."
import json
from pathlib import Path

import pytest

from vptsp.cli import count_parameters, paper_table
from vptsp.config import Config

COUNTS = json.loads((Path(__file__).parent/"golden_counts.json").read_text())


def preset_of(published):
    "Our preset for a settings file of the published code."
    name = published.removesuffix(".yaml").replace("_basic", "_base")
    return name.replace("online_products", "sop")


# what an entry of the published settings is called in ours
OUR_NAMES = dict(
    embed_dim="embed_dim", batch_size="batch_size", samples_per_class="samples_per_class", optim="optimizer",
    lr="lr", lr_proxy="lr_proxy", decay="weight_decay", n_epochs="epochs", lr_cosine_length="lr_cosine_length",
    lr_cosine_min="lr_cosine_min", proxy_bias_ratio="proxy_bias_ratio", rnn_dropout="gru_dropout",
    semantic_mix_type="accumulator", prompt_memory_bank="bank", eval_start="eval_from")


@pytest.mark.parametrize("name", COUNTS["yaml"])
def test_published_counts(name):
    theirs, cfg = COUNTS["yaml"][name], Config.load(preset_of(name))
    settings, part, tokens = theirs["key_settings"], theirs["requires_grad_by_component"], theirs["prompt_tokens"]
    width, classes = 384 if "small" in cfg.backbone else 768, settings["n_classes"]
    ours = count_parameters(cfg, classes)
    assert ours["proxy_bias"] == part["proxies"]
    assert ours["heads"] == part["head(+its LayerNorm)"] + part["proxy_head(+its LayerNorm)"]
    # a weight that nobody reads
    assert ours["accumulator"] == part["gru"] - theirs["of gru: unused W_ia"]
    # without those of the unused classifier
    assert ours["biases"] == part["bitfit_biases(used)"]
    # rows beyond a taper do not exist here
    assert ours["prompts"] == tokens["generic_prompt_tokens_used"]*width
    assert ours["class_prompts"] == tokens["class_prompt_tokens_per_class_used"]*width*classes
    for key, our_name in OUR_NAMES.items():
        value = getattr(cfg, our_name)
        assert settings[key] == value, f"{name}: {key} is {settings[key]} there, {value} here"


def test_paper_table():
    "30.2M, 1.57M, 0.23M, 0.19M, as the paper rounds or cuts them."
    ours = {method: count for method, count, *_ in paper_table()}
    assert int(ours["full"]/1e5)/10 == 30.2
    assert round(ours["adapter"]/1e6, 2) == 1.57
    assert round(ours["vpt"]/1e6, 2) == .23
    assert round(ours["linear"]/1e6, 2) == .19
