"Galleries on a bad disk: bits that flip, saves that are cut short anywhere, no room, two writers, files of others."
import errno
import json
import multiprocessing
import os
import random
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vptsp import gallery_folders
from vptsp.config import Config
from vptsp.files import StorageError
from vptsp.gallery_files import read_stored
from vptsp.model import build_model
from vptsp.retrieval import Gallery, GalleryError

FORK = multiprocessing.get_context("fork")
EVERY = int(os.environ.get("VPTSP_EVERY", 6))   # of the operations of a save; `tests/faults` takes each


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(request, monkeypatch):
    "A test that saves a hundred galleries need not wait until each is on the disk."
    if "synced" not in request.node.name: monkeypatch.setattr(os, "fsync", lambda at: None)


def put(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((80, 96), 0).save(path)
    return path


@pytest.fixture(scope="module")
def model(): return build_model(Config.load("emoji").as_method("frozen").replace(workers=0), 2).eval()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for i in range(5): put(root/f"{i}.png", i)
    return root


@pytest.fixture(scope="module")
def two(model, photos):
    "Two galleries that differ in all that a gallery can."
    files = sorted(photos.iterdir())
    other = build_model(Config.load("emoji").as_method("linear").replace(workers=0, seed=3), 2).eval()
    return Gallery.build(model, files[:3], progress=None), Gallery.build(other, files[1:], progress=None)


def names_in(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


WHOLE = sorted(["embeddings.safetensors", "gallery.json", "images.jsonl", "model/README.md", "model/config.json",
                "model/model.safetensors"])


def which_of(two, place):
    "Number of the gallery that stands in a folder; it must be whole, model included."
    found = Gallery.load(place)
    number = [g.names for g in two].index(found.names)
    assert torch.equal(found.embeddings, two[number].embeddings)
    assert found.model.fingerprint() == two[number].fingerprint
    return number


# Damage

def flipped(file, at, bit):
    content = bytearray(file.read_bytes())
    content[at] ^= 1 << bit
    file.write_bytes(content)
    return content


@pytest.mark.parametrize("name", ["gallery.json", "images.jsonl", "embeddings.safetensors"])
def test_a_flipped_bit_is_noticed(two, tmp_path, name):
    file = two[0].save(tmp_path/"g")/name
    whole, r = file.read_bytes(), random.Random(name)
    true = read_stored(tmp_path/"g")
    places = r.sample(range(len(whole)), 150)
    unsaid = []
    for at in places:
        bit = r.randrange(8)
        flipped(file, at, bit)
        try: stored = read_stored(tmp_path/"g", patience=0)
        except GalleryError as e:
            assert "\n" not in str(e) and ("is damaged" in str(e) or "outside its root" in str(e))
        else:
            same = stored.names == true.names and torch.equal(stored.embeddings, true.embeddings)
            if not same or stored.marks != true.marks or stored.skipped != true.skipped: unsaid.append((at, bit))
        file.write_bytes(whole)
    assert not unsaid


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("share", [0, .3, .99])
def test_a_file_that_was_cut_is_noticed(two, photos, tmp_path, name, share):
    place = two[0].save(tmp_path/"g")
    os.truncate(place/name, int((place/name).stat().st_size*share))
    if name in ("model/README.md", "model/config.json"):                    # nobody reads them
        assert Gallery.load(place).search(photos/"1.png", 1).names == ["1.png"]
        return
    with pytest.raises(ValueError, match="damaged|cannot be read|is gone") as e:
        Gallery.load(place).search(photos/"1.png", 1)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["gallery.json", "images.jsonl", "embeddings.safetensors", "model/model.safetensors"])
def test_a_file_that_is_gone_is_named(two, photos, tmp_path, name):
    place = two[0].save(tmp_path/"g")
    (place/name).unlink()
    says = {"gallery.json": "there is no gallery", "model/model.safetensors": "no model in"}.get(name, "is missing")
    with pytest.raises((FileNotFoundError, GalleryError), match=says): Gallery.load(place).search(photos/"1.png", 1)
    if "model" in name:
        with pytest.raises(GalleryError, match="no model in the gallery"): Gallery.load(place).save(tmp_path/"h")
        assert not (tmp_path/"h").exists()


def test_a_damaged_model_is_not_copied(two, tmp_path):
    place = two[0].save(tmp_path/"g")
    file = place/"model"/"model.safetensors"
    flipped(file, file.stat().st_size - 3, 4)
    with pytest.raises(GalleryError, match="the model in the gallery .* is damaged"):
        Gallery.load(place).save(tmp_path/"h")
    assert not (tmp_path/"h").exists()


@pytest.mark.parametrize("change", [
    lambda a: [], lambda a: a | {"root": 5}, lambda a: a | {"root": ["x"]}, lambda a: a | {"fingerprint": None},
    lambda a: a | {"files": {}}, lambda a: {k: v for k, v in a.items() if k != "sha256"}, lambda a: a | {"images": 2}])
def test_a_gallery_json_that_was_edited(two, tmp_path, change):
    place = two[0].save(tmp_path/"g")
    about = json.loads((place/"gallery.json").read_text())
    (place/"gallery.json").write_text(json.dumps(change(about)))
    with pytest.raises(GalleryError, match="is damaged .*: build it again"): Gallery.load(place)
    two[1].save(place)                                                      # building it again is not refused
    assert which_of(two, place) == 1


@pytest.mark.parametrize("change, says", [
    (lambda a: a | {"fingerprint": None}, "its fingerprint is no text"),
    (lambda a: a | {"root": 5}, "its root is no path"),
    (lambda a: a | {"skipped": 3}, "damaged"), (lambda a: a | {"passed_over": [1]}, "damaged")])
def test_an_old_gallery_without_hashes_is_looked_at_all_the_same(two, tmp_path, change, says):
    place = two[0].save(tmp_path/"g")
    about = json.loads((place/"gallery.json").read_text())
    del about["sha256"], about["files"]
    (place/"gallery.json").write_text(json.dumps(about))
    assert which_of(two, place) == 0
    (place/"gallery.json").write_text(json.dumps(change(about)))
    with pytest.raises(GalleryError, match=says): Gallery.load(place)


def test_json_that_is_deep_or_long(two, tmp_path):
    place = two[0].save(tmp_path/"g")
    for text in ("["*200_000, '{"images": ' + "9"*100_000 + "}", '{"a": 1e999999}', "\xff"):
        (place/"gallery.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(GalleryError, match="is damaged"): Gallery.load(place)


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs root, to become another user")
def test_a_gallery_without_permission_is_not_called_damaged(two, tmp_path):
    place = two[0].save(tmp_path/"g")
    for p in (tmp_path, *tmp_path.parents): 
        if str(p).startswith("/tmp/") and not p.stat().st_mode & 1: pytest.skip(f"{p} is closed to others")
    (place/"images.jsonl").chmod(0)
    def load():
        os.setuid(65534)
        with pytest.raises(GalleryError, match="cannot be read .Permission denied"): Gallery.load(place)
    assert done(load) == 0


# Cut short

def done(work, *args):
    "Exit code of a process that does some work."
    process = FORK.Process(target=work, args=args)
    process.start()
    process.join(60)
    return process.exitcode


def at_operation(number, act):
    "From now on in this process: `act` before the disk operation of this number."
    seen = 0
    def hook(event, args):
        nonlocal seen
        writes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "shutil.rmtree", "os.chmod")
        if event == "open": writes = args[0] is not None and args[2] is not None and args[2] & (os.O_WRONLY | os.O_RDWR)
        if not writes: return
        seen += 1
        if seen == number: act(args)
    sys.addaudithook(hook)


def killed(number, gallery, place):
    at_operation(number, lambda args: os._exit(9))
    gallery.save(place)


def full(number, gallery, place):
    def refuse(args): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))
    at_operation(number, refuse)
    try: gallery.save(place)
    except StorageError as e:
        assert "no space is left" in str(e) and "\n" not in str(e)
        os._exit(2)


