"A step that lets no number that is none into the model; what precision, memory and figures say when they go wrong."
import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch.amp import GradScaler

from vptsp import process
from vptsp.backbone import BackboneError
from vptsp.benchmarks import load_emoji
from vptsp.config import Config, ConfigError
from vptsp.data import RetrievalData
from vptsp.losses import build_loss
from vptsp.memory import OutOfMemory, enough_memory, is_out_of_memory, what_takes_less
from vptsp.model import Model, build_model
from vptsp.optimizer import build_optimizer
from vptsp.pretrained import bundled_vit, check_numbers
from vptsp.process import Precision
from vptsp.runs import measure, measure_frozen
from vptsp.sanity import chance_of_hit, effective_rank, spread, words_on_figures, words_on_task
from vptsp.steps import BadNumbers, named, training_step
from vptsp.training import Trainer

EMOJI = load_emoji()
CFG = Config.load("emoji", batch_size=8, num_prompts=2, num_class_prompts=1, feature_dropout=0, gru_dropout=0)
VARIANTS = {
    "G dense, AdamW": CFG, "G dense, SGD": CFG.replace(optimizer="sgd", lr=1e-2),
    "G bank, AdamW": CFG.replace(bank=True), "G bank, SGD": CFG.replace(bank=True, optimizer="sgd", lr=1e-2),
    "M, mix": CFG.replace(semantic_proxies="shared_prompts", accumulator="mix", accumulator_init="xavier"),
    "VPT": CFG.as_method("vpt"), "full": CFG.as_method("full"), "lora": CFG.as_method("lora"),
}
X = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
NAN, INF = float("nan"), float("inf")


class Training:
    "A model, its optimizer and what a step needs."
    def __init__(self, cfg=CFG, scale=None, **kw):
        self.model, self.loss_of = build_model(cfg, 6).train(), build_loss(cfg)
        self.precision = Precision("no", "cpu", **kw)
        if scale: self.precision.scaler = GradScaler("cpu", init_scale=scale, growth_interval=10**6)
        self.plain = build_optimizer(self.model, cfg)
        self.optimizer = self.precision.prepare(self.plain)

    def step(self, x=X, y=Y): return training_step(self.model, self.loss_of, self.optimizer, x, y, self.precision)

    def state(self):
        "All that a step may change, by name."
        bank = getattr(self.model.class_prompts, "state", {})
        out = {name: t for name, t in self.model.state_dict().items() if ".rows." not in name}
        names = {p: name for name, p in self.model.named_parameters()}
        out |= {f"{names[p]} {k}": t for p, s in self.plain.state.items() if ".rows." not in names[p]
                for k, t in s.items() if torch.is_tensor(t)}
        return {name: t.detach().clone() for name, t in (out | {f"bank {k}": t for k, t in bank.items()}).items()}


def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def broken_pixel(t, x): x[5, 1, 3, 3] = NAN
def broken_batch(t, x): x.fill_(INF)
def broken_loss(t, x): t.loss_of = lambda out, labels, real=t.loss_of: real(out, labels)*NAN
def broken_gradient(t, x):
    for p in t.model.parameters(): p.requires_grad and p.register_hook(lambda g: g*INF)


@pytest.mark.parametrize("variant, harm", [
    *[("G dense, AdamW", harm) for harm in (broken_pixel, broken_batch, broken_loss)],
    *[("G bank, SGD", harm) for harm in (broken_batch, broken_loss)],
    *[(variant, broken_gradient) for variant in VARIANTS],
])
def test_a_bad_batch_leaves_no_trace(variant, harm):
    one, other = Training(VARIANTS[variant]), Training(VARIANTS[variant])
    for t in (one, other): t.step()
    before, loss_of, x = one.state(), one.loss_of, X.clone()
    harm(one, x)
    with pytest.raises(BadNumbers): one.step(x)
    assert same(one.state(), before)
    one.loss_of = loss_of
    for p in one.model.parameters(): p._backward_hooks and p._backward_hooks.clear()
    for t in (one, other): t.step()
    assert same(one.state(), other.state())


