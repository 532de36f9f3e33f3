"Images that break, and processes that are killed, in the middle of a run."
import multiprocessing
import os
import signal
import time

import pytest
import torch

from vptsp.benchmarks import load_emoji
from vptsp.broken_images import CheckedImages, WorkerError, dead_worker, is_dead_worker
from vptsp.callbacks import Callback, interruptible
from vptsp.commands.words import is_mistake, one_line
from vptsp.config import Config
from vptsp.data import RetrievalData
from vptsp.files import DataError
from vptsp.images import ImageSet
from vptsp.loaders import eval_loader, train_loader
from vptsp.run_card import read_card
from vptsp.training import Trainer

HALF = (.5, .5, .5)
CFG = Config.load("emoji", batch_size=8, samples_per_class=2, num_prompts=2, num_class_prompts=1)


@pytest.fixture(scope="module")
def pictures():
    emoji = load_emoji().train
    return [emoji.open(i) for i in range(24)]


@pytest.fixture
def photos(tmp_path, pictures):
    "Six images of each of four classes, as files."
    paths = [tmp_path/f"{i:02}.png" for i in range(24)]
    for picture, path in zip(pictures, paths): picture.save(path)
    return ImageSet(paths, [i//6 for i in range(24)], list("abcd"))


def spoil(images, *numbers):
    for i in numbers: images.sources[i].write_bytes(images.sources[i].read_bytes()[:70])


def all_of(loader):
    return [(loader.numbers, x, y) for x, y in loader]


def same(a, b):
    return len(a) == len(b) and all(n == m and torch.equal(x, u) and torch.equal(y, v)
                                    for (n, x, y), (m, u, v) in zip(a, b))


# Images

@pytest.mark.parametrize("workers", (0, 2))
@pytest.mark.parametrize("spoiled", ("cut short", "empty", "gone"))
def test_fatal_in_one_sentence(photos, workers, spoiled):
    path = photos.sources[7]
    path.write_bytes(path.read_bytes()[:70] if spoiled == "cut short" else b"")
    if spoiled == "gone": path.unlink()
    for loader in (train_loader, eval_loader):
        with pytest.raises(DataError) as e: list(loader(photos, CFG.replace(workers=workers), HALF, HALF))
        assert str(path) in str(e.value) and "\n" not in str(e.value) and "Traceback" not in str(e.value)
        assert ("broken_images" in str(e.value)) == (loader is train_loader)

@pytest.mark.parametrize("workers", (0, 2))
def test_skipped_alike_whoever_decodes(photos, workers):
    spoil(photos, 2, 7, 8, 23)
    cfg = CFG.replace(broken_images="skip")
    one, other = (train_loader(photos, c, HALF, HALF) for c in (cfg, cfg.replace(workers=workers)))
    for epoch in range(3):
        for loader in (one, other): loader.batch_sampler.set_epoch(epoch)
        batches = all_of(one)
        assert same(batches, all_of(other))
        for numbers, _, labels in batches:
            assert not {2, 7, 8, 23} & set(numbers) and len(set(numbers)) == 8
            assert labels.tolist() == photos.labels[numbers].tolist() and labels[::2].equal(labels[1::2])
    assert one.skipped == other.skipped
    assert {told["epoch"] for told in one.skipped} == {1, 2, 3}       # every image comes once an epoch
    assert all(told["image"] in told["why"] and told["instead"] != told["image"] for told in one.skipped)

def test_an_epoch_gone_on_with_skips_the_same(photos):
    spoil(photos, 2, 7)
    loader = train_loader(photos, CFG.replace(broken_images="skip"), HALF, HALF)
    whole, told = all_of(loader), list(loader.skipped)
    loader.skipped.clear()
    loader.batch_sampler.set_epoch(0, 2)
    assert same(all_of(loader), whole[2:])
    assert loader.skipped == [one for one in told if one["batch"] > 2]

def test_without_broken_ones_nothing_changes(photos):
    plain, skipping = (train_loader(photos, CFG.replace(broken_images=how), HALF, HALF) for how in ("fatal", "skip"))
    assert same(all_of(plain), all_of(skipping)) and not skipping.skipped

def test_a_class_of_which_nothing_is_left(photos):
    spoil(photos, *range(6, 12))
    with pytest.raises(DataError, match="No other image of its class, 'b', can be read"):
        list(train_loader(photos, CFG.replace(broken_images="skip"), HALF, HALF))

def test_one_left_of_a_class_comes_again(photos):
    spoil(photos, *range(7, 12))
    batches = all_of(train_loader(photos, CFG.replace(broken_images="skip"), HALF, HALF))
    assert all(numbers.count(6) == 2 for numbers, _, _ in batches)

def test_the_second_in_line_where_the_first_is_broken_too(photos):
    spoil(photos, 0, 1, 2, 3)
    batch = CheckedImages(photos.with_transform(lambda image: torch.zeros(1)), "replace").__getitems__([(0, 5), (4, 6)])
    assert batch.numbers == [5, 4] and batch.broken[0].instead == 5

def test_warm_start_leaves_broken_ones_out(photos):
    spoil(photos, 0, 23)
    loader = eval_loader(photos, CFG.replace(broken_images="skip"), HALF, HALF)
    assert sum((numbers for numbers, _, _ in all_of(loader)), []) == list(range(1, 23))
    assert [(told["epoch"], told["batch"]) for told in loader.skipped] == [(0, 1), (0, 3)]

def test_a_batch_of_broken_ones_alone_is_left_out(photos):
    spoil(photos, *range(8))
    loader = eval_loader(photos, CFG.replace(broken_images="skip"), HALF, HALF)
    assert [len(x) for x, _ in loader] == [8, 8] and len(loader.skipped) == 8

def test_other_errors_are_not_skipped(photos):
    def wrong(image): raise ZeroDivisionError("of a transform")
    with pytest.raises(ZeroDivisionError): CheckedImages(photos.with_transform(wrong), "replace").__getitems__([(0, 1)])

def test_said_once_for_each_image(photos, caplog):
    spoil(photos, 3)
    loader = train_loader(photos, CFG.replace(broken_images="skip"), HALF, HALF)
    for epoch in range(4):
        loader.batch_sampler.set_epoch(epoch)
        list(loader)
    assert len(loader.skipped) == 4 and caplog.text.count("skipped in epoch") == 1


# Processes

class Killed:
    "Images of which one kills the process that decodes it, the first time."
    def __init__(self, images, number, flag):
        self.images, self.number, self.flag = images, number, flag
        self.labels, self.classes = images.labels, images.classes

    def __len__(self): return len(self.images)
    def with_transform(self, transform): return Killed(self.images.with_transform(transform), self.number, self.flag)

    def __getitem__(self, item):
        number = item[0] if isinstance(item, tuple) else item
        if number == self.number and self.flag.exists():
            if not self.flag.read_text(): self.flag.unlink()             # once; always where something is in it
            os.kill(os.getpid(), signal.SIGKILL)
        return self.images[item]


@pytest.mark.parametrize("loader", (train_loader, eval_loader))
def test_a_killed_worker_in_one_sentence(photos, tmp_path, loader):
    (tmp_path/"flag").write_text("always")
    batches = loader(Killed(photos, 13, tmp_path/"flag"), CFG.replace(workers=2), HALF, HALF)
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"\(pid \d+\) was killed.*workers = 1 in place of 2") as e: list(batches)
    assert time.monotonic() - start < 30
    assert is_mistake(e.value) and "\n" not in one_line(e.value)

def test_a_killed_worker_is_replaced_once(photos, tmp_path, caplog):
    flag = tmp_path/"flag"
    whole = all_of(train_loader(photos, CFG, HALF, HALF))
    flag.write_text("")
    cfg = CFG.replace(workers=2, broken_images="skip")
    loader = train_loader(Killed(photos, whole[1][0][0], flag), cfg, HALF, HALF)
    assert same(all_of(loader), whole)
    assert len(loader.restarts) == 1 and not flag.exists() and "started anew" in caplog.text
    assert same(all_of(loader), whole)                                  # the next epoch, with new ones that stay
    flag.write_text("")
    with pytest.raises(WorkerError): list(loader)                       # a second time it is no chance

def test_nothing_of_the_process_stays_changed(photos):
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(train_loader(photos, CFG.replace(workers=2), HALF, HALF))
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) is before
    batches.close()
    plain = torch.utils.data.DataLoader([1, 2, 3], num_workers=1)       # of somebody else, who gets torch's handler
    assert [int(x) for x in plain] == [1, 2, 3]
    assert signal.getsignal(signal.SIGCHLD) is not before
    signal.signal(signal.SIGCHLD, before)
    torch.utils.data._utils.signal_handling._SIGCHLD_handler_set = False

