"""The command line: seventeen mistakes and what is said to each, and commands as processes of their own.

Trained, killed and gone on with, interrupted, measured, and given an image that does not decode; and the package once
it is installed.
"""
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from vptsp.analysis.compare import Comparison
from vptsp.benchmarks import load_emoji
from vptsp.cli import main
from vptsp.config import Config
from vptsp.data import RetrievalData
from vptsp.model import build_model

ROOT = Path(__file__).parents[1]
SETTINGS = ("emoji", "dataset=folder", "epochs=4", "batch_size=8", "num_prompts=2", "num_class_prompts=1",
            "semantic_proxies=class_prompts")

# -- in this process ----------------------------------------------------------------------------------------------

def shell(*words):
    "Exit code and what was printed."
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try: code = main([str(word) for word in words])
        except SystemExit as e: code = e.code
    return code, printed.getvalue().strip()

def mistake(*words, says):
    "Exit code 2, one line, and it says so."
    code, text = shell(*words)
    assert code == 2 and says in text and "Traceback" not in text, (code, text)
    return text.splitlines()[-1]

MISTAKES = [
    ("train cub200_smal --data {d} --out {d}/r", "did you mean 'cub200_small'?"),
    ("train cub200_small --data {d} --out {d}/r learning_rate=1", "there is no setting 'learning_rate'"),
    ("train cub200_small lr --data {d} --out {d}/r", "'lr': settings are given as name=value"),
    ("train emoji lr=[1 --out {d}/r", "the value of lr cannot be read"),
    ("train emoji dataset=folder --out {d}/r", "give it with --data"),
    ("train emoji image_size=96 resize=96 --out {d}/r", "takes images of 64 px"),
    ("train emoji --backbone resnet10t image_size=224 resize=224 --out {d}/r", "ResNet is no timm VisionTransformer"),
    ("train emoji backbone=vit_tiny_patch16_224.augreg --out {d}/r", "timm has no model"),
    ("train cub200_small --data {d}/nowhere --out {d}/r", "there is no folder"),
    ("train cub200_small --out {d}/r", "Give the folder that holds it"),
    ("train emoji backbone=vit_tinny_patch16_224 --out {d}/r", "did you mean 'vit_tiny_patch16_224'?"),
    ("train emoji --weights {d}/none.safetensors --out {d}/r", "there is no weights file"),
    ("train emoji loss=ArcFaceLoss --out {d}/r", "has weights of its own"),
    ("evaluate {d}/nothing", "there is no model in"),
    ("params cub200_small --classes many", "invalid int value"),
    ("demo --out /dev/null/here --epochs 0", "/dev/null"),
    ("demo --colour", "unrecognized arguments: --colour"),
]

@pytest.mark.parametrize("words, says", MISTAKES)
def test_a_mistake_is_answered_with_one_sentence(words, says, tmp_path):
    mistake(*words.format(d=tmp_path).split(), says=says)
    assert list(tmp_path.iterdir()) == []                         # nothing half-written

def test_params_are_counted_and_listed():
    assert shell("params", "cub200_small")[0] == 0
    code, text = shell("params", "cub200_small", "--method", "full")
    assert code == 0 and "(the paper adds the unused classifier of 21,843 classes: 8,409,555)" in text
    assert "paper 30.2M" in shell("params")[1]

def test_data_check(tmp_path):
    for i in range(8):
        place = tmp_path/"mine"/f"class {i//2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 40), 50).convert("RGB").rotate(i).save(place/f"{i}.png")
    check = ("data", "check", "folder", "--data", tmp_path/"mine")
    assert shell(*check, "--out", tmp_path/"page.html")[0] == 0
    assert "Nearest pairs" in (tmp_path/"page.html").read_text()
    (place/"6.png").write_bytes(b"cut")
    code, text = shell(*check)
    assert code == 1 and "6.png' cannot be decoded" in text
    mistake("data", "check", "folder", says="give it with --data")
    mistake("data", "check", "sop", "--data", tmp_path, says="Ebay_train.txt")

def test_index_and_search(tmp_path):
    images, photos, gallery = load_emoji().query, tmp_path/"photos", tmp_path/"gallery"
    build_model(Config.load("emoji").as_method("frozen"), 1).save(tmp_path/"model")
    for i in range(0, 300, 3):
        place = photos/images.about["vendor"][i]
        place.mkdir(parents=True, exist_ok=True)
        images.open(i).save(place/f"{i}.png")
    (photos/"cut.jpg").write_bytes(b"x")
    query = photos/images.about["vendor"][27]/"27.png"
    code, text = shell("index", tmp_path/"model", photos, "--out", gallery)
    assert code == 0 and "skipped: the image" in text and "cut.jpg" in text and "Gallery(100 images" in text
    code, text = shell("search", gallery, query, "-k", 3)
    assert code == 0 and len(text.splitlines()) == 3
    code, text = shell("search", gallery, query, "--json")
    top = json.loads(text)["hits"][0]
    assert code == 0 and top["path"] == str(query) and top["similarity"] == pytest.approx(1, abs=1e-5)
    mistake("index", tmp_path/"model", photos, "--out", photos, says="is there already and is no gallery")
    mistake("index", tmp_path/"model", tmp_path/"nowhere", "--out", tmp_path/"g", says="there is no folder")
    mistake("index", photos, photos, "--out", tmp_path/"g", says="there is no model in")
    mistake("search", photos, tmp_path/"x.png", says="there is no gallery in")
    mistake("search", gallery, tmp_path/"x.png", says="there is no image")
    mistake("search", gallery, photos/"cut.jpg", says="cannot be decoded")
    mistake("search", gallery, query, "-k", 0, says="k = 0")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gallery", "model", "photos"]

