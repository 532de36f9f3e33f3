"Weights files as people have them: nested, prefixed, named by other libraries, cut short, or something else."
import argparse
import datetime
import io
import json
import os
import pathlib
import pickle
import re
import sys
import tarfile
import types
import warnings
import zipfile
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

from vptsp.backbone import BackboneError
from vptsp.config import Config
from vptsp.model import build_model
from vptsp.pretrained import load_vit, load_weights
from vptsp.weights_files import Record, read_weights

SMALL = dict(img_size=16, patch_size=8, embed_dim=12, depth=2, num_heads=2, num_classes=0)


def made(seed=0, **changes):
    "A tiny transformer in which every tensor differs from every other."
    torch.manual_seed(seed)
    vit = VisionTransformer(**{**SMALL, **changes})
    with torch.no_grad():
        for p in vit.parameters(): p.copy_(torch.randn_like(p))
    return vit


def weights_of(vit): return {name: t.clone() for name, t in vit.state_dict().items()}


def written(held, path):
    if path.suffix == ".safetensors": save_file({k: t.contiguous() for k, t in held.items()}, path)
    else: torch.save(held, path)
    return path


def loads(held, tmp_path, name="w.pth", words="", quiet=True, **changes):
    "Loads what `held` holds into another transformer of the same shape."
    vit = made(1, **changes)
    with warnings.catch_warnings():
        if quiet: warnings.simplefilter("error")
        load_weights(vit, f"{written(held, tmp_path/name)}{words}")
    return weights_of(vit)


def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def refused(held, tmp_path, says, name="w.pth", **changes):
    vit = made(1, **changes)
    before = weights_of(vit)
    path = tmp_path/name
    path.write_bytes(held) if isinstance(held, bytes) else written(held, path)
    with pytest.raises(BackboneError, match=says) as e: load_weights(vit, path)
    assert same(weights_of(vit), before) and "\x1b" not in str(e.value) and "\n" not in str(e.value)
    return str(e.value)


# Containers and prefixes

@pytest.fixture
def sd(): return weights_of(made())


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.", "encoder.", "visual.", "_orig_mod.",
                                    "module._orig_mod.", "model.backbone.", "net.vit.", "teacher.backbone.",
                                    "visual.trunk.", "base_model.model."])
@pytest.mark.parametrize("container", [(), ("state_dict",), ("model",), ("teacher",), ("checkpoint", "state_dict")])
def test_prefixes_and_containers(sd, tmp_path, prefix, container):
    held = {f"{prefix}{name}": t for name, t in sd.items()} | {f"{prefix}head.weight": torch.ones(3, 12)}
    for key in container: held = {key: held, "epoch": 3}
    assert same(loads(held, tmp_path), sd)


def test_wrappers_inside_a_name(sd, tmp_path):
    held = {name.replace("blocks.", "blocks._checkpoint_wrapped_module.").replace("attn.", "attn._orig_mod."): t
            for name, t in sd.items()}
    assert same(loads(held, tmp_path), sd)


def test_optimizer_and_heads_are_left_out(sd, tmp_path):
    moments = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}
    beside = {"mask_token": torch.ones(1, 1, 12), "decoder_embed.weight": torch.ones(8, 12), "head.bias": torch.ones(5),
              "decoder_blocks.0.norm1.weight": torch.ones(8), "dino_head.mlp.0.weight": torch.ones(3, 3)}
    assert same(loads({"model": {**sd, **beside}, "optimizer": moments, "scaler": {}}, tmp_path), sd)


@pytest.mark.parametrize("first, other", [("state_dict_ema", "state_dict"), ("model_ema", "model"),
                                          ("teacher", "student"), ("ema", "model"), ("ema_model", "model"),
                                          ("target_encoder", "encoder"), ("base_encoder", "momentum_encoder")])
def test_the_average_is_taken_and_said(sd, tmp_path, first, other):
    raw = {name: t + 1 for name, t in sd.items()}
    held = {other: {f"module.{name}": t for name, t in raw.items()}, first: sd}
    with pytest.warns(UserWarning, match=f"2 sets of weights that fit: '{first}' is taken.*'{other}.module'.*#{other}"):
        assert same(loads(held, tmp_path, quiet=False), sd)
    assert same(loads(held, tmp_path, words=f"#{other}"), raw)             # and by a word the other one
    assert same(loads(held, tmp_path, words=f"#{first}"), sd)
    with pytest.raises(BackboneError, match="no backbone under 'swa'; it holds"): loads(held, tmp_path, words="#swa")
    flat = {f"{first}.{k}": t for k, t in sd.items()} | {f"{other}.{k}": t for k, t in raw.items()}
    with pytest.warns(UserWarning, match=f"'{first}' is taken"): assert same(loads(flat, tmp_path, quiet=False), sd)


