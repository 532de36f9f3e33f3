"""What is typed and what is answered.

Wrong words, sentences, places in the way, errors of the system, signals, pipes, code pages."""
import ast
import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vptsp.benchmarks import load_emoji
from vptsp.cli import main
from vptsp.commands import inputs, runs, settings
from vptsp.commands.words import Mistake, in_words, is_mistake, one_line
from vptsp.config import Config, presets
from vptsp.files import read_json
from vptsp.retrieval import Gallery

ROOT = Path(__file__).parents[1]
TINY = ("emoji", "dataset=folder", "epochs=1", "batch_size=8", "num_prompts=1", "num_class_prompts=1")


def shell(*words):
    "Exit code, and what was printed on each stream."
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()

def answer(*words):
    "The one line that a mistake is answered with."
    code, _, err = shell(*words)
    lines = [line for line in err.splitlines() if line.startswith("vptsp: ")]
    assert code == 2 and len(lines) == 1 and err.strip() == lines[0], (code, err)
    return lines[0]


# -- words --------------------------------------------------------------------------------------------------------

WRONG = {
    "trian emoji": "did you mean 'train'?",
    "datta check": "did you mean 'data'?",
    "data chek emoji": "did you mean 'check'?",
    "frobnicate": "There are: ",
    "train": "which settings? A preset, one of ",
    "train emoji": "where to? Give a folder for the run",
    "train emojy --out r": "did you mean 'emoji'?",
    "train emoji --data {d} --out r": "vptsp train folder --data {d} --out DIR",
    "train cub200_small --data {d} --out r": "vptsp train folder --data {d} --out DIR",
    "train emoji --data {d}/t.csv --out r": "vptsp train folder --data {d}/t.csv --out DIR",
    "train cub200_small --data {d}/t.csv --split .5 --out r": "vptsp train folder --data {d}/t.csv --out DIR",
    "train emoji --data {d}/t.csv dataset=sop --out r": "vptsp train folder --data {d}/t.csv --out DIR",
    "train emoji --data {d}/t.csv dataset=mine --out r": "vptsp train folder --data FOLDER_OR_TABLE --out DIR",
    "data check emoji --data {d}/t.csv": "vptsp data check folder --data {d}/t.csv",
    "train folder --out r": "give it with --data",
    "train folder {d}/sub --out r": "--data {d}/sub",
    "train {d} --out r": "vptsp train folder --data {d}",
    "train {d}/x.csv --out r": "vptsp train folder --data {d}/x.csv",
    "train emoji --lr 0.1 --out r": "lr=0.1",
    "train --lr 0.1 emoji --out r": "lr=0.1",
    "train emoji --lr=0.1 --out r": "lr=0.1",
    "train emoji --learning-rate 1e-3 --out r": "lr=1e-3",
    "train emoji learning_rate=1 --out r": "lr=1",
    "train emoji LR=1 --out r": "lr=1",
    "train emoji lr = 0.1 --out r": "lr=0.1",
    "train emoji lr= 0.1 --out r": "lr=0.1",
    "train emoji lr =0.1 --out r": "lr=0.1",
    "train emoji lr 0.1 --out r": "lr=0.1",
    "train emoji --epochs=5 --out r": "epochs=5",
    "train emoji --epochs 5 --out r": "epochs=5",
    "train emoji epoch=5 --out r": "epochs=5",
    "train emoji n_epochs=5 --out r": "epochs=5",
    "train emoji bs=32 --out r": "batch_size=32",
    "train emoji batch=32 --out r": "batch_size=32",
    "train emoji batchsize=32 --out r": "batch_size=32",
    "train emoji num_p_prompt=5 --out r": "num_class_prompts=5",
    "train emoji batch_sise=5 --out r": "batch_size=5",
    "train emoji --seed 3 --out r": "seed=3",
    "train emoji output=x": "--out x",
    "train emoji --output x": "did you mean --out?",
    "train emoji --wieghts x --out r": "did you mean --weights?",
    "train emoji --bank --out r": "bank=true",
    "train emoji --no-bank --out r": "bank=false",
    "train emoji data=mine --out r": "--data mine",
    "train emoji --device cuda --out r": "CUDA_VISIBLE_DEVICES",
    "train emoji resume=true --out r": "goes on with what was begun",
    "train emoji vpt --out r": "--method vpt",
    "train emoji sop_small --out r": "one preset at a time",
    "train emoji --method vptspg --out r": "did you mean 'vptsp-g'?",
    "train emoji tune=bitfitt --out r": "Did you mean 'bitfit'?",
    "train emoji lr=fast --out r": "lr=fast: this must be a number",
    "train emoji zzqx=1 --out r": "vptsp settings lists them all",
    "train emoji --zzqx --out r": "See vptsp train --help",
    "demo epochs=2": "--epochs 2",
    "demo --colour": "unrecognized arguments: --colour",
    "data check": "vptsp data check folder --data FOLDER_OR_TABLE",
    "data check emojy": "did you mean 'emoji'?",
    "data check {d}": "vptsp data check folder --data {d}",
    "data check sop --split .5 --data {d}": "--split: the data set 'sop' has a split of its own",
    "evaluate": "DIR",
    "evaluate {d}": "there is no model in",
    "report {d}": "there is no finished run",
    "explore {d}": "neither a finished run",
    "report {d}/typo": "there is no finished run in",
    "explore {d}/typo": "neither a finished run",
    "report {d}/no/run --out {d}/page.html": "there is no finished run in",
    "explore {d} --most 0": "--most: 0: this is 4 or more",
    "explore {d} --most -1": "--most: -1: this is 4 or more",
    "params emoji --classes -5": "--classes: -5: this is 1 or more",
    "params emoji --classes 0": "--classes: 0: this is 1 or more",
    "data check emoji --full-scale -1": "--full-scale: -1: this is 0 or more",
    "data check emoji --full-scale nan": "--full-scale: nan: this is 0 or more",
    "data check emoji --full-scale inf": "--full-scale: inf: this is 0 or more",
    "data check folder --data {d} --depth 0": "--depth: 0: this is 1 or more",
    "evaluate {d} --workers -1": "--workers: -1: this is 0 or more",
    "demo --epochs -1": "--epochs: -1: this is 0 or more",
    "train emoji --more-epochs 0 --out r": "--more-epochs: 0: this is 1 or more",
    "index {d} {d}": "where to?",
    "update {d}": "there is no gallery in",
    "search {d} {d} --excude x": "did you mean --exclude?",
    "settings emojy": "did you mean 'emoji'?",
    "settings lr": "there is no preset 'lr'",
    "params emoji --clases 3": "did you mean --classes?",
    "train folder --data {d} --split 80 --out r": "--split 0.8",
    "train folder --data {d} --split cats --out r": "one a line",
    "train folder --data {d}/x.zip --out r": "unpack it",
    "train emoji --more-epochs 3 --out r": "--more-epochs is for a finished run",
}

