"The card of a run: its parts, what it rests on, what it skipped."
import json
import shutil
import subprocess
import time
from types import SimpleNamespace

import pytest
import torch

from vptsp.benchmarks import load_emoji
from vptsp.callbacks import Callback
from vptsp.config import Config
from vptsp.data import RetrievalData, from_folder
from vptsp.run_card import Meter, git_state, peak_memory, read_card, settings_hash, skipped_images, versions, write_card
from vptsp.training import Trainer
from vptsp.world import World

CFG = Config.load("emoji", batch_size=8, num_prompts=2, num_class_prompts=1, epochs=2, eval_from=2)


@pytest.fixture(scope="module")
def data():
    emoji = load_emoji()
    return RetrievalData("few", emoji.train.of_classes(range(6)), emoji.query.of_classes(range(4)))


class Until(Callback):
    "Does something behind a step."
    def __init__(self, step, act): self.step, self.act = step, act
    def step_end(self, trainer, loss):
        if trainer.step == self.step: self.act(trainer)


def parts_of(folder): return [(p["from step"], p["to step"], p["end"]) for p in read_card(folder)["parts"]]

def broken(trainer): raise RuntimeError("the cat sat\non the keyboard")


# A run and its parts

def test_parts_of_a_run(data, tmp_path):
    out = tmp_path/"run"
    first = Trainer(CFG, data, out, callbacks=[Until(3, Trainer.stop)])
    first.fit()
    assert parts_of(out)[0][:2] == (0, 3) and parts_of(out)[0][2].startswith("stopped")
    with pytest.raises(RuntimeError): Trainer(CFG, data, out, callbacks=[Until(5, broken)], frozen={}).fit()
    assert parts_of(out)[1] == (3, 5, "broken off: the cat sat\\non the keyboard")
    run = Trainer(CFG, data, out, callbacks=[]).fit()
    card, n = read_card(out), parts_of(out)[-1][1]
    assert [end for _, _, end in parts_of(out)][2:] == ["finished"] and n == 2*(len(data.train)//8)
    assert card["data sha256"] == data.sha256 == run.metrics["data sha256"]
    assert card["settings sha256"] == settings_hash(run.cfg) and card["definitions"] == run.metrics["definitions"]
    assert all(p["seconds"] > 0 and p["peak memory, MB"]["process"] > 50 for p in card["parts"])
    assert card["seconds"] == pytest.approx(sum(p["seconds"] for p in card["parts"]))
    before = (out/"run.json").read_bytes()
    Trainer(CFG, data, out, callbacks=[]).fit()                    # only read
    assert (out/"run.json").read_bytes() == before

DAMAGED = [b"", b"{", b"[]", b'{"parts": 3}', b'{"parts": [3]}', b'{"parts": [], "sha256": "a"}']

@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_card_begins_anew(tmp_path, content, data):
    (tmp_path/"run.json").write_bytes(content)
    assert read_card(tmp_path) == {} or read_card(tmp_path)["parts"] == []
    t = SimpleNamespace(cfg=CFG, data=data, data_is="", backbone_is=None, started_from=None, history=[], so_far=None,
                        device=torch.device("cpu"), step=0, loader=[], world=World())
    write_card(t, tmp_path)
    assert parts_of(tmp_path) == [(0, 0, "running")]

def test_another_process_writes_nothing(data, tmp_path):
    t = SimpleNamespace(cfg=CFG, data=data, device=torch.device("cpu"), step=0, world=World(rank=1, size=2))
    assert write_card(t, tmp_path) == {} and not list(tmp_path.iterdir())

def test_no_clock_gives_negative_seconds(data, tmp_path, monkeypatch):
    now = iter(range(2*10**9, 0, -3600))
    monkeypatch.setattr("time.time", lambda: float(next(now)))
    run = Trainer(CFG, data, tmp_path/"run", callbacks=[]).fit()
    assert min(line["seconds"] for line in run.history) > 0 and run.metrics["seconds"] > 0
    assert min(part["seconds"] for part in read_card(tmp_path/"run")["parts"]) > 0


# What it rests on

def test_commit_and_changes(tmp_path):
    if not shutil.which("git"): pytest.skip("no git")
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)
    assert git_state(tmp_path) == {} == git_state(tmp_path/"nowhere")
    git("init")
    (tmp_path/"a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-m", "first")
    (tmp_path/"runs").mkdir()
    (tmp_path/"runs"/"b.txt").write_text("not known to git")
    clean = git_state(tmp_path/"runs")
    assert len(clean["commit"]) == 40 and clean["changed"] is False
    (tmp_path/"a.txt").write_text("b")
    assert git_state(tmp_path) == clean | {"changed": True}

