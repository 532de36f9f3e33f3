"""Numbers of the authors' published code, held against ours.

Each fixture in `golden/` is what their implementation computed (fp32, one CPU thread) with its inputs, weights and
settings; `pytest --golden DIR` runs the same tests on other fixtures of the form. `suggested_atol` is theirs: ten
times the noise of rounding. Where their code is wrong, ours is right and the test says what the difference is.
"""
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from vptsp.config import from_published
from vptsp.losses import ProxyAnchorLoss, ProxyNCAPublishedLoss, build_loss
from vptsp.metrics import clustering_metrics, neighbours, retrieval_metrics
from vptsp.model import build_model
from vptsp.published_weights import from_published_name, load_published
from vptsp.training import build_optimizer, parameter_groups, set_epoch_lr


def kind(letter):
    "A test of the fixtures whose names begin with `letter`."
    def mark(test):
        test.kind = letter
        return test
    return mark


class Golden:
    "A fixture: `g['name']` is an array as a tensor, `g.about` the JSON beside it."

    def __init__(self, path):
        self.about = json.loads(Path(f"{path}.json").read_text())
        with np.load(f"{path}.npz", allow_pickle=False) as z: self.arrays = {k: z[k] for k in z.files}
    def __getitem__(self, k): return torch.as_tensor(self.arrays[k])
    def __contains__(self, k): return k in self.arrays
    def names(self, prefix): return [k.removeprefix(prefix) for k in self.arrays if k.startswith(prefix)]
    def atol(self, k): return self.about["arrays"][k].get("suggested_atol", 1e-5)

    def expect(self, name, ours, theirs=None, select=lambda t: t):
        "`ours` equals the array `name` within its tolerance, entries left out that AdamW leaves undetermined."
        theirs = select(self[name]) if theirs is None else theirs
        ours, theirs = ours.detach().double().cpu(), theirs.double()
        assert ours.shape == theirs.shape, f"{name}: {tuple(ours.shape)} here, {tuple(theirs.shape)} there"
        about, ok = self.about["arrays"][name], torch.ones(theirs.numel(), dtype=torch.bool)
        if span := about.get("ill_conditioned_slice"): ok.view(theirs.shape)[span[0]:span[1]] = False
        if indices := about.get("ill_conditioned_flat_indices"): ok[indices] = False
        far = (ours - theirs).abs().flatten() - 1e-5*theirs.abs().flatten()
        if not far[ok].numel(): return
        worst, allowed = far[ok].max(), self.atol(name)
        assert worst <= allowed, f"{name}: off by {worst:.2e}, allowed {allowed:.2e}"


