"Rows of the comparison beside VPT and VPTSP: each against an oracle, counted, saved, resumed to the bit."
import copy

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch.testing import assert_close

from vptsp.analysis.attention import attention_maps
from vptsp.backbone import Backbone, BackboneError, insert_and_drop
from vptsp.benchmarks import load_emoji
from vptsp.callbacks import Callback
from vptsp.checkpoints import read_checkpoint
from vptsp.commands.params import count_parameters
from vptsp.config import Config, ConfigError, methods
from vptsp.data import RetrievalData
from vptsp.effects import without_effect
from vptsp.guides import PromptGuide, cosine_kmeans
from vptsp.losses import build_loss
from vptsp.model import Model, build_model
from vptsp.optimizer import build_optimizer
from vptsp.passes import alone
from vptsp.process import Precision
from vptsp.proxies import principal_directions
from vptsp.steps import training_step
from vptsp.training import Trainer
from vptsp.world import World

ROWS = ("adaptformer", "nc-init", "encoder", "sample", "late", "da-vpt", "da-vpt+")
CFG = Config.load("emoji", image_size=16, embed_dim=16, batch_size=8, num_prompts=4, num_class_prompts=2, crop="squash",
                  optimizer="adamw", lr=1e-3, epochs=2, eval_from=9, tune="bitfit", feature_dropout=.1)
EMOJI = load_emoji()
FEW = RetrievalData("emoji, 12 classes", EMOJI.train.of_classes(range(12)), EMOJI.query.of_classes(range(6)))
torch.manual_seed(0)
IMAGES, LABELS = torch.randn(6, 3, 16, 16), torch.tensor([4, 1, 4, 0, 1, 4])


def vit(**changes):
    torch.manual_seed(3)
    small = dict(img_size=16, patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=0)
    made = VisionTransformer(**small | changes)
    for p in made.parameters():
        if p.ndim == 1: torch.nn.init.normal_(p, p.mean().item(), .1)       # so that a norm or a bias left out is seen
    return made


def tiny(method=None, kind=torch.float32, classes=6, **changes):
    cfg = CFG.replace(feature_dropout=0.) if method is None else CFG.replace(feature_dropout=0.).as_method(method)
    return build_model(cfg.replace(**changes), classes, backbone=vit()).to(kind).train()


def gradients(model, kind=torch.float32):
    "Loss and gradient of a batch, by name."
    model.zero_grad()
    out = model(IMAGES.to(kind), LABELS)
    loss = build_loss(model.cfg)(out, LABELS)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_step(one, other, kind=torch.float32, **tolerance):
    (loss, ours), (their_loss, theirs) = gradients(one, kind), gradients(other, kind)
    assert abs(loss - their_loss) < 1e-5 and set(ours) == set(theirs)
    for name, g in ours.items(): assert_close(g, theirs[name], **tolerance, msg=lambda m, name=name: f"{name}: {m}")


# -- every row

