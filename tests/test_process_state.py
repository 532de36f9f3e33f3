"A run is a guest: what the process had before, it has afterwards, and what others set does not change the run."
import gc
import logging
import os
import random
import signal
import sys
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.amp import GradScaler

from vptsp import process, training
from vptsp.benchmarks import load_emoji
from vptsp.callbacks import Callback
from vptsp.config import Config, ConfigError
from vptsp.data import RetrievalData
from vptsp.losses import build_loss
from vptsp.model import build_model
from vptsp.optimizer import build_optimizer
from vptsp.process import Precision
from vptsp.training import Trainer, training_step

EMOJI = load_emoji()
FEW = RetrievalData("emoji, 12 classes", EMOJI.train.of_classes(range(12)), EMOJI.query.of_classes(range(12)))
CFG = Config.load("emoji", batch_size=16, epochs=1, eval_from=1, num_prompts=2, num_class_prompts=1, feature_dropout=.1,
                  gru_dropout=.1)


def fitted(cfg=CFG, callbacks=(), **kw):
    return Trainer(cfg, FEW, pretrained=False, callbacks=list(callbacks), **kw).fit()


def same(a, b):
    theirs = b.model.tuned_state()
    return all(torch.equal(t, theirs[name]) for name, t in a.model.tuned_state().items())


# a first step that overflows

@pytest.mark.parametrize("bank", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_first_step_that_overflows(optimizer, bank):
    cfg = CFG.replace(optimizer=optimizer, bank=bank, lr=1e-3, lr_proxy=1e-3, feature_dropout=0, gru_dropout=0)
    model = build_model(cfg, 6, pretrained=False).train()
    precision = Precision("no", "cpu")
    precision.scaler = GradScaler("cpu", init_scale=2.**127)          # every gradient overflows at first
    plain = build_optimizer(model, cfg)
    prepared, loss_of = precision.prepare(plain), build_loss(cfg)
    x = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    junk = [torch.full((n,), 1e30) for n in (128, 384, 1000, 128*128) for _ in range(64)]
    del junk                                                          # memory that is free now holds something
    start = {name: p.detach().clone() for name, p in model.named_parameters() if ".rows." not in name}
    scales, stepped = [], False
    for _ in range(40):
        scales.append(precision.scaler.get_scale())
        training_step(model, loss_of, prepared, x, y, precision)
        stepped = precision.scaler.get_scale() == scales[-1]
        if stepped: break
        assert all(torch.equal(p, start[name]) for name, p in model.named_parameters() if name in start)
    assert stepped and len(scales) > 1, "the first steps were to be left out, and then one taken"

    moved = max(float((p.detach() - start[name]).abs().max()) for name, p in model.named_parameters() if name in start)
    assert 0 < moved < .05
    for name, p in model.named_parameters():
        if p.grad is None or ".rows." in name: continue
        state, grad = plain.state[p], p.grad
        if optimizer == "sgd":
            assert torch.allclose(state["momentum_buffer"], grad + cfg.weight_decay*start[name]), name
        else:
            assert torch.allclose(state["exp_avg"], .1*grad, atol=1e-12) and float(state["step"]) == 1, name
    if bank:
        for t in model.class_prompts.state.values(): assert t.isfinite().all() and t.abs().max() < 1e3
        for table in model.class_prompts.tables().values(): assert table.isfinite().all() and table.abs().max() < 10


@pytest.mark.parametrize("bank", [False, True])
def test_a_step_that_was_left_out_is_as_if_it_had_not_been(bank):
    cfg = CFG.replace(optimizer="sgd", bank=bank, feature_dropout=0, gru_dropout=0)
    x = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    def trained(plants):
        model = build_model(cfg, 6, pretrained=False).train()
        precision, memory = Precision("no", "cpu"), model.proxies.memory.clone()
        precision.scaler = GradScaler("cpu", init_scale=2., growth_interval=1000)  # powers of 2: nothing is rounded
        optimizer, loss_of = precision.prepare(build_optimizer(model, cfg)), build_loss(cfg)
        for plant in plants:
            if plant: model.proxies.bias.register_hook(lambda g: g*float("inf"))
            training_step(model, loss_of, optimizer, x, y, precision)
            if plant:
                model.proxies.bias._backward_hooks.clear()
                with torch.no_grad(): model.proxies.memory.copy_(memory)      # the forward pass wrote it
        return model.tuned_state()
    plain, planted = trained([False, False]), trained([True, False, False])
    for name, t in plain.items(): assert torch.equal(t, planted[name]), name


def test_sgd_is_not_fused_and_gives_the_same_numbers():
    model = build_model(CFG, 6, pretrained=False)
    assert not build_optimizer(model, CFG.replace(optimizer="sgd")).defaults["fused"]
    p, q = (torch.nn.Parameter(torch.randn(100, generator=torch.Generator().manual_seed(0))) for _ in range(2))
    for w, fused in ((p, None), (q, True)):
        optimizer = torch.optim.SGD([w], lr=.1, momentum=.9, weight_decay=1e-3, fused=fused)
        for _ in range(5):
            w.grad = w.detach()**2
            optimizer.step()
    assert torch.equal(p, q)


# other programs in the same process

class Look(Callback):
    "What a step sees."
    def __init__(self, what): self.what, self.seen = what, []
    def step_end(self, trainer, loss): self.seen.append(self.what())


def test_an_accelerator_of_ones_own_is_left_alone(accelerate):
    theirs = accelerate.Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=4)
    net = torch.nn.Linear(4, 4)
    net, optimizer = theirs.prepare(net, torch.optim.SGD(net.parameters(), .1))
    def states(): return [dict(kind._shared_state) for kind in (AcceleratorState, GradientState, PartialState)]
    before, look = states(), Look(lambda: (theirs.mixed_precision, theirs.gradient_accumulation_steps))
    fitted(callbacks=[look])
    assert set(look.seen) == {("bf16", 4)} and states() == before
    with theirs.autocast(): assert torch.nn.Linear(4, 4)(torch.randn(2, 4)).dtype == torch.bfloat16
    theirs.backward(net(torch.randn(2, 4)).square().mean())
    optimizer.step()
    assert accelerate.Accelerator(cpu=True, mixed_precision="bf16").mixed_precision == "bf16"


