"Edge cases of backbone, weights files, prompts, tuning, model: what the notebooks 07 to 12 have no room for."
import json
import subprocess
import sys

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch import nn
from torch.testing import assert_close

from vptsp.backbone import Backbone, BackboneError
from vptsp.config import Config, ConfigError
from vptsp.heads import Head, principal_axes
from vptsp.losses import build_loss
from vptsp.model import Model, build_model, current_names, fingerprint_0_1
from vptsp.pretrained import bundled_vit, load_vit, load_weights
from vptsp.prompts import ClassPromptBank
from vptsp.tuning import tune

SMALL = dict(img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=0)
LABELS = torch.tensor([4, 1, 4, 0, 1, 4])

@pytest.fixture
def images():
    return torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))

def tiny(vit=None, **changes):
    torch.manual_seed(0)
    cfg = Config.load("cub200_small", embed_dim=32, batch_size=8, num_prompts=4).replace(**changes)
    return build_model(cfg, 6, backbone=vit or VisionTransformer(**SMALL))

# -- weights files

def test_weights_of_the_same_shape_are_loaded(tmp_path):
    vit, other = VisionTransformer(**SMALL), VisionTransformer(**SMALL)
    save_file({k: t.clone() for k, t in vit.state_dict().items()}, tmp_path/"good.safetensors")
    load_weights(other, tmp_path/"good.safetensors")
    assert torch.equal(other.blocks[0].mlp.fc1.weight, vit.blocks[0].mlp.fc1.weight)

def test_position_embeddings_are_resampled(tmp_path):
    save_file(VisionTransformer(**SMALL).state_dict(), tmp_path/"good.safetensors")
    larger = VisionTransformer(**{**SMALL, "img_size": 48})
    load_weights(larger, tmp_path/"good.safetensors")
    assert larger.pos_embed.shape == (1, 1 + 6*6, 48)

def test_weights_that_lack_tensors_are_refused(tmp_path):
    save_file({"norm.weight": torch.ones(7)}, tmp_path/"bad.safetensors")
    with pytest.raises(BackboneError, match="cls_token is missing"):
        load_weights(VisionTransformer(**SMALL), tmp_path/"bad.safetensors")

def test_weights_of_another_architecture_are_refused(tmp_path):
    save_file(VisionTransformer(**SMALL).state_dict(), tmp_path/"good.safetensors")
    with pytest.raises(BackboneError, match="does not fit"):
        load_weights(bundled_vit(), tmp_path/"good.safetensors")

@pytest.mark.parametrize("name", ["noise.safetensors", "program.pth", "list.pth"])
def test_hostile_weights_files_are_refused(tmp_path, name):
    file = tmp_path/name
    if name == "noise.safetensors": file.write_bytes(b"not weights")
    elif name == "program.pth": torch.save({"norm.weight": print}, file)        # a pickled function is refused, not run
    else: torch.save([1, 2], file)
    vit = VisionTransformer(**SMALL)
    before = {k: t.clone() for k, t in vit.state_dict().items()}
    with pytest.raises(BackboneError, match="cannot be read as weights"): load_weights(vit, file)
    assert all(torch.equal(t, before[k]) for k, t in vit.state_dict().items())

@pytest.mark.parametrize("name, settings, sentence", [
    ("vit_smal_patch16_224", dict(pretrained=False), "did you mean 'vit_small_patch16_224'"),
    ("vit_small_patch16_224.in22k", dict(pretrained=False), "timm has no model 'vit_small_patch16_224.in22k'"),
    ("bundled", dict(image_size=96), "takes images of 64 px"),
    ("resnet10t", {}, "ResNet is no timm VisionTransformer"),                   # seen before anything is fetched
    ("bundled", dict(weights="nowhere.safetensors"), "no weights file"),
])
def test_names_that_will_not_do(name, settings, sentence):
    with pytest.raises(BackboneError, match=sentence): load_vit(name, **settings)

# -- backbone

def test_pooling_by_token_needs_a_class_token():
    vit = timm.create_model("vit_base_patch16_siglip_224", pretrained=False, num_classes=0, img_size=32, depth=1,
                            embed_dim=48, num_heads=3)
    with pytest.raises(BackboneError, match="no class token"): Backbone(vit)

def test_adapters_need_plain_blocks():
    vit = VisionTransformer(block_fn=ResPostBlock, **SMALL)
    with pytest.raises(BackboneError, match="adapters need timm's plain Block"): tiny(vit, adapter="parallel")
    backbone = Backbone(VisionTransformer(block_fn=ResPostBlock, **SMALL))
    backbone.adapters["0"] = nn.Identity()
    with pytest.raises(BackboneError, match="adapters need timm's plain Block"): backbone(torch.randn(1, 3, 32, 32))

