"Accumulators, proxies and losses: against slow definitions, in any order, and with labels that are none."
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.testing import assert_close

from vptsp.config import Config, ConfigError, accumulators, losses
from vptsp.losses import (
    NormSoftmaxLoss,
    PairLoss,
    ProxyAnchorLoss,
    ProxyNCAPublishedLoss,
    build_loss,
    lse0,
    proxy_similarities,
    register_loss,
)
from vptsp.model import build_model
from vptsp.proxies import GRUAccumulator, MeanAccumulator, SemanticProxies, group_by_class, register_accumulator


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def unit(*shape) -> torch.Tensor: return F.normalize(torch.randn(*shape), dim=-1)


# groups

@pytest.mark.parametrize("labels", [[7, 3, 7, 5, 3, 7], [0], [4, 4, 4], [2, 1, 0], []])
def test_groups_against_a_loop(labels):
    classes, class_index, occurrence = group_by_class(torch.tensor(labels, dtype=torch.long))
    assert classes.tolist() == list(dict.fromkeys(labels))
    assert class_index.tolist() == [list(dict.fromkeys(labels)).index(y) for y in labels]
    assert occurrence.tolist() == [labels[:i].count(y) for i, y in enumerate(labels)]


# accumulators

ACCUMULATORS = {"mean": lambda: MeanAccumulator(), "gru_relu": lambda: GRUAccumulator(16),
                "gru": lambda: GRUAccumulator(16, relu=False)}


@pytest.mark.parametrize("name", ACCUMULATORS)
def test_the_order_of_a_batch_means_nothing(name):
    accumulate, s, old = ACCUMULATORS[name](), unit(6, 16), unit(3, 16)
    labels, mixed = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([4, 0, 3, 1, 5, 2])
    (c1, i1, o1), (c2, i2, o2) = group_by_class(labels), group_by_class(labels[mixed])
    rows, again = accumulate(s, i1, o1, old[c1]), accumulate(s[mixed], i2, o2, old[c2])
    assert_close(rows[c1.argsort()], again[c2.argsort()])

    row = old[0]                                                     # the class with three images, by hand
    if isinstance(accumulate, GRUAccumulator):
        for i in range(3): row = accumulate.step(s[i:i + 1], row.view(1, -1))[0]
    else:
        row = .8*old[0] + .2*s[:3].mean(0)
    assert_close(rows[0], row)


def test_the_tanh_gru_is_torchs():
    gru, cell, s, old = GRUAccumulator(6, relu=False), nn.GRUCell(6, 6), torch.randn(4, 6), torch.randn(4, 6)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat([gru.W_ir.T, gru.W_iz.T, gru.W_in.T]))
        cell.weight_hh.copy_(torch.cat([gru.W_hr.T, gru.W_hz.T, gru.W_hn.T]))
        cell.bias_ih.zero_()
        cell.bias_hh.zero_()
    assert_close(gru.step(s, old), cell(s, old))


def test_a_gru_that_cannot_start_as_a_mean():
    for kw in (dict(relu=True, keep=.8), dict(relu=False, keep=1.), dict(relu=False, keep=0.)):
        with pytest.raises(ValueError, match="only with tanh"): GRUAccumulator(8, **kw)


def test_names_of_the_parameters_are_those_of_saved_models():
    names = ["W_ir", "W_hr", "b_ir", "W_iz", "W_hz", "b_iz", "W_in", "W_hn", "b_in"]
    assert [n for n, _ in GRUAccumulator(4).named_parameters()] == names
    assert set(SemanticProxies(3, 4, MeanAccumulator()).state_dict()) == {"bias", "memory"}


@pytest.mark.parametrize("settings, expected", [
    (dict(accumulator="mix", mix_keep=.7), lambda a: isinstance(a, MeanAccumulator) and a.keep == .7),
    (dict(accumulator="gru_relu", gru_dropout=.2), lambda a: a.relu and a.dropout == .2),
    (dict(accumulator="gru"), lambda a: not a.relu and a.W_iz.abs().sum() > 0),
    (dict(accumulator="gru", accumulator_init="mean"), lambda a: not a.relu and a.W_iz.abs().sum() == 0),
])
def test_accumulators_of_settings(settings, expected):
    cfg = Config(**settings)
    assert expected(accumulators[cfg.accumulator](8, cfg))


# proxies

def test_proxies_after_a_batch():
    proxies = SemanticProxies(num_classes=5, embed_dim=16, accumulator=MeanAccumulator(), ratio=.4)
    before, labels, s = proxies.memory.clone(), torch.tensor([2, 0, 2]), unit(3, 16).requires_grad_()
    out = proxies(labels, s)
    assert out.classes.tolist() == [2, 0] and out.batch.shape == (2, 16)
    assert_close(proxies.memory[[1, 3, 4]], before[[1, 3, 4]])
    assert_close(proxies.memory.norm(dim=1), torch.ones(5))
    assert_close(out.all.detach(), .4*proxies.bias.detach() + .6*proxies.memory)
    assert_close(proxies.current(), out.all.detach())
    out.all.sum().backward()
    assert s.grad is not None and s.grad.abs().sum() > 0 and not proxies.memory.requires_grad