def test_what_a_launcher_left_in_the_environment(monkeypatch, caplog):
    plain = fitted()
    left = dict(MIXED_PRECISION="fp16", GRADIENT_ACCUMULATION_STEPS="4", USE_FSDP="true", USE_DEEPSPEED="true",
                TORCH_DEVICE="meta", CPU_AFFINITY="true", USE_CPU="true")
    for name, value in left.items(): monkeypatch.setenv(f"ACCELERATE_{name}", value)
    trainer = Trainer(CFG, FEW, pretrained=False, callbacks=[])
    assert (trainer.accelerator.mixed_precision, trainer.accelerator.gradient_accumulation_steps) == ("no", 1)
    run = trainer.fit()
    assert same(run, plain)
    assert len(run.metrics["notes"]) == 2 and all("the settings decide" in note for note in run.metrics["notes"])
    assert [record.message for record in caplog.records if record.name == "vptsp"] == trainer.notes


def test_two_trainers_alive_at_once():
    plain = [fitted(CFG.replace(seed=seed, mixed_precision=kind)) for seed, kind in ((0, "fp16"), (1, "bf16"))]
    pair = [Trainer(CFG.replace(seed=seed, mixed_precision=kind), FEW, pretrained=False, callbacks=[])
            for seed, kind in ((0, "fp16"), (1, "bf16"))]
    pair[0].callbacks = [Look(lambda: pair[1].fit() if not pair[1].step else None)]        # one inside the other's step
    runs = [pair[0].fit(), pair[1]._run({})]
    assert same(runs[0], plain[0]) and same(runs[1], plain[1])


def test_precision_belongs_to_one_object(monkeypatch):
    monkeypatch.setattr(process, "cpu_has_bf16", lambda: False)
    assert Precision("fp16", "cpu").scaler is None and Precision("bf16", "cpu").mixed_precision == "no"
    net = torch.nn.Linear(2, 2)
    with Precision("bf16", "cpu").autocast(): assert net(torch.ones(1, 2)).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16), Precision("no", "cpu").autocast():
        assert net(torch.ones(1, 2)).dtype == torch.float32


# the process itself

def process_state():
    "What a whole process shares."
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(), "device": torch.get_default_device(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.get_deterministic_debug_mode()),
        "precision": (torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32),
        "attention": (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()),
        "torch random": torch.get_rng_state().tolist(), "numpy random": repr(np.random.get_state()),
        "random": random.getstate(), "warnings": list(warnings.filters),
        "signals": {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)},
        "environment": dict(os.environ), "folder": os.getcwd(), "path": list(sys.path),
        "matplotlib": (matplotlib.get_backend(), dict(matplotlib.rcParams)), "gc": (gc.isenabled(), gc.get_threshold()),
        "logging": (logging.root.level, list(logging.root.handlers), logging.getLogger("vptsp").handlers),
        "hooks": (sys.excepthook, sys.stdout, sys.stderr), "affinity": os.sched_getaffinity(0),
        "limit": sys.getrecursionlimit(), "printing": torch._tensor_str.PRINT_OPTS,
    }


@pytest.mark.parametrize("changes", [{}, {"workers": 1}, {"bank": True, "optimizer": "sgd"}, {"holdout": .2},
                                     {"epochs": 0}])
def test_a_run_leaves_the_process_as_it_was(changes, tmp_path):
    fitted()                                                          # what a first time brings is brought
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = process_state()
    run = Trainer(CFG.replace(**changes), FEW, tmp_path/"run", pretrained=False, callbacks=[]).fit()
    run.embed(FEW.query.subset(range(5)))
    after = process_state()
    assert {name for name in before if before[name] != after[name]} == set()


def test_memory_is_not_kept_for_somebody_else(monkeypatch):
    def refuse(*_): raise AssertionError("mallopt is the whole process's")
    for module in (process, training): monkeypatch.setattr(module, "keep_memory", refuse)
    monkeypatch.setattr(process.ctypes, "CDLL", refuse)
    fitted()


def test_what_was_set_around_a_run_does_not_change_it():
    plain = fitted()
    torch.manual_seed(99)
    assert same(fitted(), plain)
    with torch.no_grad(): assert same(fitted(), plain)
    with torch.autocast("cpu", torch.bfloat16): assert same(fitted(), plain)
    trainer = Trainer(CFG, FEW, pretrained=False, callbacks=[])
    with torch.inference_mode(): assert same(trainer.fit(), plain)


def test_another_default_dtype_is_refused_in_a_sentence():
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ConfigError, match="default dtype is torch.float64"): fitted()
    finally: torch.set_default_dtype(torch.float32)


def test_a_large_seed():
    cfg = CFG.replace(seed=2**63 - 1)
    assert same(fitted(cfg), fitted(cfg)) and not same(fitted(cfg), fitted())
