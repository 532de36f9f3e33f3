"Several processes: two with half of a batch are one with the whole; what they say to each other; who is refused."
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.models.vision_transformer import VisionTransformer
from torch import multiprocessing

from vptsp.batch_norm import batch_norm_of_all
from vptsp.beginning import agree
from vptsp.benchmarks import load_emoji
from vptsp.cli import main
from vptsp.config import Config
from vptsp.data import RetrievalData
from vptsp.files import DataError
from vptsp.launchers import WorldError, place_of, places, refuse_several
from vptsp.losses import build_loss
from vptsp.model import build_model
from vptsp.optimizer import build_optimizer
from vptsp.prompts import ClassPromptBank
from vptsp.registry import ConfigError
from vptsp.tensors import eval_copy
from vptsp.training import Run, Trainer
from vptsp.world import World

STEPS, CLASSES, B = 10, 12, 32
BASE = dict(embed_dim=16, image_size=16, num_prompts=3, num_class_prompts=2, batch_size=B, samples_per_class=2, lr=1e-3,
            lr_proxy=.01, momentum=.9, weight_decay=1e-6, seed=3)
METHODS = {
    "VPTSP-G": dict(accumulator="gru_relu"),
    "VPTSP-G, bank": dict(accumulator="gru_relu", bank=True),
    "VPTSP-M": dict(accumulator="mix"),
    "VPT": dict(semantic_proxies="none", tune="none"),
    "full": dict(semantic_proxies="none", tune="full", num_prompts=0),
    "VPTSP-G, tanh": dict(accumulator="gru"),
    "VPTSP-M, bank, in batch": dict(accumulator="mix", bank=True, proxy_data_range="in_batch"),
    "Encoder": dict(semantic_proxies="shared_prompts"),
    "VPTSP-G, late, bank": dict(accumulator="gru_relu", bank=True, semantic_blocks=1),
    "Sample": dict(semantic_proxies="embeddings"),
    "adapter, checkpointing": dict(adapter="parallel", adapter_num_blocks=1, adapter_dim=8, checkpointing=True),
}
OPTIMIZERS = {"sgd": dict(optimizer="sgd"), "adamw": dict(optimizer="adamw", lr=1e-4, lr_proxy=.01)}
# how a batch falls to two processes: order of its images, images of the first
SPLITS = {
    "whole classes": ("by class", 16), "a class is cut": ("by class", 15), "every class is cut": ("in turn", 16),
    "in no order": ("shuffled", 16), "uneven": ("shuffled", 21), "one image": ("by class", 1),
    "all but one image": ("shuffled", 31), "another each step": ("shuffled", None),
}


def model_of(cfg, kind):
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=16, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=0)
    for p in vit.parameters():
        if p.ndim == 1: torch.nn.init.normal_(p, p.mean().item(), .1)
    return build_model(cfg, CLASSES, backbone=vit).to(kind)


