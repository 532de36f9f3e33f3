"Writes: whole or not at all, by one writer, their failures sentences; what is read again: as written, or refused."
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vptsp.backbone import BackboneError
from vptsp.checkpoints import read_checkpoint, read_history, take_up, write_checkpoint, write_history
from vptsp.commands.words import is_mistake, one_line
from vptsp.config import Config
from vptsp.files import (
    DamagedFile,
    LockedError,
    StorageError,
    _me,
    make_folder,
    read_json,
    read_lines,
    replacing,
    storage_error,
    sweep,
    write_json,
    write_lines,
    write_text,
)
from vptsp.kept import described
from vptsp.locks import one_writer
from vptsp.model import Model, build_model
from vptsp.runs import Run
from vptsp.swaps import replacing_folder
from vptsp.tensors import DamagedTensors, read_tensors, tensor_shapes, write_tensors

CFG = Config.load("emoji", batch_size=4, num_prompts=1, num_class_prompts=1, epochs=3, prompt_depth=2,
                  class_prompt_depth=2)


def in_child(work):
    "Exit code of a process that does this: 0, or 1 if it raised."
    process = get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode

def parts(bank=False, optimizer="adamw"):
    torch.manual_seed(0)
    model = build_model(CFG.replace(bank=bank), 3)
    params = [p for p in model.parameters() if p.requires_grad]
    made = torch.optim.AdamW(params, lr=1e-3) if optimizer == "adamw" else torch.optim.SGD(params, .01, momentum=.9)
    if bank: model.class_prompts.bind(made)
    return model.train(), made

def step(model, optimizer):
    optimizer.zero_grad()
    out = model(torch.ones(4, 3, 64, 64)*torch.arange(4).view(-1, 1, 1, 1), torch.tensor([0, 0, 1, 1]))
    (out.embeddings.sum() + out.proxies.sum() + out.batch_proxies.std()).backward()
    optimizer.step()

def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}

def entry(shape, begin, end, dtype="F32"): return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

def flipped(content, at, bit):
    damaged = bytearray(content)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


# One move

def test_a_write_is_synced_and_has_the_mode_of_the_umask(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    def fsync(at):
        synced.append(os.readlink(f"/proc/self/fd/{at}"))
        real(at)
    monkeypatch.setattr(os, "fsync", fsync)
    before = os.umask(0o027)
    try: write_tensors_to = [write_text(tmp_path/"a.txt", "a"), write_json(tmp_path/"b.json", {})]
    finally: os.umask(before)
    assert write_tensors_to == [None, None]
    assert [Path(s).name for s in synced] == ["a.txt", tmp_path.name, "b.json", tmp_path.name]
    assert all((tmp_path/name).stat().st_mode & 0o777 == 0o640 for name in ("a.txt", "b.json"))

def test_a_planted_link_is_replaced_and_a_device_refused(tmp_path):
    (tmp_path/"mine").write_text("mine")
    (tmp_path/"x").symlink_to(tmp_path/"mine")
    write_text(tmp_path/"x", "new")
    assert (tmp_path/"mine").read_text() == "mine" and not (tmp_path/"x").is_symlink()
    with pytest.raises(StorageError, match="is a device or a pipe"): write_text("/dev/null", "")
    with pytest.raises(StorageError, match="a folder stands in its place"): write_text(tmp_path, "")

def test_what_a_killed_process_left_is_swept_and_a_living_ones_is_not(tmp_path):
    def dies():
        with replacing(tmp_path/"file"):
            (tmp_path/"at work").write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
    assert in_child(dies) == -signal.SIGKILL
    assert [p.name for p in tmp_path.glob(".part-*")]
    with replacing(tmp_path/"other") as part:
        part.write_text("1")
        write_text(tmp_path/"third", "2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["at work", "other", "third"]

def test_what_is_called_as_a_write_is_and_is_none_stays(tmp_path):
    host, _, since = _me().rsplit("-", 2)
    names = [".part-", ".part-x", ".part-a-b", f".part-{host}-mine-{since}-x"]
    for name in names: (tmp_path/name).mkdir()
    write_text(tmp_path/"file", "1")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "file"])

