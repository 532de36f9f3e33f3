"Trainable parameters against the counts taken from the published code, part by part."
import json
from pathlib import Path

import pytest

from vptsp.cli import count_parameters, paper_table
from vptsp.config import Config

COUNTS = json.loads((Path(__file__).parent/"golden_counts.json").read_text())
PRESETS = {"cub200_small.yaml": "cub200_small", "cub200_basic.yaml": "cub200_base", "cars_small.yaml": "cars_small", "cars_basic.yaml": "cars_base"}
PRESETS |= {n: n.replace("_basic.yaml", "_base").replace(".yaml", "").replace("online_products", "sop") for n in COUNTS["yaml"] if n not in PRESETS}

@pytest.mark.parametrize("name", COUNTS["yaml"])
def test_published_counts(name):
    theirs, cfg = COUNTS["yaml"][name], Config.load(PRESETS[name])
    s, part, tokens = theirs["key_settings"], theirs["requires_grad_by_component"], theirs["prompt_tokens"]
    width = 384 if "small" in cfg.backbone else 768
    ours = count_parameters(cfg, s["n_classes"])
    assert ours["proxy_bias"] == part["proxies"]
    assert ours["heads"] == part["head(+its LayerNorm)"] + part["proxy_head(+its LayerNorm)"]
    assert ours["accumulator"] == part["gru"] - theirs["of gru: unused W_ia"]                  # a weight that nobody reads
    assert ours["biases"] == part["bitfit_biases(used)"]                                       # without those of the unused classifier
    assert ours["prompts"] == tokens["generic_prompt_tokens_used"]*width                       # rows beyond a taper do not exist here
    assert ours["class_prompts"] == tokens["class_prompt_tokens_per_class_used"]*width*s["n_classes"]
    for key, value in dict(embed_dim=cfg.embed_dim, batch_size=cfg.batch_size, samples_per_class=cfg.samples_per_class, optim=cfg.optimizer, lr=cfg.lr, lr_proxy=cfg.lr_proxy,
                           decay=cfg.weight_decay, n_epochs=cfg.epochs, lr_cosine_length=cfg.lr_cosine_length, lr_cosine_min=cfg.lr_cosine_min, proxy_bias_ratio=cfg.proxy_bias_ratio,
                           rnn_dropout=cfg.gru_dropout, semantic_mix_type=cfg.accumulator, prompt_memory_bank=cfg.bank, eval_start=cfg.eval_from).items():
        assert s[key] == value, f"{name}: {key} is {s[key]} there, {value} here"

def test_paper_table():
    "30.2M, 1.57M, 0.23M, 0.19M, as the paper rounds or cuts them."
    ours = {m: n for m, n, *_ in paper_table()}
    assert int(ours["full"]/1e5)/10 == 30.2 and round(ours["adapter"]/1e6, 2) == 1.57 and round(ours["vpt"]/1e6, 2) == .23 and round(ours["linear"]/1e6, 2) == .19