def test_where_nobody_can_choose_the_user_is_asked(sd, tmp_path):
    raw = {name: t + 1 for name, t in sd.items()}
    towers = {f"image.{k}": t for k, t in sd.items()} | {f"sketch.{k}": t for k, t in raw.items()}
    refused(towers, tmp_path, "2 sets of weights that fit: say which, as w.pth#image or #sketch")
    assert same(loads(towers, tmp_path, words="#sketch"), raw)
    refused({"fold0": sd, "fold1": raw, "epoch": 1}, tmp_path, "w.pth#fold0 or #fold1")


def test_two_equal_sets_need_no_word(sd, tmp_path):
    assert same(loads({"model": sd, "model_ema": {k: t.clone() for k, t in sd.items()}}, tmp_path), sd)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.safetensors", "w", "w.pth.tar"])
def test_the_content_decides_over_the_suffix(sd, tmp_path, name):
    torch.save(sd, tmp_path/"torch")
    torch.save(sd, tmp_path/"older", _use_new_zipfile_serialization=False)
    save_file(sd, tmp_path/"safe")
    np.savez(tmp_path/"arrays.npz", **{k: t.numpy() for k, t in sd.items()})
    for file in ("torch", "older", "safe", "arrays.npz"):
        (tmp_path/name).write_bytes((tmp_path/file).read_bytes())
        vit = made(1)
        load_weights(vit, tmp_path/name)
        assert same(weights_of(vit), sd)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(sd, tmp_path, dtype):
    assert same(loads({k: t.to(dtype) for k, t in sd.items()}, tmp_path, "w.safetensors"),
                {k: t.to(dtype).float() for k, t in sd.items()})


