"Losses and miners by name: which can take proxies, what they are called, what their arguments are."
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch.testing import assert_close

from vptsp.config import Config, ConfigError, from_published
from vptsp.loss_names import takes_no_proxies, takes_proxies
from vptsp.losses import (
    NormSoftmaxLoss,
    PairLoss,
    ProxyAnchorLoss,
    ProxyNCALoss,
    ProxyNCAPaperLoss,
    ProxyNCAPublishedLoss,
    build_loss,
    losses,
    register_loss,
)
from vptsp.pair_losses import library_names, tried

NEEDED = {"RankedListLoss": dict(margin=1., Tn=1.)}                   # arguments without a default


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(0)
    return torch.randn(6, 8, generator=g), torch.tensor([0, 0, 3, 3, 1, 0]), torch.randn(5, 8, generator=g)


def output(E, W): return SimpleNamespace(embeddings=E, proxies=W, batch_proxies=W[[0, 3, 1]],
                                         batch_classes=torch.tensor([0, 3, 1]))


# which can

@pytest.mark.parametrize("name", library_names("losses"))
def test_the_lists_are_what_a_trial_finds(name):
    assert (name in takes_proxies) != (name in takes_no_proxies), f"{name} stands in neither list, or in both"
    for in_batch in (False, True):
        for images_a_class in (1, 2):
            how = dict(in_batch=in_batch, images_a_class=images_a_class)
            if name in takes_proxies: PairLoss(name, **how)
            else:
                with pytest.raises(ConfigError, match=name): PairLoss(name, **how)


@pytest.mark.parametrize("name", sorted(takes_no_proxies))
def test_none_of_them_could(name):
    "Without the list the trial finds the same, for those that can be made at all."
    from pytorch_metric_learning import losses as library
    try: theirs = getattr(library, name)(**NEEDED.get(name, {}))
    except (TypeError, KeyError): return                              # needs weights' sizes, or another loss

    class Loss(torch.nn.Module):
        def forward(self, E, labels, W, proxy_labels): return theirs(E, labels, ref_emb=W, ref_labels=proxy_labels)
    assert tried(Loss()) is not None


@pytest.mark.parametrize("name", sorted(takes_no_proxies))
def test_settings_refuse_them_at_once(name):
    with pytest.raises(ConfigError) as e: Config(loss=name)
    assert name in str(e.value) and "MultiSimilarityLoss" in str(e.value)      # and name those that can


def test_settings_are_read_without_torch():
    code = ("import sys; from vptsp.config import Config; Config.load({'loss': 'TripletMarginLoss', "
            "'loss_args': {'margin': .3}, 'miner_args': None}); Config(); sys.exit('torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code.replace("'TripletMarginLoss'", "'proxy_anchor'")],
                          cwd=Path(__file__).parents[1])
    assert done.returncode == 0


@pytest.mark.parametrize("name", takes_proxies)
def test_a_loss_takes_many_steps(name):
    "Some carry something from step to step: a histogram with its graph ended the second one."
    loss, g = PairLoss(name), torch.Generator().manual_seed(0)
    E, W = (torch.randn(n, 8, generator=g).requires_grad_() for n in (12, 40))
    for _ in range(3):
        value = loss(E, torch.arange(12) % 6, W)
        value.backward()
    assert E.grad is not None and W.grad is not None and E.grad.isfinite().all() and W.grad.isfinite().all()


def test_a_trial_leaves_nothing_behind():
    "Neither in the loss, nor in the process's random numbers."
    before = torch.get_rng_state()
    tried_once, fresh = PairLoss("DynamicSoftMarginLoss"), PairLoss("DynamicSoftMarginLoss")
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(tried_once.loss.hist_, torch.zeros_like(fresh.loss.hist_))


# what they are called

