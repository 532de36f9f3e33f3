"""Numbers of the authors' published code, held against ours.

Each fixture in `golden/` is what their implementation computed (fp32, one CPU thread) with its inputs, weights and settings; `pytest --golden DIR`
runs the same tests on other fixtures of the form. `suggested_atol` is theirs: ten times the noise of rounding. Where their code is wrong, ours is
right and the test says what the difference is.
"""
import json, warnings
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from vptsp.config import from_published
from vptsp.losses import ProxyAnchorLoss, ProxyNCALoss, build_loss
from vptsp.metrics import average_precision, clustering_metrics, kmeans, neighbours, pairwise_f1, rank, recall_at, retrieval_metrics
from vptsp.model import build_model
from vptsp.published_weights import from_published_name, load_published
from vptsp.training import build_optimizer, parameter_groups, set_epoch_lr

def kind(k):
    def mark(f): f.kind = k; return f
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
        if s := about.get("ill_conditioned_slice"): ok.view(theirs.shape)[s[0]:s[1]] = False
        if i := about.get("ill_conditioned_flat_indices"): ok[i] = False
        far = (ours - theirs).abs().flatten() - 1e-5*theirs.abs().flatten()
        assert far[ok].numel() == 0 or far[ok].max() <= self.atol(name), f"{name}: off by {far[ok].max():.2e}, allowed {self.atol(name):.2e}"