# -- as processes -------------------------------------------------------------------------------------------------

def hear_interrupts(): signal.signal(signal.SIGINT, signal.SIG_DFL)   # a shell's background job has it ignored

def vptsp(*words, **options):
    command = [Path(sys.executable).parent/"vptsp", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, preexec_fn=hear_interrupts, **pipes, **options)

def done(process):
    "Exit code, stdout, stderr."
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err

def wait_for_an_epoch(process, out):
    until = time.time() + 120
    while not (out/"history.jsonl").is_file() and process.poll() is None and time.time() < until: time.sleep(.02)

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Class folders of emoji as PNG files."
    root = tmp_path_factory.mktemp("data")
    images = load_emoji().train.of_classes(range(16))
    for i in range(len(images)):
        place = root/f"class {int(images.labels[i]):02}"
        place.mkdir(exist_ok=True)
        images.open(i).save(place/f"{i}.png")
    return root

@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")/"whole"
    code, _, err = done(vptsp("train", *SETTINGS, "--data", folder, "--out", out))
    assert code == 0, err
    return out

def figures_of(run):
    return {k: v for k, v in json.loads((run/"metrics.json").read_text()).items() if k != "seconds"}

def losses_of(run):
    return [json.loads(line)["loss"] for line in (run/"history.jsonl").read_text().splitlines()]

def same_run(a, b):
    assert figures_of(a) == figures_of(b)
    assert losses_of(a) == losses_of(b)
    assert (a/"model"/"model.safetensors").read_bytes() == (b/"model"/"model.safetensors").read_bytes()

def test_a_killed_run_goes_on_to_the_same_end(folder, finished, tmp_path):
    out = tmp_path/"killed"
    process = vptsp("train", *SETTINGS, "--data", folder, "--out", out)
    wait_for_an_epoch(process, out)
    process.kill()
    process.communicate()
    over = "it was over before it could be killed"
    assert process.returncode == -signal.SIGKILL and not (out/"metrics.json").exists(), over
    assert 1 <= len(losses_of(out)) < 4
    code, _, err = done(vptsp("train", *SETTINGS, "--data", folder, "--out", out))
    assert code == 0, err
    same_run(out, finished)

def test_an_interrupt_says_how_to_go_on(folder, finished, tmp_path):
    out = tmp_path/"stopped"
    process = vptsp("train", *SETTINGS, "--data", folder, "--out", out)
    wait_for_an_epoch(process, out)
    process.send_signal(signal.SIGINT)
    code, _, err = done(process)
    assert code == 130 and "The same command goes on from where it stopped" in err and "Traceback" not in err
    assert done(vptsp("train", *SETTINGS, "--data", folder, "--out", out))[0] == 0
    same_run(out, finished)

def test_evaluate_gives_the_figures_of_the_run(folder, finished):
    code, out, err = done(vptsp("evaluate", finished, "--data", folder, "--json"))
    assert code == 0, err
    measured, kept = json.loads(out), json.loads((finished/"metrics.json").read_text())
    assert measured["data sha256"] == kept["data sha256"]
    assert all(measured[name] == pytest.approx(kept[name], abs=1e-6) for name in ("R@1", "MAP@R"))

def test_a_folder_becomes_a_gallery_that_another_process_searches(folder, finished, tmp_path):
    photos, gallery = tmp_path/"photos", tmp_path/"gallery"
    shutil.copytree(folder, photos)
    (photos/"cut.png").write_bytes(b"cut")
    code, out, err = done(vptsp("index", finished, photos, "--out", gallery, "--workers", 2))
    assert code == 0 and "cut.png" in err and "Traceback" not in err, err
    query = sorted(photos.glob("class*/*.png"))[5]
    code, out, err = done(vptsp("search", gallery, query, "-k", 3, "--json"))
    assert code == 0, err
    hits = json.loads(out)["hits"]
    assert len(hits) == 3 and hits[0]["path"] == str(query)
    assert hits[0]["similarity"] == pytest.approx(1, abs=1e-5)