def test_the_two_forms_of_proxy_nca(batch):
    E, y, W = batch
    from pytorch_metric_learning.losses import ProxyNCALoss as Theirs
    theirs = Theirs(num_classes=5, embedding_size=8, softmax_scale=4)
    with torch.no_grad(): theirs.proxies.copy_(W)
    assert_close(ProxyNCAPaperLoss(4.)(E, y, W), theirs(E, y))
    assert_close(ProxyNCAPaperLoss(4.)(E, y, W), NormSoftmaxLoss(8.)(E, y, W))
    assert_close(ProxyNCAPaperLoss(4.)(E, y, W), PairLoss("NCALoss", softmax_scale=4)(E, y, W))
    squared = (F.normalize(E, dim=1)[:, None] - F.normalize(W, dim=1)[None]).square().sum(2)
    letter = [4*squared[i, c] + torch.logsumexp(-4*squared[i, torch.arange(5) != c], 0) for i, c in enumerate(y)]
    assert_close(ProxyNCAPaperLoss(4., right_in_sum=False)(E, y, W), torch.stack(letter).mean())
    assert abs(ProxyNCAPublishedLoss()(E, y, W) - ProxyNCAPaperLoss()(E, y, W)) > 1


def test_settings_find_both(batch):
    E, y, W = batch
    both = {"proxy_nca_published": ProxyNCAPublishedLoss(), "proxy_nca_paper": ProxyNCAPaperLoss(32.)}
    for name, loss in both.items():
        assert_close(build_loss(Config(loss=name))(output(E, W), y), loss(E, y, W))
    assert list(losses) == ["proxy_anchor", "proxy_nca_published", "proxy_nca_paper", "norm_softmax"]


def test_the_old_names_lead_to_the_published_form(batch):
    with pytest.warns(UserWarning, match="'proxy_nca_published'.*'proxy_nca_paper'"): cfg = Config(loss="proxy_nca")
    assert cfg.loss == "proxy_nca_published" and cfg == Config(loss="proxy_nca_published")
    with pytest.warns(UserWarning, match="ProxyNCAPaperLoss"): old = ProxyNCALoss()
    assert isinstance(old, ProxyNCAPublishedLoss)
    assert torch.equal(old(*batch), ProxyNCAPublishedLoss()(*batch))
    with pytest.raises(ConfigError, match="'proxy_nca_paper'.*'proxy_nca_published'"): Config(loss="ProxyNCALoss")


@pytest.mark.filterwarnings("error")
def test_a_published_file_keeps_its_meaning():
    published = dict(vit_head=True, vit_prompt=True, loss_oproxy_mode="nca", loss_oproxy_pos_alpha=16.)
    assert from_published(published).loss == "proxy_nca_published"


def test_a_name_that_is_nearly_one():
    for name, near in {"proxy_ancor": "proxy_anchor", "TripletMarginLos": "TripletMarginLoss",
                       "multisimilarityloss": "MultiSimilarityLoss"}.items():
        with pytest.raises(ConfigError, match=near): build_loss(Config(loss=name))


def test_ones_own_loss_may_have_any_name():
    try:
        @register_loss("SmoothAPLoss")
        class Mine(torch.nn.Module):
            def __init__(self, cfg):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.ones(3, 3))    # of its own size: it is not tried on ours

            def forward(self, embeddings, labels, proxies, proxy_labels=None): return (embeddings @ self.weight).sum()
        assert build_loss(Config(loss="SmoothAPLoss"))
    finally: losses._entries.pop("SmoothAPLoss", None)


# their arguments

def test_arguments_reach_the_loss(batch):
    E, y, W = batch
    from pytorch_metric_learning.losses import TripletMarginLoss
    cfg = Config(loss="TripletMarginLoss", loss_args={"margin": .4, "smooth_loss": True})
    theirs = TripletMarginLoss(margin=.4, smooth_loss=True)(E, y, ref_emb=W, ref_labels=torch.arange(5))
    assert_close(build_loss(cfg)(output(E, W), y), theirs)
    for name, args, loss in [("norm_softmax", dict(scale=8.), NormSoftmaxLoss(8.)),
                             ("proxy_anchor", dict(pos_alpha=8), ProxyAnchorLoss(8.)),
                             ("proxy_nca_paper", dict(right_in_sum=False), ProxyNCAPaperLoss(32., False))]:
        assert_close(build_loss(Config(loss=name, loss_args=args))(output(E, W), y), loss(E, y, W))