def model_of(g, bug_compatible=False):
    "The model that a fixture describes, with its weights."
    about, v = g.about, dict(g.about["vit"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                    # the fixture's settings have keys without effect
        cfg = from_published(about["config"])
    vit = timm.create_model(v.pop("name"), pretrained=False, **v)
    model = build_model(cfg, about["config"]["n_classes"], backbone=vit)
    unused = load_published(model, {k: g[k] for k in g.arrays if k.startswith(("backbone.", "ref."))})
    if bug_compatible: _break_adapter_blocks(model)
    return cfg, model, unused

def _break_adapter_blocks(model):
    "What the published code makes of blocks with an adapter: 12 heads, no bias of queries, keys and values, LayerNorm eps 1e-5."
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

# -- A: one pass and its gradients ----------------------------------------------------------------------------------------------------

def check_pass(g, cfg, model):
    model.eval()
    x, y = g["in.x"], g["in.labels"]
    g.expect("out.eval_embeds", model.embed(x))
    with torch.no_grad(): pooled = model.backbone(x, model.prompts() if model.prompts is not None else ())
    tokens = g["out.tokens"]
    g.expect("out.tokens", pooled, tokens[:, model.backbone.vit.num_prefix_tokens:].mean(1, keepdim=True) if cfg.pool == "avg" else tokens[:, :pooled.shape[1]])
    model.train()
    out = model(x, y)
    g.expect("out.embeds", out.embeddings); g.expect("out.p_all", out.proxies); g.expect("out.p", out.batch_proxies)
    assert torch.equal(out.batch_classes, g["out.u_labels"])
    g.expect("out.proxies_container", model.proxies.memory)
    if "out.p_embed" in g: g.expect("out.p_embed", out.semantic)
    loss = build_loss(cfg)(out, y)
    g.expect("out.loss", loss)
    loss.backward()
    grads, checked = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}, set()
    for path in g.names("grad."):
        name, theirs = ours_for(model, path), g[f"grad.{path}"]
        if name is None:                                   # a prompt that no block reads: nothing here, zeros there
            assert not theirs.any(), f"grad.{path} has no counterpart here"
            continue
        if name.startswith("class_prompts.bank_"):         # rows of the batch's classes
            rows = grads[name.replace("bank_", "rows.")][:len(out.batch_classes)]
            full = torch.zeros_like(model.get_buffer(name)); full[out.batch_classes] = rows; ours = full
        else:
            assert name in grads, f"{path} has a gradient there, none here"
            ours = grads[name]
        theirs = like(theirs, ours)
        g.expect(f"grad.{path}", ours, theirs)
        checked.add(name.replace("bank_", "rows.") if "bank_" in name else name)
    assert set(grads) == checked, f"gradients only here: {sorted(set(grads) - checked)}"
    assert not [p for p in g.about["grad_none"] if (n := ours_for(model, p)) in grads]

@kind("A")
def test_pass(fixture):
    "Embeddings, proxies, memory, loss, every gradient, and which tensors have one."
    g = Golden(fixture)
    cfg, model, _ = model_of(g)
    if cfg.adapter != "none" and not g.about["headsfixed_patch"]:
        with pytest.raises(AssertionError, match="off by"): check_pass(g, cfg, model)       # their attention is scrambled in blocks with an adapter
        if g.about["vit"]["embed_dim"] % 12 == 0: check_pass(g, cfg, model_of(g, bug_compatible=True)[1])
    else: check_pass(g, cfg, model)

@kind("A")
def test_order_and_repetition_do_not_matter(fixture):
    "Their code needs labels grouped by class with exactly k each, and takes a class in two places for two. Ours gives every arrangement the grouped answer."
    g = Golden(fixture)
    cfg, model, _ = model_of(g)
    x, y = g["in.x"], g["in.labels"]
    k = cfg.samples_per_class
    mixed = torch.arange(len(y)).view(-1, k).T.flatten()                                    # a b c d a b c d
    grouped, other = model.train()(x, y), model_of(g)[1].train()(x[mixed], y[mixed])
    assert torch.allclose(grouped.embeddings[mixed], other.embeddings, atol=1e-5)
    assert torch.allclose(grouped.proxies, other.proxies, atol=1e-5) and torch.allclose(grouped.batch_proxies, other.batch_proxies, atol=1e-5)
    assert torch.allclose(build_loss(cfg)(grouped, y), build_loss(cfg)(other, y[mixed]), atol=1e-4)
    uneven = model_of(g)[1].train()(x[:-1], y[:-1])
    assert torch.isfinite(build_loss(cfg)(uneven, y[:-1]))

# -- B: trajectories ------------------------------------------------------------------------------------------------------------------

@kind("B")
def test_trajectory(fixture):
    "Six steps of SGD or AdamW, class prompts in memory or in the bank: losses, rates, memory, prompts after every step, all tensors and states at the end."
    g = Golden(fixture)
    cfg, model, _ = model_of(g)
    model.train()
    optimizer, loss_of = build_optimizer(model, cfg), build_loss(cfg)
    x, y = g["in.x"], g["in.labels"]
    for t in range(len(x)):
        set_epoch_lr(optimizer, cfg, t)                                                     # in the fixtures an epoch is one step
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        g.expect("out.lr", torch.tensor(rates["tuned"]), g["out.lr"][t]); g.expect("out.lr_proxy", torch.tensor(rates["bias"]), g["out.lr_proxy"][t])
        optimizer.zero_grad()
        out = model(x[t], y[t])
        loss = loss_of(out, y[t])
        g.expect("out.loss", loss, g["out.loss"][t]); g.expect("out.embeds", out.embeddings, g["out.embeds"][t])
        loss.backward(); optimizer.step()
        g.expect("snap.proxies_container", model.proxies.memory, g["snap.proxies_container"][t])
        for l in g.names("snap.p_prompts."):
            name = ours_for(model, f"p_prompts.{l}")
            if name: g.expect(f"snap.p_prompts.{l}", (own := model.state_dict()[name]), like(g[f"snap.p_prompts.{l}"][t], own))
        if "snap.bank_step" in g and g["snap.bank_step"].numel():
            steps = [optimizer.state[p]["step"] for p in model.class_prompts.rows.values()]
            for l, s in enumerate(steps): assert s == g["snap.bank_step"][t][l]            # one counter for all classes
    own = model.state_dict()
    for path in g.names("final."):
        if "p_prompts_buffer" in path or path.endswith("W_ia"): continue
        name = ours_for(model, path)
        if name: g.expect(f"final.{path}", own[name], like(g[f"final.{path}"], own[name]))
    params = dict(model.named_parameters())
    for entry in g.names("optim."):
        key, _, path = entry.partition(".")
        name = ours_for(model, path)
        if name in params: g.expect(f"optim.{entry}", torch.as_tensor(optimizer.state[params[name]][key]), like(g[f"optim.{entry}"], params[name]) if g[f"optim.{entry}"].ndim else None)
    for entry in g.names("bank."):
        key, _, l = entry.partition(".")
        if (l, key) in getattr(model.class_prompts, "state", {}): g.expect(f"bank.{entry}", (s := model.class_prompts.state[l, key]), like(g[f"bank.{entry}"], s))
    trained = {n for group in parameter_groups(model).values() for p in group for n, q in params.items() if q is p}
    theirs = {ours_for(model, p) for p in g.about["trainable"]}
    assert {n for n in trained if ".rows." not in n} == {n for n in theirs if n and "bank_" not in n and ".rows." not in n}

# -- C: losses ------------------------------------------------------------------------------------------------------------------------

@kind("C")
def test_losses(fixture):
    "Both losses, both ranges, four arrangements of labels; gradients to embeddings and proxies."
    g = Golden(fixture)
    for case in g.about["index"]:
        tag, s = case["tag"], case["settings"]
        loss = (ProxyAnchorLoss if case["mode"] == "anchor" else ProxyNCALoss)(s["loss_oproxy_pos_alpha"], s["loss_oproxy_neg_alpha"], s["loss_oproxy_pos_delta"], s["loss_oproxy_neg_delta"])
        E, W, y = g["in.embeds"].clone().requires_grad_(), g[case["uses"]].clone().requires_grad_(), g[case["labels"]]
        value = loss(E, y, W, None if case["range"] == "both_all" else torch.unique_consecutive(y))    # a class in two runs has two proxies
        value.backward()
        g.expect(f"loss.{tag}", value); g.expect(f"grad_embeds.{tag}", E.grad)
        grads = [n for n in g.arrays if n.endswith("." + tag) and n.startswith("grad_") and not n.startswith("grad_embeds")]
        assert grads, f"no gradient to proxies in {tag}"
        for n in grads: g.expect(n, W.grad)

# -- D: metrics -----------------------------------------------------------------------------------------------------------------------

def check_metrics(g, E, y, prefix, clusters):
    "Figures of `result.<prefix>...`."
    want = lambda name: float(g[f"result.{prefix}{name}"]) if f"result.{prefix}{name}" in g else None
    near = lambda a, b: b is None or abs(a - b) < 1e-6
    for metric, distance in (("e", "euclidean"), ("c", "cosine")):
        for use_faiss in (True, False):
            ks = [int(n.rpartition("@")[2]) for n in g.names(f"result.{prefix}{metric}_recall@")]
            if not ks: continue
            m = retrieval_metrics(E, y, ks=ks, distance=distance, use_faiss=use_faiss)
            for k in ks: assert near(m.get(f"R@{k} (published code)", m[f"R@{k}"]), want(f"{metric}_recall@{k}")), (metric, k)
            if metric == "e":
                assert near(m["MAP@R (published code)"], want("mAP_R"))
                assert near(m["MAP@R"], want("pml.mean_average_precision_at_r")) and near(m["R@1"], want("pml.precision_at_1")) and near(m["RP"], want("pml.r_precision"))
            if len(y) > 1000: assert near(m["mAP@1000 (published code)"], want("mAP_1000" if metric == "e" else "c_mAP_1000"))
    if clusters is not None:
        c = clustering_metrics(E, y, clusters)
        assert near(c["NMI"], want("nmi")) and near(c["F1"], want("f1"))

@kind("D")
def test_metrics(fixture):
    "Recall, both MAP@R, R-precision, mAP@1000, NMI, F1; query against gallery. With faiss and with torch."
    pytest.importorskip("faiss")
    g = Golden(fixture)
    if "query_features" in g:
        ks = g["ks"].tolist()
        for use_faiss in (True, False):
            m = retrieval_metrics(g["query_features"], g["query_labels"], g["gallery_features"], g["gallery_labels"], ks, use_faiss=use_faiss)
            for k, r in zip(ks, g["result.recall"].tolist()): assert abs(m.get(f"R@{k} (published code)", m[f"R@{k}"]) - r) < 1e-9
            assert abs(m["MAP@50 (published code)"] - float(g["result.MAP"])) < 1e-6
            assert torch.equal(neighbours(g["query_features"], g["gallery_features"], 50, use_faiss=use_faiss)[1], g["ranking"])
        return
    for suffix in [n.removeprefix("features") for n in g.arrays if n.startswith("features")]:
        clusters = g[f"cluster_assign{suffix}"] if f"cluster_assign{suffix}" in g else None
        check_metrics(g, g[f"features{suffix}"], g["labels"], suffix.lstrip("_") + "." if suffix else "", clusters)
        if f"nn{suffix}" in g:
            nn = g[f"nn{suffix}"]
            ids = neighbours(g[f"features{suffix}"], k=nn.shape[1], distance="euclidean")[1]
            assert (ids == nn).float().mean() > .999                                    # ties may be ordered otherwise