@pytest.mark.parametrize("harm, says, rows", [
    (broken_pixel, "the loss is nan, first seen in the pixels at number 5: look at these images", [5]),
    (broken_batch, "first seen in the pixels: look", []),
    (broken_loss, "the loss is nan, first seen in the loss itself: lower lr or lr_proxy, or look at loss_args", []),
    (broken_gradient, "the gradient is (inf|nan), first seen in the gradient of .*: lower lr or lr_proxy", []),
])
def test_what_is_said(harm, says, rows):
    t, x = Training(), X.clone()
    harm(t, x)
    with pytest.raises(BadNumbers, match=says) as caught: t.step(x)
    assert caught.value.rows == rows


def test_a_weight_that_is_none_and_embeddings_that_overflow():
    t = Training()
    t.model.head.linears[0].weight.data[3, 3] = NAN
    with pytest.raises(BadNumbers, match="first seen in the model's head.linears.0.weight: the step before filled it"):
        t.step()
    t = Training()
    t.model.head.norms[0].weight.data.fill_(3e38)
    with pytest.raises(BadNumbers, match="first seen in the embeddings: lower lr"): t.step()


def test_step_and_images_are_named():
    files = [f"photos/{i}.png" for i in range(8)]
    error = named(BadNumbers("loss", NAN, "the pixels", "look.", [5], 8), 17, files)
    assert str(error) == "step 17: the loss is nan, first seen in the pixels at photos/5.png: look."
    error = named(BadNumbers("gradient", INF, "the gradient of a", "lower lr.", [], 8), 2, files)
    assert "step 2: the gradient is inf" in str(error) and "0.png, photos/1.png, photos/2.png and 5 more" in str(error)
    assert isinstance(error, FloatingPointError)
    assert (error.step, error.images, error.tensor) == (2, files, "the gradient of a")


# accumulation and clipping

HALVES = [(X[:4], Y[:4]), (X[4:], Y[4:])]

@pytest.mark.parametrize("variant", ["G dense, AdamW", "G dense, SGD", "VPT", "full"])
def test_batches_of_one_step_by_hand(variant):
    t, hand = (Training(VARIANTS[variant], accumulate=2) for _ in range(2))
    before = {name: v for name, v in t.state().items() if "memory" not in name and ".bn." not in name}
    t.step(*HALVES[0])
    assert all(torch.equal(v, before[name]) for name, v in t.state().items() if name in before)
    assert not t.precision.between_steps
    t.step(*HALVES[1])
    assert t.precision.between_steps
    for x, y in HALVES: (hand.loss_of(hand.model(x, y), y)/2).backward()
    hand.plain.step()
    assert same(t.state(), hand.state())


def test_the_last_step_of_an_epoch_has_fewer_batches():
    t, steps = Training(VARIANTS["VPT"], accumulate=3), []
    t.plain.register_step_post_hook(lambda *_: steps.append(t.precision.place))
    t.precision.begin(0, 5)
    for _ in range(10): t.step()
    assert steps == [(2, 3), (1, 2)]*2
    one, last = Training(VARIANTS["VPT"]), Training(VARIANTS["VPT"], accumulate=3)
    last.precision.begin(3, 4)                       # alone in its step: the whole gradient, not a third of it
    for x in (one, last): x.step()
    assert same(one.state(), last.state())


def test_a_bad_batch_undoes_the_whole_step():
    t = Training(accumulate=2)
    before = t.state()
    t.step(*HALVES[0])
    with pytest.raises(BadNumbers): t.step(X[4:]*NAN, Y[4:])
    assert same(t.state(), before) and t.precision.between_steps


def test_a_bank_takes_one_batch_a_step():
    with pytest.raises(ConfigError, match="accumulate = 2 with bank = True"): CFG.replace(bank=True, accumulate=2)


@pytest.mark.parametrize("scale", [None, 2.**10])
def test_clipping_is_of_the_unscaled_gradient(scale):
    free, clipped = Training(scale=scale), Training(scale=scale, clip=.05)
    for t in (free, clipped): t.step()
    norm = float(free.precision.last_norm)
    assert norm > .05 and norm == float(clipped.precision.last_norm)
    square = sum(float(p.grad.double().square().sum()) for p in clipped.model.parameters() if p.grad is not None)
    assert math.isclose(square**.5, .05, rel_tol=1e-4)
    long = Training(scale=scale, clip=2*norm)
    long.step()
    assert same(long.state(), free.state())