def batches(order, kind):
    "Ten batches, some smaller and some of unusual counts a class."
    gen = torch.Generator().manual_seed(7)
    for step in range(STEPS):
        n, k = (B, 2) if step % 3 else (B - 5*step//3, 3)
        classes = torch.randperm(CLASSES, generator=gen).repeat(3)[:-(-n//k)]
        labels = classes.repeat_interleave(k)[:n] if order == "by class" else classes.repeat(k)[:n]
        if order == "shuffled": labels = labels[torch.randperm(n, generator=gen)]
        yield torch.randn(n, 3, 16, 16, generator=gen).to(kind), labels


def trained(cfg, split, world, kind=torch.float32):
    "Ten steps of a loop of our own: losses, and all that training changed."
    order, first = split
    model = model_of(cfg, kind).train()
    model.world = world
    optimizer, loss_of, losses = build_optimizer(model, cfg), build_loss(cfg), []
    for step, (images, labels) in enumerate(batches(order, kind)):
        cut = min(first or 3 + 4*(step % 5), len(images) - 1)
        own = slice(0, None) if world.size == 1 else (slice(0, cut), slice(cut, None))[world.rank]
        torch.manual_seed(step)
        optimizer.zero_grad()
        out = model(images[own], labels[own])
        loss = loss_of(out, out.labels)
        loss.backward()
        assert not world.sum_gradients(model)
        optimizer.step()
        losses.append(loss.detach())
    state = {f"model.{name}": t.clone() for name, t in model.tuned_state().items()}
    rows = model.class_prompts.rows.values() if isinstance(model.class_prompts, ClassPromptBank) else ()
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for i, p in enumerate(params):
        if any(p is row for row in rows): continue              # of classes that are in the bank by now
        for name, t in optimizer.state[p].items(): state[f"optimizer.{i}.{name}"] = torch.as_tensor(t).clone()
    for (l, name), t in getattr(model.class_prompts, "state", {}).items(): state[f"bank.{l}.{name}"] = t.clone()
    return torch.stack(losses), state


def cases(every=False):
    "Method, optimizer, split, precision; a bank has 32 bits. `every` is for `tests/faults/several.py`."
    required = [*list(METHODS)[:5], "VPTSP-G, late, bank", "Sample"]
    for method, optimizer in itertools.product(METHODS if every else required, OPTIMIZERS):
        yield method, optimizer, "another each step", "float32"
        if not METHODS[method].get("bank") and (every or optimizer == "adamw"):
            yield method, optimizer, "another each step", "float64"
    for split, method in itertools.product(SPLITS, METHODS if every else ["VPTSP-G, bank"]):
        yield method, "sgd", split, "float32"


def distance(ours, theirs):
    "Length of the difference in lengths of the tensor, or in ones where that is shorter."
    return float((ours - theirs).norm()/theirs.norm().clamp(min=1)) if theirs.numel() else 0.


def differing(found, alone):
    "Names of what is not the same in two processes and in one, of `trained` in each."
    (losses_0, first), (losses_1, second) = (pair for pair in found)
    losses, state = alone
    limit = 1e-5 if losses.dtype == torch.float32 else 1e-9
    alike = {name for name in state if torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name]))}
    wrong = [f"{name} differs between the processes" for name in state if name not in alike]
    if first.keys() != state.keys(): wrong.append(f"names: {first.keys() ^ state.keys()}")
    if (losses_0 != losses_1).any(): wrong.append("losses differ between the processes")
    pairs = {"losses": (losses_0, losses)} | {name: (first[name], t) for name, t in state.items()}
    far = {name: distance(torch.as_tensor(ours).double(), theirs.double()) for name, (ours, theirs) in pairs.items()}
    return wrong + [f"{name}: {d:.1e} from that of one process" for name, d in far.items() if not d <= limit]


CASES = list(dict.fromkeys(cases()))


def run_case(case, world):
    method, optimizer, split, kind = case
    cfg = Config(**BASE | OPTIMIZERS[optimizer] | METHODS[method])
    return trained(cfg, SPLITS[split], world, getattr(torch, kind))


# Two processes for all of it

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def in_process(rank, size, port, work, args, answers):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port))
    try: answer = work(World.join(), *args)
    except Exception as e: answer = e
    answers.put((rank, answer))
    answers.close()
    answers.join_thread()


# processes are forked from one that has imported all that is slow to import, and in which no test ran
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["pytest", "timm.models.vision_transformer", "vptsp.training"])


def among(size, work, *args, limit=300):
    "What `work(world, *args)` gives in each process, and what it raised."
    answers, port = context.Queue(), free_port()
    started = [context.Process(target=in_process, args=(r, size, port, work, args, answers)) for r in range(size)]
    for process in started: process.start()
    try:
        found = dict(answers.get(timeout=limit) for _ in started)
        for process in started: process.join(60)
    finally:
        for process in started: process.kill()
    return [found[rank] for rank in range(size)]