def test_eval_mode_writes_nothing():
    proxies, labels = SemanticProxies(5, 16, MeanAccumulator()).eval(), torch.tensor([2, 0, 2])
    held, s = proxies.memory.clone(), unit(3, 16)
    out = proxies(labels, s)
    assert torch.equal(proxies.memory, held)
    assert torch.equal(proxies(labels.int(), s).all, out.all)        # any whole numbers will do
    proxies.train()(labels)                                          # nor does a batch without features
    assert torch.equal(proxies.memory, held)


def test_labels_that_are_none():
    proxies, s = SemanticProxies(5, 16, MeanAccumulator()), unit(2, 16)
    with pytest.raises(ValueError, match="label 7 is none of the 5 training classes"): proxies(torch.tensor([1, 7]), s)
    with pytest.raises(ValueError, match="label -1 is none"): proxies(torch.tensor([-1, 1]), s)
    for labels in (torch.tensor([1., 2.]), torch.tensor([True, False]), torch.tensor([[1, 2]])):
        with pytest.raises(ValueError, match="whole numbers"): proxies(labels, s)


def test_a_start_at_class_means():
    proxies = SemanticProxies(3, 4, MeanAccumulator())
    held, images = proxies.bias.detach().clone(), torch.tensor([[2., 0, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0]])
    proxies.start_at(images, torch.tensor([0, 0, 2]))
    assert_close(proxies.memory[[0, 2]], F.normalize(torch.tensor([[1., 1, 0, 0], [0, 0, 1, 0]]), dim=1))
    assert_close(proxies.bias[[0, 2]], proxies.memory[[0, 2]])
    assert_close(proxies.bias[1], held[1])


# losses

def slow_proxy_anchor(E, y, W, present=False, a=32., d=.1, e=-.1):
    E, W = F.normalize(E, dim=1), F.normalize(W, dim=1)
    pull, push, count = 0., 0., 0
    for j in range(len(W)):
        pos = [torch.exp(-a*(E[i] @ W[j] - d)) for i in range(len(E)) if y[i] == j]
        neg = [torch.exp(a*(E[i] @ W[j] - e)) for i in range(len(E)) if y[i] != j]
        if pos: pull, count = pull + torch.log(1 + sum(pos)), count + 1
        if neg: push = push + torch.log(1 + sum(neg))
    return pull/(count if present else len(W)) + push/len(W)


def slow_proxy_nca(E, y, W, a=32., d=.1, e=-.1):
    E, W, total = F.normalize(E, dim=1), F.normalize(W, dim=1), 0.
    for i in range(len(E)):
        others = sum(torch.exp(a*(E[i] @ W[j] - e)) for j in range(len(W)) if j != y[i])
        total = total + torch.log(1 + torch.exp(-a*(E[i] @ W[y[i]] - d))) + torch.log(1 + others)
    return total/len(E)


@pytest.fixture
def batch(seed): return torch.randn(6, 8), torch.tensor([0, 0, 3, 3, 1, 0]), torch.randn(5, 8)


def test_against_the_definitions(batch):
    assert_close(ProxyAnchorLoss()(*batch), slow_proxy_anchor(*batch))
    assert_close(ProxyAnchorLoss(positive_reduction="present")(*batch), slow_proxy_anchor(*batch, present=True))
    assert_close(ProxyNCAPublishedLoss()(*batch), slow_proxy_nca(*batch))


LOSSES = [ProxyAnchorLoss(), ProxyNCAPublishedLoss(), NormSoftmaxLoss(), PairLoss("MultiSimilarityLoss")]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_of_every_loss(loss, batch):
    E, y, W = batch
    mixed = torch.randperm(6)
    assert_close(loss(E[mixed], y[mixed], W), loss(E, y, W))                 # the order of a batch means nothing
    assert_close(loss(7*E, y, W/3), loss(E, y, W))                           # nor do lengths
    with pytest.raises(ValueError, match="label 9 has no proxy"): loss(E, torch.tensor([0, 0, 3, 3, 1, 9]), W)
    with pytest.raises(ValueError, match="the same e"): loss(E, y, W[:, :4])
    with pytest.raises(ValueError, match="6 embeddings but 5 labels"): loss(E, y[:5], W)


def test_no_overflow(batch):
    assert_close(lse0(torch.tensor([[200.]]), torch.tensor([[True]]), 1), torch.tensor([200.]))
    assert torch.isfinite(ProxyAnchorLoss(1000., 1000.)(*batch))


def test_classes_nobody_sampled_add_nothing(batch):
    E, y, W = batch
    loss = ProxyAnchorLoss(neg_alpha=0., positive_reduction="present")
    five, eight = W.clone().requires_grad_(), torch.cat([W, torch.randn(3, 8)]).requires_grad_()
    loss(E, y, five).backward()
    loss(E, y, eight).backward()
    assert eight.grad is not None and five.grad is not None
    assert_close(eight.grad[:5], five.grad)
    assert eight.grad[5:].abs().sum() == 0