def test_accumulated_under_a_scale_as_without_one():
    plain, scaled = Training(accumulate=2), Training(accumulate=2, scale=2.**8)
    for t in (plain, scaled):
        for x, y in HALVES: t.step(x, y)
    for (name, a), b in zip(plain.state().items(), scaled.state().values()):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7), name


# precision

def test_an_overflow_is_left_out_until_nothing_is_left_to_scale():
    t = Training(scale=4.)
    before, hook = t.state(), t.model.proxies.bias.register_hook(lambda g: g*INF)
    for scale in (2., 1.):
        t.step()
        assert same(t.state(), before) and t.precision.scaler.get_scale() == scale
    with pytest.raises(BadNumbers, match="the gradient is"): t.step()
    assert same(t.state(), before)
    hook.remove()
    t.step()
    assert not same(t.state(), before)


def test_half_precision_is_blamed():
    t = Training()
    t.precision.mixed_precision = "fp16"
    t.precision.autocast = Precision("no", "cpu").autocast
    t.loss_of = lambda out, labels: out.embeddings.sum()*INF
    with pytest.raises(BadNumbers, match="or set mixed_precision = bf16 or no"): t.step()


def test_bf16_on_a_cpu_that_has_it(monkeypatch):
    monkeypatch.setattr(process, "cpu_has_bf16", lambda: True)
    t, full, seen = Training(), Training(), []
    t.precision = Precision("bf16", "cpu")
    assert t.precision.mixed_precision == "bf16" and t.precision.scaler is None and not t.precision.notes
    t.model.proxies.accumulator.register_forward_hook(lambda m, args, out: seen.append((args[0].dtype, out.dtype)))
    t.model.backbone.vit.blocks[0].mlp.register_forward_hook(lambda m, args, out: seen.append(out.dtype))
    real = t.loss_of
    def loss_of(out, labels):
        loss = real(out, labels)
        seen.append((out.proxies.dtype, loss.dtype))
        return loss
    t.loss_of = loss_of
    losses = [[float(x.step()) for _ in range(3)] for x in (t, full)]
    assert losses[0] == pytest.approx(losses[1], rel=.05) and losses[0] != losses[1]
    f32 = torch.float32
    assert {(f32, f32)} == {s for s in seen if isinstance(s, tuple)} and torch.bfloat16 in seen
    assert {v.dtype for v in t.state().values() if v.is_floating_point()} == {f32}


@pytest.mark.parametrize("name, has", [("amx_bf16", True), ("avx512_bf16", True), ("bf16", True), ("avx512_f", False)])
def test_which_processors_have_it(monkeypatch, name, has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True, "avx2": True, "amx_tile": True})
    assert process.cpu_has_bf16() == has
    precision = Precision("bf16", "cpu")
    assert precision.mixed_precision == ("bf16" if has else "no")
    assert [("no bf16" in note) for note in precision.notes] == [True]*(not has)
    assert not Precision("fp16", "cpu").notes and Precision("fp16", "cpu").mixed_precision == "no"


