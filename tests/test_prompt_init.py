"Prompts that start as patch tokens: of which images, which block, which class."
import pytest
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

from vptsp.benchmarks import load_emoji
from vptsp.config import Config, ConfigError
from vptsp.data import RetrievalData
from vptsp.effects import without_effect
from vptsp.files import DataError
from vptsp.model import Model, build_model
from vptsp.prompts import TokenStart
from vptsp.training import Trainer

SMALL = dict(img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, num_classes=0)
CFG = Config.load("emoji", image_size=32, resize=32, embed_dim=8, batch_size=8, num_prompts=4, num_class_prompts=2,
                  prompt_init="tokens")
LABELS = torch.arange(20) % 5
IMAGES = torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(5))
BATCHES = [(IMAGES[i:i + 6], LABELS[i:i + 6]) for i in range(0, 20, 6)]


def vit(**changes):
    torch.manual_seed(1)
    return VisionTransformer(**{**SMALL, **changes}).eval()


def started(backbone=None, classes=5, batches=BATCHES, **changes):
    model = build_model(CFG.replace(**changes), classes, backbone=backbone or vit())
    model.warm_start(batches)
    return model


def entering(backbone, images):
    "Patch tokens that enter each block, (b, n, d), seen by timm's own forward pass."
    seen = []
    hooks = [block.register_forward_pre_hook(lambda _, x: seen.append(x[0])) for block in backbone.blocks]
    with torch.no_grad(): backbone.forward_features(images)
    for hook in hooks: hook.remove()
    return [x[:, backbone.num_prefix_tokens:] for x in seen]


def places(prompts, tokens):
    "Image and patch whose token each prompt is; it must be one."
    near = (prompts[:, None, None] - tokens).abs().amax(-1)
    assert near.flatten(1).amin(1).max() < 1e-4
    return [divmod(int(i), tokens.shape[1]) for i in near.flatten(1).argmin(1)]


@pytest.mark.parametrize("changes, blocks", [({}, "012"), ({"bank": True}, "012"), ({"semantic_blocks": 1}, "2"),
                                             ({"pool": "avg"}, "012"),
                                             ({"prompt_block_step": 1, "class_prompt_depth": 2}, "01")])
@pytest.mark.parametrize("registers", [0, 2])
def test_prompts_are_tokens_of_their_block_and_class(changes, blocks, registers):
    backbone = vit(reg_tokens=registers)
    tokens = entering(backbone, IMAGES)
    model = started(backbone, **changes)
    shared = {l: places(table[0], tokens[int(l)]) for l, table in model.prompts.tables().items()}
    assert shared and all(len(set(at)) == len(at) for at in shared.values())
    assert all(at == shared["0"][:len(at)] for at in shared.values()), "the same image and patch in every block"
    tables = model.class_prompts.tables()
    assert sorted(tables) == list(blocks)
    for l, table in tables.items():
        for c in range(5):
            at = places(table[c], tokens[int(l)])
            assert {int(LABELS[image]) for image, _ in at} == {c} and len(set(at)) == 2


def test_the_draw_is_the_seeds_and_not_the_batches():
    one, again = started(), started(batches=[(IMAGES, LABELS)])
    for (name, a), b in zip(one.state_dict().items(), again.state_dict().values()):
        if "prompts" in name: torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5, msg=name)
    other = started(seed=1)
    assert not torch.equal(one.prompts.layers["0"], other.prompts.layers["0"])
    assert not torch.equal(one.class_prompts.layers["0"], other.class_prompts.layers["0"])


def test_fewer_images_and_patches_than_prompts():
    "A class keeps its random start for what it has no tokens for."
    random = started(num_class_prompts=20, prompt_init="random")
    model = started(num_class_prompts=20, classes=6, batches=[(IMAGES[:5], LABELS[:5])])       # 16 patches an image
    assert len(places(model.class_prompts.layers["0"][2, :16].detach(), entering(vit(), IMAGES[:5])[0])) == 16
    kept = model.class_prompts.layers["0"][2, 16:]
    assert kept.abs().max() < 10*random.class_prompts.layers["0"].std() and kept.isfinite().all()
    assert model.class_prompts.layers["0"][5].std() < .2, "a class without images"


def test_heads_and_proxies_start_from_what_the_new_prompts_make():
    model = started(head_init="pca", proxy_init="class_mean")
    embeddings = torch.cat([model.embed(x) for x, _ in BATCHES])
    means = torch.stack([embeddings[LABELS == c].mean(0) for c in range(5)])
    torch.testing.assert_close(model.proxies.memory, torch.nn.functional.normalize(means, dim=1), atol=1e-4, rtol=1e-4)


def test_every_token_has_the_same_chance():
    counts = torch.zeros(3, 4)
    for seed in range(3000):
        table = torch.full((8, 2, 1), -1.)
        start = TokenStart({"0": table}, seed)
        for i in range(3): start.offer([torch.full((1, 4, 1), 4.*i) + torch.arange(4.)[:, None]], [7])
        assert (table[:7] == -1).all()
        for token in table[7].flatten().long(): counts[token//4, token % 4] += 1
    chance = counts/6000
    assert (chance - 1/12).abs().max() < 4*(1/12/6000)**.5


def test_it_is_done_once_and_never_over_prompts_that_are_brought(tmp_path):
    data = small_data()
    run = Trainer(CFG.replace(epochs=1, eval_from=1), data, tmp_path/"run", backbone=vit(), callbacks=[]).fit()
    more = Trainer(CFG.replace(epochs=1, lr=0., lr_proxy=0., weight_decay=0.), data, backbone=vit(), callbacks=[],
                   start=run.folder).fit()
    was = load_file(run.folder/"model/model.safetensors")
    for l, prompts in more.model.prompts.layers.items(): assert torch.equal(prompts, was[f"prompts.layers.{l}"])
    assert Model.load(run.folder/"model", backbone=vit()).cfg.prompt_init == "tokens"


def small_data():
    emoji = load_emoji()
    return RetrievalData("small", emoji.train.of_classes(range(8)), emoji.query.of_classes(range(4)))


def test_no_images_to_start_from():
    with pytest.raises(DataError, match="prompt_init = tokens starts prompts from training images"):
        build_model(CFG.replace(head_init="xavier"), 5, backbone=vit()).warm_start([])
    data = small_data()
    none = RetrievalData("none", data.train.of_classes([]), data.query)
    with pytest.raises(DataError, match="from which prompt_init = tokens would start prompts"):
        Trainer(CFG.replace(epochs=0, head_init="xavier"), none, backbone=vit(), callbacks=[])
    frozen = Trainer(CFG.as_method("frozen"), none, backbone=vit(), callbacks=[]).fit()
    assert 0 <= frozen.metrics["R@1"] <= 1


def test_what_it_does_not_reach():
    assert build_model(CFG.as_method("bitfit", head_init="xavier", proxy_init="random"), 5,
                       backbone=vit()).warm_start(BATCHES) == 0
    idle = without_effect(CFG.as_method("bitfit"), ["prompt_init"])
    assert idle == {"prompt_init": "num_prompts = 0"} and not without_effect(CFG, ["prompt_init"])
    assert not without_effect(CFG.replace(num_prompts=0), ["prompt_init"]), "class prompts are left"
    with pytest.raises(ConfigError, match="prompt_init"): CFG.replace(prompt_init="token")
    assert Config.load("cub200_small").prompt_init == "random", "as published"