def test_a_positive_reduction_that_is_none():
    with pytest.raises(ValueError, match="must be all or present"): ProxyAnchorLoss(positive_reduction="some")


def test_pair_losses_by_name(batch):
    with pytest.raises(ConfigError, match="Did you mean 'MultiSimilarityLoss'?"): PairLoss("MultiSimilarity")
    with pytest.raises(ConfigError, match="it has weights of its own"): PairLoss("ArcFaceLoss")
    with pytest.raises(ConfigError) as e: build_loss(Config(loss="proxy_ancor"))
    assert "must be proxy_anchor, proxy_nca_published, proxy_nca_paper, norm_softmax" in str(e.value)
    assert str(e.value).endswith("Did you mean 'proxy_anchor'?")


# one's own

@pytest.fixture
def own():
    @register_accumulator("last")
    class Last(nn.Module):
        def __init__(self, embed_dim, cfg): super().__init__()

        def forward(self, features, class_index, occurrence, old):
            last = occurrence == torch.bincount(class_index)[class_index] - 1
            return old.index_copy(0, class_index[last], features[last].to(old.dtype))

    @register_loss("squares")
    class Squares(nn.Module):
        def __init__(self, cfg): super().__init__()

        def forward(self, embeddings, labels, proxies, proxy_labels=None):
            S, positive = proxy_similarities(embeddings, labels, proxies, proxy_labels)
            return (S - positive.float()).square().mean()

    yield Last
    del accumulators._entries["last"], losses._entries["squares"]


def test_an_accumulator_and_a_loss_of_ones_own_train(own):
    cfg = Config(accumulator="last", loss="squares", embed_dim=32, batch_size=8, num_prompts=2)
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=0)
    model, images = build_model(cfg, 6, backbone=vit).train(), torch.randn(4, 3, 32, 32)
    labels = torch.tensor([4, 1, 4, 0])
    assert isinstance(model.proxies.accumulator, own)
    out = model(images, labels)
    build_loss(cfg)(out, labels).backward()
    assert_close(model.proxies.memory[4], out.semantic[2].detach())          # the last image of class 4
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_names_that_are_gone_are_refused(own):
    cfg = Config(accumulator="last")
    saved = dict(accumulators._entries)
    del accumulators._entries["last"]
    with pytest.raises(ConfigError, match="one of gru_relu, gru, mix"): cfg.replace(seed=1)
    with pytest.raises(ConfigError, match="there is no accumulator 'last'"): accumulators[cfg.accumulator]
    accumulators._entries.update(saved)


def test_proxies_of_a_batch_or_of_all(batch):
    E, y, W = batch
    out = SimpleNamespace(embeddings=E, proxies=W, batch_proxies=W[[0, 3, 1]], batch_classes=torch.tensor([0, 3, 1]))
    assert_close(build_loss(Config())(out, y), ProxyAnchorLoss()(E, y, W))
    in_batch = build_loss(Config(proxy_data_range="in_batch"))(out, y)
    assert_close(in_batch, ProxyAnchorLoss()(E, y, W[[0, 3, 1]], torch.tensor([0, 3, 1])))


@pytest.mark.parametrize("labels", [
    [4, 1, 4, 0], torch.tensor([4, 1, 4, 0]).to(torch.uint16), torch.tensor([4, 1, 4, 0], dtype=torch.uint8),
    torch.tensor([[4], [1], [4], [0]]), torch.tensor([4, 1, 4, 0]).numpy(), torch.tensor([4, 1, 4, 0]).numpy()[:, None],
], ids=["list", "uint16", "uint8", "column", "array", "array column"])
def test_a_model_takes_labels_in_any_form(labels):
    cfg = Config(embed_dim=32, batch_size=8, num_prompts=2)
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=0)
    model, images = build_model(cfg, 6, backbone=vit).eval(), torch.randn(4, 3, 32, 32)
    out, plain = model(images, labels), model(images, torch.tensor([4, 1, 4, 0]))
    assert out.batch_classes.tolist() == [4, 1, 0]
    assert torch.equal(build_loss(cfg)(out, labels), build_loss(cfg)(plain, torch.tensor([4, 1, 4, 0])))


@pytest.mark.parametrize("labels, says", [
    (["cat", "dog"], "Names are numbered by vptsp.labels.number_labels"), (torch.tensor([1., 2.]), "whole numbers"),
    (torch.tensor([1, 5]).to(torch.uint16), "label 5 is none of the 5"), ([-1, 2], "label -1 is none"),
    (torch.tensor([2**40, 1]), "label 1099511627776 is none"), ([[1, 2], [3, 4]], "whole numbers"),
    ([None, 1], "number_labels"), (torch.tensor([True, False]), "whole numbers"),
    (torch.tensor([2**63 + 5, 1], dtype=torch.uint64), "label 9223372036854775813 is none"),
])
def test_labels_that_no_model_takes(labels, says):
    with pytest.raises(ValueError) as e: SemanticProxies(5, 16, MeanAccumulator())(labels, unit(2, 16))
    assert says in str(e.value)