def test_they_are_saved_and_compared(tmp_path):
    cfg = Config(loss="TripletMarginLoss", loss_args=dict(margin=.3, smooth_loss=True), miner="BatchHardMiner")
    cfg.save(tmp_path/"config.yaml")
    assert Config.load(tmp_path/"config.yaml") == cfg
    assert Config.load(json.loads(json.dumps(yaml.safe_load((tmp_path/"config.yaml").read_text())))) == cfg
    assert cfg.diff(cfg.replace(loss_args=dict(margin=.2))) == {
        "loss_args": (dict(margin=.3, smooth_loss=True), dict(margin=.2))}
    assert Config(loss_args={}).loss_args is None
    assert hash(cfg) == hash(cfg.replace(seed=0))
    assert "margin" in cfg._repr_html_()


@pytest.mark.parametrize("settings, says", [
    (dict(loss="TripletMarginLoss", loss_args=dict(margn=.2)), "Did you mean 'margin'?"),
    (dict(loss="TripletMarginLoss", loss_args=dict(scale=.2)), "It has: margin, swap"),
    (dict(loss="TripletMarginLoss", loss_args=dict(margin="much")), "cannot compare images with proxies"),
    (dict(loss="TripletMarginLoss", loss_args=dict(distance="cosine")), "loss = 'TripletMarginLoss'"),
    (dict(loss="TripletMarginLoss", loss_args=dict(margin=-9.)), "it has no gradient"),
    (dict(loss="MarginLoss", loss_args=dict(learn_beta=True)), "which nothing here would train"),
    (dict(loss="norm_softmax", loss_args=dict(scal=2.)), "Did you mean 'scale'?"),
    (dict(loss="norm_softmax", loss_args=dict(scale="big")), "tried on four vectors"),
    (dict(loss="proxy_anchor", loss_args=dict(positive_reduction="some")), "must be all or present"),
    (dict(loss="proxy_nca_paper", loss_args=dict(right_in_sum="no")),
     "right_in_sum = 'no': this must be true or false"),
    (dict(loss="TripletMarginLoss", loss_args=dict(smooth_loss="no")),
     "smooth_loss = 'no': this must be true or false"),
    (dict(loss="TripletMarginLoss", loss_args=dict(margin=True)), "margin = True: this must be a number"),
    (dict(loss="TripletMarginLoss", loss_args=dict(triplets_per_anchor="some")), "this must be all"),
    (dict(loss="TripletMarginLoss", miner="TripletMarginMiner", miner_args=dict(type_of_triplets="odd")),
     "miner_args: type_of_triplets = 'odd': this must be all or hard"),
    (dict(loss="NTXentLoss", loss_args=dict(temperature=-.1)), "temperature = -0.1: this must be above 0"),
    (dict(loss="norm_softmax", loss_args=dict(scale=-2.)), "scale = -2.0: this must be above 0"),
    (dict(loss="proxy_anchor", loss_args=dict(pos_alpha=-2.)), "pos_alpha = -2.0: this must be above 0"),
    (dict(loss="TripletMarginLoss", miner="BatchHard"), "Did you mean 'BatchHardMiner'?"),
    (dict(loss="TripletMarginLoss", miner="TripletMarginMiner", miner_args=dict(margins=1)), "Did you mean 'margin'?"),
])
def test_arguments_that_cannot_be(settings, says):
    with pytest.raises(ConfigError) as e: build_loss(Config(**settings))
    assert says in str(e.value)


def test_fewer_classes_than_there_are(batch):
    E, y, W = batch
    with pytest.raises(ConfigError, match="num_classes = 3, but there are 5 classes"):
        build_loss(Config(loss="MarginLoss", loss_args=dict(num_classes=3)))(output(E, W), y)
    loss = build_loss(Config(loss="MarginLoss", loss_args=dict(num_classes=5)))(output(E, W), y)
    assert_close(loss, build_loss(Config(loss="MarginLoss"))(output(E, W), y))


@pytest.mark.parametrize("settings", [dict(num_bins=0), dict(num_bins="ten"), dict(num_bins=2.5)])
def test_what_a_library_raises_while_it_makes_one(settings):
    with pytest.raises(ConfigError, match="loss"):
        build_loss(Config(loss="DynamicSoftMarginLoss", loss_args=settings))


@pytest.mark.parametrize("settings, says", [
    (dict(loss_args=[1, 2]), "arguments by name"),
    (dict(loss_args={1: 2}), "arguments by name"),
    (dict(loss_args="margin"), "arguments by name"),
    (dict(loss_args=dict(margin=float("nan"))), "margin = nan"),
    (dict(loss_args=dict(margin=None)), "margin = None"),
    (dict(loss_args=dict(margin=[1])), "must be a number, a text"),
    (dict(miner="BatchHardMiner"), "picks pairs for a pair loss"),
    (dict(miner_args=dict(margin=1)), "needs a miner"),
])
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(ConfigError) as e: Config(**settings)
    assert says in str(e.value)