def plain(value):
    "As numpy arrays, which go between processes as they are."
    if torch.is_tensor(value): return value.detach().numpy()
    if isinstance(value, dict): return {k: plain(v) for k, v in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value


def all_cases(world): return {case: plain(run_case(case, world)) for case in CASES}


@pytest.fixture(scope="module")
def both(): return among(2, all_cases)


@pytest.mark.parametrize("case", CASES, ids=" | ".join)
def test_two_with_half_a_batch_are_one_with_the_whole(case, both):
    for found in both:
        if isinstance(found, Exception): raise found
    alone = run_case(case, World())
    assert not differing([found[case] for found in both], alone)
    fresh = model_of(Config(**BASE | METHODS[case[0]]), getattr(torch, case[-1])).tuned_state()
    moved = [name for name, t in fresh.items() if not torch.equal(t, alone[1][f"model.{name}"])]
    assert len(moved) > 1, "nothing was trained"


# What is random

def with_batch_norm(world):
    "A net of two such layers, 3 images here and 5 there, or all 8: gradients, running statistics, the values of all."
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), BatchNormAct2d(4), torch.nn.Conv2d(4, 2, 3),
                              torch.nn.BatchNorm2d(2, momentum=None)).double()
    images, weights = torch.randn(2, 8, 3, 8, 8).double(), torch.randn(8, 2, 4, 4).double()
    own = slice(None) if world.size == 1 else (slice(0, 3), slice(3, 8))[world.rank]
    with batch_norm_of_all(net, world):
        for x in images:
            y = net(x[own])
            (y.square()*weights[own]).sum().backward()
        world.sum_gradients(net, behind=())
        before = {name: t.clone() for name, t in net.named_buffers()}
        tested = eval_copy(net)(images[0])                                  # while the net itself is in training
        assert all(torch.equal(t, before[name]) for name, t in net.named_buffers())
    assert [type(m).__name__ for m in net] == [type(m).__name__ for m in eval_copy(net)] and net[1].training
    gradients = {name: p.grad for name, p in net.named_parameters()}
    return plain({"y": world.gather(y.detach()), "tested": tested, **dict(net.named_buffers()), **gradients})


def test_batch_norm_is_of_the_whole_batch():
    whole = with_batch_norm(World())
    for found in among(2, with_batch_norm):
        for name, numbers in whole.items(): np.testing.assert_allclose(found[name], numbers, 1e-10, 1e-12, err_msg=name)


def with_dropout(world):
    "Memory behind three steps, and the first image's embedding in each."
    cfg = Config(**BASE | dict(gru_dropout=.5, feature_dropout=.5))
    model, loss_of, firsts = model_of(cfg, torch.float32).train(), build_loss(cfg), []
    model.world, optimizer = world, build_optimizer(model, cfg)
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)).expand(16, -1, -1, -1)
    for _ in range(3):
        optimizer.zero_grad()
        out = model(image, torch.arange(8).repeat_interleave(2))
        loss_of(out, out.labels).backward()
        world.sum_gradients(model)
        optimizer.step()
        firsts.append(out.embeddings[::16].detach())
    return plain([model.proxies.memory, torch.stack(firsts), torch.rand(3)])


def test_dropout_is_alike_behind_the_gather_and_ones_own_before_it():
    (memory_0, firsts_0, next_0), (memory_1, firsts_1, next_1) = among(2, with_dropout)
    assert (memory_0 == memory_1).all() and (firsts_0 == firsts_1).all() and (next_0 == next_1).all()
    for first, second in firsts_0: assert ((first == 0) != (second == 0)).any()     # the same image in two processes


# Three that talk, and one that ends