def model_of(g, bug_compatible=False):
    "The model that a fixture describes, with its weights."
    about, v = g.about, dict(g.about["vit"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fixture's settings have keys without effect
        cfg = from_published(about["config"])
    vit = timm.create_model(v.pop("name"), pretrained=False, **v)
    model = build_model(cfg, about["config"]["n_classes"], backbone=vit)
    unused = load_published(model, {k: g[k] for k in g.arrays if k.startswith(("backbone.", "ref."))})
    if bug_compatible: _break_adapter_blocks(model)
    return cfg, model, unused


def _break_adapter_blocks(model):
    """What the published code makes of blocks with an adapter: 12 heads, no bias of queries, keys and values,
    LayerNorm eps 1e-5."""
    for l in model.backbone.adapters:
        block = model.backbone.vit.blocks[int(l)]
        block.attn.num_heads, block.attn.head_dim = 12, block.attn.attn_dim//12
        block.attn.scale = block.attn.head_dim**-.5
        block.attn.qkv.bias = None
        block.norm1.eps = block.norm2.eps = 1e-5


def ours_for(model, path):
    "Our parameter or buffer for a tensor of the published code, or None."
    name = from_published_name(path)
    if model.cfg.bank: name = name.replace("class_prompts.layers.", "class_prompts.bank_")
    return name if name in {**dict(model.named_parameters()), **dict(model.named_buffers())} else None


def like(theirs, ours):
    "Their prompts have a leading 1, and rows that a taper leaves unused."
    if theirs.ndim == 3 and ours.ndim == 2: theirs = theirs[0]
    return theirs[..., :ours.shape[-2], :] if theirs.ndim > 1 and theirs.shape != ours.shape else theirs


# -- A: one pass and its gradients -----------------------------------------------------------------


def their_pooled(tokens, cfg, model, most):
    "What their model pools of its last tokens."
    if cfg.pool == "avg": return tokens[:, model.backbone.vit.num_prefix_tokens:].mean(1, keepdim=True)
    return tokens[:, :most]


def check_pass(g, cfg, model):
    "Everything of a pass, forward and backward."
    out = check_forward(g, cfg, model)
    loss = build_loss(cfg)(out, g["in.labels"])
    g.expect("out.loss", loss)
    loss.backward()
    check_gradients(g, model, out)


def check_forward(g, cfg, model):
    model.eval()
    x, y = g["in.x"], g["in.labels"]
    g.expect("out.eval_embeds", model.embed(x))
    with torch.no_grad(): pooled = model.backbone(x, model.prompts() if model.prompts is not None else ())
    g.expect("out.tokens", pooled, their_pooled(g["out.tokens"], cfg, model, pooled.shape[1]))
    model.train()
    out = model(x, y)
    g.expect("out.embeds", out.embeddings)
    g.expect("out.p_all", out.proxies)
    g.expect("out.p", out.batch_proxies)
    assert torch.equal(out.batch_classes, g["out.u_labels"])
    g.expect("out.proxies_container", model.proxies.memory)
    if "out.p_embed" in g: g.expect("out.p_embed", out.semantic)
    return out


def check_gradients(g, model, out):
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    checked = set()
    for path in g.names("grad."):
        name, theirs = ours_for(model, path), g[f"grad.{path}"]
        if name is None:  # a prompt that no block reads: nothing here, zeros there
            assert not theirs.any(), f"grad.{path} has no counterpart here"
            continue
        if name.startswith("class_prompts.bank_"):  # rows of the batch's classes
            rows = grads[name.replace("bank_", "rows.")][:len(out.batch_classes)]
            ours = torch.zeros_like(model.get_buffer(name))
            ours[out.batch_classes] = rows
        else:
            assert name in grads, f"{path} has a gradient there, none here"
            ours = grads[name]
        theirs = like(theirs, ours)
        g.expect(f"grad.{path}", ours, theirs)
        checked.add(name.replace("bank_", "rows.") if "bank_" in name else name)
    assert set(grads) == checked, f"gradients only here: {sorted(set(grads) - checked)}"
    assert not [path for path in g.about["grad_none"] if ours_for(model, path) in grads]


@kind("A")
def test_pass(fixture):
    "Embeddings, proxies, memory, loss, every gradient, and which tensors have one."
    g = Golden(fixture)
    cfg, model, _ = model_of(g)
    if cfg.adapter != "none" and not g.about["headsfixed_patch"]:
        # their attention is scrambled in blocks with an adapter
        with pytest.raises(AssertionError, match="off by"): check_pass(g, cfg, model)
        if g.about["vit"]["embed_dim"] % 12 == 0: check_pass(g, cfg, model_of(g, bug_compatible=True)[1])
    else: check_pass(g, cfg, model)


@kind("A")
def test_order_and_repetition_do_not_matter(fixture):
    """Their code needs labels grouped by class with exactly k each, and takes a class in two places for two.
    Ours gives every arrangement the grouped answer."""
    g = Golden(fixture)
    cfg, model, _ = model_of(g)
    x, y = g["in.x"], g["in.labels"]
    k = cfg.samples_per_class
    mixed = torch.arange(len(y)).view(-1, k).T.flatten()  # a b c d a b c d
    grouped, other = model.train()(x, y), model_of(g)[1].train()(x[mixed], y[mixed])
    assert torch.allclose(grouped.embeddings[mixed], other.embeddings, atol=1e-5)
    assert torch.allclose(grouped.proxies, other.proxies, atol=1e-5)
    assert torch.allclose(grouped.batch_proxies, other.batch_proxies, atol=1e-5)
    assert torch.allclose(build_loss(cfg)(grouped, y), build_loss(cfg)(other, y[mixed]), atol=1e-4)
    uneven = model_of(g)[1].train()(x[:-1], y[:-1])
    assert torch.isfinite(build_loss(cfg)(uneven, y[:-1]))


# -- B: trajectories -------------------------------------------------------------------------------


@kind("B")
def test_trajectory(fixture):
    """Six steps of SGD or AdamW, class prompts in memory or in the bank: losses, rates, memory, prompts after every
    step, all tensors and states at the end."""
    g = Golden(fixture)
    cfg, model, _ = model_of(g)
    model.train()
    optimizer = build_optimizer(model, cfg)
    for t in range(len(g["in.x"])):
        check_step(g, cfg, model, optimizer, t)
        check_after_step(g, model, optimizer, t)
    check_final_tensors(g, model)
    check_final_states(g, model, optimizer)
    check_trained(g, model)


def check_step(g, cfg, model, optimizer, t):
    "Step `t`: its rates, loss and embeddings."
    x, y = g["in.x"][t], g["in.labels"][t]
    set_epoch_lr(optimizer, cfg, t)  # in the fixtures an epoch is one step
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    g.expect("out.lr", torch.tensor(rates["tuned"]), g["out.lr"][t])
    g.expect("out.lr_proxy", torch.tensor(rates["bias"]), g["out.lr_proxy"][t])
    optimizer.zero_grad()
    out = model(x, y)
    loss = build_loss(cfg)(out, y)
    g.expect("out.loss", loss, g["out.loss"][t])
    g.expect("out.embeds", out.embeddings, g["out.embeds"][t])
    loss.backward()
    optimizer.step()


def check_after_step(g, model, optimizer, t):
    "What the model and the bank hold after step `t`."
    g.expect("snap.proxies_container", model.proxies.memory, g["snap.proxies_container"][t])
    for l in g.names("snap.p_prompts."):
        name = ours_for(model, f"p_prompts.{l}")
        if name is None: continue
        ours = model.state_dict()[name]
        g.expect(f"snap.p_prompts.{l}", ours, like(g[f"snap.p_prompts.{l}"][t], ours))
    if "snap.bank_step" in g and g["snap.bank_step"].numel():
        steps = [optimizer.state[p]["step"] for p in model.class_prompts.rows.values()]
        for l, step in enumerate(steps): assert step == g["snap.bank_step"][t][l]  # one counter for all classes


def check_final_tensors(g, model):
    own = model.state_dict()
    for path in g.names("final."):
        if "p_prompts_buffer" in path or path.endswith("W_ia"): continue
        name = ours_for(model, path)
        if name: g.expect(f"final.{path}", own[name], like(g[f"final.{path}"], own[name]))


def check_final_states(g, model, optimizer):
    "What the optimizer and the bank know of each tensor."
    params = dict(model.named_parameters())
    for entry in g.names("optim."):
        key, _, path = entry.partition(".")
        name, theirs = ours_for(model, path), g[f"optim.{entry}"]
        if name not in params: continue
        ours = torch.as_tensor(optimizer.state[params[name]][key])
        g.expect(f"optim.{entry}", ours, like(theirs, params[name]) if theirs.ndim else None)
    states = getattr(model.class_prompts, "state", {})
    for entry in g.names("bank."):
        key, _, l = entry.partition(".")
        if (l, key) in states: g.expect(f"bank.{entry}", states[l, key], like(g[f"bank.{entry}"], states[l, key]))


def check_trained(g, model):
    "The same tensors are trained."
    numbers = {id(p) for group in parameter_groups(model).values() for p in group}
    trained = {name for name, p in model.named_parameters() if id(p) in numbers}
    theirs = {ours_for(model, path) for path in g.about["trainable"]}
    theirs = {name for name in theirs if name and "bank_" not in name and ".rows." not in name}
    assert {name for name in trained if ".rows." not in name} == theirs


# -- C: losses -------------------------------------------------------------------------------------

LOSSES = {"anchor": ProxyAnchorLoss, "nca": ProxyNCAPublishedLoss}
LOSS_SETTINGS = ("pos_alpha", "neg_alpha", "pos_delta", "neg_delta")


@kind("C")
def test_losses(fixture):
    "Both losses, both ranges, four arrangements of labels; gradients to embeddings and proxies."
    g = Golden(fixture)
    for case in g.about["index"]:
        tag, settings = case["tag"], case["settings"]
        loss = LOSSES[case["mode"]](*(settings[f"loss_oproxy_{name}"] for name in LOSS_SETTINGS))
        embeds, proxies = (g[name].clone().requires_grad_() for name in ("in.embeds", case["uses"]))
        labels = g[case["labels"]]
        # where only the batch's classes count, a class in two runs has two proxies
        proxy_labels = None if case["range"] == "both_all" else torch.unique_consecutive(labels)
        value = loss(embeds, labels, proxies, proxy_labels)
        value.backward()
        g.expect(f"loss.{tag}", value)
        g.expect(f"grad_embeds.{tag}", embeds.grad)
        names = [name for name in g.arrays if name.startswith("grad_") and name.endswith(f".{tag}")]
        names = [name for name in names if not name.startswith("grad_embeds")]
        assert names, f"no gradient to proxies in {tag}"
        for name in names: g.expect(name, proxies.grad)


# -- D: metrics ------------------------------------------------------------------------------------


def near(ours, theirs):
    "Within 1e-6; a figure that a fixture lacks is near to all."
    return theirs is None or abs(ours - theirs) < 1e-6


def published_recall(metrics, k): return metrics.get(f"R@{k} (published code)", metrics[f"R@{k}"])


def check_metrics(g, embeds, labels, prefix, clusters):
    "Figures of `result.<prefix>...`."
    def theirs(name):
        name = f"result.{prefix}{name}"
        return float(g[name]) if name in g else None

    for letter, distance in (("e", "euclidean"), ("c", "cosine")):
        ks = [int(name.rpartition("@")[2]) for name in g.names(f"result.{prefix}{letter}_recall@")]
        if not ks: continue
        for use_faiss in (True, False):
            ours = retrieval_metrics(embeds, labels, ks=ks, distance=distance, use_faiss=use_faiss)
            for k in ks: assert near(published_recall(ours, k), theirs(f"{letter}_recall@{k}")), (letter, k)
            if letter == "e":
                assert near(ours["MAP@R (published code)"], theirs("mAP_R"))
                assert near(ours["MAP@R"], theirs("pml.mean_average_precision_at_r"))
                assert near(ours["R@1"], theirs("pml.precision_at_1"))
                assert near(ours["RP"], theirs("pml.r_precision"))
            if len(labels) > 1000:
                assert near(ours["mAP@1000 (published code)"], theirs("mAP_1000" if letter == "e" else "c_mAP_1000"))
    if clusters is not None:
        ours = clustering_metrics(embeds, labels, clusters)
        assert near(ours["NMI"], theirs("nmi")) and near(ours["F1"], theirs("f1"))


def check_query_and_gallery(g):
    query, gallery = g["query_features"], g["gallery_features"]
    ks = g["ks"].tolist()
    for use_faiss in (True, False):
        ours = retrieval_metrics(query, g["query_labels"], gallery, g["gallery_labels"], ks, use_faiss=use_faiss)
        for k, recall in zip(ks, g["result.recall"].tolist()): assert abs(published_recall(ours, k) - recall) < 1e-9
        assert abs(ours["MAP@50 (published code)"] - float(g["result.MAP"])) < 1e-6
        assert torch.equal(neighbours(query, gallery, 50, use_faiss=use_faiss)[1], g["ranking"])


@kind("D")
def test_metrics(fixture):
    "Recall, both MAP@R, R-precision, mAP@1000, NMI, F1; query against gallery. With faiss and with torch."
    pytest.importorskip("faiss")
    g = Golden(fixture)
    if "query_features" in g:
        check_query_and_gallery(g)
        return
    for suffix in [n.removeprefix("features") for n in g.arrays if n.startswith("features")]:
        clusters = g[f"cluster_assign{suffix}"] if f"cluster_assign{suffix}" in g else None
        check_metrics(g, g[f"features{suffix}"], g["labels"], suffix.lstrip("_") + "." if suffix else "", clusters)
        if f"nn{suffix}" in g:
            nn = g[f"nn{suffix}"]
            ids = neighbours(g[f"features{suffix}"], k=nn.shape[1], distance="euclidean")[1]
            assert (ids == nn).float().mean() > .999  # ties may be ordered otherwise