@pytest.mark.parametrize("first", [True, False])
def test_a_save_that_is_killed_anywhere(two, tmp_path, first):
    "Before every operation on the disk in turn: the old one or the new one is there, and the next save cleans up."
    number, ended = 1 - EVERY, {}
    while True:
        number += EVERY
        place = tmp_path/f"{number}"
        if not first: two[0].save(place)
        code = done(killed, number, two[1], place)
        if code == 0: break
        assert code == 9
        try: found = which_of(two, place)
        except FileNotFoundError:
            assert first
            found = None
        ended[found] = ended.get(found, 0) + 1
        if found == 0 or found is None and place.exists(): two[0].save(place)
        elif found == 1: Gallery.load(place).save(place)                    # itself, from what is there
        else: continue
        assert names_in(place) == WHOLE and not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
        shutil.rmtree(place)
    assert number > 40 and ended[1] > 1 and ended.get(None if first else 0, 0) > 5


def test_no_room_at_any_operation(two, tmp_path):
    "The disk is full from one operation on: a sentence, and the old gallery or the new one."
    number, refused = 1 - EVERY, 0
    while True:
        number += EVERY
        place = tmp_path/f"{number}"
        two[0].save(place)
        code = done(full, number, two[1], place)
        assert code in (0, 2), f"operation {number}"
        refused += code
        which_of(two, place)
        two[1].save(place)
        assert which_of(two, place) == 1 and names_in(place) == WHOLE
        shutil.rmtree(place)
        if code == 0 and number > 100: break
    assert refused > 10