def test_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state() == {}

def test_settings_hash_is_of_what_counts():
    alike = CFG, Config.load(CFG), CFG.replace(workers=7, checkpoint_minutes=1)
    assert len({settings_hash(cfg) for cfg in alike}) == 1
    assert len({settings_hash(cfg) for cfg in (CFG, CFG.replace(lr=.1), CFG.replace(seed=1))}) == 3
    assert {"python", "torch", "timm"} <= set(versions())

def test_energy_of_what_nvidia_smi_tells(monkeypatch):
    "A stand-in that tells 100 W, then N/A, then 300 W, as the real one prints them."
    lines, times = ["100.00\n", "[N/A]\n", "300.00\n"], iter([10., 12., 20.])
    meter = Meter()
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    meter._hear(lines)
    monkeypatch.undo()
    assert meter.joules == pytest.approx(200*2.) and meter.read()["energy of the GPU, J"] == 400.

def test_a_process_that_tells_power_is_ended(monkeypatch):
    real = subprocess.Popen
    words = ["sh", "-c", "echo 50; echo 50; sleep 60"]
    monkeypatch.setattr(subprocess, "Popen", lambda _, **how: real(words, **how))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="0"))
    meter = Meter()
    meter.smi = smi = meter._begin_watts()
    for _ in range(500):
        if meter.watts is None: time.sleep(.02)
    meter.close()
    assert meter.watts[0] == 50
    assert smi.poll() is not None and meter.smi is None
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **how: (_ for _ in ()).throw(FileNotFoundError("nvidia-smi")))
    assert meter._begin_watts() is None

def test_memory_only_rises():
    before = peak_memory()
    kept = torch.ones(30_000_000)
    assert peak_memory() >= before > 0 and len(kept)


# Images that were skipped, and a run that was killed

def test_skipped_images_in_all_files_of_a_run(tmp_path, caplog):
    emoji, root = load_emoji().train, tmp_path/"photos"
    for i, c in enumerate(emoji.labels.tolist()):
        if c > 7: continue
        (root/f"{c}").mkdir(parents=True, exist_ok=True)
        emoji.open(i).save(root/f"{c}"/f"{i:03}.png")
    spoiled = sorted((root/"1").iterdir())[1]
    spoiled.write_bytes(spoiled.read_bytes()[:50])
    cfg, data = CFG.replace(broken_images="skip", epochs=3), from_folder(root)
    whole = Trainer(cfg, data, tmp_path/"whole", callbacks=[]).fit()
    skipped = [one for line in whole.history for one in line.get("skipped", [])]
    assert skipped and {one["image"] for one in skipped} == {str(spoiled)} and all("instead" in one for one in skipped)
    card = read_card(tmp_path/"whole")["skipped images"]
    assert card["times"] == len(skipped) and card["images"][0]["class"] == "1"
    assert any("run.json names it" in note for note in whole.metrics["notes"]) and "skipped" not in whole.metrics
    with pytest.raises(RuntimeError):                              # broken off behind the first skip, gone on with
        Trainer(cfg, data, tmp_path/"part", callbacks=[Until(5, broken)]).fit()
    part = Trainer(cfg, data, tmp_path/"part", callbacks=[]).fit()
    def timeless(lines): return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    assert timeless(part.history) == timeless(whole.history)
    assert read_card(tmp_path/"part")["skipped images"] == card

def test_the_same_image_twice_in_one_batch_is_one_drawing():
    one = {"image": "a", "class": "c", "why": "w", "epoch": 1, "batch": 1}
    t = SimpleNamespace(history=[{"skipped": [one]}], so_far=SimpleNamespace(skipped=[one]),
                        loader=SimpleNamespace(skipped=[one, one | {"batch": 2}, one | {"image": "b"}]))
    assert [(image["image"], image["times"]) for image in skipped_images(t)] == [("a", 2), ("b", 1)]

def test_the_card_is_json_that_anyone_reads(data, tmp_path):
    Trainer(CFG.replace(epochs=1), data, tmp_path/"run", callbacks=[]).fit()
    card = json.loads((tmp_path/"run"/"run.json").read_text(encoding="utf-8"))
    assert str(tmp_path) not in json.dumps(card)                    # nothing of the machine's folders
    assert torch.__version__.startswith(card["parts"][0]["versions"]["torch"])
