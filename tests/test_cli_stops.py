"""What ends a command before its end: a full disk in each of them, a folder that another process writes, signals, and
several processes where there should be one. One line, exit code 2 or 128 and the signal, and a way on."""
import contextlib
import errno
import io
import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from vptsp import files
from vptsp.benchmarks import load_emoji
from vptsp.cli import _Interrupts, _whose, main
from vptsp.commands.runs import way_on
from vptsp.commands.words import one_line, say, tell
from vptsp.files import StorageError, storage_error
from vptsp.launchers import WorldError
from vptsp.locks import one_writer

ROOT = Path(__file__).parents[1]
TINY = ("emoji", "dataset=folder", "epochs=1", "batch_size=8", "num_prompts=1", "num_class_prompts=1")


def shell(*words):
    "Exit code, what was printed, what was said."
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), [line for line in err.getvalue().splitlines() if line.startswith("vptsp: ")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root, images = tmp_path_factory.mktemp("photos"), load_emoji().train.of_classes(range(8))
    for i in range(len(images)):
        place = root/f"class {int(images.labels[i]):02}"
        place.mkdir(exist_ok=True)
        if i % 2: images.open(i).save(place/f"{i}.png")
    return root


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    "A run and a gallery."
    place = tmp_path_factory.mktemp("made")
    assert shell("train", *TINY, "--data", photos, "--out", place/"run")[0] == 0
    assert shell("index", place/"run", photos, "--out", place/"gallery")[0] == 0
    return place


# -- storage, locks

COMMANDS = {
    "train": ("train", *TINY, "--data", "{photos}", "--out", "{new}/run"),
    "a finished run": ("train", *TINY, "--data", "{photos}", "--out", "{made}/run", "--more-epochs", "1"),
    "index": ("index", "{made}/run", "{photos}", "--out", "{new}/gallery"),
    "index again": ("index", "{made}/run", "{photos}", "--out", "{made}/gallery"),
    "report": ("report", "{made}/run", "--data", "{photos}", "--out", "{new}/page.html"),
    "explore": ("explore", "{made}/gallery", "--out", "{new}/page.html"),
    "data check": ("data", "check", "folder", "--data", "{photos}", "--out", "{new}/page.html")}
REFUSALS = {errno.ENOSPC: "no space is left", errno.EROFS: "read-only", errno.EACCES: "permission denied",
            errno.EDQUOT: "quota", errno.EIO: "device failed"}


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["train", "index again"])
def test_every_refusal_of_the_system_is_one_sentence(made, photos, tmp_path, monkeypatch, name, number):
    refused(made, photos, tmp_path, monkeypatch, name, number)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("train", "index again")])
def test_a_full_disk_is_one_sentence_in_every_command(made, photos, tmp_path, monkeypatch, name):
    refused(made, photos, tmp_path, monkeypatch, name, errno.ENOSPC)


def refused(made, photos, tmp_path, monkeypatch, name, number):
    old = tmp_path/"made"
    shutil.copytree(made, old)
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    def never(beside): raise OSError(number, os.strerror(number), str(beside/".part-x"))
    with monkeypatch.context() as m:
        m.setattr(files, "_private", never)
        words = [word.format(made=old, photos=photos, new=tmp_path) for word in COMMANDS[name]]
        code, _, said = shell(*words)
    assert code == 2 and len(said) and REFUSALS[number] in said[-1] and "cannot be written" in said[-1], said
    assert said[-1].count("cannot be written") == 1 and str(tmp_path) in said[-1]
    assert {path: path.read_bytes() for path in before if path.exists()} == before       # what stood there stands
    if name in ("train", "index again"): assert shell(*words)[0] == 0                      # and then the same goes on


def test_a_storage_error_is_said_once_and_with_its_place():
    for e in (storage_error(OSError(28, "No space left on device"), "r/x"), StorageError(28, "'r/x' is full.", "r/x")):
        assert one_line(e, "r") == str(e) and one_line(e).count("r/x") == 1


