"torch.compile, float64 and half precision: every accumulator, every gradient, the memory that a step leaves behind."
import shutil

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.testing import assert_close

from vptsp.config import Config
from vptsp.losses import build_loss
from vptsp.model import build_model

WAYS = {
    "gru_relu": dict(),
    "gru": dict(accumulator="gru"),
    "gru from the mean": dict(accumulator="gru", accumulator_init="mean"),
    "mix": dict(accumulator="mix"),
    "in batch": dict(proxy_data_range="in_batch"),
    "bank": dict(bank=True),
    "shared prompts": dict(semantic_proxies="shared_prompts"),
    "no prompts": dict(semantic_proxies="no_prompts"),
    "none": dict(semantic_proxies="none"),
    "late, guided": dict(semantic_blocks=1, guided_blocks=1),
}
LABELS = torch.tensor([[4, 1, 4, 0, 1, 2], [3, 1, 1, 0, 5, 3]])


def tiny(dtype=torch.float32, **settings):
    sizes = dict(embed_dim=8, batch_size=6, samples_per_class=1, num_prompts=2, num_class_prompts=2)
    cfg = Config(**sizes | settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vit = VisionTransformer(img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0)
    model = build_model(cfg, 6, backbone=vit).to(dtype).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], .1)
    if model.class_prompts is not None: model.class_prompts.bind(optimizer)
    return cfg, model, optimizer


def two_steps(backend=None, dtype=torch.float32, **settings):
    "Loss, every gradient and the memory of each of two steps."
    cfg, model, optimizer = tiny(dtype, **settings)
    run = model if backend is None else torch.compile(model, backend=backend)
    loss_of, seen = build_loss(cfg), []
    for step, labels in enumerate(LABELS):
        images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(step)).to(dtype)
        optimizer.zero_grad()
        loss = loss_of(run(images, labels), labels)
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        seen.append((loss.item(), gradients, model.proxies.memory.clone()))
        optimizer.step()
    return seen


def check_same(ours, theirs):
    for (loss, gradients, memory), (loss_2, gradients_2, memory_2) in zip(ours, theirs, strict=True):
        assert loss == pytest.approx(loss_2, rel=1e-4)
        assert gradients.keys() == gradients_2.keys()
        for name, g in gradients.items():
            assert_close(gradients_2[name], g, rtol=1e-3, atol=1e-4*float(g.abs().max()) + 1e-7,
                         msg=lambda text, name=name: f"{name}: {text}")
        assert_close(memory_2, memory, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_a_compiled_step_has_the_gradients_of_an_eager_one(way):
    "Up to the programs that a compiler would write. The backward one computes again all that it can."
    torch._dynamo.reset()
    with torch._functorch.config.patch(aggressive_recomputation=True):
        check_same(two_steps(**WAYS[way]), two_steps("aot_eager_decomp_partition", **WAYS[way]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not shutil.which("gcc") and not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_a_step_by_inductor_has_the_gradients_of_an_eager_one():
    "The compiler that people use. It read the memory of the next step in its backward pass."
    torch._dynamo.reset()
    check_same(two_steps(accumulator="mix"), two_steps("inductor", accumulator="mix"))


def test_what_a_compiler_works_on_is_not_the_buffer():
    _, model, _ = tiny()
    read = {}
    memory = model.proxies.memory

    def look(graph, inputs):
        read.update({id(x): x.data_ptr() for x in inputs if torch.is_tensor(x) and x.shape == memory.shape})
        return graph.forward
    torch._dynamo.reset()
    compiled = torch.compile(lambda p, y, s: p(y, s).all.sum(), backend=look)
    compiled(model.proxies, LABELS[0], torch.randn(6, 8))
    assert len(set(read.values())) > 1                       # the buffer, to be written, and a copy, to be read


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("way", WAYS)
def test_models_in_other_precisions_train(way, dtype):
    for loss, gradients, memory in two_steps(dtype=dtype, **WAYS[way]):
        assert torch.isfinite(torch.tensor(loss)) and gradients and memory.dtype == dtype
        assert_close(memory.float().norm(dim=1), torch.ones(6), atol=.02, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_double_is_double(way):
    "Embeddings and proxies have the digits of the model, and the figures of a float32 step agree to its digits."
    cfg, model, _ = tiny(torch.float64, **WAYS[way])
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    out = model(images, LABELS[0])
    assert out.embeddings.dtype == out.proxies.dtype == out.batch_proxies.dtype == torch.float64
    assert build_loss(cfg)(out, LABELS[0]).dtype == torch.float64
    assert model.embed(images).dtype == model.embed_frozen(images).dtype == torch.float64
    in_32, in_64 = two_steps(**WAYS[way])[0], two_steps(dtype=torch.float64, **WAYS[way])[0]
    assert in_32[0] == pytest.approx(in_64[0], rel=1e-5)


@pytest.mark.parametrize("head_init", ["pca", "whiten"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_warm_start_in_other_precisions(head_init, dtype):
    _, model, _ = tiny(dtype, head_init=head_init, proxy_init="class_mean")
    images = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert model.warm_start([(images, torch.arange(24) % 6)]) == 24
    assert torch.isfinite(model.proxies.memory).all()