@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_word_is_answered_with_the_right_one(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path/"data"
    (data/"sub").mkdir(parents=True)
    (data/"x.zip").touch()
    (data/"t.csv").write_text("path,label\na.png,a\nb.png,b\n")
    assert WRONG[words].format(d=data) in answer(*words.format(d=data).split())
    assert not (tmp_path/"r").exists()

@pytest.mark.parametrize("words, name", [
    (["train", "emoji", "--out", "r", "--backbone", ""], "--backbone"), (["train", "emoji", "--out="], "--out"),
    (["train", "emoji", "--out", " "], "--out"), (["train", "", "--out", "r"], "PRESET_OR_YAML"),
    (["train", "emoji", "--out", "r", "--weights", ""], "--weights"), (["demo", "--backbone="], "--backbone"),
    (["train", "folder", "--data", "", "--out", "r"], "--data"), (["train", "emoji", "--method", "", "--out", "r"],
                                                                 "--method"),
    (["train", "folder", "--data", "d", "--split=", "--out", "r"], "--split"), (["evaluate", ""], "DIR"),
    (["evaluate", "r", "--dataset", ""], "--dataset"), (["index", "r", "", "--out", "g"], "IMAGES"),
    (["index", "r", "d", "--out", "g", "--exclude", ""], "--exclude"), (["search", "g", ""], "IMAGE"),
    (["explore", "r", "--out", ""], "--out"), (["data", "check", "emoji", "--out="], "--out"),
    (["report", ""], "RUN"), (["update", "g", ""], "IMAGES")])
def test_an_empty_variable_of_the_shell(words, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert answer(*words).startswith(f"vptsp: {name} is empty")
    assert not [*tmp_path.iterdir()]

@pytest.mark.parametrize("line, says", [
    ("learning_rate: 0.1", "did you mean lr?"), ("Lr: 0.1", "did you mean lr?"), ("LR: 0.1", "did you mean lr?"),
    ("bs: 8", "did you mean batch_size?"), ("data: photos", "an option of the command, --data."),
    ("weights: w.pth", "an option of the command, --weights."), ("out: r", "an option of the command, --out."),
    ("output_dir: r", "an option of the command, --out."), ("device: cpu", "CUDA_VISIBLE_DEVICES"),
    ("zzqx: 1", "there is no setting 'zzqx'")])
def test_a_settings_file_with_names_of_another_habit(tmp_path, line, says):
    (tmp_path/"s.yaml").write_text(f"dataset: folder\n{line}\n")
    for words in (["train", tmp_path/"s.yaml", "--out", tmp_path/"r"], ["settings", tmp_path/"s.yaml"]):
        assert says in answer(*words)

@pytest.mark.parametrize("words, says", [
    (["lr=", "epochs=3"], "'lr=' has no value"), (["lr="], "'lr=' has no value: lr=VALUE"),
    (["Lr="], "has no value: lr=VALUE"),
    (["seed=1", "--seed", "2"], "seed is given twice, 1 and --seed 2")])
def test_a_setting_without_a_value_and_one_of_two(tmp_path, words, says):
    if "--seed" in words: assert says in answer_of_config(seed=2, change=words[:1])
    else: assert says in answer("train", "emoji", *words, "--out", tmp_path/"r")

def answer_of_config(**given):
    with pytest.raises(Mistake) as found: settings.config_of(Namespace(settings="emoji", **given))
    return str(found.value)

def test_of_a_setting_that_is_given_twice_the_later_holds():
    code, out, err = shell("settings", "emoji", "lr=0.1", "epochs=3", "lr=0.2", "epochs=3")
    assert code == 0 and "* lr=0.2 " in out and "lr is given twice: 0.2 holds, not 0.1." in err
    assert "epochs is" not in err

def test_blanks_within_one_word():
    for word in ("epochs = 3", " epochs=3", "epochs =3", "epochs= 3 "):
        code, out, err = shell("settings", "emoji", word)
        assert code == 0 and "* epochs=3 " in out, err
    assert shell("settings", "emoji", "lr=0.1", "lr=0.1")[0] == 0

def test_the_preset_may_stand_behind():
    code, out, _ = shell("settings", "lr=0.25", "emoji")
    assert code == 0 and "* lr=0.25   (default 0.005)" in out

def test_help_and_nothing():
    code, out, _ = shell()
    assert code == 0 and all(name in out for name in ("demo", "train", "report", "explore", "settings", "Exit codes"))
    for words in (["--help"], ["train", "--help"], ["data", "check", "--help"], ["explore", "-h"]):
        code, out, _ = shell(*words)
        assert code == 0 and "Exit codes: 0 done" in out
    assert shell("data")[0] == shell("help")[0] == 0 and "PRESET_OR_YAML" in shell("help", "train")[1]
    assert shell("--version")[1].startswith("vptsp 0.")

def test_settings_lists_all_with_meaning_default_and_range():
    code, out, _ = shell("settings", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and list(rows) == list(Config.__dataclass_fields__)
    tune = {"name": "tune", "value": "bitfit", "default": "bitfit", "range": "one of none, bitfit, full, some_biases"}
    assert rows["tune"] == tune | {"meaning": rows["tune"]["meaning"]}
    assert all(row["meaning"] and row["range"] and row["value"] == row["default"] for row in rows.values())
    rows = {row["name"]: row for row in json.loads(shell("settings", "emoji", "--json")[1])}
    assert all(rows[name]["value"] == value for name, value in presets["emoji"].items())
    out = shell("settings", "emoji")[1]
    assert "* backbone=bundled   (default vit_small_patch16_224.augreg_in21k)" in out
    assert "  tune=bitfit   (default)" in out
    assert all(f" {name}=" in out for name in rows)

@pytest.mark.parametrize("text, split", [(".5", .5), ("30%", .3), ("all", "all"), ("ALL", "all"), ("1.0", "all")])
def test_splits(text, split): assert inputs.split_of(text) == split

def test_another_backbone_brings_its_sizes():
    changes = settings.on_backbone(Config.load("folder"), "bundled")
    assert changes == {"image_size": 64, "resize": 0, "embed_dim": 128}
    changes = settings.on_backbone(Config.load("folder"), "vit_tiny_patch16_224")
    assert changes == {"embed_dim": 192}
    assert settings.on_backbone(Config.load("emoji"), "vit_tiny_patch16_224")["image_size"] == 224


# -- sentences ----------------------------------------------------------------------------------------------------

PAGES = ("widgets", "analysis.attention", "analysis.maps", "analysis.study", "analysis.proxies", "analysis.compare",
         "attention", "readers")                                     # what only notebooks ask for
REACHED = [name for p in sorted((ROOT/"vptsp").rglob("*.py")) if not p.name.startswith("_")
           and not (name := ".".join(p.relative_to(ROOT/"vptsp").with_suffix("").parts)).startswith(PAGES)]
NOT_REACHED = (  # sentences for whoever writes Python; the command line never asks for it
    "a gallery is made from a folder, a list of paths or an ImageSet", "to measure a function, say how images",
    "the class-prompt bank was asked", "a query is no bytes", "looks like the pixels of an image",
    "a whole pickled module",
    "faiss is not installed", "approximate search needs faiss", "there is no attribute", "has no attribute")

def text_of(node):
    "The text of a message, X for what is filled in."
    if isinstance(node, ast.Constant) and isinstance(node.value, str): return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "'X'" if v.conversion == 114 else "X"
                       for v in node.values)
    return ""

def messages(module):
    tree = ast.parse((ROOT/"vptsp"/Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("message", "way_out", "hint"):
            inside = {id(v) for part in ast.walk(node.value) if isinstance(part, ast.JoinedStr) for v in part.values}
            yield from (text_of(part) for part in ast.walk(node.value) if id(part) not in inside and text_of(part))

PYTHON = re.compile(r"\b(from_\w+|Gallery|Run|Config|Trainer|Model|timm)\b[.(]|\w\(\w*\)|\b(weights|closed_set|"
                    r"missing|split|root|out|more_epochs|exclude|workers|ks)\s?=\s?['\"(\[.A-Z]|`(root|weights|ks|most|split)`")

@pytest.mark.parametrize("module", REACHED)
def test_a_sentence_speaks_the_words_of_the_command_line(module):
    wrong = [text for text in messages(module) if PYTHON.search(re.sub(r"python -c \"[^\"]*\"", "", in_words(text)))
             and not any(known in text for known in NOT_REACHED)]
    assert not wrong, f"vptsp.commands.words has no words for: {wrong}"

def test_settings_in_sentences_are_written_as_they_are_typed():
    assert in_words("lower lr or set mixed_precision = no.") == "lower lr or set mixed_precision=no."
    assert in_words("head_init = 'whiten' needs head = True.") == "head_init=whiten needs head=true."
    assert in_words("split='all' trains on all") == "--split all trains on all"


# -- errors of the system -----------------------------------------------------------------------------------------

NO_ROOM = OSError(errno.ENOSPC, "No space left on device", "/data/x")
ERRORS = [
    (NO_ROOM, "'/data/x': No space left on device"),
    (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: free some"),
    (IsADirectoryError(errno.EISDIR, "Is a directory", "photos"), "'photos': Is a directory."),
    (PermissionError(errno.EACCES, "Permission denied", "x"), "'x': Permission denied."),
    (OSError(errno.ENAMETOOLONG, "File name too long", "x"*300), "File name too long."),
    (OSError(errno.EIO, "Input/output error"), "Input/output error."),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "should be UTF-8 text"),
    (UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"), "cannot be written"),
    (SafetensorError("Error while deserializing header: HeaderTooLarge"), "HeaderTooLarge"),
    (MemoryError(), "memory ran out: make batch_size smaller"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "memory ran out"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"), "memory ran out"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "a process that decodes images came to"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers "
                  "are out of shared memory."), "workers=0"),
    (json.JSONDecodeError("Expecting value", "", 0), "it is no JSON"),
    (ModuleNotFoundError("No module named 'umap'", name="umap"), "No module named 'umap'"),
    (FloatingPointError("the loss is nan: lower lr."), "the loss is nan"),
    (RuntimeError("Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
                  "OSError: [Errno 5] Input/output error: 'x.png'"), "Input/output error: 'x.png'"),
]

@pytest.mark.parametrize("error, says", ERRORS, ids=lambda x: type(x).__name__ if isinstance(x, Exception) else "")
def test_an_error_of_the_system_is_one_line(error, says, tmp_path, monkeypatch):
    def fail(*_): raise error
    monkeypatch.setattr(runs, "read_data", fail)
    line = answer("train", "emoji", "--out", tmp_path/"r")
    assert says in line and "Traceback" not in line

@pytest.mark.parametrize("error", [KeyError("x"), ValueError("shapes"), RuntimeError("shapes"), AssertionError(),
                                   ImportError("cannot import name 'x'", name="vptsp.data")], ids=repr)
def test_a_mistake_of_ours_keeps_its_traceback(error, tmp_path, monkeypatch):
    def fail(*_): raise error
    monkeypatch.setattr(runs, "read_data", fail)
    with pytest.raises(type(error)): main(["train", "emoji", "--out", str(tmp_path/"r")])

def test_a_line_is_one_line():
    assert not is_mistake(ValueError()) and is_mistake(NO_ROOM)
    assert one_line(ValueError("two\nlines")) == "two lines"

def test_names_too_long_for_the_disk(tmp_path):
    long = tmp_path/("x"*5000)
    for words in (["train", "emoji", "--out", long], ["train", "folder", "--data", long, "--out", tmp_path/"r"],
                  ["search", long, long], ["index", long, long, "--out", long], ["evaluate", long],
                  ["data", "check", "folder", "--data", long], ["train", long, "--out", tmp_path/"r"]):
        assert len(answer(*words)) < 12_000


# -- places in the way --------------------------------------------------------------------------------------------

@pytest.fixture
def no_work(monkeypatch):
    "No command begins its work."
    from vptsp.commands import check, galleries, pages
    def begin(*_): raise AssertionError("the work began")
    for module in (check, galleries, pages, runs): monkeypatch.setattr(module, "begin", begin)

def commands(tmp_path, out):
    photos = tmp_path/"photos"/"cat"
    photos.mkdir(parents=True, exist_ok=True)
    (photos/"a.png").touch()
    return {"train": ["train", "emoji", "--out", out], "demo": ["demo", "--out", out],
            "index": ["index", tmp_path, photos.parent, "--out", out],
            "data": ["data", "check", "emoji", "--out", out], "report": ["report", tmp_path, "--out", out],
            "explore": ["explore", tmp_path, "--out", out]}

COMMANDS = ("train", "demo", "index", "data", "report", "explore")

@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_in_the_way_is_found_first(command, tmp_path, no_work):
    (tmp_path/"file.png").write_bytes(b"mine")
    answer(*commands(tmp_path, tmp_path/"file.png")[command])
    line = answer(*commands(tmp_path, tmp_path/"file.png"/"deeper.html")[command])
    assert "is no folder" in line or "there is no folder" in line
    assert (tmp_path/"file.png").read_bytes() == b"mine"

@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_something_else_is_found_first(command, tmp_path, no_work):
    line = answer(*commands(tmp_path, tmp_path/"photos")[command])
    assert "photos" in line and ("choose another folder" in line or "name the page" in line)

@pytest.mark.parametrize("command", ("data", "report", "explore"))
def test_a_page_needs_its_folder(command, tmp_path, no_work):
    assert "Make it first" in answer(*commands(tmp_path, tmp_path/"missing"/"page.html")[command])

@pytest.mark.parametrize("command", COMMANDS)
def test_no_permission_is_found_first(command, tmp_path, no_work, monkeypatch):
    def refused(*_, **__): raise PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    (tmp_path/"closed").mkdir()
    assert "closed': Permission denied." in answer(*commands(tmp_path, tmp_path/"closed"/"x.html")[command])

def test_logs_may_lie_in_the_folder_already(tmp_path):
    from vptsp.commands.options import check_folder
    (tmp_path/"train.log").touch()
    (tmp_path/".gitignore").touch()
    check_folder(tmp_path, "run", ["config.yaml"])


# -- a run --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root, images = tmp_path_factory.mktemp("photos"), load_emoji().train.of_classes(range(10))
    for i in range(len(images)):
        place = root/f"class {int(images.labels[i]):02}"
        place.mkdir(exist_ok=True)
        images.open(i).save(place/f"{i}.png")
    return root

@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")/"one"
    code, text, err = shell("train", *TINY, "--data", photos, "--out", out)
    assert code == 0, err
    (out/"said.txt").write_text(text)
    return out

def test_the_first_lines_of_a_training(run, photos):
    text = (run/"said.txt").read_text()
    assert "trains on 5 classes (class 00 to class 04), tests on 5 others (class 05 to class 09)" in text
    assert f"bundled on {'cuda' if torch.cuda.is_available() else 'cpu'}, epochs: 1; results go to {run}" in text

def test_a_finished_run_says_so(run, photos):
    before = (run/"model"/"model.safetensors").stat().st_mtime_ns
    code, out, err = shell("train", *TINY, "--data", photos, "--out", run)
    assert code == 0 and "R@1" in out
    assert "it is finished" in err and "nothing is trained" in err and "--more-epochs N" in err
    assert (run/"model"/"model.safetensors").stat().st_mtime_ns == before

def test_the_folder_preset_on_the_bundled_backbone(photos, tmp_path):
    words = ("train", "folder", "--backbone", "bundled", "epochs=0", "--data", photos, "--out", tmp_path/"r")
    code, _, err = shell(*words)
    assert code == 0, err
    cfg = Config.load(tmp_path/"r"/"config.yaml")
    assert (cfg.backbone, cfg.image_size, cfg.embed_dim, cfg.head_init) == ("bundled", 64, 128, "whiten")
    assert Config.load("folder").backbone.startswith("vit_")

def test_evaluate_has_frozen_figures_and_intervals(run, photos):
    code, out, err = shell("evaluate", run, "--data", photos, "--json")
    about, kept = json.loads(out), json.loads((run/"metrics.json").read_text())
    assert code == 0 and about["frozen"] == kept["frozen"]
    low, high = about["intervals"]["MAP@R"]
    assert low <= about["MAP@R"] <= high and low < high
    out = shell("evaluate", run, "--data", photos)[1]
    assert f"(frozen {kept['frozen']['MAP@R']:.4f})   95% of draws {low:.4f} to {high:.4f}" in out

def test_evaluate_measures_the_frozen_backbone_of_other_images(run, photos, tmp_path):
    from vptsp.folders import from_folder
    from vptsp.model import build_model
    from vptsp.training import measure_frozen
    other = tmp_path/"other"
    shutil.copytree(photos, other)
    next((other/"class 09").iterdir()).unlink()
    about = json.loads(shell("evaluate", run, "--data", other, "--json")[1])
    bare = build_model(Config.load("emoji").as_method("frozen"), 1)
    assert about["frozen"]["MAP@R"] == pytest.approx(measure_frozen(bare, from_folder(other))["MAP@R"], abs=1e-6)
    assert json.loads(shell("evaluate", run, "--data", other, "--json", "--no-frozen")[1])["frozen"] == {}

@pytest.fixture
def table(photos):
    "The photos with a column `camera`, which is empty for a third."
    files = sorted(photos.rglob("*.png"))
    rows = [f"{p.relative_to(photos)},{p.parent.name},{i % 3 or ''}\n" for i, p in enumerate(files)]
    (photos/"t.csv").write_text("path,label,camera\n" + "".join(rows))
    yield photos/"t.csv"
    (photos/"t.csv").unlink()

@pytest.mark.parametrize("within", ["all", "class"])
def test_evaluate_leaves_out_what_shares_a_column(run, table, within):
    from vptsp.model import Model, build_model
    from vptsp.tables import from_csv
    from vptsp.training import measure
    words = ("--data", table, "--exclude", "camera", "--exclude-within", within)
    code, out, err = shell("evaluate", run, *words, "--json")
    about, data = json.loads(out), from_csv(table, columns=["camera"])
    rule = {"exclude": "camera", "exclude_within": within}
    mine, plain = measure(Model.load(run/"model"), data, **rule), measure(Model.load(run/"model"), data)
    bare = measure(build_model(Config.load("emoji").as_method("frozen"), 1), data, **rule)
    for name in ("R@1", "MAP@R"):
        assert about[name] == pytest.approx(mine[name], abs=1e-6)
        assert about["frozen"][name] == pytest.approx(bare[name], abs=1e-6)
        assert about["intervals"][name][0] <= about[name] <= about["intervals"][name][1]
    assert about["MAP@R"] != pytest.approx(plain["MAP@R"], abs=1e-6)
    assert "with the query's camera are left out" in about["left out"] and ("its class" in about["left out"]) == (
        within == "class")
    assert "images have no camera: these are compared with all others" in err
    out = shell("evaluate", run, *words)[1]
    assert about["left out"] in out and f"(frozen {bare['R@1']:.4f})" in out

def test_evaluate_by_a_column_of_a_data_set(run):
    about = json.loads(shell("evaluate", run, "--dataset", "emoji", "--exclude", "vendor", "--json")[1])
    plain = json.loads(shell("evaluate", run, "--dataset", "emoji", "--json")[1])
    assert about["R@1"] != plain["R@1"] and about["frozen"] != plain["frozen"] and "left out" not in plain

def test_a_table_is_no_data_set_of_a_name(run, table):
    line = answer("evaluate", run, "--dataset", "emoji", "--data", table)
    assert f"--dataset folder --data {table}" in line

def test_evaluate_says_where_images_are_others(run, monkeypatch):
    def trained_in_python(args):
        model = inputs.model_of(args)
        model.cfg = model.cfg.replace(dataset="emoji")
        return model
    monkeypatch.setattr(runs, "model_of", trained_in_python)
    assert "these are not the images" in shell("evaluate", run, "--no-frozen")[2]
    assert "these are not the images" not in shell("evaluate", run, "--no-frozen", "--dataset", "emoji")[2]

def test_columns_that_are_not_there(run, photos, table):
    assert "t.csv has no column 'cam'; it has 'path', 'label', 'camera'." in answer(
        "evaluate", run, "--data", table, "--exclude", "cam")
    said = answer("evaluate", run, "--data", photos, "--exclude", "camera")
    assert "there is no column 'camera' to exclude by; there are: none (a table given with --data may bring" in said
    assert "there are: super, vendor." in answer("evaluate", run, "--dataset", "emoji", "--exclude", "camera")
    assert "give --exclude COLUMN as well" in answer("evaluate", run, "--data", table, "--exclude-within", "class")
    code, _, said = shell("evaluate", run, "--data", table, "--exclude", "label")
    assert code == 2 and "no query has another image of its class left: there is nothing to find." in said

def test_what_got_worse_is_said(run, photos, tmp_path):
    worse = tmp_path/"worse"
    shutil.copytree(run, worse)
    kept = read_json(worse/"metrics.json")
    kept["frozen"]["MAP@R"] = 1.
    (worse/"metrics.json").write_text(json.dumps(kept))
    code, out, err = shell("evaluate", worse, "--data", photos)
    assert code == 0 and "training made MAP@R worse: " in err and "1.0000 for the frozen backbone" in err
    assert json.loads(shell("evaluate", worse, "--data", photos, "--json")[1])["worse than frozen"]
    assert runs.what_got_worse({"R@1": .5, "frozen": {"R@1": .5}}) == []

def test_parts_are_written_as_they_are_typed():
    by_hand = "say which it is by parts={'train': FOLDER, 'test': FOLDER}, or depth=2"
    assert in_words(by_hand) == "say which it is by --parts train=DIR,test=DIR, or --depth 2"
    assert in_words("by parts={'train': FOLDER, 'query': FOLDER, 'gallery': FOLDER}.") == (
        "by --parts train=DIR,query=DIR,gallery=DIR.")
    assert in_words("parts = {'train': 'a', 'test': 'b c'}: test") == "--parts train=a,test=b c: test"
    assert in_words("by their use, {'train': FOLDER, 'test': FOLDER}.") == "by their use, train=DIR,test=DIR."
    assert in_words("parts='merge' takes all") == "--parts merge takes all"

def test_a_side_or_a_class_is_asked_in_the_words_of_the_command_line(photos, tmp_path):
    for i, name in enumerate(("train", "class 00", "other")):
        shutil.copytree(photos/f"class {i:02}", tmp_path/"p"/name/"x")
    said = answer("train", *TINY, "--data", tmp_path/"p", "--out", tmp_path/"r")
    assert "--parts train=DIR,test=DIR" in said and "{" not in said

def test_data_for_measuring(run, photos, tmp_path):
    for i in (7, 8, 9): shutil.copytree(photos/f"class {i:02}", tmp_path/"p"/"test"/f"class {i:02}")
    code, _, said = shell("train", *TINY, "--data", tmp_path/"p", "--out", tmp_path/"r")
    assert code == 2 and "there is nothing to train on" in said and "vptsp evaluate RUN --data FOLDER_OR_TABLE" in said
    assert not (tmp_path/"r").exists()
    code, out, err = shell("train", *TINY, "--method", "frozen", "--data", tmp_path/"p", "--out", tmp_path/"r")
    assert code == 0 and "nothing to train on; tests on 3 classes (class 07 to class 09)" in out and "R@1" in out, err
    figures = json.loads(shell("evaluate", run, "--data", tmp_path/"p", "--json")[1])
    assert figures["R@1"] > 0 and figures["frozen"]["R@1"] > 0
    assert shell("data", "check", "folder", "--data", tmp_path/"p")[0] == 0

def test_test_classes_that_were_trained_on_are_named(run, photos):
    code, _, err = shell("evaluate", run, "--data", photos, "--split", ".2")
    assert code == 0 and "3 of 8 test classes, 'class 02' for one, are classes that this model was trained on" in err

@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff\xfe\x00"])
def test_a_damaged_metrics_file_is_one_line(content, run, photos, tmp_path):
    damaged = tmp_path/"damaged"
    shutil.copytree(run, damaged)
    (damaged/"metrics.json").write_bytes(content)
    for words in (["evaluate", damaged], ["report", damaged], ["explore", damaged], ["train", *TINY, "--out", damaged]):
        code, _, err = shell(*words, "--data", photos)
        assert code == 2 and "metrics.json' is damaged" in err.splitlines()[-1]

def test_report_and_explore_write_their_pages(run, photos, tmp_path):
    code, out, err = shell("report", run, "--data", photos, "--out", tmp_path/"report.html")
    page = (tmp_path/"report.html").read_text(encoding="utf-8")
    assert code == 0 and "VPTSP-G finds an image" in page and "Map of the test images" in page, err
    assert "class='interval'" in page and "the 95% interval of the difference, over test classes." in page
    assert "explorer.html" not in page
    assert shell("explore", run, "--data", photos)[0] == 0
    assert (run/"explorer.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "give it with --data" in answer("report", run)
    assert shell("report", run, "--data", photos)[0] == 0 and "href='explorer.html'" in (run/"report.html").read_text()

def test_explore_a_gallery(run, photos, tmp_path):
    assert shell("index", run, photos, "--out", tmp_path/"gallery")[0] == 0
    code, out, err = shell("explore", tmp_path/"gallery", "--most", 20)
    assert code == 0 and (tmp_path/"gallery"/"explorer.html").is_file(), err
    assert int(re.search(r"(\d+) images", out)[1]) <= 20
    gallery = Gallery.load(tmp_path/"gallery")
    for path in gallery.images.sources: assert path.is_file()
    Gallery.build(gallery.model, load_emoji().query.subset(range(30)), progress=None).save(tmp_path/"tiles")
    code, out, err = shell("explore", tmp_path/"tiles")                       # images that are no files any more
    assert code == 0 and "30 images" in out, err

def test_pictures_of_other_images_are_said(run, photos, tmp_path):
    code, _, err = shell("explore", run, "--data", photos, "--split", ".2", "--out", tmp_path/"x.html")
    assert code == 0 and "these are not the images that" in err

def test_a_model_file_decides_no_number_of_processes(run, photos, tmp_path, monkeypatch):
    file = run/"model"/"model.safetensors"
    with safe_open(file, "pt") as f:
        tensors, about = {k: f.get_tensor(k) for k in f.keys()}, json.loads(f.metadata()["vptsp"])
    about["settings"]["workers"] = 30
    (tmp_path/"model").mkdir()
    save_file(tensors, tmp_path/"model"/"model.safetensors", metadata={"vptsp": json.dumps(about)})
    started, real = [], torch.utils.data.DataLoader.__init__
    def init(self, *args, **kwargs):
        started.append(kwargs.get("num_workers", 0))
        real(self, *args, **kwargs)
    monkeypatch.setattr(torch.utils.data.DataLoader, "__init__", init)
    assert shell("evaluate", tmp_path/"model", "--data", photos)[0] == 0
    assert shell("index", tmp_path/"model", photos, "--out", tmp_path/"g")[0] == 0
    assert started and set(started) == {0}


# -- as processes -------------------------------------------------------------------------------------------------

VPTSP = [str(Path(sys.executable).parent/"vptsp")]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}

def hear(): signal.signal(signal.SIGINT, signal.SIG_DFL)

@pytest.mark.parametrize("wait", (.3, .7, 1.2, 2.))
@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_a_signal_is_one_line_also_while_packages_are_imported(wait, number, photos, tmp_path):
    tiny = [word.replace("epochs=1", "epochs=200") for word in TINY]
    words = [*VPTSP, "train", *tiny, "--data", str(photos), "--out", str(tmp_path/"r")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, env=ENV, preexec_fn=hear, **pipes)
    time.sleep(wait)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err and ("interrupted" in err or "terminated" in err)

def test_a_reader_that_goes_away(run, photos, tmp_path):
    gallery, query = tmp_path/"gallery", next((photos/"class 03").iterdir())
    shell("index", run, photos, "--out", gallery)
    for words in (f"search '{gallery}' '{query}' -k 40", "settings", "--help"):
        done = subprocess.run(f"{VPTSP[0]} {words} | head -1; exit ${{PIPESTATUS[0]}}", shell=True, env=ENV, text=True,
                              executable="/bin/bash", capture_output=True, timeout=120)
        assert done.returncode in (0, 141) and done.stderr == "" and done.stdout.count("\n") == 1, done.stderr

@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_the_output():
    done = subprocess.run(f"{VPTSP[0]} settings > /dev/full", shell=True, env=ENV, text=True, capture_output=True)
    assert done.returncode == 2 and re.fullmatch("vptsp: .*No space left on device.*\n", done.stderr), done.stderr

@pytest.mark.parametrize("encoding", ("cp1252", "ascii", "utf-8"))
def test_any_terminal(encoding, run, photos, tmp_path):
    images = tmp_path/"images"
    shutil.copytree(photos, images)
    (images/"class 00").rename(images/"\U0001f600 grinning")
    shell("index", run, images, "--out", tmp_path/"gallery")
    words = ["search", tmp_path/"gallery", next((images/"\U0001f600 grinning").iterdir()), "-k", "3"]
    env = {**ENV, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([*VPTSP, *map(str, words)], env=env, capture_output=True, timeout=120)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3, done.stderr
    assert b"grinning" in done.stdout.splitlines()[0]

def test_a_typing_mistake_is_answered_at_once():
    code = ("import sys; from vptsp.cli import main; main(['train', 'emojy', '--out', 'x']); main(['settings']);"
            "main([]); sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'matplotlib')))")
    assert subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True).returncode == 0
    code = "import sys, vptsp.cli; sys.exit(any(name in sys.modules for name in ('numpy', 'argparse', 'vptsp.config')))"
    assert subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True).returncode == 0

def test_signals_are_put_back(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    hook = sys.unraisablehook
    shell("settings")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert sys.unraisablehook is hook


# -- images of one's own ------------------------------------------------------------------------------------------

def train(data, out, *words):
    "What a run without epochs says, on both streams."
    epochs = () if any(str(word).startswith("epochs=") for word in words) else ("epochs=0",)
    settings = ("--backbone", "bundled", *epochs)
    code, text, err = shell("train", "folder", *settings, "--data", data, "--out", out, *words)
    assert code == 0, err
    return text, err

def test_classes_to_test_on_by_a_file_of_names(photos, tmp_path):
    names = tmp_path/"test.txt"
    names.write_text("class 01\n\nclass 07\n", encoding="utf-8")
    text, _ = train(photos, tmp_path/"r", "--split", names)
    assert "tests on 2 others (class 01 to class 07)" in text
    names.write_text("class 1\n", encoding="utf-8")
    line = answer("train", "folder", "--data", photos, "--out", tmp_path/"x", "--split", names)
    assert "'class 1'" in line and "did you mean 'class" in line
    names.write_bytes(b"\xff\xfe\xff")
    assert "UTF-8" in answer("train", "folder", "--data", photos, "--out", tmp_path/"x", "--split", names)

def test_shares_and_all(photos, tmp_path):
    assert "trains on 7 classes" in train(photos, tmp_path/"a", "--split", "70%")[0]
    text, _ = train(photos, tmp_path/"b", "--split", "all")
    assert "all 10 classes train; there is no test set" in text
    line = answer("evaluate", tmp_path/"b", "--data", photos, "--split", "all")
    assert "there are no test classes to measure on" in line
    assert "report needs test classes" in answer("report", tmp_path/"b", "--data", photos, "--split", "all")

def test_a_closed_set_by_its_word(photos, tmp_path):
    both = tmp_path/"both"
    for i, place in enumerate(sorted(photos.rglob("*.png"))):
        to = both/("train" if i % 2 else "test")/place.parent.name
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(place, to)
    assert "--closed-set" in answer("train", "folder", "--data", both, "--out", tmp_path/"r")
    text, _ = train(both, tmp_path/"r", "--closed-set")
    assert "closed set: the same classes are trained on and tested" in text

def test_tables_of_any_suffix_and_missing_labels(photos, tmp_path):
    paths = sorted(photos.rglob("*.png"))
    for name, sep in (("t.CSV", ","), ("t.tsv", "\t"), ("t.txt", ";")):
        rows = [f"{p}{sep}{p.parent.name}" for p in paths] + [f"{paths[0]}{sep}"]*(name == "t.CSV")
        (tmp_path/name).write_text("\n".join([f"path{sep}label", *rows]), encoding="utf-8")
        (photos/name).write_text("\n".join([f"path{sep}label", *(r.replace(f"{photos}/", "") for r in rows)]))
        words = ("--missing", "drop") if name == "t.CSV" else ()
        try: text, _ = train(photos/name, tmp_path/name[-3:], *words)
        finally: (photos/name).unlink()
        assert "train" in text and "class 00 to class 04" in text
    (photos/"t.csv").write_text(f"path,label\n{paths[0].relative_to(photos)},\n")
    try: assert "--missing drop" in answer("train", "folder", "--data", photos/"t.csv", "--out", tmp_path/"x")
    finally: (photos/"t.csv").unlink()

def test_options_that_mean_nothing_are_refused(photos, tmp_path):
    (tmp_path/"t.csv").write_text("path,label\n")
    for words, says in ([("--missing", "drop"), "--missing: this is for tables"],
                        [("--parts", "all"), "--parts 'all': write merge"]):
        assert says in answer("train", "folder", "--data", photos, "--out", tmp_path/"r", *words)
    line = answer("train", "folder", "--data", tmp_path/"t.csv", "--out", tmp_path/"r", "--depth", "2")
    assert "--depth: this is for folders" in line

def test_parts_of_a_folder(photos, tmp_path):
    for name, classes in (("old", range(5)), ("new", range(5, 10))):
        for c in classes: shutil.copytree(photos/f"class {c:02}", tmp_path/"data"/name/f"class {c:02}")
    text, _ = train(tmp_path/"data", tmp_path/"r", "--parts", "train=old,test=new")
    assert "trains on 5 classes (class 00 to class 04), tests on 5 others" in text

def test_more_epochs(run, photos, tmp_path):
    out = tmp_path/"more"
    shutil.copytree(run, out)
    code, text, err = shell("train", *TINY, "--data", photos, "--out", out, "--more-epochs", 2)
    assert code == 0 and "nothing is trained" not in err, err
    assert len((out/"history.jsonl").read_text().splitlines()) == 3

def test_training_starts_from_another_run(run, photos, tmp_path):
    words = ("train", *TINY, "--data", photos, "--weights", run)
    code, _, err = shell(*words, "--out", tmp_path/"next")
    assert code == 0, err

def test_a_gallery_is_brought_up_to_date(run, photos, tmp_path):
    images, gallery = tmp_path/"images", tmp_path/"gallery"
    shutil.copytree(photos, images)
    assert shell("index", run, images, "--out", gallery, "--exclude", "class 09/*")[0] == 0
    count = len(list(images.rglob("*.png"))) - len(list((images/"class 09").iterdir()))
    gone = sorted((images/"class 00").iterdir())[0]
    shutil.copy(gone, images/"class 00"/"copy.png")
    sorted((images/"class 01").iterdir())[0].unlink()
    code, text, err = shell("update", gallery)
    assert code == 0 and "1 added" in text and "1 removed" in text and f"Gallery({count} images" in text, (text, err)
    rows = json.loads(shell("search", gallery, gone, "-k", 2, "--exclude-self", "--json")[1])["hits"]
    assert rows[0]["path"] != str(gone) and rows[0]["similarity"] < 1 - 1e-4
    assert "2 copies" in shell("search", gallery, gone, "-k", 2, "--fold")[1]
    assert "there is no folder" in answer("update", gallery, tmp_path/"nowhere")

def test_the_report_of_a_closed_set_does_not_speak_of_unseen_classes(photos, tmp_path):
    both = tmp_path/"both"
    for i, place in enumerate(sorted(photos.rglob("*.png"))):
        to = both/("train" if i % 2 else "test")/place.parent.name
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(place, to)
    train(both, tmp_path/"r", "--closed-set", "--method", "linear", "epochs=1", "batch_size=8")
    code, _, err = shell("report", tmp_path/"r", "--data", both, "--closed-set", "--out", tmp_path/"r.html")
    page = (tmp_path/"r.html").read_text(encoding="utf-8")
    assert code == 0 and "retrieval of the classes trained on" in page and "(closed set)" in page, err
    assert "never seen" not in page and "unseen" not in page.split("<script")[0]