def test_old_places_of_names():
    import vptsp.backbone
    import vptsp.model
    import vptsp.published_weights
    assert vptsp.backbone.load_vit is load_vit
    assert vptsp.model.load_published is vptsp.published_weights.load_published
    assert vptsp.model.Head is Head

def test_full_tuning_trains_the_backbone():
    backbone = tune(Backbone(VisionTransformer(**SMALL)), Config(tune="full"))
    assert backbone.train().vit.training

# -- prompts

def test_rows_swapped_under_a_graph_are_noticed():
    bank = ClassPromptBank(num_classes=6, blocks=1, width=8, num=2, depth=1, capacity=2)
    bank.bind(torch.optim.SGD(bank.parameters(), lr=.5))
    first = bank(torch.tensor([0]))[0].square().sum()
    bank(torch.tensor([1]))[0].square().sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"): first.backward()

def test_a_bank_stays_on_the_host_in_its_precision():
    bank = ClassPromptBank(num_classes=6, blocks=1, width=8, num=2, depth=1, capacity=2).to(torch.float64)
    assert bank.rows["0"].dtype == torch.float64 and bank.bank_0.dtype == torch.float32

# -- model

def test_labels_must_fit_the_images(images):
    with pytest.raises(ValueError, match="6 images but 5 labels"): tiny()(images, LABELS[:5])

def test_training_mode_is_what_it_was(images):
    model = tiny().train()
    model.embed(images)
    model.embed_frozen(images)
    assert model.training and not model.backbone.vit.training

def test_the_seed_says_it_all():
    a, b = tiny().state_dict(), tiny().state_dict()
    assert all(torch.equal(a[n], b[n]) for n in a)

def test_counts_agree_with_parameters():
    model = tiny()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == sum(model.trainable_parameters_by_part().values())

def test_order_does_not_matter_without_semantic_proxies(images):
    mixed = torch.tensor([3, 0, 1, 2, 4, 5])
    model = tiny(semantic_proxies="none").train()
    a, b = model(images, LABELS), model(images[mixed], LABELS[mixed])
    assert_close(a.embeddings[mixed], b.embeddings)
    loss = build_loss(model.cfg)
    assert_close(loss(a, LABELS), loss(b, LABELS[mixed]))

def test_an_unknown_accumulator_is_refused():
    with pytest.raises(ConfigError, match="gru_relu"): Config(accumulator="lstm")
    cfg = Config()
    object.__setattr__(cfg, "accumulator", "lstm")                 # by whatever way: it must not become a GRU
    with pytest.raises(ConfigError, match="lstm"): build_model(cfg, 6, backbone=VisionTransformer(**SMALL))

@pytest.mark.parametrize("changes", [
    {}, {"bank": True}, {"tune": "none", "lora_rank": 2}, {"tune": "full", "semantic_proxies": "none"},
    {"tune": "none", "adapter": "parallel", "adapter_dim": 4}])
def test_a_saved_model_gives_the_same_bits(tmp_path, images, changes):
    model = tiny(**changes).train()
    model(images, LABELS)
    model.classes = list("abcdef")
    with torch.no_grad(): [p.add_(.1) for p in model.parameters() if p.requires_grad]
    model.save(tmp_path, backbone=True)
    again = Model.load(tmp_path, backbone=VisionTransformer(**SMALL))
    assert torch.equal(again.embed(images), model.embed(images))
    assert torch.equal(again.proxies.memory, model.proxies.memory)
    assert again.classes == model.classes and again.fingerprint() == model.fingerprint()

def test_models_that_cannot_be_loaded(tmp_path):
    vit = VisionTransformer(**SMALL)
    tiny(vit).save(tmp_path)
    with pytest.raises(BackboneError, match="does not fit"):
        Model.load(tmp_path, backbone=VisionTransformer(**{**SMALL, "depth": 2}))
    with pytest.raises(BackboneError, match="frozen weights differ"):
        Model.load(tmp_path, backbone=VisionTransformer(**SMALL))
    file = tmp_path/"model.safetensors"
    file.write_bytes(file.read_bytes()[:999])
    with pytest.raises(BackboneError, match="cut short"): Model.load(tmp_path, backbone=vit)
    save_file({"a": torch.ones(1)}, file)
    with pytest.raises(BackboneError, match="no vptsp settings"): Model.load(tmp_path, backbone=vit)
    with pytest.raises(FileNotFoundError, match="no model in"): Model.load(tmp_path/"nothing")

