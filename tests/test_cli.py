"The command line as processes: trained, killed and gone on with, interrupted, measured, and given an image that does not decode; and the package once it is installed."
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path

import pytest

from vptsp.data import load_emoji

ROOT = Path(__file__).parents[1]
SETTINGS = ("emoji", "dataset=folder", "epochs=4", "batch_size=8", "num_prompts=2", "num_class_prompts=1", "semantic_proxies=class_prompts")

def vptsp(*words, **kw): return subprocess.Popen([Path(sys.executable).parent/"vptsp", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=kw.pop("cwd", ROOT), **kw,
                                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))      # a shell's background job has it ignored

def done(process):
    "Exit code, stdout, stderr."
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Class folders of emoji as PNG files."
    root = tmp_path_factory.mktemp("data"); images = load_emoji().train.of_classes(range(16))
    for i in range(len(images)):
        d = root/f"class {int(images.labels[i]):02}"; d.mkdir(exist_ok=True)
        images.open(i).save(d/f"{i}.png")
    return root

@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")/"whole"
    code, _, err = done(vptsp("train", *SETTINGS, "--data", folder, "--out", out)); assert code == 0, err
    return out

def same_run(a, b):
    figures = lambda run: {k: v for k, v in json.loads((run/"metrics.json").read_text()).items() if k != "seconds"}
    assert figures(a) == figures(b)
    losses = lambda run: [json.loads(l)["loss"] for l in (run/"history.jsonl").read_text().splitlines()]
    assert losses(a) == losses(b)
    assert (a/"model"/"model.safetensors").read_bytes() == (b/"model"/"model.safetensors").read_bytes()

def test_a_killed_run_goes_on_to_the_same_end(folder, finished, tmp_path):
    out = tmp_path/"killed"
    process = vptsp("train", *SETTINGS, "--data", folder, "--out", out)
    until = time.time() + 120
    while not (out/"history.jsonl").is_file() and process.poll() is None and time.time() < until: time.sleep(.02)
    process.kill(); process.communicate()
    assert process.returncode == -signal.SIGKILL and not (out/"metrics.json").exists(), "it was over before it could be killed"
    assert 1 <= len((out/"history.jsonl").read_text().splitlines()) < 4
    code, _, err = done(vptsp("train", *SETTINGS, "--data", folder, "--out", out)); assert code == 0, err
    same_run(out, finished)

def test_an_interrupt_says_how_to_go_on(folder, finished, tmp_path):
    out = tmp_path/"stopped"
    process = vptsp("train", *SETTINGS, "--data", folder, "--out", out)
    while not (out/"history.jsonl").is_file() and process.poll() is None: time.sleep(.02)
    process.send_signal(signal.SIGINT)
    code, _, err = done(process)
    assert code == 130 and "The same command goes on from the last finished epoch" in err and "Traceback" not in err
    assert done(vptsp("train", *SETTINGS, "--data", folder, "--out", out))[0] == 0
    same_run(out, finished)

def test_evaluate_gives_the_figures_of_the_run(folder, finished):
    code, out, err = done(vptsp("evaluate", finished, "--data", folder, "--json")); assert code == 0, err
    measured, kept = json.loads(out), json.loads((finished/"metrics.json").read_text())
    assert measured["data sha256"] == kept["data sha256"]
    assert all(measured[k] == pytest.approx(kept[k], abs=1e-6) for k in ("R@1", "MAP@R"))

def test_a_folder_becomes_a_gallery_that_another_process_searches(folder, finished, tmp_path):
    photos = tmp_path/"photos"; shutil.copytree(folder, photos); (photos/"cut.png").write_bytes(b"cut")
    code, out, err = done(vptsp("index", finished, photos, "--out", tmp_path/"gallery", "--workers", 2)); assert code == 0 and "cut.png" in err and "Traceback" not in err, err
    query = sorted(photos.glob("class*/*.png"))[5]
    code, out, err = done(vptsp("search", tmp_path/"gallery", query, "-k", 3, "--json")); assert code == 0, err
    hits = json.loads(out)["hits"]
    assert len(hits) == 3 and hits[0]["path"] == str(query) and hits[0]["similarity"] == pytest.approx(1, abs=1e-5)

def test_an_image_that_does_not_decode(folder, tmp_path):
    shutil.copytree(folder, tmp_path/"data")
    broken = sorted((tmp_path/"data"/"class 03").iterdir())[0]; broken.write_bytes(broken.read_bytes()[:200])
    for workers in (0, 2):
        code, _, err = done(vptsp("train", *SETTINGS, f"workers={workers}", "--data", tmp_path/"data", "--out", tmp_path/"run"))
        line = err.strip().splitlines()[-1]
        assert code == 2 and line.startswith("vptsp: ") and broken.name in line and "Traceback" not in err, err
    assert not (tmp_path/"run"/"metrics.json").exists() and not (tmp_path/"run"/"model").exists()

def test_demo_leaves_its_results_or_nothing(tmp_path):
    process = vptsp("demo", "--out", tmp_path/"demo", "--epochs", "1", env={**os.environ, "PYTHONUNBUFFERED": "1"})
    for line in process.stdout:                                         # at work: the row of pixels is there
        if line.startswith("raw pixels"): break
    process.send_signal(signal.SIGINT)
    code, _, err = done(process)
    assert code == 130 and "interrupted" in err and not (tmp_path/"demo").exists()
    code, out, err = done(vptsp("demo", "--out", tmp_path/"demo", "--epochs", "1")); assert code == 0, err
    rows = json.loads((tmp_path/"demo"/"report.json").read_text())["rows"]
    assert [r["method"] for r in rows] == ["pixels", "frozen", "linear", "vpt", "vptsp-m", "vptsp-g"]
    assert all(set(r) == {"method", "R@1", "MAP@R", "trainable", "seconds"} and 0 < r["MAP@R"] < r["R@1"] < 1 for r in rows)
    assert rows[0]["trainable"] == rows[1]["trainable"] == 0 < rows[2]["trainable"] < rows[3]["trainable"] < rows[4]["trainable"] < rows[5]["trainable"]
    assert rows[1]["R@1"] > rows[0]["R@1"] + .15                       # the backbone knows more than pixels do
    assert (tmp_path/"demo"/"report.html").stat().st_size < 15e6 and (tmp_path/"demo"/"model"/"model.safetensors").is_file()

def test_demo_of_a_backbone_that_cannot_be_fetched(tmp_path):
    nowhere = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path/"hub")}
    code, _, err = done(vptsp("demo", "--backbone", "vit_tiny_patch16_224", "--out", tmp_path/"demo", env=nowhere))
    assert code == 2 and "could not be fetched" in err and "--weights" in err and not (tmp_path/"demo").exists(), err

def test_an_installed_package_brings_data_and_backbone(tmp_path):
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT], check=True, cwd=tmp_path)
    shutil.unpack_archive(next(tmp_path.glob("*.whl")), tmp_path/"site", "zip")
    code = "import vptsp, sys; from vptsp.all import *; assert vptsp.__file__.startswith(sys.argv[1]); load_vit('bundled'); print(len(load_emoji().train))"
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path/"site")], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path/"site")}, capture_output=True, text=True)
    assert out.returncode == 0 and int(out.stdout) == 3098, out.stderr