def test_a_folder_that_was_moved_away_comes_back(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    host, _, since = _me().rsplit("-", 2)
    work = tmp_path/f".part-{host}-{gone.pid}-{since}-abcd"
    (work/"gallery.old").mkdir(parents=True)
    (work/"gallery.old"/"rows").write_text("old")
    sweep(tmp_path)
    assert content(tmp_path) == {"gallery/rows": b"old"}

def test_an_error_that_is_not_of_the_write_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError) as e, replacing(tmp_path/"page.html"): open(tmp_path/"missing.png")
    assert not isinstance(e.value, StorageError) and not list(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path/"gallery"): 1/0   # noqa: B018
    assert not list(tmp_path.iterdir())

def test_what_the_system_says_becomes_a_sentence_on_one_line():
    E = errno
    for number in (E.ENOSPC, E.EROFS, E.EACCES, E.EDQUOT, E.EMFILE, E.EIO, E.ENAMETOOLONG):
        e = storage_error(OSError(number, os.strerror(number)), "runs/a")
        assert is_mistake(e) and one_line(e).startswith("'runs/a' cannot be written: ")
        assert "\n" not in one_line(storage_error(e, "runs/a\nb"))
    for text in ("I/O error: No space left on device (os error 28)", "8192 requested and 4096 written"):
        assert storage_error(ValueError(text), "x").errno == errno.ENOSPC

@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_no_permission_is_a_sentence(tmp_path):
    def work():
        os.setgid(65534)
        os.setuid(65534)
        for write in (lambda: write_text(tmp_path/"x", ""), lambda: make_folder(tmp_path/"a"/"b"),
                      lambda: one_writer(tmp_path/"run").__enter__()):
            try: write()
            except StorageError as e: assert "permission denied: choose a place" in str(e), e
            else: raise AssertionError
    tmp_path.chmod(0o755)
    for place in tmp_path.parents:
        if place.stat().st_mode & 0o5 == 0 and place.is_relative_to("/tmp"): place.chmod(0o755)
    assert in_child(work) == 0


# One writer

def test_two_writers_of_one_folder(tmp_path):
    def adds():
        for _ in range(25):
            with one_writer(tmp_path/"run", wait=60):
                file = tmp_path/"run"/"n"
                write_text(file, str(int(file.read_text()) + 1 if file.exists() else 1))
    processes = [get_context("fork").Process(target=adds) for _ in range(4)]
    for p in processes: p.start()
    for p in processes: p.join()
    assert content(tmp_path) == {"run/n": b"100"}

def test_another_writer_is_named(tmp_path):
    code = ("import sys, time; from vptsp.locks import one_writer\n"
            "with one_writer(sys.argv[1]): print('in', flush=True); time.sleep(60)")
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path/"run"], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "in\n"
    try:
        with pytest.raises(LockedError, match=rf"another process \(pid {other.pid} on \S+\) is writing the run in"):
            with one_writer(tmp_path/"run"): pass
    finally: other.kill()
    other.wait()
    with one_writer(tmp_path/"run"): assert _me() == (tmp_path/"run"/".lock").read_text()
    assert not list((tmp_path/"run").iterdir())