@pytest.mark.parametrize("moved", range(7))
def test_a_save_that_was_cut_while_it_went_to_its_place(two, tmp_path, moved, monkeypatch):
    place = two[0].save(tmp_path/"g")
    real, left = Path.replace, [moved]
    def replace(self, target):
        if "/update/new/" in str(self) and ".part" not in str(self):
            if not left[0]: raise KeyboardInterrupt
            left[0] -= 1
        return real(self, target)
    monkeypatch.setattr(Path, "replace", replace)
    try: two[1].save(place)
    except KeyboardInterrupt: assert (place/"update"/"new").is_dir()
    monkeypatch.undo()
    assert which_of(two, place) == 1
    for p in place.rglob("*"): p.chmod(0o555 if p.is_dir() else 0o444)
    assert which_of(two, place) == 1                                        # a reader need not write
    for p in place.rglob("*"): p.chmod(0o755 if p.is_dir() else 0o644)
    Gallery.load(place).save(place)
    assert names_in(place) == WHOLE and which_of(two, place) == 1


def test_an_image_that_cannot_be_written_leaves_nothing(model, photos, tmp_path, monkeypatch):
    def no_room(*args): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(gallery_folders, "write_stored", no_room)
    with pytest.raises(StorageError, match="/deep/g' cannot be written: no space is left"):
        Gallery.build(model, photos, progress=None, out=tmp_path/"deep"/"g")
    assert list(tmp_path.iterdir()) == []


# Writers

def test_a_writer_is_named(two, tmp_path):
    place = two[0].save(tmp_path/"g")
    with gallery_folders.gallery_writer(place):
        for use in (lambda: Gallery.load(place).update(progress=None),
                    lambda: Gallery.build(two[0].model, two[0].root, progress=None, out=place)):
            says = rf"another process updates .*\(pid {os.getpid()} on .*\): wait"
            with pytest.raises(GalleryError, match=says): use()
    assert not Gallery.load(place).update(progress=None)


def test_a_save_waits_for_another_writer(two, tmp_path):
    place = two[0].save(tmp_path/"g")
    entered, leave = threading.Event(), threading.Event()
    def hold():
        with gallery_folders.gallery_writer(place):
            entered.set()
            leave.wait(30)
    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(30)
    saver = threading.Thread(target=lambda: two[1].save(place))
    saver.start()
    time.sleep(.3)
    assert saver.is_alive() and which_of(two, place) == 0
    leave.set()
    saver.join(60)
    holder.join(60)
    assert which_of(two, place) == 1


def test_a_writer_that_died_is_no_writer(two, tmp_path):
    place = two[0].save(tmp_path/"g")
    def die():
        writer = gallery_folders.gallery_writer(place)
        writer.__enter__()
        os._exit(9)
    assert done(die) == 9 and (place/"update"/".lock").exists()
    assert which_of(two, place) == 0 and not Gallery.load(place).update(progress=None)
    assert names_in(place) == WHOLE


def test_a_gallery_that_was_exchanged_gives_no_model_to_the_old_one(two, tmp_path):
    place = two[0].save(tmp_path/"g")
    old = Gallery.load(place)
    two[1].save(place)
    with pytest.raises(GalleryError, match="was saved anew since"): old.save(tmp_path/"copy")
    assert not (tmp_path/"copy").exists() and which_of(two, place) == 1


# Files of others