def talk(world):
    def raising(): raise DataError("no room left in runs/x.")
    own = torch.arange(world.rank + 1.)[:, None].requires_grad_()
    rows = world.gather(own)
    (rows*torch.arange(6.)[:, None]).sum().backward()
    try: world.from_main(raising)
    except DataError as e: error = f"{type(e).__name__}: {e}"
    try: world.agree("settings", {"lr": .1, "seed": 5 if world.rank == 2 else 4})
    except ConfigError as e: differs = str(e)
    long = world.to_main(torch.full((2 - world.rank, 1), float(world.rank)))
    stops = [world.any(world.rank == 2), world.any(False)]
    return plain([rows, own.grad, error, differs, long, stops, world.all_of(world.rank)])


def test_three_that_talk():
    found = among(3, talk)
    for rank, (rows, grad, error, differs, long, stops, ranks) in enumerate(found):
        assert rows[:, 0].tolist() == [0, 0, 1, 0, 1, 2] and ranks == [0, 1, 2] and stops == [True, False]
        assert grad[:, 0].tolist() == [[0], [1, 2], [3, 4, 5]][rank]
        assert error == ("DataError: no room left in runs/x." if rank == 0 else
                         "WorldError: the main process ended: no room left in runs/x.")
        assert "settings, seed: 4 in process 0, 5 in process 2" in differs
        assert long[:, 0].tolist() == ([0, 0, 1] if rank == 0 else [])


def with_other_tests(world):
    "Two processes, each with its images of one list, of which one has the test in another order."
    emoji = load_emoji()
    query = emoji.query.of_classes(range(4))
    order = list(range(len(query)))[::-1 if world.rank else 1]
    data = RetrievalData("mine", emoji.train.of_classes(range(8)), query.subset(order))
    cfg = Config.load("emoji", batch_size=16, epochs=1, workers=world.rank)      # which may differ
    try: agree(SimpleNamespace(world=world, cfg=cfg, data=data, backbone_is=""))
    except ConfigError as e: return str(e)


def test_what_is_tested_is_the_same_in_all():
    for said in among(2, with_other_tests): assert "do not have the same test images" in said


signals = {"is killed": signal.SIGKILL, "hangs": signal.SIGSTOP}


def ends(world, how, who=1):
    "What a process meets when the other is killed, hangs, or fails and says so, in the midst of a run."
    world._beats.every, world._beats.look, start = .1, .5, time.monotonic()
    try:
        with world.telling():
            world.wait()
            if world.rank == who and how in signals: os.kill(os.getpid(), signals[how])
            if world.rank == who: raise DataError("photos/7.jpg cannot be read.")
            world.gather(torch.ones(3, 2))
    except DataError as e: return str(e), time.monotonic() - start


def test_a_process_that_fails_is_quoted():
    (heard, seconds), (own, _) = among(2, ends, "fails")
    assert own == "photos/7.jpg cannot be read." and seconds < 30
    assert heard == "another process of this run ended: process 1 says: photos/7.jpg cannot be read."


@pytest.mark.parametrize("who", [0, 1])       # the first keeps the store through which they met
@pytest.mark.parametrize("how", signals)
def test_a_process_that_is_killed_or_hangs_is_noticed(how, who):
    answers, port = context.Queue(), free_port()
    both = [context.Process(target=in_process, args=(r, 2, port, ends, (how, who), answers)) for r in range(2)]
    for process in both: process.start()
    try:
        rank, (heard, seconds) = answers.get(timeout=240)
        both[rank].join(60)
        assert both[rank].exitcode == 0                                    # it ends, and waits no longer
    finally:
        for process in both: process.kill()
    said = {"is killed": "another process of this run ended", "hangs": f"process {who} of this run gives no sign"}
    assert rank == 1 - who and heard.startswith(said[how]) and seconds < 30
    assert "The same command goes on" in heard or "the same command goes on" in heard


# A whole run

def photos(root):
    "Nine classes of four images, the first four to train on."
    images = load_emoji().train.of_classes(range(9))
    for i in range(len(images)):
        place = root/f"class {int(images.labels[i])}"
        place.mkdir(parents=True, exist_ok=True)
        if len(list(place.iterdir())) < 4: images.open(i).save(place/f"{i}.png")
    return root