def test_an_image_that_does_not_decode(folder, tmp_path):
    data, run = tmp_path/"data", tmp_path/"run"
    shutil.copytree(folder, data)
    broken = sorted((data/"class 03").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:200])
    for workers in (0, 2):
        code, _, err = done(vptsp("train", *SETTINGS, f"workers={workers}", "--data", data, "--out", run))
        line = err.strip().splitlines()[-1]
        assert code == 2 and line.startswith("vptsp: ") and broken.name in line and "Traceback" not in err, err
    assert not (run/"metrics.json").exists() and not (run/"model").exists()

def test_demo_leaves_nothing_of_a_beginning(tmp_path):
    demo = tmp_path/"demo"
    process = vptsp("demo", "--out", demo, "--epochs", "1", env={**os.environ, "PYTHONUNBUFFERED": "1"})
    for line in process.stdout:                                         # at work: the row of pixels is there
        if line.startswith("raw pixels"): break
    process.send_signal(signal.SIGINT)
    code, _, err = done(process)
    assert code == 130 and "interrupted" in err and not demo.exists()

def test_demo_leaves_its_results(tmp_path, monkeypatch):
    demo, emoji = tmp_path/"demo", load_emoji()
    few = RetrievalData("emoji", emoji.train.of_classes(range(60)), emoji.query.of_classes(range(300)))
    monkeypatch.setattr("vptsp.widgets.report.load_emoji", lambda: few)
    code, text = shell("demo", "--out", demo, "--epochs", "1")
    assert code == 0, text
    rows = json.loads((demo/"report.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["pixels", "frozen", "linear", "vpt", "vptsp-m", "vptsp-g"]
    assert all(set(row) == {"method", "R@1", "MAP@R", "trainable", "seconds"} for row in rows)
    assert all(0 < row["MAP@R"] < row["R@1"] < 1 for row in rows)
    trainable = [row["trainable"] for row in rows]
    assert trainable[:2] == [0, 0] and trainable[1:] == sorted(set(trainable))
    assert rows[1]["R@1"] > rows[0]["R@1"] + .15                       # the backbone knows more than pixels do
    assert (demo/"report.html").stat().st_size < 15e6 and (demo/"model"/"model.safetensors").is_file()
    own, _, before = text.partition("Measured before, not now")        # the second table comes last
    assert "report.html written" in own and "VPTSP-G" in before and before.endswith(("shown", "open", "refuted"))

def test_demo_of_a_backbone_that_cannot_be_fetched(tmp_path):
    nowhere = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path/"hub")}
    demo = tmp_path/"demo"
    code, _, err = done(vptsp("demo", "--backbone", "vit_tiny_patch16_224", "--out", demo, env=nowhere))
    assert code == 2 and "could not be fetched" in err and "--weights" in err and not demo.exists(), err

INSTALLED = """
import sys
import vptsp
from vptsp.all import *
assert vptsp.__file__.startswith(sys.argv[1])
emoji, model = load_emoji(), build_model(Config.load("emoji").as_method("vpt"), 4)
AttentionViewer(model, emoji.query.open(0)).save(sys.argv[2])
print(len(emoji.train))
"""
MEASURED = """
from vptsp.widgets.measured import measured_before
print(*measured_before().lines(), sep="\\n")
"""

def test_an_installed_package_brings_data_backbone_presets_and_pages(tmp_path):
    site, page = tmp_path/"site", tmp_path/"attention.html"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    subprocess.run(pip, check=True, cwd=tmp_path)
    shutil.unpack_archive(next(tmp_path.glob("*.whl")), site, "zip")
    command, environment = [sys.executable, "-c", INSTALLED, site, page], {**os.environ, "PYTHONPATH": str(site)}
    out = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert out.returncode == 0 and int(out.stdout) == 3098, out.stderr
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    bundle, known = site/"vptsp"/"bundle"/"experiments", Comparison.load(ROOT/"data"/"experiments"/"tuned")
    there = {str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file()} - {"README.md"}
    shared = {f"tuned/{name}" for name in ("compare.json", "runs.jsonl", "classes.json", "frozen.json")}
    runs = {(arm.replace(" ", "_"), seed) for arm, seed in known.results.classes}
    assert there == shared | {f"tuned/runs/{folder}/{seed}/classes.json" for folder, seed in runs}
    words = [sys.executable, "-c", MEASURED]
    out = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert out.stdout.splitlines() == known.lines(), out.stderr


def test_python_m_is_the_command():
    words = [sys.executable, "-m", "vptsp.cli", "settings", "emojy"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean 'emoji'?" in done.stderr
    done = subprocess.run([sys.executable, "-m", "vptsp.cli", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("vptsp ")


@pytest.mark.parametrize("whole, command, asked", [(True, "train", 1), (True, "demo", 1), (True, "evaluate", 0),
                                                   (False, "train", 0)])
def test_memory_is_kept_by_a_process_of_our_own(monkeypatch, whole, command, asked):
    from vptsp import process
    from vptsp.cli import _Interrupts
    calls = []
    monkeypatch.setattr(process, "keep_memory", lambda: calls.append(1))
    interrupts = _Interrupts(whole)
    interrupts.command = command
    interrupts.begin()
    assert len(calls) == asked