@pytest.mark.parametrize("row", ROWS)
def test_a_row_trains_what_it_says_and_comes_back(row, tmp_path):
    model = tiny(row)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(gradients(model)[1]) == trained
    parts = model.trainable_parameters_by_part()
    assert sum(parts.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.save(tmp_path/"model")
    again = Model.load(tmp_path/"model", backbone=vit())
    assert torch.equal(again.embed(IMAGES), model.embed(IMAGES))
    for name, t in model.tuned_state().items(): assert torch.equal(t, again.tuned_state()[name]), name
    assert again.fingerprint() == model.fingerprint()
    assert torch.equal(model.for_embedding().embed(IMAGES), model.embed(IMAGES))


def test_parameters_of_the_rows_for_cub():
    cub = Config.load("cub200_small")
    def parts(method, **changes): return count_parameters(cub.as_method(method, **changes))
    linear, vpt, g = parts("linear"), parts("vpt"), parts("vptsp-g")
    assert parts("adaptformer")["adapters"] == 12*(2*64*384 + 64 + 384 + 2*384)
    assert parts("nc-init") == vpt == parts("da-vpt", tune="none") | {"biases": vpt["biases"], "total": vpt["total"]}
    assert parts("da-vpt+")["biases"] == 12*5*384
    encoder = parts("encoder")
    assert encoder == {part: n for part, n in g.items() if part not in ("class_prompts", "total")} | {
        "total": g["total"] - g["class_prompts"]}
    assert parts("sample")["heads"] == linear["heads"] and parts("sample")["accumulator"] == g["accumulator"]
    assert parts("late")["class_prompts"] == 100*4*3*384
    assert parts("late", semantic_blocks=99) == g
    assert parts("whitened") == parts("frozen") == {"total": 0}


class StopAt(Callback):
    "Pulls the plug in the middle of an epoch."
    def step_end(self, trainer, loss):
        if trainer.step == trainer.steps + 3: raise KeyboardInterrupt


CUT = {row: {} for row in ROWS} | {"late": dict(bank=True, checkpoint_minutes=1e-9), "nc-init": dict(proxy_noise=.05),
                                   "da-vpt+": dict(guided_blocks=2, checkpoint_minutes=1e-9)}

@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_was_cut_goes_on_to_the_same_bits(row, tmp_path):
    cfg = CFG.replace(**{k: v for k, v in CUT[row].items() if k == "checkpoint_minutes"})
    cfg = cfg.as_method(row, **{k: v for k, v in CUT[row].items() if k != "checkpoint_minutes"})
    def run(out=None, callbacks=()):
        return Trainer(cfg, FEW, out, backbone=vit(), callbacks=list(callbacks), frozen={}).fit()
    whole = run()
    with pytest.raises(KeyboardInterrupt): run(tmp_path/"run", [StopAt()])
    again = run(tmp_path/"run")
    assert [line["loss"] for line in again.history] == [line["loss"] for line in whole.history]
    for name, t in whole.model.tuned_state().items(): assert torch.equal(t, again.model.tuned_state()[name]), name


# -- late branch, encoder, sample

def published_semantic(model, m):
    "The second pass with prompts among the tokens, all of them kept to the end."
    b, index = model.backbone, LABELS.unique(return_inverse=True)[1]
    shared, own = model.prompts(), model.class_prompts(LABELS.unique())
    x = b.tokens(IMAGES.double())
    for l, block in enumerate(b.vit.blocks):
        x = insert_and_drop(block, x, shared[l] if l < b.depth - m else own[l][index])
    return model.proxy_head(b.pooled(x))


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("tune", ["none", "bitfit"])
def test_a_late_branch_is_its_blocks_by_hand(m, tune):
    model = tiny(kind=torch.float64, semantic_blocks=m, tune=tune)
    assert sorted(model.class_prompts.layers) == [str(l) for l in range(3 - m, 3)]
    ours, hand = model(IMAGES.double(), LABELS).semantic, published_semantic(model, m)
    assert_close(ours, hand)
    # a published block's keys have a bias, whose gradient is rounding noise: it is left out
    tuned = [p for name, p in model.named_parameters() if p.requires_grad and not name.endswith("qkv.bias")]
    weights = torch.randn(ours.shape, dtype=torch.float64)
    theirs = torch.autograd.grad((hand*weights).sum(), tuned, allow_unused=True)
    for g, h in zip(torch.autograd.grad((ours*weights).sum(), tuned, allow_unused=True), theirs):
        assert (g is None) == (h is None)
        if g is not None: assert_close(g, h)


def test_all_blocks_are_the_published_passes_and_none_are_the_encoder():
    for m in (3, 99): assert_same_step(tiny(semantic_blocks=m), tiny(), atol=0, rtol=0)
    assert_same_step(tiny(semantic_blocks=0), tiny("encoder"), atol=0, rtol=0)


@pytest.mark.parametrize("tune", ["none", "bitfit", "some_biases"])
def test_the_encoder_spares_a_pass_that_would_be_the_same(tune):
    kind = torch.float64
    spared, made = tiny("encoder", kind, tune=tune), tiny("encoder", kind, tune=tune)
    made.backbone.draws = lambda: True                       # so it makes the second pass
    assert_same_step(spared, made, kind)


def test_the_encoder_draws_anew_where_dropout_stands_between():
    cfg = dict(adapter="parallel", adapter_num_blocks=1, adapter_dim=8, adapter_init="bert", feature_dropout=.5)
    model = tiny("encoder", **cfg)
    assert model.backbone.draws() and not tiny("encoder", **cfg | dict(feature_dropout=0.)).backbone.draws()
    model.head.load_state_dict(model.proxy_head.state_dict())
    model.head.drop.p = 0.
    out = model(IMAGES, LABELS)
    assert (out.embeddings - out.semantic).abs().max() > 1e-3
    full = build_model(CFG.replace(tune="full").as_method("encoder"), 6, backbone=vit(drop_path_rate=.5)).train()
    assert full.backbone.draws() and not full.eval().backbone.draws()


def test_sample_accumulates_the_embeddings():
    model = tiny("sample", accumulator="mix", accumulator_init="xavier")
    memory = model.proxies.memory.clone()
    out = model(IMAGES, LABELS)
    expected = .8*memory[4] + .2*out.embeddings[LABELS == 4].mean(0)
    assert_close(model.proxies.memory[4], F.normalize(expected, dim=0))
    assert model.proxy_head is None and out.semantic.requires_grad


def test_a_late_bank_is_a_late_table():
    changes = dict(semantic_blocks=1, optimizer="sgd", momentum=0., weight_decay=0.)
    dense, bank = tiny(**changes), tiny(bank=True, **changes)
    bank.class_prompts.bank_2.copy_(dense.class_prompts.layers["2"].detach())
    for model in (dense, bank):
        optimizer, loss_of = build_optimizer(model, model.cfg), build_loss(model.cfg)
        for _ in range(3): training_step(model, loss_of, optimizer, IMAGES, LABELS, Precision("no", "cpu"))
    assert_close(bank.class_prompts.bank_2, dense.class_prompts.layers["2"].detach())
    assert_close(bank.proxies.memory, dense.proxies.memory)


def test_a_late_branch_accumulates_batches():
    model, halves = tiny("late", semantic_blocks=2), (slice(0, 2), slice(2, 6))
    memory, loss_of = model.proxies.memory.clone(), build_loss(model.cfg)
    tuned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    each = [torch.autograd.grad(loss_of(model(IMAGES[part], LABELS[part]), LABELS[part])/2, list(tuned.values()))
            for part in halves]
    model.proxies.memory.copy_(memory)
    optimizer, seen = build_optimizer(model, model.cfg), []
    optimizer.register_step_pre_hook(lambda *_: seen.extend(p.grad.clone() for p in tuned.values()))
    precision = Precision("no", "cpu", accumulate=2)
    for part in halves: training_step(model, loss_of, optimizer, IMAGES[part], LABELS[part], precision)
    assert len(seen) == len(tuned)
    for name, found, *parts in zip(tuned, seen, *each): assert_close(found, sum(parts), msg=name)


@pytest.mark.parametrize("changes, sentence", [
    (dict(semantic_blocks=-2), "semantic_blocks = -2: this must be at least -1"),
    (dict(semantic_blocks=0, bank=True), "semantic_blocks = 0 leaves no block"),
    (dict(semantic_blocks=1, class_prompt_depth=2), "the second pass has blocks 2 to 2"),
    (dict(guided_blocks=2, prompt_depth=1), "block 1 of 0 to 2 has no shared prompts"),
    (dict(guided_blocks=1, num_prompts=0), "needs num_prompts and prompt_depth above 0"),
    (dict(proxy_noise=-1), "proxy_noise = -1.0: this must be at least 0"),
])
def test_what_cannot_be_is_a_sentence(changes, sentence):
    with pytest.raises(ConfigError, match=sentence): tiny(**changes)


def test_attention_of_a_late_class_is_that_of_its_pass():
    model = tiny("late", semantic_blocks=1).eval()
    maps = attention_maps(model, IMAGES, 4)
    assert [w.prompts.shape[2] for w in maps] == [4, 4, 2]               # shared prompts, then those of the class
    with torch.no_grad():
        half = model.backbone.through(model.backbone.tokens(IMAGES), model.prompts(), stop=2)
        last = model.backbone.run_block(2, half, model.class_prompts(torch.tensor([4]))[2][0])
    assert_close(maps[2].out, last)


def test_a_late_branch_may_have_no_block():
    given, before = Config().as_method("late", semantic_blocks=0), Config(semantic_blocks=0).as_method("late")
    assert given.semantic_blocks == before.semantic_blocks == 0 and Config().as_method("late").semantic_blocks == 4


def test_what_a_late_branch_does_not_read_is_said():
    assert "num_class_prompts" in without_effect(Config(semantic_blocks=0), ["num_class_prompts"])
    assert "semantic_blocks" in without_effect(Config().as_method("encoder", semantic_blocks=4), ["semantic_blocks"])
    assert "guide_class" in without_effect(Config(), ["guide_class"])
    assert not without_effect(Config().as_method("da-vpt"), ["guide_class", "guided_blocks"])


# -- starts and noise

def test_principal_directions_are_those_of_the_uncentred_covariance():
    x, y = torch.randn(40, 8) + .5, torch.randint(5, (40,))
    x, y = torch.cat([x, x[:1]]), torch.cat([y, torch.tensor([6])])        # a class of one image; class 5 has none
    found = principal_directions(x, y, 7)
    for c in y.unique().tolist():
        rows = x[y == c].double()
        u = torch.linalg.eigh(rows.T @ rows).eigenvectors[:, -1]
        assert_close(found[c], u*torch.sign(u @ rows.mean(0)))
    assert_close(found[6], F.normalize(x[-1].double(), dim=0))
    assert not found[5].any()


@pytest.mark.parametrize("method", ["linear", "vpt", "vptsp-g", "sample"])
def test_a_start_and_noise_for_any_row(method):
    model = tiny(method, proxy_init="nc", head_init="xavier", proxy_noise=.1)
    y = torch.arange(6).repeat(4)
    assert model.warm_start([(torch.randn(24, 3, 16, 16), y)]) == 24
    assert_close(model.proxies.bias.norm(dim=1), torch.ones(6))
    assert torch.equal(model.proxies.bias, model.proxies.memory)
    def proxies():
        torch.manual_seed(1)
        return copy.deepcopy(model)(IMAGES, LABELS).proxies
    first = proxies()
    assert torch.equal(first, proxies())                      # of the batch's own random numbers
    model.cfg = model.cfg.replace(proxy_noise=0.)
    assert .05 < (proxies() - first).std() < .15


class Told(World):
    "One of two processes, which hears the whole batch."
    def __init__(self, rank, whole):
        super().__init__(rank, 2)
        self.whole = whole
    def meet(self, n): return [3, 3], 77
    def gather(self, rows, counts): return LABELS if rows.ndim == 1 else self.whole


def test_processes_draw_the_same_noise():
    model = tiny("vpt", proxy_noise=.1)
    whole, proxies = model.eval()(IMAGES).embeddings.detach(), []
    for rank in (0, 1):
        model.train().world = Told(rank, whole)
        torch.manual_seed(rank)
        proxies.append(model(IMAGES[3*rank:][:3], LABELS[3*rank:][:3]).proxies)
    assert torch.equal(*proxies) and not torch.equal(proxies[0], model.proxies.bias)


def test_without_noise_nothing_is_drawn():
    model = tiny("vptsp-g")
    state = torch.get_rng_state()
    model(IMAGES, LABELS)
    assert torch.equal(torch.get_rng_state(), state)


# -- frozen, whitened

def test_whitened_trains_nothing_and_is_the_start():
    cfg = CFG.as_method("whitened")
    assert (cfg.tune, cfg.num_prompts, cfg.epochs) == ("none", 0, 0)
    run = Trainer(cfg, FEW, backbone=vit(), callbacks=[]).fit()
    assert run.metrics["trainable"] == {} and "R@1" in run.metrics and run.metrics["frozen"]
    start = Trainer(CFG.as_method("linear"), FEW, backbone=vit(), callbacks=[], frozen={})
    start._prepare()                                          # warmed up, before its first step
    for name, t in run.model.head.state_dict().items(): assert torch.equal(t, start.model.head.state_dict()[name])
    with pytest.raises(ConfigError, match="head_init = xavier goes against the method whitened"):
        CFG.as_method("whitened", head_init="xavier")


# -- DA-VPT

def test_kmeans_ends_where_no_class_gains_by_another_group():
    x = torch.randn(50, 6)
    groups, centroids = cosine_kmeans(x, 7, seed=2)
    unit = F.normalize(x.double(), dim=1)
    for k in groups.unique(): assert_close(centroids[k], F.normalize(unit[groups == k].sum(0), dim=0))
    assert torch.equal(groups, (unit @ centroids.T).argmax(1))
    assert torch.equal(groups, cosine_kmeans(x, 7, seed=2)[0])
    assert torch.equal(groups, cosine_kmeans(x, 7, centroids=centroids)[0])
    assert cosine_kmeans(x[:3], 7)[0].unique().numel() == 3   # more prompts than classes: some stand for none
    assert cosine_kmeans(torch.ones(4, 3), 2)[0].unique().numel() == 1


def test_classes_are_grouped_by_the_frozen_class_token(tmp_path):
    model, y = tiny("da-vpt", guided_blocks=2, pool="avg", prompt_block_step=1), torch.arange(6).repeat(2)
    images = torch.randn(12, 3, 16, 16)
    model.warm_start([(images[:5], y[:5]), (images[5:], y[5:])])
    with torch.no_grad(): tokens = vit().eval().forward_features(images)[:, 0]
    means = torch.stack([tokens[y == c].sum(0) for c in range(6)])
    for l, prompts in ((1, 3), (2, 2)):
        assert torch.equal(model.guide.get_buffer(f"groups_{l}"), cosine_kmeans(means, prompts, CFG.seed)[0])
    model.save(tmp_path/"model")
    assert torch.equal(Model.load(tmp_path/"model", backbone=vit()).guide.groups_2, model.guide.groups_2)


def test_guidance_is_added_to_the_loss_and_only_in_training():
    model = tiny("da-vpt", guide_patches=0., guide_class=0.)
    plain = tiny("vpt", tune="none")
    assert_same_step(model, plain)
    with_it = tiny("da-vpt")
    out = with_it(IMAGES, LABELS)
    assert out.guidance > 0
    assert_close(build_loss(with_it.cfg)(out, LABELS), build_loss(with_it.cfg)(out._replace(guidance=None), LABELS)
                 + out.guidance)
    assert with_it.eval()(IMAGES, LABELS).guidance is None


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_guidance_in_another_precision(kind):
    model = tiny("da-vpt+", kind)
    with_it, plain = model(IMAGES.to(kind), LABELS).guidance, tiny("da-vpt+")(IMAGES, LABELS).guidance
    assert with_it.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert_close(with_it.float(), plain, rtol=.05, atol=.01)
    with torch.autocast("cpu", torch.bfloat16): cast = tiny("da-vpt+")(IMAGES, LABELS).guidance
    assert cast.dtype == torch.float32 and abs(cast - plain) < .05*plain


def test_a_plus_frees_the_biases_that_it_names():
    model = tiny("da-vpt+")
    names = {name.removeprefix("backbone.vit.blocks.0.") for name, p in model.named_parameters()
             if p.requires_grad and name.startswith("backbone.vit.blocks.0.")}
    assert names == {"attn.qkv.parametrizations.bias.0.key_value", "attn.proj.bias", "norm2.bias", "mlp.fc2.bias"}
    assert not any(p.requires_grad for name, p in model.named_parameters() if name.startswith("backbone.vit.norm"))


def test_guided_prompts_train_in_one_process():
    model = tiny("da-vpt")
    model.world = World(0, 2)
    model.world.meet = lambda n: ([n, 0], 0)
    with pytest.raises(ConfigError, match="guided_blocks trains in one process"): model(IMAGES, LABELS)
    trainer = Trainer(CFG.as_method("da-vpt"), FEW, backbone=vit(), callbacks=[], frozen={})
    trainer.world = World(0, 2)
    from vptsp.beginning import agree
    with pytest.raises(ConfigError) as e: agree(trainer)
    assert str(e.value) == alone


def test_guided_prompts_need_a_class_token_and_plain_blocks():
    from timm.models.vision_transformer import ResPostBlock

    from vptsp.prompts import SharedPrompts
    cfg, prompts = Config().as_method("da-vpt"), SharedPrompts(blocks=3, width=24, num=4)
    bare = VisionTransformer(img_size=16, patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=0,
                             class_token=False, global_pool="avg")
    with pytest.raises(BackboneError, match="has none"): PromptGuide(cfg, Backbone(bare, "avg"), prompts, 6)
    with pytest.raises(BackboneError, match="block 2 is a ResPostBlock"):
        PromptGuide(cfg, Backbone(vit(block_fn=ResPostBlock)), prompts, 6)


def test_groups_stand_in_the_checkpoint(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Trainer(CFG.as_method("da-vpt"), FEW, tmp_path/"run", backbone=vit(), callbacks=[StopAt()], frozen={}).fit()
    tensors = read_checkpoint(tmp_path/"run"/"checkpoint")[1]
    assert "model.guide.groups_2" in tensors


# -- names

def test_the_rows_have_names():
    titles = {name: methods[name].title for name in (*ROWS, "whitened")}
    assert titles == {"adaptformer": "AdaptFormer", "nc-init": "VPT, NC-Init + PI", "encoder": "Encoder",
                      "sample": "Sample", "late": "VPTSP-G, late", "da-vpt": "DA-VPT", "da-vpt+": "DA-VPT+",
                      "whitened": "frozen, whitened"}
    assert Config().as_method("late", semantic_blocks=2).semantic_blocks == 2
    assert Config(semantic_blocks=8).as_method("late").semantic_blocks == 8
    assert Config().as_method("nc-init").proxy_noise == .01
    assert Config(guided_blocks=2).as_method("vpt").guided_blocks == 0
    assert Config().as_method("encoder", accumulator="mix").accumulator == "mix"


def test_a_run_knows_its_row():
    from vptsp.commands.pages import _method_of
    for base in (CFG, CFG.replace(num_prompts=0)):
        for name in methods:
            try: cfg = base.as_method(name)
            except ConfigError: continue                      # a row that needs prompts
            assert cfg.as_method(_method_of(cfg)) == cfg
    known = [name for name in methods if CFG.as_method(name) != CFG]
    assert [_method_of(CFG.as_method(name)) for name in known] == known