def test_parts_listed_by_an_index(sd, tmp_path):
    names = sorted(sd)
    for i, part in enumerate((names[:9], names[9:])): save_file({n: sd[n] for n in part}, tmp_path/f"m-{i}.safetensors")
    index = {"weight_map": {n: f"m-{int(i >= 9)}.safetensors" for i, n in enumerate(names)}}
    (tmp_path/"model.safetensors.index.json").write_text(json.dumps(index))
    for place in (tmp_path/"model.safetensors.index.json", tmp_path):
        vit = made(1)
        load_weights(vit, place)
        assert same(weights_of(vit), sd)
    (tmp_path/"m-1.safetensors").unlink()
    with pytest.raises(BackboneError, match="its part 'm-1.safetensors' is missing"): load_weights(made(), tmp_path)
    index["weight_map"]["norm.bias"] = "../secret.pth"
    (tmp_path/"model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BackboneError, match="a part outside its folder"): load_weights(made(), tmp_path)


# Names of other libraries: an inverse of each, written by hand from the libraries' own files

def undone(sd, patterns, apart=()):
    "timm's names turned into others; `apart` names query, key and value."
    out = {}
    for name, t in sd.items():
        if apart and ".attn.qkv." in name:
            stem, kind = name.split(".attn.qkv.")
            held = {f"{stem}.{part}.{kind}": piece for part, piece in zip(apart, t.chunk(3))}
        else:
            held = {name: t}
        for new, piece in held.items():
            for pattern, there in patterns: new = re.sub(pattern, there, new)
            out[new] = piece.clone()
    return out


HF = [(r"^blocks\.(\d+)\.", r"encoder.layer.\1."), (r"^cls_token", "embeddings.cls_token"),
      (r"^pos_embed", "embeddings.position_embeddings"), (r"^dist_token", "embeddings.distillation_token"),
      (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"), (r"^norm\.", "layernorm."),
      (r"\.attn\.proj\.", ".attention.output.dense.")]
HF_APART = [f"attention.attention.{part}" for part in ("query", "key", "value")]
VIT = [*HF, (r"\.norm1\.", ".layernorm_before."), (r"\.norm2\.", ".layernorm_after."),
       (r"\.mlp\.fc1\.", ".intermediate.dense."), (r"\.mlp\.fc2\.", ".output.dense.")]
DINO2 = [*HF, (r"\.ls([12])\.gamma", r".layer_scale\1.lambda1")]
CLIP = [(r"^blocks\.(\d+)\.", r"encoder.layers.\1."), (r"^cls_token", "embeddings.class_embedding"),
        (r"^pos_embed", "embeddings.position_embedding.weight"), (r"^norm_pre\.", "pre_layrnorm."),
        (r"^norm\.", "post_layernorm."), (r"^patch_embed\.proj", "embeddings.patch_embedding"),
        (r"\.attn\.proj\.", ".self_attn.out_proj."), (r"(layers\.\d+)\.norm([12])\.", r"\1.layer_norm\2.")]
CLIP_APART = [f"self_attn.{part}_proj" for part in "qkv"]
OPENAI = [(r"^blocks\.(\d+)\.", r"transformer.resblocks.\1."), (r"^cls_token", "class_embedding"),
          (r"^pos_embed", "positional_embedding"), (r"^norm_pre\.", "ln_pre."), (r"^norm\.", "ln_post."),
          (r"^patch_embed\.proj", "conv1"), (r"\.norm([12])\.", r".ln_\1."), (r"\.attn\.qkv\.", ".attn.in_proj_"),
          (r"\.attn\.proj\.", ".attn.out_proj."), (r"\.mlp\.fc1\.", ".mlp.c_fc."), (r"\.mlp\.fc2\.", ".mlp.c_proj.")]


@pytest.mark.parametrize("prefix", ["", "vit.", "deit.", "module.vit."])
def test_transformers_vit(sd, tmp_path, prefix):
    held = {prefix + name: t for name, t in undone(sd, VIT, HF_APART).items()}
    names = {"embeddings.cls_token", "embeddings.patch_embeddings.projection.bias", "layernorm.weight",
             "encoder.layer.1.attention.attention.key.bias", "encoder.layer.1.attention.output.dense.weight",
             "encoder.layer.0.layernorm_after.bias", "encoder.layer.0.intermediate.dense.weight",
             "encoder.layer.0.output.dense.bias", "embeddings.position_embeddings"}
    assert {prefix + name for name in names} <= held.keys()
    held |= {"classifier.weight": torch.ones(2, 12), f"{prefix}pooler.dense.weight": torch.ones(12, 12)}
    assert same(loads(held, tmp_path, "model.safetensors"), sd)


def test_transformers_deit_with_distillation(tmp_path):
    vit = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=0, img_size=32, depth=1, embed_dim=12)
    weights = {name: torch.randn_like(t) for name, t in vit.state_dict().items()}
    held = {f"deit.{name}": t for name, t in undone(weights, VIT, HF_APART).items()}
    load_weights(vit, written(held, tmp_path/"w.bin"))
    assert same(weights_of(vit), weights)
    with pytest.raises(BackboneError, match="dist_token is unknown"):
        load_weights(VisionTransformer(img_size=32, embed_dim=12, depth=1, num_classes=0), tmp_path/"w.bin")


@pytest.mark.parametrize("swiglu", [False, True])
def test_transformers_dinov2(tmp_path, swiglu):
    shape = dict(init_values=1e-5, **(dict(mlp_layer=timm.layers.SwiGLUPacked, act_layer=nn.SiLU) if swiglu else {}))
    weights = weights_of(made(**shape))
    names = [*DINO2, (r"\.mlp\.fc1\.", ".mlp.weights_in."), (r"\.mlp\.fc2\.", ".mlp.weights_out.")] if swiglu else DINO2
    held = undone(weights, names, HF_APART) | {"embeddings.mask_token": torch.ones(1, 12)}
    assert {"encoder.layer.1.layer_scale1.lambda1", "encoder.layer.0.norm1.weight"} <= held.keys()
    assert same(loads(held, tmp_path, "w.safetensors", **shape), weights)
    theirs = {k: t for k, t in weights.items()} | {"mask_token": torch.ones(1, 12)}        # the authors' own names
    if swiglu: theirs = {k.replace("fc1", "w12").replace("fc2", "w3"): t for k, t in theirs.items()}
    assert same(loads({"teacher": {f"backbone.{k}": t for k, t in theirs.items()}}, tmp_path, **shape), weights)
    chunks = {re.sub(r"^blocks\.(\d+)", r"blocks.0.\1", k): t for k, t in theirs.items()}
    assert same(loads(chunks, tmp_path, **shape), weights)


@pytest.mark.parametrize("layout", ["authors", "transformers"])
def test_dinov2_with_registers(tmp_path, layout):
    shape = dict(init_values=1e-5, reg_tokens=4, no_embed_class=True)
    target = made(1, **shape)
    theirs = weights_of(made(init_values=1e-5)) | {"register_tokens": torch.randn(1, 4, 12)}
    wanted = checkpoint_filter_fn({**theirs, "mask_token": torch.ones(1, 12)}, target)      # timm's own conversion
    held = {**theirs, "mask_token": torch.ones(1, 12)}
    if layout == "transformers":
        held = undone(theirs, [*DINO2, ("^register_tokens", "embeddings.register_tokens")], HF_APART)
    assert same(loads(held, tmp_path, **shape), {k: wanted[k] for k in target.state_dict()})


@pytest.mark.parametrize("prefix", ["vision_model.", "", "clip.vision_model."])
def test_transformers_clip(tmp_path, prefix):
    shape = dict(pre_norm=True, act_layer="quick_gelu")
    weights = weights_of(made(**shape))
    held = {prefix + name: t for name, t in undone(weights, CLIP, CLIP_APART).items()}
    held[f"{prefix}embeddings.class_embedding"] = weights["cls_token"][0, 0]
    held[f"{prefix}embeddings.position_embedding.weight"] = weights["pos_embed"][0]
    names = {"pre_layrnorm.weight", "post_layernorm.bias", "encoder.layers.1.self_attn.k_proj.bias",
             "encoder.layers.1.self_attn.out_proj.weight", "encoder.layers.0.layer_norm1.weight",
             "encoder.layers.0.mlp.fc1.weight", "embeddings.patch_embedding.weight"}
    assert {prefix + name for name in names} <= held.keys()
    if prefix: held |= {"text_model.encoder.layers.0.self_attn.q_proj.weight": torch.ones(3, 3),
                        "logit_scale": torch.ones(()), "visual_projection.weight": torch.ones(3, 12)}
    held[f"{prefix}embeddings.position_ids"] = torch.arange(5)
    assert same(loads(held, tmp_path, "w.safetensors", **shape), weights)
    with pytest.warns(UserWarning, match="QuickGELU"): loads(held, tmp_path, quiet=False, pre_norm=True)
    (tmp_path/"config.json").write_text(json.dumps({"vision_config": {"hidden_act": "gelu"}}))
    loads(held, tmp_path, "w.safetensors", pre_norm=True)                   # nothing to say
    (tmp_path/"config.json").write_text(json.dumps({"hidden_act": "quick_gelu"}))
    with pytest.warns(UserWarning, match="by its config.json"): loads(held, tmp_path, quiet=False, pre_norm=True)


@pytest.mark.parametrize("prefix", ["visual.", "module.visual.", "model.visual."])
def test_openai_and_openclip(tmp_path, prefix):
    shape = dict(pre_norm=True, act_layer="quick_gelu")
    weights = weights_of(made(**shape))
    held = {prefix + name: t for name, t in undone(weights, OPENAI).items()}
    held[f"{prefix}class_embedding"] = weights["cls_token"][0, 0]
    held[f"{prefix}positional_embedding"] = weights["pos_embed"][0]
    assert {f"{prefix}conv1.weight", f"{prefix}transformer.resblocks.1.attn.in_proj_weight", f"{prefix}ln_pre.bias",
            f"{prefix}transformer.resblocks.0.mlp.c_proj.bias"} <= held.keys()
    held |= {f"{prefix}proj": torch.ones(12, 3), "text_projection": torch.ones(3, 3),
             "transformer.resblocks.0.attn.in_proj_weight": torch.ones(9, 3),
             "token_embedding.weight": torch.ones(9, 3), "positional_embedding": torch.ones(7, 3)}
    assert same(loads(held, tmp_path, **shape), weights)


def test_siglip_with_its_pooling_head(tmp_path):
    shape = dict(global_pool="map", class_token=False)
    weights = weights_of(made(**shape))
    held = undone({k: t for k, t in weights.items() if "attn_pool" not in k}, CLIP, CLIP_APART)
    held["embeddings.position_embedding.weight"] = weights["pos_embed"][0]
    for name, t in weights.items():
        if name.startswith("attn_pool.") and ".q." not in name and ".kv." not in name:
            name = name.replace("attn_pool.latent", "head.probe").replace("attn_pool.proj", "head.attention.out_proj")
            held[name.replace("attn_pool.norm", "head.layernorm").replace("attn_pool", "head")] = t
    for kind in ("weight", "bias"):
        both = [weights[f"attn_pool.q.{kind}"], weights[f"attn_pool.kv.{kind}"]]
        held[f"head.attention.in_proj_{kind}"] = torch.cat(both)
    held = {f"vision_model.{name}": t for name, t in held.items()}
    assert same(loads(held, tmp_path, **shape), weights)


def test_torchvision_and_mmpretrain(sd, tmp_path):
    torchvision = [(r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."), (r"^cls_token", "class_token"),
                   (r"^pos_embed", "encoder.pos_embedding"), (r"^patch_embed\.proj", "conv_proj"),
                   (r"^norm\.", "encoder.ln."), (r"\.norm([12])\.", r".ln_\1."),
                   (r"\.attn\.proj\.", ".self_attention.out_proj."), (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
                   (r"\.mlp\.fc1\.", ".mlp.0."), (r"\.mlp\.fc2\.", ".mlp.3.")]
    assert same(loads(undone(sd, torchvision) | {"heads.head.weight": torch.ones(2, 12)}, tmp_path), sd)
    mm = [(r"^blocks\.(\d+)\.", r"layers.\1."), (r"^patch_embed\.proj", "patch_embed.projection"), (r"^norm\.", "ln1."),
          (r"\.norm([12])\.", r".ln\1."), (r"\.mlp\.fc1\.", ".ffn.layers.0.0."), (r"\.mlp\.fc2\.", ".ffn.layers.1.")]
    held = {f"backbone.{name}": t for name, t in undone(sd, mm).items()}
    held["head.layers.head.weight"] = torch.ones(2, 12)
    assert same(loads({"state_dict": held, "meta": {}}, tmp_path), sd)


def test_names_of_a_real_model_of_torchvision(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.VisionTransformer(image_size=16, patch_size=8, num_layers=2, num_heads=2, hidden_dim=12,
                                                  mlp_dim=48, num_classes=3).eval()
    with torch.no_grad():
        for p in theirs.parameters(): p.copy_(torch.randn_like(p))
    ours = VisionTransformer(**SMALL).eval()
    load_weights(ours, written(theirs.state_dict(), tmp_path/"w.pth"))
    x = torch.randn(2, 3, 16, 16)
    seen = theirs.encoder(torch.cat([theirs.class_token.expand(2, -1, -1), theirs._process_input(x)], 1))
    assert torch.allclose(seen, ours.forward_features(x), atol=1e-4)


def test_the_format_of_the_vit_authors(sd, tmp_path):
    "Kernels of JAX are (in, out), those of attention have a head axis."
    d, h = 12, 2
    held = {"embedding/kernel": sd["patch_embed.proj.weight"].permute(2, 3, 1, 0), "cls": sd["cls_token"],
            "embedding/bias": sd["patch_embed.proj.bias"], "head/kernel": torch.ones(d, 3), "head/bias": torch.ones(3),
            "Transformer/posembed_input/pos_embedding": sd["pos_embed"]}
    for there, ours in [("encoder_norm", "norm")] + [(f"encoderblock_{i}/LayerNorm_{a}", f"blocks.{i}.norm{b}")
                                                     for i in range(2) for a, b in ((0, 1), (2, 2))]:
        held |= {f"Transformer/{there}/scale": sd[f"{ours}.weight"], f"Transformer/{there}/bias": sd[f"{ours}.bias"]}
    for i in range(2):
        attention = f"Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1"
        for kind in ("weight", "bias"):
            for name, t in zip(("query", "key", "value"), sd[f"blocks.{i}.attn.qkv.{kind}"].chunk(3)):
                shaped = t.T.reshape(d, h, d//h) if kind == "weight" else t.reshape(h, d//h)
                held[f"{attention}/{name}/{'kernel' if kind == 'weight' else 'bias'}"] = shaped
        held[f"{attention}/out/kernel"] = sd[f"blocks.{i}.attn.proj.weight"].T.reshape(h, d//h, d)
        held[f"{attention}/out/bias"] = sd[f"blocks.{i}.attn.proj.bias"]
        for j in (1, 2):
            stem = f"Transformer/encoderblock_{i}/MlpBlock_3/Dense_{j - 1}"
            weight, bias = sd[f"blocks.{i}.mlp.fc{j}.weight"], sd[f"blocks.{i}.mlp.fc{j}.bias"]
            held |= {f"{stem}/kernel": weight.T, f"{stem}/bias": bias}
    np.savez(tmp_path/"w.npz", **{name: t.contiguous().numpy() for name, t in held.items()})
    vit = made(1)
    load_weights(vit, tmp_path/"w.npz")
    assert same(weights_of(vit), sd)
    with pytest.raises(BackboneError, match="cannot be read as weights of this backbone"):
        load_weights(made(1, depth=3), tmp_path/"w.npz")


def test_the_backbone_of_a_tuned_model(sd, tmp_path):
    cfg = Config.load("cub200_small", embed_dim=12, batch_size=4, num_prompts=2, image_size=16, resize=16)
    build_model(cfg, 3, backbone=made()).save(tmp_path/"tuned", backbone=True)
    vit = made(1)
    with pytest.warns(UserWarning, match="a tuned model of vptsp: its backbone alone is taken.*Model.load"):
        load_weights(vit, tmp_path/"tuned")
    assert same(weights_of(vit), sd)


# Positions

def test_positions_at_another_size_are_resampled_as_timm_does(sd, tmp_path):
    loaded = loads(sd, tmp_path, img_size=32)
    wanted = resample_abs_pos_embed(sd["pos_embed"], new_size=[4, 4], num_prefix_tokens=1)
    assert torch.equal(loaded["pos_embed"], wanted)
    theirs = checkpoint_filter_fn(dict(sd), made(img_size=32))
    assert torch.equal(loaded["pos_embed"], theirs["pos_embed"])


def test_positions_with_and_without_a_class_token(sd, tmp_path):
    bare = {**sd, "pos_embed": sd["pos_embed"][:, 1:]}                      # no position for the class token: of zeros
    loaded = loads(bare, tmp_path)
    assert torch.equal(loaded["pos_embed"][:, 1:], sd["pos_embed"][:, 1:]) and not loaded["pos_embed"][:, 0].any()
    into = loads(sd, tmp_path, no_embed_class=True)                         # added to the token: the same sum
    assert torch.equal(into["cls_token"], sd["cls_token"] + sd["pos_embed"][:, :1])
    x, a, b = torch.randn(2, 3, 16, 16), made(), made(no_embed_class=True)
    load_weights(b, tmp_path/"w.pth")
    assert torch.allclose(a.eval().forward_features(x), b.eval().forward_features(x), atol=1e-5)
    odd = {**sd, "pos_embed": torch.randn(1, 8, 12)}
    refused(odd, tmp_path, r"pos_embed is \(1, 8, 12\), not \(1, 5, 12\)")


# What is beside the tensors, and nothing run

class Program:
    "What a hostile file holds."
    def __init__(self, marker): self.marker = str(marker)
    def __reduce__(self): return os.mkdir, (self.marker,)


def test_nothing_in_a_file_is_run(sd, tmp_path):
    marker = tmp_path/"ran"
    for i, hostile in enumerate(({**sd, "x": Program(marker)}, {"model": sd, "args": Program(marker)},
                                 {"model": sd, "args": argparse.Namespace(x=Program(marker))})):
        for older in (False, True):
            torch.save(hostile, tmp_path/"w.pth", _use_new_zipfile_serialization=not older)
            with pytest.raises(BackboneError, match=r"its pickle asks for '(posix|nt|os).mkdir'.*nothing is run"):
                load_weights(made(), tmp_path/"w.pth")
            assert not marker.exists(), i
    refused(pickle.dumps(Program(marker)), tmp_path, "a Python pickle that torch.save did not write")
    assert not marker.exists()


def test_records_beside_the_tensors_are_harmless(sd, tmp_path):
    before = set(torch.serialization.get_safe_globals())
    args = argparse.Namespace(lr=.1, out=pathlib.Path("runs"), when=datetime.datetime(2026, 1, 1), size=np.int64(3),
                              mean=np.array([.5, .5]), more=types.SimpleNamespace(a=1), seen={1, 2},
                              order=OrderedDict(), counts=defaultdict(int, a=1), last=deque([1., 2.], 5))
    held = {"model": sd, "args": args, "best": np.float64(.5), "dtype": np.dtype("float32"), "epoch": 7}
    assert same(loads(held, tmp_path), sd)
    torch.save(held, tmp_path/"old.pth", _use_new_zipfile_serialization=False)
    vit = made(1)
    load_weights(vit, tmp_path/"old.pth")
    assert same(weights_of(vit), sd)
    assert isinstance(read_weights(tmp_path/"old.pth")["args"], Record)
    assert set(torch.serialization.get_safe_globals()) == before             # nothing global stays changed


def test_configurations_of_other_libraries(sd, tmp_path, monkeypatch):
    for where, name in (("omegaconf.dictconfig", "DictConfig"), ("yacs.config", "CfgNode"),
                        ("pytorch_lightning.utilities.parsing", "AttributeDict"),
                        ("mmengine.config.config", "ConfigDict")):
        kind = type(name, (object if "omegaconf" in where else dict,), {"__module__": where})
        config = kind()
        vars(config)["_lr"] = 1
        if isinstance(config, dict): config.update(lr=1, sizes=[1, 2])
        with monkeypatch.context() as patched:
            for depth in range(1, where.count(".") + 2):
                part = ".".join(where.split(".")[:depth])
                patched.setitem(sys.modules, part, types.ModuleType(part))
            setattr(sys.modules[where], name, kind)
            torch.save({"state_dict": sd, "config": config}, tmp_path/"w.pth")
        vit = made(1)
        load_weights(vit, tmp_path/"w.pth")
        assert same(weights_of(vit), sd)


def test_a_whole_module(tmp_path):
    says = refused(nn.Sequential(nn.Linear(2, 2)), tmp_path, "a whole pickled module")
    assert "module.state_dict()" in says


# Something else under the name of weights

def archive(kind):
    held = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=held, mode="w") as f: f.addfile(tarfile.TarInfo("weights.pth"), io.BytesIO())
    else:
        with zipfile.ZipFile(held, "w") as f: f.writestr("folder/readme.txt", "x")
    return held.getvalue()


@pytest.mark.parametrize("content, says", [
    (b"", "it is empty; fetch it again"), (b"PK", "it ends after 2 bytes"),
    (b"<!DOCTYPE html><html><title>Sign in</title>", "a web page"), (b"\n  <html lang=en>  ......", "a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS.*git lfs pull"),
    (b'{"error": "Repository not found"}', "text that begins with"),
    (b"Access to model x is restricted.", "Access to model"),
    (b"\x1f\x8b" + bytes(99), "a file compressed by gzip; unpack"), (archive("tar"), "a tar archive; unpack"),
    (archive("zip"), "a zip archive of folder/readme.txt; unpack"), (b"\x89HDF\r\n\x1a\n" + bytes(99), "Keras"),
    (b"\x08\x07\x12\x07pytorch\x1a\x051.13:" + bytes(99), "an ONNX model"), (b"GGUF" + bytes(99), "GGUF"),
    (b"\x93NUMPY\x01\x00" + bytes(99), "a single numpy array"), (bytes(range(256))*4, "neither safetensors nor"),
    (b"\x00"*4096, "neither safetensors nor"),
])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.bin", "w.npz"])
def test_what_it_looks_like(tmp_path, content, says, name):
    if name == "w.safetensors" and "neither" in says: says = "no safetensors file"
    refused(content, tmp_path, f"cannot be read as weights: .*{says}", name)


@pytest.mark.parametrize("name, says", [("m.onnx", "ONNX"), ("flax.msgpack", "Flax"), ("m.ckpt.index", "TensorFlow")])
def test_names_speak_where_the_content_does_not(tmp_path, name, says):
    refused(b"\x81\xa6params" + bytes(99), tmp_path, f"by its name it is .*{says}.*take the PyTorch weights", name)


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "older", "npz"])
@pytest.mark.parametrize("share", [.02, .5, .9, .999])
def test_a_download_that_was_cut_short(sd, tmp_path, suffix, share):
    file = tmp_path/f"whole.{suffix}"
    if suffix == "npz": np.savez(file, **{k: t.numpy() for k, t in sd.items()})
    elif suffix == "older": torch.save(sd, file, _use_new_zipfile_serialization=False)
    else: written(sd, file)
    whole = file.read_bytes()
    refused(whole[:int(len(whole)*share)], tmp_path, "fetch it again", f"w.{suffix}")


def test_torchscript(tmp_path):
    class Program(nn.Module):
        def forward(self, x): return x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Program()).save(str(tmp_path/"w.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BackboneError, match="TorchScript archive.*torch.jit.load"):
            load_weights(made(), tmp_path/"w.pt")


def test_places_that_are_no_file(tmp_path):
    model = build_model(Config.load("emoji").as_method("frozen"), 2)
    model.save(tmp_path/"tuned")
    (tmp_path/"run"/"model").mkdir(parents=True)
    (tmp_path/"run"/"config.yaml").write_text("x: 1")
    (tmp_path/"gallery").mkdir()
    (tmp_path/"gallery"/"gallery.json").write_text("{}")
    (tmp_path/"empty").mkdir()
    (tmp_path/"ours").mkdir()
    (tmp_path/"ours"/"vit.pth").write_bytes(b"x")
    for place, says in (("run", "the folder of a run.*Run.load"), ("gallery", "is a gallery"),
                        ("nowhere.pth", "is not there"), ("empty", "no file in it is weights"),
                        ("ours", "give one of its files, for instance '.*vit.pth'"),
                        ("tuned", "a tuned model of vptsp, whose folder Model.load takes")):
        with pytest.raises(BackboneError, match=says): load_weights(made(), tmp_path/place)
    with pytest.raises(BackboneError, match="download the file first"): load_weights(made(), "https://x.org/w.pth")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path/"pipe")
        with pytest.raises(BackboneError, match="is no regular file"): load_weights(made(), tmp_path/"pipe")


@pytest.mark.parametrize("held, says", [
    ([1, 2], "it is a list"), (torch.zeros(3), "it is a Tensor"), ({}, "it is a dict"), (None, "a NoneType"),
    ({"epoch": 1, "args": None}, "a dict of 'epoch', 'args'")])
def test_no_tensors_by_name(tmp_path, held, says): refused(held, tmp_path, says)


# Tensors that will not do

def test_numbers_that_are_none(sd, tmp_path):
    sd["blocks.1.mlp.fc1.bias"][3] = float("nan")
    refused(sd, tmp_path, "1 of the 48 numbers of blocks.1.mlp.fc1.bias are NaN or infinite")
    sd["blocks.1.mlp.fc1.bias"][3] = float("inf")
    refused(sd, tmp_path, "blocks.1.mlp.fc1.bias", "w.safetensors")
    sd = {k: t.double() for k, t in weights_of(made()).items()}
    sd["norm.weight"][0] = 1e300                                            # beyond float32
    refused(sd, tmp_path, "norm.weight")


@pytest.mark.parametrize("change, says", [
    (lambda t: t.int(), "norm.weight is torch.int32"),
    (lambda t: t.to(torch.complex64), "norm.weight is torch.complex64"),
    (lambda t: t.to_sparse(), "norm.weight is sparse"),
    (lambda t: torch.quantize_per_tensor(t, .1, 0, torch.qint8), "norm.weight is quantised")])
def test_tensors_of_another_kind(sd, tmp_path, change, says):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused({**sd, "norm.weight": change(sd["norm.weight"])}, tmp_path, says)


def test_another_architecture_is_named(sd, tmp_path):
    says = refused(sd, tmp_path, "does not fit this backbone: blocks.2.norm1.weight is missing", depth=3)
    assert "looks like a vision transformer of 2 blocks, width 12, patches of 8 px, by the names of timm" in says
    assert "this backbone is a vision transformer of 3 blocks, width 12" in says
    other = r"patch_embed.proj.weight is \(12, 3, 8, 8\), not \(12, 3, 4, 4\)"
    refused(sd, tmp_path, other, patch_size=4)                                                       # not stretched
    tiny = timm.create_model("vit_tiny_patch16_224", num_classes=3).state_dict()
    says = refused({f"module.{k}": t for k, t in tiny.items()}, tmp_path, "12 blocks, width 192")
    assert "Backbones of timm with this shape: vit_tiny_patch16_224" in says
    resnet = {"conv1.weight": torch.ones(3), "layer1.0.conv1.weight": torch.ones(3)}
    refused({"model": resnet}, tmp_path, "looks like a ResNet|it is a ResNet")
    refused({"a.b": torch.ones(3), "\x1b[31mc": torch.ones(2)}, tmp_path, "its tensors are called 'a.b'")


def test_missing_and_further_tensors(sd, tmp_path):
    refused({k: t for k, t in sd.items() if k != "norm.bias"}, tmp_path, "norm.bias is missing")
    refused({**sd, "blocks.0.ls1.gamma": torch.ones(12)}, tmp_path, "blocks.0.ls1.gamma is unknown")
    with pytest.warns(UserWarning, match="left out: mystery.weight"):
        assert same(loads({**sd, "mystery.weight": torch.ones(3)}, tmp_path, quiet=False), sd)


def test_the_norm_of_average_pooling(sd, tmp_path):
    pooled = {re.sub("^norm", "fc_norm", k): t for k, t in sd.items()}                               # MAE, fine-tuned
    refused(pooled, tmp_path, "norm.weight is missing.*last norm is fc_norm.*global_pool='avg'.*pool='avg'")
    assert same(loads(pooled, tmp_path, global_pool="avg"), pooled)
    refused(sd, tmp_path, "fc_norm.weight is missing.*last norm is norm.*global_pool='token'", global_pool="avg")


# image_size

@pytest.mark.parametrize("name, size, says", [
    ("vit_small_patch16_224", 230, "size = 230 is no multiple of this backbone's patches of 16 px.*224 or 240"),
    ("vit_small_patch14_dinov2", 224 - 10, "patches of 14 px.*take 210 or 224"),
    ("vit_base_patch32_224", 20, "take 32"),
])
def test_image_sizes_that_are_no_multiple(name, size, says):
    with pytest.raises(BackboneError, match=says): load_vit(name, pretrained=False, image_size=size)
    cfg = Config.load("cub200_small").replace(backbone=name, image_size=size, resize=max(size, 256))
    with pytest.raises(BackboneError, match=says): build_model(cfg, 3, pretrained=False)


def test_image_size_with_a_given_module():
    cfg = Config.load("cub200_small", embed_dim=12, image_size=20, resize=20)
    with pytest.raises(BackboneError, match="take 16 or 24"):
        build_model(cfg, 3, backbone=VisionTransformer(**SMALL))


@pytest.mark.parametrize("key", ["model_without_optim", "scheduled", "config", "no_optimizer"])
def test_containers_whose_names_only_sound_otherwise(sd, tmp_path, key):
    assert same(loads({key: sd, "optimizer": {"state": {}}}, tmp_path), sd)


def test_arrays_of_the_other_byte_order(sd, tmp_path):
    arrays = {name: t.numpy().astype(">f4") for name, t in sd.items()}
    np.savez(tmp_path/"w.npz", **arrays)
    assert same(read_weights(tmp_path/"w.npz"), sd)
    np.savez(tmp_path/"n.npz", one=np.array(3., ">f4"))
    assert read_weights(tmp_path/"n.npz")["one"].shape == ()


@pytest.mark.parametrize("plain, teacher", [("model", "teacher_model"), ("net", "teacher_net"), ("model", "teacher")])
def test_a_teacher_without_a_student_is_another_model(sd, tmp_path, plain, teacher):
    other = {name: t + 1 for name, t in sd.items()}
    with pytest.warns(UserWarning, match=f"'{plain}' is taken, and not '{teacher}'"):
        assert same(loads({plain: sd, teacher: other}, tmp_path, quiet=False), sd)
    assert same(loads({teacher: other}, tmp_path), other)