def test_draws_nothing_from_everybodys_random_numbers(photos):
    state = torch.get_rng_state()
    list(train_loader(photos, CFG.replace(workers=1), HALF, HALF))
    assert torch.equal(state, torch.get_rng_state())

def test_a_dead_worker_does_not_break_off_the_waiting():
    "torch's handler, set by somebody else's loader, raises in the main thread, which only waits for another."
    error, asked = RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. "), []
    def work():
        signal.raise_signal(signal.SIGUSR1)
        time.sleep(.3)
        return "done"
    def heard(*_): raise error
    usual = signal.signal(signal.SIGUSR1, heard)
    try: assert interruptible(work, lambda: asked.append(1)) == "done"
    finally: signal.signal(signal.SIGUSR1, usual)
    assert not asked

def test_a_run_whose_worker_is_killed(photos, tmp_path):
    "It ends with a sentence; the same call goes on, to the bits of a run that nothing befell."
    class Watcher(Callback):
        stops = True                                                        # it trains in a thread
        def step_end(self, trainer, loss):
            if trainer.step == 4 and kills: os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    data = RetrievalData("photos", photos, load_emoji().query.of_classes(range(3)))
    cfg = CFG.replace(workers=2, epochs=3, eval_from=3)              # what the last epoch needs is not there yet
    def fit(name): return Trainer(cfg, data, tmp_path/name, callbacks=[Watcher()], frozen={}).fit()
    kills = True
    with pytest.raises(WorkerError, match="was killed"): fit("one")
    kills = False
    a, b = fit("one").model.state_dict(), fit("other").model.state_dict()
    assert "was killed" in read_card(tmp_path/"one")["parts"][0]["end"]
    assert all(torch.equal(a[name], b[name]) for name in a)

def test_words_of_torch():
    told = dead_worker(RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "), 3)
    assert "(pid 12)" in str(told) and "workers = 1 in place of 3" in str(told)
    assert is_dead_worker(RuntimeError("DataLoader worker (pid(s) 1, 2) exited unexpectedly"))
    assert not is_dead_worker(RuntimeError("shape mismatch"))