def test_a_save_that_fails_leaves_the_last_one_whole(tmp_path, monkeypatch):
    vit = VisionTransformer(**SMALL)
    model = tiny(vit)
    model.save(tmp_path)
    before = (tmp_path/"model.safetensors").read_bytes()
    monkeypatch.setattr(Model, "card", lambda *_: 1/0)
    with pytest.raises(ZeroDivisionError): model.save(tmp_path)
    assert (tmp_path/"model.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    Model.load(tmp_path, backbone=vit)

def test_older_folders_are_read(tmp_path, images):
    vit = VisionTransformer(**SMALL)
    model = tiny(vit, tune="none", adapter="parallel", adapter_dim=4, adapter_init="bert").eval()
    model.save(tmp_path)
    file = tmp_path/"model.safetensors"
    with safe_open(file, "pt") as f:
        about, tensors = f.metadata(), {n: f.get_tensor(n) for n in f.keys()}
    old = {n.replace("backbone.adapters.", "backbone.beside."): t for n, t in tensors.items()}
    assert old.keys() != tensors.keys() and current_names(old).keys() == tensors.keys()
    save_file(old, file, metadata=about)
    assert torch.equal(Model.load(tmp_path, backbone=vit).embed(images), model.embed(images))

def test_fingerprints_stay_what_they_were():
    "Galleries on disk hold these: they must not change from one version to the next."
    plain, adapted = tiny(), tiny(tune="none", adapter="parallel", adapter_dim=8)
    with torch.no_grad():
        for p in (*plain.parameters(), *adapted.parameters()): p.fill_(.5)
    assert fingerprint_0_1(plain) == "e08cef525dce1a44d1015f6f139f62e479d34f322785537af7ca75f7555b1707"
    assert fingerprint_0_1(adapted) == "d31a276602948533ffec95d5e15af9070cf6ee6765f31523b24ccef53bd62dc9"
    assert plain.fingerprint() == "2-79b1e20c87b3626a002219e0cb43d29a7cfa25a2d75e9f713016194818fc20eb"
    assert adapted.fingerprint() == "2-6ae68b1e9a4f6ede0d74d79dac7baf066029977efd3ab0ada548bf14a360711d"

def test_for_embedding_shares_tensors_and_disturbs_no_random_number(images):
    model = tiny().train()
    state = torch.get_rng_state()
    small = model.for_embedding()
    assert torch.equal(torch.get_rng_state(), state) and small.training and model.training
    assert small.head is model.head and small.backbone is model.backbone and model.class_prompts is not None
    assert json.dumps(small.trainable_parameters_by_part()).count("class_prompts") == 0
    assert torch.equal(small.embed(images), model.embed(images))

def test_transform_prepares_an_image():
    from PIL import Image
    model = tiny(image_size=32, resize=40)
    for train in (False, True): assert model.transform(train)(Image.new("RGB", (50, 60))).shape == (3, 32, 32)
    assert model.device == torch.device("cpu")

def test_more_axes_than_the_width():
    with pytest.raises(ConfigError, match="finds at most 12 axes"): Head(12, 13).start_at_axes(torch.randn(50, 1, 12))

def test_importing_the_model_imports_no_widget():
    code = "import sys, vptsp.model; print([m for m in sys.modules if 'widget' in m or m.startswith('matplotlib')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("changes", [{}, {"head": False, "embed_dim": 12}, {"tune": "full"}])
def test_models_of_other_precisions(tmp_path, images, dtype, changes):
    model = tiny(**changes).eval()
    true = model.embed(images)
    model.to(dtype)
    found = model.embed(images)
    assert torch.allclose(found.float(), true, atol=.1)
    assert model.embed_frozen(images).isfinite().all()
    model.save(tmp_path/"m")
    vit = tiny(**changes).backbone.vit
    again = Model.load(tmp_path/"m", backbone=vit)
    assert {t.dtype for t in again.state_dict().values() if t.is_floating_point()} == {dtype}
    assert torch.equal(again.embed(images), found) and again.fingerprint() == model.fingerprint()
    again.for_embedding().save(tmp_path/"small")                 # parts of two precisions
    small = Model.load(tmp_path/"small", backbone=tiny(**changes).backbone.vit)
    assert torch.equal(small.embed(images), found)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_warm_starts_in_other_precisions(images, dtype):
    model = tiny(head_init="pca", proxy_init="class_mean").to(dtype)
    assert model.warm_start([(images, torch.arange(len(images)) % model.num_classes)]) == len(images)
    assert model.proxies.bias.isfinite().all() and model.embed(images).isfinite().all()


def test_the_evenness_of_the_whitening_arrives(images):
    labels = torch.arange(len(images)) % 3
    for changes, expected in (({}, .3), ({"head_evenness": .01}, .01), ({"head_evenness": 10}, 10)):
        model = tiny(head_init="whiten", **changes)
        x = model.eval().backbone(images, model.prompts())[:, 0].detach()
        model.warm_start([(images, labels)])
        x = model.head.norms[0](x).detach()
        x = x - x.mean(0)
        z, found = (x @ axes.T for axes in (principal_axes(x, 32, labels, expected), model.head.linears[0].weight))
        assert torch.allclose(found @ found.T, z @ z.T, rtol=1e-3, atol=1e-3)    # axes up to signs, turns of equal ones
    with pytest.raises(ConfigError, match="head_evenness"): Config(head_evenness=0)