def test_gpus_by_what_they_say(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert (Precision("bf16").mixed_precision, Precision("bf16").scaler) == ("bf16", None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    with pytest.raises(ConfigError, match="does not compute in bf16"): Precision("bf16")
    precision = Precision("fp16")
    assert precision.device == torch.device("cuda:0") and precision.scaler is not None
    with precision.autocast(): assert torch.get_autocast_dtype("cuda") == torch.float16


# several processes, as one of them sees them

class TwoProcesses:
    "Stands for a world of two that are both in the same place."
    size = 2
    def __init__(self, rank=0, theirs=False): self.rank, self.theirs, self.calls = rank, theirs, []
    def sum_gradients(self, model, flag):
        self.calls.append(flag)
        return True
    def all_of(self, value): return [value, self.theirs][::1 - 2*self.rank]
    def counts(self, n): return [n, n]


def test_gradients_are_summed_once_a_step_and_carry_a_flag():
    world = TwoProcesses()
    t = Training(VARIANTS["VPT"], accumulate=2, world=world)
    for flag in (True, False):
        t.precision.stop_flag = flag
        t.step()
    assert world.calls == [False] and t.precision.stop_flag


@pytest.mark.parametrize("rank, theirs, says", [
    (0, True, "the pixels in process 1, which names its images"), (1, False, "the pixels at number 5"),
])
def test_the_process_that_has_the_image_names_it(rank, theirs, says):
    t, x = Training(VARIANTS["VPT"], world=TwoProcesses(rank, theirs)), X.clone()
    if theirs: broken_loss(t, x)                         # here the images are well
    else: broken_pixel(t, x)
    with pytest.raises(BadNumbers, match=says): t.step(x)


def test_with_an_accelerator_of_ones_own(accelerate):
    t, plain = Training(), Training()
    accelerator = accelerate.Accelerator(cpu=True)
    t.optimizer, t.precision = accelerator.prepare(t.optimizer), accelerator
    for x in (t, plain): x.step()
    assert same(t.state(), plain.state())
    with pytest.raises(BadNumbers, match="the pixels"): t.step(X*NAN)


# memory

@pytest.mark.parametrize("error, is_it", [
    (MemoryError(), True), (torch.OutOfMemoryError("CUDA out of memory."), True),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), True),
    (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED in cublasCreate"), True), (RuntimeError("std::bad_alloc"), True),
    (OSError(12, "Cannot allocate memory"), True), (OSError(28, "No space left on device"), False),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False), (ValueError("out of memory"), False),
])
def test_what_running_out_of_memory_looks_like(error, is_it):
    assert is_out_of_memory(error) == is_it
    with pytest.raises(OutOfMemory if is_it else type(error)), enough_memory(CFG, torch.device("cpu")): raise error


def test_what_would_take_less():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    big = CFG.replace(batch_size=32, mixed_precision="no", workers=2)
    less = ["batch_size = 16", "checkpointing = True"]
    assert what_takes_less(big, gpu) == [*less, "bank = True", "mixed_precision = bf16"]
    assert what_takes_less(big, cpu) == [*less, "workers = 0"]
    assert "bank = True" not in what_takes_less(big.replace(accumulate=2), gpu)
    assert big.replace(batch_size=16, checkpointing=True, bank=True, mixed_precision="bf16").bank     # all can be set
    says = "with batches of 32 images of 64 px: batch_size = 16 or"
    with pytest.raises(OutOfMemory, match=says), enough_memory(big, cpu): torch.empty(2**60)


def test_a_run_that_ran_out_goes_on(tmp_path, monkeypatch):
    from vptsp import training
    few = RetrievalData("few", EMOJI.train.of_classes(range(6)), EMOJI.query.of_classes(range(6)))
    cfg, real = CFG.replace(epochs=1), training.training_step
    def short(*args): raise torch.OutOfMemoryError("CUDA out of memory.")
    monkeypatch.setattr(training, "training_step", short)
    with pytest.raises(OutOfMemory, match="batch_size = 4"): Trainer(cfg, few, tmp_path/"run", callbacks=[]).fit()
    monkeypatch.setattr(training, "training_step", real)
    assert "R@1" in Trainer(cfg, few, tmp_path/"run", callbacks=[]).fit().metrics


# numbers that are none, in what is loaded or measured

def test_broken_weights_are_named(tmp_path):
    vit = bundled_vit()
    vit.blocks[3].attn.qkv.weight.data[0, :2] = INF
    with pytest.raises(BackboneError, match="the backbone that was given .* 2 of the 49,152 numbers of blocks.3.attn"):
        build_model(CFG, 3, backbone=vit)
    model = build_model(CFG, 3)
    model.head.linears[0].bias.data[0] = NAN
    few = RetrievalData("few", EMOJI.train.of_classes(range(3)), EMOJI.query.of_classes(range(3)))
    with pytest.raises(BackboneError, match="the model cannot be used.* 1 of the 128 numbers of head.linears.0.bias"):
        measure(model, few)
    assert measure_frozen(model, few)["spread"] > 0
    good = build_model(CFG, 3)
    check_numbers(good, "this")
    folder = good.save(tmp_path/"good")
    assert Model.load(folder).num_classes == 3


# figures and tasks

def slow_rank(x):
    "By the singular values themselves."
    s = torch.linalg.svdvals(x.double() - x.double().mean(0))
    p = s[s > 1e-14*s[0]]/s.sum()
    return float((-(p*p.log()).sum()).exp())