def test_a_gallerys_folder_stays_the_same_folder(two, tmp_path, monkeypatch):
    place = two[0].save(tmp_path/"g")
    number, mode = place.stat().st_ino, 0o750
    place.chmod(mode)
    os.mkfifo(place/"pipe")
    (place/"sub").mkdir()
    opened = open(place/"log.txt", "w")
    real = gallery_folders.write_stored
    def meanwhile(*args):
        opened.write("while it is saved")
        opened.flush()
        (place/"sub"/"late.txt").write_text("late")
        return real(*args)
    monkeypatch.setattr(gallery_folders, "write_stored", meanwhile)
    two[1].save(place)
    opened.close()
    assert place.stat().st_ino == number and place.stat().st_mode & 0o777 == mode
    assert (place/"log.txt").read_text() == "while it is saved" and (place/"sub"/"late.txt").read_text() == "late"
    assert which_of(two, place) == 1 and (place/"pipe").is_fifo()


def test_all_is_synced_before_it_counts(two, tmp_path, monkeypatch):
    "Files and folders of a new save, then the move that makes it valid, then the moves to their places."
    place, done_so_far = two[0].save(tmp_path/"g"), []
    fsync, replace = os.fsync, Path.replace
    def synced(at):
        done_so_far.append(Path(os.readlink(f"/proc/self/fd/{at}")))
        fsync(at)
    def moved(self, target):
        done_so_far.append("valid" if self.name == "new" else f"moved {self.name}")
        return replace(self, target)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", moved)
    two[1].save(place)
    valid = done_so_far.index("valid")
    before = {path.name for path in done_so_far[:valid] if isinstance(path, Path)}
    assert {Path(name).name for name in WHOLE} | {"new", "model"} <= before
    last = max(i for i, what in enumerate(done_so_far) if what == "moved gallery.json")
    assert place/"update" in done_so_far[valid:last] and place in done_so_far[last:] and last > valid


def test_files_have_the_mode_of_the_umask(two, tmp_path):
    def save():
        os.umask(0o027)
        two[0].save(tmp_path/"g")
    assert done(save) == 0
    assert {oct((tmp_path/"g"/name).stat().st_mode & 0o777) for name in WHOLE} == {"0o640"}


LINKS = ["embeddings.safetensors", "gallery.json", "model/model.safetensors", "model", "update"]


@pytest.mark.parametrize("name", LINKS)
def test_a_planted_link_is_not_followed(two, tmp_path, name):
    place, precious = two[0].save(tmp_path/"g"), tmp_path/"precious"
    whole = not (place/name).is_dir() and name != "update"
    precious.write_text("mine") if whole else precious.mkdir()
    if (place/name).is_dir(): shutil.rmtree(place/name)
    (place/name).unlink(missing_ok=True)
    (place/name).symlink_to(precious)
    if name == "update":
        with pytest.raises(GalleryError, match="update' stands where a gallery keeps"): two[1].save(place)
    elif name == "gallery.json":
        two[1].save(place)                                                  # its other files say that it is a gallery
        assert not (place/name).is_symlink()
    else: two[1].save(place)
    assert precious.read_text() == "mine" if whole else list(precious.iterdir()) == []


def test_a_folder_in_the_way_is_named_before_anything_is_written(two, tmp_path):
    place = two[0].save(tmp_path/"g")
    (place/"images.jsonl").unlink()
    (place/"images.jsonl").mkdir()
    (place/"images.jsonl"/"x").write_text("mine")
    with pytest.raises(GalleryError, match="images.jsonl' stands where a gallery keeps"): two[1].save(place)
    assert (place/"images.jsonl"/"x").read_text() == "mine"


# Models that failed

@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.])
def test_a_model_that_cannot_embed_makes_no_gallery(photos, tmp_path, value):
    broken = build_model(Config.load("emoji").as_method("linear").replace(workers=0), 2)
    with torch.no_grad():
        for p in broken.head.parameters(): p.fill_(value)
    says = "NaN or infinite embeddings of 5 of 5 images, as its head" if value else "are not of length one of 5 of 5"
    with pytest.raises(GalleryError, match=says): Gallery.build(broken, photos, progress=None, out=tmp_path/"g")
    assert list(tmp_path.iterdir()) == []


def test_a_good_gallery_outlives_a_model_that_failed(two, photos, tmp_path):
    place = two[0].save(tmp_path/"g")
    loaded = Gallery.load(place)
    with torch.no_grad(): next(loaded.model.parameters()).fill_(torch.nan)
    with pytest.raises(GalleryError, match="the model was changed after it embedded"): loaded.save(place)
    two_rows = Gallery.load(place)
    two_rows.embeddings = two_rows.embeddings*torch.nan
    with pytest.raises(GalleryError, match="NaN or infinite embeddings of 3 of 3"): two_rows.save(place)
    assert which_of(two, place) == 0