@pytest.mark.parametrize("name", library_names("miners"))
def test_every_miner(name, batch):
    E, y, W = batch
    from pytorch_metric_learning import losses as library
    from pytorch_metric_learning import miners
    torch.manual_seed(0)
    ours = PairLoss("TripletMarginLoss", miner=name, margin=.3)(E, y, W)
    torch.manual_seed(0)
    pairs = getattr(miners, name)()(E, y, W, torch.arange(5))
    assert_close(ours, library.TripletMarginLoss(margin=.3)(E, y, pairs, W, torch.arange(5)))


# precision

OURS = [ProxyAnchorLoss(), ProxyAnchorLoss(positive_reduction="present"), ProxyNCAPublishedLoss(), NormSoftmaxLoss(),
        ProxyNCAPaperLoss(4.), ProxyNCAPaperLoss(4., False)]


@pytest.mark.parametrize("loss", OURS, ids=lambda loss: type(loss).__name__)
def test_double_stays_double(loss, batch):
    E, y, W = batch[0].double().requires_grad_(), batch[1], batch[2].double().requires_grad_()
    assert loss(E, y, W).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda e, w: loss(e, y, w), (E, W))
    assert loss(E.float(), y, W).dtype == torch.float64               # one side is enough


@pytest.mark.parametrize("name", takes_proxies)
def test_pair_losses_in_double(name, batch):
    E, y, W = batch
    double = PairLoss(name)(E.double(), y, W.double())
    assert double.dtype == torch.float64
    assert float(PairLoss(name)(E, y, W)) == pytest.approx(double.item(), rel=2e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [*losses, *takes_proxies])
def test_autocast_changes_nothing(name, dtype, batch):
    "Called inside autocast a loss gives the same bits, by itself and from settings."
    E, y, W = batch
    cfg = Config(loss=name)
    plain = build_loss(cfg)(output(E, W), y)
    with torch.autocast("cpu", dtype): inside = build_loss(cfg)(output(E, W), y)
    assert inside.dtype == torch.float32 and torch.equal(plain, inside)
    if name in takes_proxies:
        alone = PairLoss(name)
        with torch.autocast("cpu", dtype): assert torch.equal(alone(E, y, W), plain)


@pytest.mark.parametrize("loss", OURS, ids=lambda loss: type(loss).__name__)
def test_zero_vectors_and_equal_ones(loss, batch):
    E, y, W = batch[0].clone(), batch[1], batch[2].clone()
    E[0], W[1] = 0, 0
    E, W = E.requires_grad_(), W.requires_grad_()
    value = loss(E, y, W)
    value.backward()
    assert value.isfinite() and E.grad.abs().max() < 1e3 and W.grad.abs().max() < 1e3
    same = loss(torch.ones(6, 8), y, torch.ones(5, 8))
    assert same.isfinite()


@pytest.mark.parametrize("labels", [
    [0, 0, 3, 3, 1, 0], torch.tensor([[0], [0], [3], [3], [1], [0]]), torch.tensor([0, 0, 3, 3, 1, 0]).to(torch.uint16),
    torch.tensor([0, 0, 3, 3, 1, 0], dtype=torch.int32), torch.tensor([0., 0, 3, 3, 1, 0]),
], ids=["list", "column", "uint16", "int32", "whole floats"])
@pytest.mark.parametrize("name", ["proxy_anchor", "norm_softmax", "TripletMarginLoss"])
def test_labels_in_any_form(name, labels, batch):
    E, y, W = batch
    loss_of = build_loss(Config(loss=name))
    assert torch.equal(loss_of(output(E, W), labels), loss_of(output(E, W), y))


def test_labels_that_are_none(batch):
    E, y, W = batch
    with pytest.raises(ValueError, match="number_labels"): ProxyAnchorLoss()(E, ["cat"]*6, W)
    four = torch.arange(4)
    with pytest.raises(ValueError, match="5 proxies but 4 labels of proxies"): ProxyAnchorLoss()(E, y, W, four)