@pytest.mark.parametrize("command", ["train", "index"])
def test_a_folder_that_another_process_writes(photos, made, tmp_path, command):
    out = tmp_path/"out"
    words = {"train": ("train", *TINY, "--data", photos), "index": ("index", made/"run", photos)}[command]
    held, what = {"train": (out, "run"), "index": (out/"update", "gallery")}[command]
    hold = ("import sys, time; from vptsp.locks import one_writer\n"
            "with one_writer(*sys.argv[1:]):\n"
            "    print('held', flush=True)\n    time.sleep(100)")
    holder = subprocess.Popen([sys.executable, "-c", hold, str(held), what], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert holder.stdout.readline().strip() == b"held"
        code, _, said = shell(*words, "--out", out)
    finally:
        holder.kill()
        holder.wait()
    assert code == 2 and len(said) == 1 and "another process" in said[0] and f"pid {holder.pid} on" in said[0], said
    assert shell(*words, "--out", out)[0] == 0                                             # the holder is dead now
    with one_writer(held, what): pass


# -- signals

@pytest.mark.parametrize("begun, saved, says", [(True, True, "goes on from where it stopped"),
                                                (False, True, "goes on from what was saved last"),
                                                (False, False, "Nothing was saved yet")])
def test_the_way_on_is_true(tmp_path, begun, saved, says):
    (tmp_path/"checkpoint").mkdir()
    if saved: (tmp_path/"checkpoint"/"last.safetensors").write_bytes(b"x")
    assert says in way_on(SimpleNamespace(begun=begun, out=tmp_path))


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_at_a_step_is_saved_and_the_same_command_ends_alike(photos, tmp_path, monkeypatch, number):
    from vptsp import training
    from vptsp.tensors import read_tensors
    words = ("train", *TINY, "epochs=6", "--data", photos, "--out")
    words = [word for word in words if word != "epochs=1"]
    assert shell(*words, tmp_path/"whole")[0] == 0
    real, calls = training.training_step, []
    def step(*args):
        calls.append(1)
        if len(calls) == 3: os.kill(os.getpid(), number)
        return real(*args)
    with monkeypatch.context() as m:
        m.setattr(training, "training_step", step)
        code, _, said = shell(*words, tmp_path/"stopped")
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (code, said) == (128 + number, [f"vptsp: {word}. The same command goes on from where it stopped."])
    assert len(calls) == 3 and (tmp_path/"stopped"/"checkpoint"/"last.safetensors").is_file()
    assert shell(*words, tmp_path/"stopped")[0] == 0
    whole, stopped = (read_tensors(tmp_path/name/"model"/"model.safetensors")[1] for name in ("whole", "stopped"))
    assert whole.keys() == stopped.keys() and all((whole[name] == stopped[name]).all() for name in whole)


@pytest.mark.usefixtures("interrupts")
def test_a_second_signal_is_not_waited_for(photos, tmp_path, monkeypatch):
    from vptsp import training
    real = training.training_step
    def step(*args):
        for _ in range(2): os.kill(os.getpid(), signal.SIGINT)
        return real(*args)
    monkeypatch.setattr(training, "training_step", step)
    code, _, said = shell("train", *TINY, "--data", photos, "--out", tmp_path/"r")
    assert code == 130 and said == ["vptsp: interrupted. The same command goes on from what was saved last."]


def test_workers_outlive_a_signal_that_their_main_process_heeds():
    from vptsp.loaders import _ignore_interrupts
    def worker():
        _ignore_interrupts(0)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)                                     # still here
    pid = os.fork()
    if not pid:
        worker()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


# -- several processes

@pytest.fixture
def second(monkeypatch):
    "A process that a launcher started as the second of two."
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1",
                        "MASTER_PORT": "29999"}.items(): monkeypatch.setenv(name, value)


def test_only_the_first_process_prints(second, monkeypatch, capsys):
    tell("x")
    say("y")
    assert _whose(StorageError(28, "full", "x")) is None                # the first of this machine says it
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert _whose(StorageError(28, "full", "x")) == "process 1 of 2: "  # of another machine
    told, gone = WorldError("process 0 says: full", is_told=True), WorldError("another process ended")
    assert _whose(told) is None and _whose(gone) == "process 1 of 2: "  # the first cannot say it
    monkeypatch.setenv("RANK", "2")
    assert _whose(gone) is None
    monkeypatch.setenv("RANK", "0")
    tell("z")
    assert _whose(WorldError("another process ended")) == ""
    assert capsys.readouterr() == ("z\n", "")


def test_a_command_for_one_process_is_refused_in_several(second, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    for words in (["evaluate", "r"], ["index", "r", "x", "--out", "g"], ["search", "g", "x"], ["demo"]):
        code, out, said = shell(*words)
        assert (code, out, len(said)) == (2, "", 1) and f"2 processes were started (WORLD_SIZE), but vptsp {words[0]}" \
            in said[0] and "without torchrun" in said[0]
    assert shell("settings", "emoji")[0] == 0                            # reads, and does nothing twice
    monkeypatch.setenv("RANK", "1")
    assert shell("evaluate", "r") == (2, "", [])


def test_interrupts_of_a_command_without_a_way_on():
    interrupts = _Interrupts(False)
    assert interrupts.way_on is None and interrupts.caught == 0
    assert Namespace(interrupts=interrupts).interrupts.command == ""
