"Heads: what their starts compute, and in which precision."
import pytest
import torch
import torch.nn.functional as F

from vptsp.heads import Head, principal_axes


@pytest.fixture
def features():
    "With a mean that is longer than what they differ by, as a backbone's are."
    g = torch.Generator().manual_seed(0)
    return torch.randn(96, 2, 24, generator=g) + 5*torch.randn(24, generator=g)


def centred_late(head):
    "A head of the same embeddings whose Linear's bias takes the mean away."
    late = Head(24, 16, tokens=2)
    late.load_state_dict(head.state_dict())
    with torch.no_grad():
        for norm, linear in zip(late.norms, late.linears):
            linear.bias.add_(linear.weight @ norm.bias)
            norm.bias.zero_()
    return late


@pytest.mark.parametrize("labels", [None, torch.arange(96) % 12])
def test_the_layer_norm_centres_what_a_head_starts_from(features, labels):
    head = Head(24, 16, tokens=2)
    head.start_at_axes(features, labels)
    x = F.layer_norm(features, (24,)).mean(1)
    expected = (x - x.mean(0)) @ principal_axes(x - x.mean(0), 16, labels, .3).T
    for t in range(2):
        assert head.norms[t](features[:, t]).mean(0).abs().max() < 1e-5 and not head.linears[t].bias.any()
    expected = F.normalize(expected, dim=1)
    assert torch.allclose(head(features) @ head(features).T, expected @ expected.T, atol=1e-4)    # up to signs
    assert torch.allclose(centred_late(head)(features), head(features), atol=1e-5)
    first = head(features)
    head.start_at_axes(features, labels)                              # once more, from where it stands
    assert torch.allclose(head(features) @ head(features).T, first @ first.T, atol=1e-4)


def test_a_step_of_adamw_brings_less_of_the_mean_back(features):
    labels = torch.arange(96) % 12
    head = Head(24, 16, tokens=2)
    head.start_at_axes(features, labels)
    lengths = []
    for h in (head, centred_late(head)):
        proxies = torch.zeros(12, 16).index_add_(0, labels, h(features).detach())
        optimizer = torch.optim.AdamW(h.parameters(), lr=.02)
        F.cross_entropy(16*h(features) @ F.normalize(proxies, dim=1).T, labels).backward()
        optimizer.step()
        lengths.append(h(features).mean(0).norm().item())
    assert lengths[0] < .6*lengths[1]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_heads_compute_in_full_precision_whatever_the_passes_do(features, kind):
    head = Head(24, 16, tokens=2)
    plain = head(features)
    plain.square()[:, 0].sum().backward()
    grad = head.linears[0].weight.grad.clone()
    head.zero_grad()
    with torch.autocast("cpu", kind):
        found = head(features)
        rounded = head(features.to(kind))
    found.square()[:, 0].sum().backward()
    assert found.dtype == torch.float32 and torch.equal(found, plain)
    assert torch.equal(head.linears[0].weight.grad, grad)
    assert torch.equal(rounded, head(features.to(kind).float()))