@pytest.mark.parametrize("n, e, rank", [(50, 8, 8), (8, 50, 8), (200, 32, 3), (30, 30, 30)])
def test_effective_rank(n, e, rank):
    g = torch.Generator().manual_seed(n)
    along = torch.randn(rank, e, generator=g, dtype=torch.float64)
    x = F.normalize(torch.randn(n, rank, generator=g, dtype=torch.float64) @ along, dim=1)
    assert effective_rank(x) == pytest.approx(slow_rank(x), rel=1e-4)
    assert effective_rank(x[torch.randperm(n)]*5) == pytest.approx(effective_rank(x), rel=1e-6)
    assert 0 < spread(x) <= 1 and spread(x.mean(0).expand(5, -1)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("figures, says", [
    ({"spread": .9, "effective rank": 90.}, []),
    ({"spread": 1e-4, "effective rank": 40.}, ["at nearly one place"]),
    ({"spread": .5, "effective rank": 1.2}, ["along one line"]),
    ({"spread": .9, "effective rank": 90., "R@1": .4}, ["training made R@1 worse: 0.4000, 0.5000"]),
    ({"R@1": .6}, []),
])
def test_what_figures_say(figures, says):
    said = words_on_figures(figures | {"frozen": {"R@1": .5, "spread": .8, "effective rank": 100.}})
    assert len(said) == len(says) and all(part in sentence for part, sentence in zip(says, said))


def test_two_classes_that_are_told_apart_have_not_collapsed():
    x = F.normalize(torch.tensor([[1., 0, 0, .01]]*9 + [[0, 1., .01, 0]]*9), dim=1)
    frozen = F.normalize(x + .05*torch.randn(18, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    figures = {"spread": spread(x), "effective rank": effective_rank(x),
               "frozen": {"spread": spread(frozen), "effective rank": effective_rank(frozen)}}
    assert words_on_figures(figures) == []


def of(train, query, each=None):
    a, b = EMOJI.train.of_classes(range(train)), EMOJI.query.of_classes(range(query))
    if each: a = a.subset([i for c in range(train) for i in (a.labels == c).nonzero()[:each, 0].tolist()])
    return RetrievalData("photos", a, b)


@pytest.mark.parametrize("data, says", [
    (of(1, 1), ["all training images are of one class", "so that every neighbour is a hit", "R@8 cannot"]),
    (of(6, 2), ["a neighbour drawn at random is a hit for 44%"]), (of(6, 6), []),
    (of(6, 6, each=1), ["every training class has one image"]),
], ids=["one", "two", "six", "one image"])
def test_tasks_that_prove_nothing(data, says):
    said = words_on_task(data, CFG)
    assert len(said) == len(says) and all(part in sentence for part, sentence in zip(says, said)), said


def test_images_fewer_than_a_batch_takes_of_a_class():
    said = words_on_task(of(6, 6, each=3), CFG.replace(samples_per_class=4))
    assert "6 of the 6 training classes have fewer images than samples_per_class = 4" in said[0]
    assert words_on_task(of(6, 6, each=3), CFG.replace(epochs=0)) == []
    query = EMOJI.query.of_classes(range(4))
    some = [int((query.labels == c).nonzero()[i]) for c, i in ((0, 0), (1, 0), (2, 0), (3, 0), (3, 1))]
    alone = RetrievalData("photos", EMOJI.train.of_classes([0]), query.subset(some))
    assert "3 of the 5 queries have no other image of their class" in words_on_task(alone)[0]
    assert chance_of_hit(alone) == 1/4


def test_a_run_says_it(tmp_path):
    cfg = CFG.replace(batch_size=4, samples_per_class=4, epochs=1)
    run = Trainer(cfg, of(1, 1), tmp_path/"run", callbacks=[]).fit()
    assert sum("of one class" in note for note in run.metrics["notes"]) == 2
    assert run.metrics["R@1"] == 1 and {"effective rank", "spread"} <= set(run.metrics) & set(run.metrics["frozen"])


def test_copies_of_a_precision_stand_apart():
    a = Precision("no", "cpu", accumulate=2)
    b = copy.copy(a)
    a.count()
    assert (a.between_steps, b.between_steps) == (False, True)