def test_the_command_line_under_torchrun(tmp_path):
    words = ["train", "emoji", "dataset=folder", "semantic_proxies=class_prompts", "bank=true", "optimizer=sgd",
             "lr=0.01", "epochs=2", "batch_size=6", "num_prompts=2", "num_class_prompts=1", "--data",
             str(photos(tmp_path/"photos")), "--out"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    ended = subprocess.run([*launcher, Path(sys.executable).with_name("vptsp"), *words, tmp_path/"two"], text=True,
                           env=environment, capture_output=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert main([*words, str(tmp_path/"one")]) == 0
    assert ended.stdout.count("epoch 1/2") == 1                                  # one of the two tells
    one, two = (Run.load(tmp_path/name) for name in ("one", "two"))
    assert json.loads((tmp_path/"two"/"run.json").read_text())["parts"][0]["processes"] == 2
    theirs = two.model.tuned_state()
    for name, t in one.model.tuned_state().items(): torch.testing.assert_close(t, theirs[name], rtol=0, atol=1e-5)
    losses = [[line["loss"] for line in run.history] for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=0, abs=1e-5)
    files = [sorted(str(path.relative_to(tmp_path/name)) for path in (tmp_path/name).rglob("*"))
             for name in ("one", "two")]
    assert files[0] == files[1]


def alone_behind_a_run(world):
    "What process 0 computes in training mode when the run is over, and the other one sleeps."
    emoji = load_emoji()
    few = RetrievalData("few", emoji.train.of_classes(range(4)), emoji.query.of_classes(range(2)))
    cfg = Config.load("emoji", batch_size=8, epochs=1, num_prompts=1, num_class_prompts=1)
    trainer = Trainer(cfg, few, callbacks=[])
    run = trainer.fit()
    assert trainer.world.size == 2 and trainer.steps
    if not world.is_main: return None
    return plain(run.model.train()(torch.randn(4, 3, 64, 64), torch.arange(4)).labels)


def test_a_trained_model_waits_for_nobody():
    labels, other = among(2, alone_behind_a_run)
    assert other is None and list(labels) == [0, 1, 2, 3]


# Who is refused

@pytest.mark.parametrize("environment, place", [
    ({}, (0, 1, 0)), ({"WORLD_SIZE": "1", "RANK": "0"}, (0, 1, 0)), ({"WORLD_SIZE": "x"}, (0, 1, 0)),
    ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}, (0, 1, 0)),
    ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, (3, 4, 1)),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0", "MASTER_ADDR": "a",
      "MASTER_PORT": "1"}, (1, 2, 0))])
def test_places(environment, place): assert places(environment) == place


@pytest.mark.parametrize("environment, said", [
    ({"WORLD_SIZE": "2"}, "no RANK"), ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK = 2"),
    ({"WORLD_SIZE": "2", "RANK": "1"}, "no MASTER_ADDR"),
    ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "a"}, "no MASTER_PORT"),
    ({"PMI_SIZE": "8", "PMI_RANK": "1"}, "no MASTER_ADDR")])
def test_places_that_cannot_be(environment, said):
    with pytest.raises(ConfigError, match=said): places(environment)
    assert place_of("LOCAL_RANK", environment) is None


def test_other_commands_are_refused():
    refuse_several("vptsp index", {})
    with pytest.raises(ConfigError, match="8 processes were started .* vptsp index works in one"):
        refuse_several("vptsp index", {"WORLD_SIZE": "8", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"})


def test_nobody_there(monkeypatch):
    monkeypatch.setattr("vptsp.launchers._wait", timedelta(seconds=2))
    for name, value in dict(WORLD_SIZE="2", RANK="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port())).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WorldError, match="process 1 of 2 did not meet the others at 127.0.0.1"): World.join()