def test_a_lock_that_a_child_of_a_dead_process_holds_is_taken_over(tmp_path):
    read, write = os.pipe()
    def dies():
        one_writer(tmp_path/"run").__enter__()
        child = os.fork()
        if not child:
            signal.alarm(60)
            while True: time.sleep(1)
        os.write(write, str(child).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    assert in_child(dies) == -signal.SIGKILL
    child = int(os.read(read, 20))
    try:
        with one_writer(tmp_path/"run"), pytest.raises(LockedError, match="this process"):
            with one_writer(tmp_path/"run"): pass
    finally: os.kill(child, signal.SIGKILL)

def test_a_folder_on_its_way_keeps_no_lock(tmp_path):
    (tmp_path/"run").mkdir()
    with one_writer(tmp_path/"run"): shutil.rmtree(tmp_path/"run")
    with one_writer(tmp_path/"gallery", "gallery", beside=True): write_text(tmp_path/"a", "")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


# Damage

def test_every_bit_of_json_is_watched(tmp_path):
    mapping = {"R@1": .604, "names": ["é", "\udce9"], "deep": [{"seconds": 1.5, "n": 2}]}
    write_json(tmp_path/"m.json", mapping)
    whole = (tmp_path/"m.json").read_bytes()
    for at in range(len(whole)):
        for damaged in (flipped(whole, at, at % 8), whole[:at]):
            (tmp_path/"m.json").write_bytes(damaged)
            try: read = read_json(tmp_path/"m.json")
            except DamagedFile as e: assert "m.json' is damaged (" in str(e) and "\n" not in str(e)
            else: assert read | {"deep": 0} == mapping | {"deep": 0} or b'"sha256"' not in damaged, at

def test_every_bit_of_a_line_is_watched(tmp_path):
    lines = [{"epoch": i, "loss": 1/i, "seconds": float(i)} for i in (1, 2, 3)]
    write_lines(tmp_path/"h.jsonl", lines)
    whole = (tmp_path/"h.jsonl").read_bytes()
    refused = 0
    for at in range(len(whole)):
        for damaged in (flipped(whole, at, at % 7), whole[:at]):
            (tmp_path/"h.jsonl").write_bytes(damaged)
            try: read = read_lines(tmp_path/"h.jsonl", 3)
            except DamagedFile: refused += 1
            else: assert [x["epoch"] for x in read] == [1, 2, 3] and [x["loss"] for x in read] == [1, .5, 1/3]
    assert refused > 1.8*len(whole)

def test_settings_that_were_changed_are_refused(tmp_path):
    file = tmp_path/"config.yaml"
    CFG.save(file)
    whole = file.read_bytes()
    wrong = random.Random(0).sample(range(len(whole)), 150)
    for damaged in (*(flipped(whole, at, 0) for at in wrong), whole[:300], whole[:-5]):
        file.write_bytes(damaged)
        try: read = Config.load(file)
        except ValueError as e: assert "\n" not in str(e)
        else: assert read == CFG
    file.write_bytes(whole.partition(b"\n")[2].replace(b"seed: 0", b"seed: 7"))      # by hand, without the hash
    assert Config.load(file) == CFG.replace(seed=7)

def test_every_part_of_a_file_of_tensors_is_watched(tmp_path):
    file, some = tmp_path/"t", {"a": torch.randn(5, 3), "b": torch.arange(4), "c": torch.tensor(1.5).bfloat16()}
    write_tensors(file, some, {"settings": {"lr": 1}})
    assert tensor_shapes(file) == {n: (t.dtype, tuple(t.shape)) for n, t in some.items()}
    whole, refused = file.read_bytes(), 0
    for at in range(0, len(whole), 3):
        for damaged in (flipped(whole, at, at % 8), whole[:at], whole[:at] + b" " + whole[at:]):
            file.write_bytes(damaged)
            try: about, tensors = read_tensors(file)
            except BackboneError as e:
                refused += 1
                assert "\n" not in str(e)
            else:
                assert about == {"settings": {"lr": 1}} and tensors.keys() == some.keys()
                assert all(torch.equal(tensors[n], some[n]) for n in some)
    assert refused > 2.9*len(whole)/3

@pytest.mark.parametrize("header", [
    {"a": entry([10**12], 0, 4*10**12)}, {"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, {"a": entry([-2, -1], 0, 8)},
    {"a": entry([2], 0, 8, "F31")}, {"a": entry([True, 2], 0, 8)}, {"a": [1]}, [1], 5, {"__metadata__": {"vptsp": 5}},
])
def test_a_header_that_lies_is_refused_before_anything_is_allocated(header, tmp_path):
    text = json.dumps(header).encode()
    (tmp_path/"t").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(DamagedTensors, match="is damaged"): read_tensors(tmp_path/"t")

def test_files_of_older_versions_are_read(tmp_path):
    save_file({"a": torch.ones(3)}, tmp_path/"t", metadata={"vptsp": '{"settings": {}}'})
    assert read_tensors(tmp_path/"t")[1]["a"].tolist() == [1, 1, 1]
    (tmp_path/"m.json").write_text('{"R@1": 1}')
    (tmp_path/"l.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    assert read_json(tmp_path/"m.json") == {"R@1": 1} and len(read_lines(tmp_path/"l.jsonl")) == 2

def test_the_description_of_what_comes_with_the_package(tmp_path):
    for text in ("{", "[]", "{}", '{"files": 5}'):
        (tmp_path/"emoji").mkdir(exist_ok=True)
        (tmp_path/"emoji"/"emoji.json").write_text(text)
        with pytest.raises(ValueError, match="git checkout data/emoji"): described(tmp_path/"emoji")


# Checkpoints

@pytest.mark.parametrize("bank, optimizer", [(False, "adamw"), (True, "adamw"), (True, "sgd"), (False, "sgd")])
def test_a_checkpoint_that_lacks_something_is_refused(bank, optimizer, tmp_path):
    model, made = parts(bank, optimizer)
    step(model, made)
    write_checkpoint(tmp_path/"c", model, made, {"epoch": 1, "step": 1})
    about, tensors, note = read_checkpoint(tmp_path/"c")
    take_up(*parts(bank, optimizer), about, tensors)
    assert note is None
    starts = ["model.proxies.memory", "model.head", "optimizer."] + (["bank."] if bank else [])
    for start in starts:
        fewer = {n: t for n, t in tensors.items() if not n.startswith(start)}
        with pytest.raises(DamagedTensors, match="missing"): take_up(*parts(bank, optimizer), about, fewer)
        save_file(fewer, tmp_path/"old", metadata={"run": json.dumps(about)})           # and none without a hash
        with pytest.raises(DamagedFile, match="missing or unknown"): read_checkpoint(tmp_path/"old")
    name = "model.proxies.bias"
    for wrong in ({name: tensors[name][:2]}, {name: tensors[name].double()}, {"x": tensors[name]}):
        with pytest.raises(DamagedTensors): take_up(*parts(bank, optimizer), about, tensors | wrong)

def test_the_checkpoint_before_is_taken_and_stays_good(tmp_path):
    model, made = parts()
    for n in (1, 2):
        step(model, made)
        write_checkpoint(tmp_path/"c", model, made, {"epoch": n, "step": n})
    last, before = tmp_path/"c"/"last.safetensors", tmp_path/"c"/"previous.safetensors"
    whole = last.read_bytes()
    for cut in (0, 1, 100, len(whole)//2, len(whole) - 1):
        last.write_bytes(whole[:cut])
        about, _, note = read_checkpoint(tmp_path/"c")
        assert about["epoch"] == 1 and "last.safetensors' is damaged" in note and "previous.safetensors" in note
    write_checkpoint(tmp_path/"c", model, made, {"epoch": 3, "step": 3})
    assert read_checkpoint(before)[0]["epoch"] == 1 and read_checkpoint(last)[0]["epoch"] == 3
    last.unlink()
    assert read_checkpoint(tmp_path/"c")[0]["epoch"] == 1 and "is not there" in read_checkpoint(tmp_path/"c")[2]
    before.write_bytes(b"")
    named = "last.safetensors.*previous.safetensors.*begin anew"
    with pytest.raises(DamagedFile, match=named): read_checkpoint(tmp_path/"c")

def test_numbers_that_are_not_finite_replace_nothing(tmp_path):
    model, made = parts()
    step(model, made)
    write_checkpoint(tmp_path/"c", model, made, {"epoch": 1, "step": 1})
    kept = content(tmp_path)
    state = next(iter(made.state.values()))
    for poisoned in (model.proxies.memory, state["exp_avg"]):
        before = poisoned.flatten()[0].clone()
        with torch.no_grad(): poisoned.view(-1)[0] = torch.inf
        with pytest.raises(FloatingPointError, match="not finite.*lower lr"):
            write_checkpoint(tmp_path/"c", model, made, {})
        with torch.no_grad(): poisoned.view(-1)[0] = before
    assert content(tmp_path) == kept


# A full disk, at each write in turn

def writes(run, version):
    "What a run writes, in its order."
    model, made = parts()
    for _ in range(version): step(model, made)
    history = [{"epoch": n + 1, "loss": 1/(n + version)} for n in range(3)]
    about = {"epoch": 3, "step": 3, "history": history}
    return {"folder": lambda: make_folder(run), "settings": lambda: CFG.save(run/"config.yaml"),
            "first checkpoint": lambda: write_checkpoint(run/"checkpoint", model, made, about),
            "second checkpoint": lambda: write_checkpoint(run/"checkpoint", model, made, about),
            "history": lambda: write_history(run, history),
            "model": lambda: model.save(run/"model", metrics={"R@1": version/10}),
            "metrics": lambda: write_json(run/"metrics.json", {"R@1": version/10, "frozen": {"R@1": .1},
                                                                "data sha256": ""})}

@pytest.fixture
def small_disk(tmp_path):
    "A file system of 16 MB."
    (tmp_path/"disk").mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", tmp_path/"disk"]
    if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("to mount a small file system takes rights that this process lacks")
    yield tmp_path/"disk"
    subprocess.run(["umount", tmp_path/"disk"], check=True)

def fill(disk, left):
    s = os.statvfs(disk)
    (disk/"ballast").write_bytes(bytes(max(s.f_bavail*s.f_frsize - left, 0)))

@pytest.mark.parametrize("left", [0, 8_192, 60_000])
def test_a_disk_that_fills_up_at_each_write_in_turn(left, small_disk):
    run = small_disk/"run"
    for version in (1, 2):                                                # into a new folder, and over an old one
        for name, write in writes(run, version).items():
            before, refused = content(run), None
            fill(small_disk, left)
            try: write()
            except StorageError as e: refused = e
            (small_disk/"ballast").unlink()
            if refused:
                assert refused.errno == errno.ENOSPC and "make room and give the same command" in str(refused)
                assert content(run) == before and not list(run.rglob(".part-*")), name
            elif left == 0: assert name == "folder" and run.is_dir(), name
            write()
    assert Run.load(run).history == read_history(run) and read_checkpoint(run/"checkpoint")[2] is None

def test_a_process_that_may_write_no_more(tmp_path):
    "The same where nothing can be mounted: a limit on the size of files."
    run = tmp_path/"run"
    for version in (1, 2):
        for name, write in writes(run, version).items():
            before = content(run)
            def limited(write=write, name=name):
                resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
                try: write()
                except StorageError as e: assert e.errno == errno.EFBIG and "ulimit" in str(e), e
                else: assert name == "folder"
            assert in_child(limited) == 0, name
            assert content(run) == before and not list(tmp_path.rglob(".part-*")), name
            write()


# A run in parts

def test_a_run_is_read_in_parts(tmp_path, caplog):
    run = tmp_path/"run"
    for write in writes(run, 1).values(): write()
    whole = Run.load(run).history
    (run/"history.jsonl").write_bytes((run/"history.jsonl").read_bytes()[:60])
    assert [line["loss"] for line in Run.load(run).history] == [line["loss"] for line in whole]
    assert "history.jsonl' is damaged" in caplog.text and "read from the checkpoint" in caplog.text
    shutil.rmtree(run/"checkpoint")
    with pytest.raises(DamagedFile, match="history.jsonl' is damaged"): Run.load(run)
    write_history(run, whole)
    assert Run.load(run).history == whole                                  # without a checkpoint
    for damaged in (b"", b"[]", b"{}", b"\xff", b'{"frozen": 5}'):
        (run/"metrics.json").write_bytes(damaged)
        with pytest.raises(DamagedFile, match="metrics.json' is damaged"): Run.load(run)
    write_json(run/"metrics.json", {"frozen": {}, "data sha256": ""})
    shutil.rmtree(run/"model")
    with pytest.raises(FileNotFoundError, match="its model is gone"): Run.load(run)
    (run/"metrics.json").unlink()
    with pytest.raises(FileNotFoundError, match="no finished run"): Run.load(run)

def test_parts_of_two_runs_are_no_run(tmp_path, caplog):
    run = tmp_path/"run"
    for write in writes(run, 1).values(): write()
    whole, settings = Run.load(run).history, (run/"config.yaml").read_bytes()
    Config.load(run/"config.yaml").replace(seed=7).save(run/"config.yaml")
    with pytest.raises(DamagedFile, match="config.yaml' is damaged .it is of another run than the model .seed = 7"):
        Run.load(run)
    (run/"config.yaml").write_bytes(settings)
    metrics = read_json(run/"metrics.json")
    write_json(run/"metrics.json", metrics | {"seed": 7, "epoch": 1})
    with pytest.raises(DamagedFile, match="metrics.json' is damaged .it is of another run than the settings .seed 7"):
        Run.load(run)
    write_json(run/"metrics.json", metrics | {"epoch": 1})
    (run/"history.jsonl").unlink()
    assert [line["loss"] for line in Run.load(run).history] == [line["loss"] for line in whole]
    assert "history.jsonl' is damaged (it is gone): the history is read from the checkpoint" in caplog.text
    shutil.rmtree(run/"checkpoint")
    assert Run.load(run).history == [] and "there are no curves" in caplog.text

def test_a_model_with_a_flipped_bit_is_refused(tmp_path):
    model, _ = parts()
    model.save(tmp_path)
    whole = (tmp_path/"model.safetensors").read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for at in random.Random(0).sample(range(start, len(whole)), 8):
        (tmp_path/"model.safetensors").write_bytes(flipped(whole, at, 6))
        with pytest.raises(DamagedFile, match="its sha256 is another"): Model.load(tmp_path)
    (tmp_path/"config.json").write_text((tmp_path/"config.json").read_text().replace('"seed": 0', '"seed": 9'))
    with pytest.raises(ValueError, match="not as it was written"): Config.load(tmp_path/"config.json")
