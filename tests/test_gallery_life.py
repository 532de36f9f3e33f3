"A gallery in use: images come, go and change; readers meet writers; queries are odd; models are trained meanwhile."
import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vptsp import gallery_files, renewal
from vptsp.benchmarks import load_emoji
from vptsp.cli import main
from vptsp.config import Config
from vptsp.gallery_files import read_stored
from vptsp.images import ImageSet
from vptsp.marks import file_state, mark_of
from vptsp.model import Model, build_model, fingerprint_0_1
from vptsp.retrieval import Gallery, GalleryError
from vptsp.tensors import eval_copy

OLD = Path(__file__).parent/"golden"/"gallery_0_1"


def picture(seed, size=(80, 96)):
    r = np.random.default_rng(seed)
    return Image.fromarray(r.integers(0, 256, (8, 10, 3), dtype=np.uint8)).resize(size, 0)


def put(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)
    return path


def age(folder, seconds=3600):
    "Files that were not written a moment ago."
    for path in folder.rglob("*"):
        if path.is_file(): os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - seconds*10**9))


@pytest.fixture(scope="module")
def model(): return build_model(Config.load("emoji").as_method("frozen").replace(workers=0), 2).eval()


@pytest.fixture
def photos(tmp_path):
    for i in range(6): put(tmp_path/"photos"/"ab"[i % 2]/f"{i}.png", i)
    age(tmp_path/"photos")
    return tmp_path/"photos"


@pytest.fixture
def gallery(model, photos): return Gallery.build(model, photos, progress=None)


def close(a, b): return torch.allclose(a, b, atol=1e-5)


def counted(monkeypatch):
    "How many images are embedded from here on."
    seen = []
    real = renewal.embed_new
    def watched(new, embed, *rest): return real(new, lambda paths: seen.extend(paths) or embed(paths), *rest)
    monkeypatch.setattr("vptsp.retrieval.embed_new", watched)
    return seen


# Update

def test_an_update_gives_what_a_new_build_gives(gallery, model, photos, tmp_path, monkeypatch):
    place, seen = gallery.save(tmp_path/"g"), counted(monkeypatch)
    put(photos/"new"/"7.png", 7)                                            # added
    (photos/"a"/"0.png").unlink()                                           # removed
    (photos/"a"/"2.png").rename(photos/"b"/"renamed.png")                   # moved
    put(photos/"b"/"1.png", 11)                                             # another content
    os.utime(photos/"b"/"3.png", ns=(1, 1))                                 # another time
    shutil.copy2(photos/"a"/"4.png", photos/"a"/"copy.png")                 # a copy
    changes = gallery.update(progress=None)
    assert changes.added == ["a/copy.png", "new/7.png"] and changes.changed == ["b/1.png"]
    assert changes.moved == ["b/renamed.png"] and changes.removed == ["a/0.png"] and changes.kept == 3
    assert sorted(p.name for p in seen) == ["1.png", "7.png"] and changes.embedded == 2      # nothing else was embedded
    fresh = Gallery.build(model, photos, progress=None)
    for g in (gallery, Gallery.load(place)):
        assert g.names == fresh.names and close(g.embeddings, fresh.embeddings) and g.root == photos
        assert [m.sha256 for m in g.marks] == [m.sha256 for m in fresh.marks]
        assert g.search(photos/"b"/"renamed.png", 1).names == ["b/renamed.png"]
    assert not (place/"update").exists() and [p.name for p in tmp_path.iterdir() if p.name[0] == "."] == []
    assert repr(changes).startswith("Changes(2 added, 1 changed, 1 moved, 1 removed, 3 kept; 2 embedded")


def test_an_update_without_changes_reads_nothing(gallery, photos, monkeypatch):
    gallery.update(progress=None)
    monkeypatch.setattr(renewal, "mark_of", lambda path: pytest.fail(f"{path} was read"))
    seen, before = counted(monkeypatch), gallery.embeddings.clone()
    changes = gallery.update(progress=None)
    assert not changes and changes.kept == 6 and not seen and torch.equal(gallery.embeddings, before)


def test_a_change_of_the_same_size_and_time(gallery, photos):
    path = photos/"a"/"0.png"
    old = path.stat()
    content = bytearray(path.read_bytes())
    Image.new("RGB", (80, 96), "red").save(path)
    path.write_bytes(path.read_bytes().ljust(len(content), b"\0")[:len(content)])
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    older = copy.copy(gallery)
    older.marks = [mark._replace(inode=0, ctime_ns=0) for mark in gallery.marks]
    assert not older.update(progress=None)                                  # size and time tell nothing
    assert older.update(progress=None, thorough=True).changed == ["a/0.png"]
    assert gallery.update(progress=None).changed == ["a/0.png"]             # time of change does


def test_a_file_written_a_moment_ago_is_not_trusted_by_its_time(tmp_path):
    path = put(tmp_path/"x.png", 1)
    assert mark_of(path).mtime_ns == -1 and not mark_of(path).same_time(path)
    age(tmp_path)
    mark = mark_of(path)
    assert mark.same_time(path) and file_state(path, mark) == ""
    assert file_state(path, None) == "" and file_state(tmp_path/"y.png", None) == "gone"


def test_broken_files_are_listed_and_tried_again(gallery, photos):
    (photos/"a"/"cut.jpg").write_bytes(b"\xff\xd8\xff")
    assert list(gallery.update(progress=None).skipped) == ["a/cut.jpg"] == list(gallery.skipped)
    (photos/"a"/"0.png").write_bytes(b"\x89PNG")
    changes = gallery.update(progress=None)
    assert sorted(changes.skipped) == ["a/0.png", "a/cut.jpg"] and changes.removed == ["a/0.png"]
    assert not changes.changed
    put(photos/"a"/"cut.jpg", 9)
    put(photos/"a"/"0.png", 0)
    assert gallery.update(progress=None).added == ["a/0.png", "a/cut.jpg"] and not gallery.skipped


def test_a_folder_out_of_reach_does_not_empty_a_gallery(gallery, model, photos, tmp_path):
    place, names = gallery.save(tmp_path/"g"), gallery.names
    listed = Gallery.build(model, list(gallery.images.sources), progress=None)
    photos.rename(tmp_path/"away")
    for g in (gallery, Gallery.load(place), listed):
        with pytest.raises(GalleryError, match="there is no folder|is the drive mounted|Is the drive mounted"):
            g.update(progress=None)
        assert g.names == names
    photos.mkdir()                                                          # a mount point
    with pytest.raises(GalleryError, match="there is no image in"): gallery.update(progress=None)
    assert Gallery.load(place).names == names
    moved = Gallery.load(place, root=tmp_path/"away")
    assert not moved.update(progress=None) and moved.root == tmp_path/"away"
    with pytest.raises(GalleryError, match="there is no folder '.*gone'"): Gallery.load(place, root=tmp_path/"gone")


def test_updates_of_lists_and_sets(model, photos, tmp_path):
    files = sorted(photos.rglob("*.png"))
    listed = Gallery.build(model, files[:4], progress=None)
    put(photos/"a"/"more.png", 20)
    files[0].unlink()
    changes = listed.update(progress=None)                                  # the same files, not all of the folder
    assert changes.removed == ["a/0.png"] and not changes.added and len(listed) == 3
    assert listed.update(files[1:], progress=None).embedded == 2 and len(listed) == 5
    changes = listed.update(photos, progress=None)                          # and now the folder
    assert changes.added == ["a/more.png"] and listed.walked
    put(photos/"a"/"again.png", 21)
    assert listed.update(progress=None).added == ["a/again.png"]

    labelled = Gallery.build(model, ImageSet(files[1:3], [0, 1], ["cat", "dog"]), progress=None)
    labelled.save(tmp_path/"g")
    assert not labelled.update(progress=None) and labelled.labels == ["cat", "dog"]
    with pytest.raises(GalleryError, match="give update.* an ImageSet of files with classes"):
        labelled.update(photos, progress=None)
    labelled.update(ImageSet(files[1:4], [1, 1, 0], ["cat", "dog"]), progress=None)
    assert Gallery.load(tmp_path/"g").labels == ["dog", "dog", "cat"]
    with pytest.raises(GalleryError, match="are no files"):
        Gallery.build(model, load_emoji().query.subset([0, 1]), progress=None).update(progress=None)


def test_a_path_given_twice_is_there_twice(model, photos):
    files = sorted(photos.rglob("*.png"))
    gallery = Gallery.build(model, [*files, files[0]], progress=None)
    assert gallery.names[0] == gallery.names[-1] and torch.equal(gallery.embeddings[0], gallery.embeddings[-1])
    assert len(gallery) == 7 and not gallery.update(progress=None) and len(gallery) == 7


def test_what_is_excluded_stays_excluded(model, photos, tmp_path):
    put(photos/"thumbs"/"1.png", 30)
    gallery = Gallery.build(model, photos, progress=None, exclude="thumbs/*")
    assert len(gallery) == 6
    loaded = Gallery.load(gallery.save(tmp_path/"g"))
    assert not loaded.update(progress=None) and len(loaded) == 6
    assert len(Gallery.build(model, photos, progress=None, exclude=["*/1.png", "b/*"])) == 3
    with pytest.raises(GalleryError, match="there is no image in .*7 images by exclude"):
        Gallery.build(model, photos, progress=None, exclude="*")


def test_what_is_passed_over_is_kept_and_said(model, photos, tmp_path):
    (photos/"notes.heic").write_bytes(b"x"*99)
    with pytest.warns(UserWarning, match="1 passed over. 1 x .heic"):
        gallery = Gallery.build(model, photos, progress=None)
    loaded = Gallery.load(gallery.save(tmp_path/"g"))
    assert repr(loaded.passed_over) == repr(gallery.passed_over) and loaded.passed_over.loss == 1
    assert "1 passed over, see .passed_over" in repr(loaded)


# A run that is killed

CODE = """
import sys
from vptsp import renewal
from vptsp.retrieval import Gallery
from vptsp.model import Model
renewal.PART = 3
real, number = renewal.keep_part, 0
def keep(*args):
    global number
    real(*args)
    number += 1
    if number == 2:
        print("kept", flush=True)
        import time
        time.sleep(60)
renewal.keep_part = keep
renewal.embed_new.__defaults__ = (3,)
what, place, photos, model = sys.argv[1:]
if what == "update": Gallery.load(place).update(progress=None)
else: Gallery.build(Model.load(model), photos, progress=None, out=place)
"""
INDEX = CODE.partition("what, place")[0] + "from vptsp.cli import main\nmain(sys.argv[1:])\n"


@pytest.mark.parametrize("what", ["update", "build"])
def test_a_run_that_was_killed_goes_on_where_it_stopped(model, photos, tmp_path, monkeypatch, what):
    place = tmp_path/"g"
    model.save(tmp_path/"model")
    if what == "update": Gallery.build(model, photos, progress=None).save(place)
    for i in range(10, 20): put(photos/"later"/f"{i}.png", i)
    p = subprocess.Popen([sys.executable, "-c", CODE, what, place, photos, tmp_path/"model"], stdout=subprocess.PIPE,
                         text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert p.stdout.readline() == "kept\n"
    with pytest.raises(GalleryError, match="another process updates"):      # one at a time
        if what == "update": Gallery.load(place).update(progress=None)
        else: Gallery.build(model, photos, progress=None, out=place)
    p.send_signal(signal.SIGKILL)
    p.wait()
    if what == "update": assert len(Gallery.load(place)) == 6               # nothing half-written
    else:
        with pytest.raises(FileNotFoundError, match="there is no gallery"): Gallery.load(place)
    seen = counted(monkeypatch)
    if what == "update": Gallery.load(place).update(progress=None)
    else: Gallery.build(model, photos, progress=None, out=place)
    assert len(seen) == (10 if what == "update" else 16) - 6                # two parts of three were kept
    fresh, again = Gallery.build(model, photos, progress=None), Gallery.load(place)
    assert again.names == fresh.names and close(again.embeddings, fresh.embeddings)
    assert {p.name for p in place.iterdir()} == {"embeddings.safetensors", "gallery.json", "images.jsonl", "model"}


def test_the_command_index_goes_on_where_it_was_killed(model, photos, tmp_path, monkeypatch, capsys):
    place = tmp_path/"g"
    model.save(tmp_path/"model")
    for i in range(10, 20): put(photos/"later"/f"{i}.png", i)
    p = subprocess.Popen([sys.executable, "-c", INDEX, "index", tmp_path/"model", photos, "--out", place],
                         stdout=subprocess.PIPE, text=True,
                         env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert p.stdout.readline() == "kept\n"
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert {path.name for path in place.iterdir()} == {"update"}
    seen = counted(monkeypatch)
    assert main(["index", str(tmp_path/"model"), str(photos), "--out", str(place)]) == 0
    assert len(seen) == 16 - 6 and "Gallery(16 images" in capsys.readouterr().out       # two parts of three were kept
    assert close(Gallery.load(place).embeddings, Gallery.build(model, photos, progress=None).embeddings)


def test_parts_of_another_model_and_damaged_ones_are_not_taken(photos, tmp_path):
    part = renewal.Part({"ab": torch.ones(3)}, {"cd": "broken"})
    renewal.keep_part(tmp_path, part, "2-first", 3)
    assert renewal.kept_parts(tmp_path, "2-first").broken == {"cd": "broken"}
    assert renewal.kept_parts(tmp_path, "2-other").rows == {}
    file = tmp_path/"part-000000.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    assert renewal.kept_parts(tmp_path, "2-first").rows == {}


def test_a_file_that_changes_while_it_is_embedded(model, photos, monkeypatch):
    real = renewal._still
    def slow(f):
        if f.name == "a/0.png": put(f.path, 99)
        return real(f)
    monkeypatch.setattr(renewal, "_still", slow)
    gallery = Gallery.build(model, photos, progress=None)
    assert list(gallery.skipped) == ["a/0.png"] and "changed meanwhile" in gallery.skipped["a/0.png"]
    monkeypatch.setattr(renewal, "_still", real)
    assert gallery.update(progress=None).added == ["a/0.png"] and len(gallery) == 6


# Hits

def test_hits_say_what_became_of_their_files(gallery, photos, tmp_path):
    place = gallery.save(tmp_path/"g")
    (photos/"a"/"0.png").unlink()
    put(photos/"b"/"1.png", 50)
    os.utime(photos/"a"/"2.png", ns=(1, 1))                                 # touched, not changed
    hits = Gallery.load(place).search(gallery.embeddings[0], 6)
    states = dict(zip(hits.names, hits.states))
    assert states == {name: "" for name in hits.names} | {"a/0.png": "gone", "b/1.png": "changed"}
    assert repr(hits).splitlines()[0].endswith("a/0.png  (no longer there)") and "(changed since)" in repr(hits)
    rows = {Path(row["path"]).name: row for row in hits.rows()}
    assert rows["0.png"]["file"] == "gone" and rows["1.png"]["file"] == "changed" and "file" not in rows["2.png"]
    assert "<i>no longer there</i>" in hits._repr_html_() and hits.static()


def test_hits_stay_those_of_their_search(gallery, photos):
    hits = gallery.search(photos/"b"/"5.png", 2)
    names, paths = hits.names, hits.paths
    (photos/"a"/"0.png").unlink()
    put(photos/"a"/"00.png", 60)
    put(photos/"a"/"01.png", 61)
    gallery.update(progress=None)
    assert hits.names == names and hits.paths == paths and gallery.names != names


@pytest.fixture
def doubled(model, photos):
    for name in ("x.png", "y.png"): shutil.copy2(photos/"a"/"0.png", photos/"b"/name)
    labels = [0, 1, 0, 1, 0, 1, 1, 1]
    files = [photos/"ab"[i % 2]/f"{i}.png" for i in range(6)] + [photos/"b"/"x.png", photos/"b"/"y.png"]
    return Gallery.build(model, ImageSet(files, labels, ["cat", "dog"]), progress=None)


def test_copies_are_folded(doubled, photos):
    query = photos/"a"/"0.png"
    assert sorted(doubled.search(query, 3).names) == ["a/0.png", "b/x.png", "b/y.png"]
    hits = doubled.search(query, 3, fold=True)
    assert hits.names[0] == "a/0.png" and hits.copies == [3, 1, 1] and hits.rows()[0]["copies"] == 3
    assert "(3 of this content)" in repr(hits) and "3 of this content" in hits._repr_html_()
    assert doubled.search(query, 3).copies is None and "copies" not in doubled.search(query, 3).rows()[0]
    with pytest.warns(UserWarning, match="there are 6 images to choose from"):
        assert len(doubled.search(query, 8, fold=True).ids) == 6
    tiles = load_emoji().query.subset([0, 0, 1])                            # no files: by their embeddings
    hits = Gallery.build(doubled.model, tiles, progress=None).search(tiles.open(0), 2, fold=True)
    assert hits.copies == [2, 1]


def test_the_query_itself_can_be_left_out(doubled, photos, tmp_path):
    query, others = photos/"a"/"0.png", {"b/1.png", "a/2.png", "b/3.png", "a/4.png", "b/5.png"}
    elsewhere = tmp_path/"elsewhere.png"
    shutil.copy(query, elsewhere)
    assert doubled.search(query, 1).names == ["a/0.png"]                    # by default it is found
    E = doubled.embeddings[0]
    for q in (query, str(query), elsewhere, Image.open(query), picture(0), E, E.numpy()):
        assert set(doubled.search(q, 5, exclude_self=True).names) == others
    a, b = doubled.search([query, photos/"b"/"1.png"], 4, exclude_self=True)
    assert set(a.names) <= others and "b/1.png" not in b.names and len(b.ids) == 4
    slow = (doubled.embeddings @ doubled.embeddings[0]).sort(descending=True, stable=True).indices
    wanted = [doubled.names[i] for i in slow.tolist() if doubled.names[i] in others]
    assert doubled.search(query, 5, exclude_self=True).names == wanted
    with pytest.warns(UserWarning, match="k = 8, and there are 5 images to choose from"):
        assert len(doubled.search(query, 8, exclude_self=True).ids) == 5


@pytest.mark.parametrize("exclude, left", [
    ("cat", {"b/1.png", "b/3.png", "b/5.png", "b/x.png", "b/y.png"}), (["dog"], {"a/0.png", "a/2.png", "a/4.png"}),
    ("a/0.png", None), (["a/0.png", "cat"], {"b/1.png", "b/3.png", "b/5.png", "b/x.png", "b/y.png"}), ((), None)])
def test_names_and_classes_are_left_out(doubled, exclude, left):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = set(doubled.search(doubled.embeddings[0], 8, exclude=exclude).names)
    assert found == left if left else found == set(doubled.names) - ({exclude} if exclude else set())


def test_what_exclude_cannot_mean(doubled, photos):
    E = doubled.embeddings[0]
    assert "a/0.png" not in doubled.search(E, 3, exclude=photos/"a"/"0.png").names        # a path
    for wrong in ("cats", ["a/0.pn"], 3, photos/"nothing.png"):
        with pytest.raises(GalleryError, match="no image and no class of this name"): doubled.search(E, exclude=wrong)
    with pytest.raises(GalleryError, match="did you mean 'cat'"): doubled.search(E, exclude="cats")
    with pytest.raises(GalleryError, match="leaves no image"): doubled.search(E, exclude=["cat", "dog"])


# Odd questions

@pytest.mark.parametrize("k", [0, -3, 2.5, None, "3", True, float("nan"), [1], 1e9])
def test_numbers_that_are_none(gallery, k):
    with pytest.raises(GalleryError, match="is no number of images: give a whole number from 1 on"):
        gallery.search(gallery.embeddings[0], k)


def test_more_than_there_are_is_said(gallery):
    with pytest.warns(UserWarning, match="k = 7, and there are 6 images to choose from: all of them come") as said:
        assert len(gallery.search(gallery.embeddings[0], 7).ids) == 6
    assert said[0].filename == __file__                                     # the line that asked
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(gallery.search(gallery.embeddings[0], np.int64(6)).ids) == 6


@pytest.mark.parametrize("query, says", [
    (None, "not NoneType"), (3, "not int"), ({"a": 1}, "not dict"), (b"\x89PNG", "Image.open"),
    (bytearray(b"x"), "bytes"),
    ("https://example.org/cat.jpg", "download it first"), ("s3://bucket/cat.jpg", "download it first"),
    (np.zeros((64, 80, 3), np.uint8), "fromarray"), (np.zeros((64, 80), np.uint8), "fromarray"),
    (torch.zeros(3, 64, 64), "not of the same model"), (np.zeros(128), "all zeros"),
    (torch.full((128,), torch.nan), "NaN"), (np.full(128, np.inf), "infinite"),
    (np.ones(128, complex), "holds complex128"), (np.array(["a"]*128), "holds <U1"), ([None], "not NoneType"),
    (np.ones(5), "have 128 numbers, the query has shape"), ([np.ones(128), "ftp://x/y"], "download"),
])
def test_what_is_no_query(gallery, query, says):
    with pytest.raises(GalleryError, match=says) as e: gallery.search(query)
    assert "\n" not in str(e.value)


def test_a_folder_is_no_query(gallery, photos):
    with pytest.raises(GalleryError, match="is a folder: give the path of an image"): gallery.search(photos)


def test_embeddings_of_other_kinds_are_taken(gallery):
    E = gallery.embeddings[2]
    for query in (E.double(), E.half(), E.numpy().astype(np.float64), nn.Parameter(E), 5*E, E.tolist() and E[None]):
        hits = gallery.search(query, 1)
        assert (hits[0] if isinstance(hits, list) else hits).names == [gallery.names[2]]


def test_a_model_that_embeds_nothing_is_said(photos):
    broken = build_model(Config.load("emoji").as_method("linear").replace(workers=0), 2)
    with torch.no_grad(): next(broken.head.parameters()).fill_(torch.nan)
    with pytest.raises(GalleryError, match="NaN or infinite embeddings of 6 of 6 images"):
        Gallery.build(broken, photos, progress=None)


# Readers and writers

@pytest.mark.parametrize("pause", [0, .004])
def test_readers_and_writers_never_mix(model, photos, tmp_path, monkeypatch, pause):
    "One writes two galleries in turn, the other reads: names and embeddings always belong together."
    real = Path.replace
    if pause: monkeypatch.setattr(Path, "replace", lambda self, to: (time.sleep(pause), real(self, to))[1])
    files = sorted(photos.rglob("*.png"))
    two = [Gallery.build(model, some, progress=None) for some in (files[:5], files[1:])]
    true = {name: row for g in two for name, row in zip(g.names, g.embeddings)}
    place, end = two[0].save(tmp_path/"g"), time.time() + 3
    def write():
        i = 0
        while time.time() < end: two[(i := i + 1) % 2].save(place)
    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while time.time() < end - .5:
        stored = read_stored(place)
        assert all(torch.equal(true[name], row) for name, row in zip(stored.names, stored.embeddings))
        reads += 1
    writer.join()
    assert reads > 10 and [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_embeddings_that_are_exchanged_while_they_are_read(gallery, tmp_path, monkeypatch):
    "The safetensors library opens a file twice, and the second time it may be gone."
    place, real, calls = gallery.save(tmp_path/"g"), gallery_files.safe_open, []
    def exchanged(file, *how):
        calls.append(file)
        if len(calls) > 1: return real(file, *how)
        whole = file.read_bytes()
        file.unlink()
        file.write_bytes(whole)
        message = f"unable to open file <{file}> in read-only mode: No such file or directory (2)"
        raise RuntimeError(message)
    monkeypatch.setattr(gallery_files, "safe_open", exchanged)
    assert torch.equal(read_stored(place).embeddings, gallery.embeddings) and len(calls) == 2


@pytest.mark.parametrize("name", ["images.jsonl", "embeddings.safetensors", "gallery.json"])
def test_files_of_two_saves_are_refused(gallery, tmp_path, name):
    a, b = gallery.save(tmp_path/"a"), gallery.save(tmp_path/"b")
    shutil.copy(b/name, a/name)
    with pytest.raises(GalleryError, match="files are of two saves"): Gallery.load(a)


def test_a_gallery_that_was_saved_anew_is_loaded_again(gallery, model, photos, tmp_path):
    place = gallery.save(tmp_path/"g")
    loaded, stale = Gallery.load(place), Gallery.load(place)
    other = build_model(Config.load("emoji").replace(workers=0, seed=1), 2)
    Gallery.build(other, photos, progress=None).save(place)
    with pytest.raises(GalleryError, match="was saved anew with another model since"): loaded.search(photos/"a"/"0.png")
    with pytest.raises(GalleryError, match="was saved anew since this gallery was loaded"): stale.update(progress=None)


def test_two_that_save_at_once(gallery, tmp_path):
    errors = []
    def save():
        try:
            for _ in range(5): Gallery.build(gallery.model, gallery.root, progress=None).save(tmp_path/"g")
        except Exception as e: errors.append(e)
    threads = [threading.Thread(target=save) for _ in range(2)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert not errors and len(Gallery.load(tmp_path/"g")) == 6


@pytest.mark.parametrize("wrong", ["nan", "long", "short"])
def test_embeddings_that_were_damaged(gallery, tmp_path, wrong):
    place = gallery.save(tmp_path/"g")
    file = place/"embeddings.safetensors"
    content = bytearray(file.read_bytes())
    at = len(content) - 4*128
    content[at:at + 4] = np.float32({"nan": np.nan, "long": 1e30, "short": 3}[wrong]).tobytes()
    file.write_bytes(content)
    with pytest.raises(GalleryError, match="1 of 6 embeddings hold NaN or are not of length one"): Gallery.load(place)


# Models

def test_a_gallery_of_0_1_stays_readable(tmp_path):
    for i in range(6): put(tmp_path/"moved"/"a"/f"{i}.png", i)
    shutil.copytree(OLD, tmp_path/"g")
    gallery = Gallery.load(tmp_path/"g", root=tmp_path/"moved")
    for i in (0, 3, 5):                                                     # embedded now as it was then
        hits = gallery.search(tmp_path/"moved"/"a"/f"{i}.png", 2)
        first, second = hits.similarity.tolist()
        assert hits.names[0] == f"a/{i}.png" and first > 1 - 1e-5 and second < .99
    model = Model.load(OLD/"model")
    assert fingerprint_0_1(model) == gallery.fingerprint
    assert len(Gallery.load(tmp_path/"g", model=model)) == 6
    cfg = model.cfg.replace(lr=.5, epochs=20, batch_size=4)                 # trained otherwise, the same weights
    other = build_model(cfg, 7)
    other.head.load_state_dict(model.head.state_dict())
    other.prompts.load_state_dict(model.prompts.state_dict())
    assert fingerprint_0_1(other) != gallery.fingerprint and len(Gallery.load(tmp_path/"g", model=other)) == 6
    with torch.no_grad(): next(other.prompts.parameters()).add_(1)
    with pytest.raises(GalleryError, match="by another model"): Gallery.load(tmp_path/"g", model=other)
    with pytest.raises(GalleryError, match="does not say what it was made from"): gallery.update(progress=None)
    changes = gallery.update(tmp_path/"moved", progress=None)
    assert changes.embedded == 6 and "-" not in gallery.fingerprint          # nothing was known of their content
    again = Gallery.load(tmp_path/"g")
    assert again.id and again.search(tmp_path/"moved"/"a"/"3.png", 1).names == ["a/3.png"]
    assert not again.update(progress=None)


@pytest.mark.parametrize("change", [dict(lr=.5, epochs=9), dict(batch_size=32), dict(workers=1), dict(seed=3),
                                    dict(loss="proxy_anchor"), dict(dataset="mine"), dict(crop_min=.5, flip=.1),
                                    dict(feature_dropout=.2)])
def test_training_settings_are_no_other_model(model, gallery, photos, tmp_path, change):
    place = gallery.save(tmp_path/"g")
    other = build_model(Config.load("emoji").as_method("frozen").replace(**{"workers": 0, **change}), 5)
    assert other.fingerprint() == model.fingerprint() == gallery.fingerprint and len(Gallery.load(place, other)) == 6


@pytest.mark.parametrize("change", [dict(resize=72), dict(pool="avg")])
def test_what_changes_an_embedding_is_another_model(model, change):
    other = build_model(Config.load("emoji").as_method("frozen").replace(workers=0, **change), 2)
    assert other.fingerprint() != model.fingerprint()


class Busy(nn.Module):
    "A model that is being trained: dropout that shows, and flags that are watched."
    def __init__(self):
        super().__init__()
        self.first, self.drop, self.norm = nn.Linear(4, 8), nn.Dropout(.5), nn.BatchNorm1d(8)
        self.again = self.first
    def forward(self, x): return self.norm(self.drop(self.again(x)))


def test_a_copy_at_rest_shares_all_but_the_flags():
    net = Busy().train()
    x, rest = torch.randn(5, 4), eval_copy(net)
    assert rest.first.weight is net.first.weight and rest.norm.running_mean is net.norm.running_mean
    assert rest.first is rest.again
    assert not any(m.training for m in rest.modules()) and all(m.training for m in net.modules())
    before = net.norm.running_mean.clone()
    assert torch.equal(rest(x), net.eval()(x)) and torch.equal(net.norm.running_mean, before)
    net.train()
    seen = []
    net.first.register_forward_hook(lambda m, i, o: seen.append(m.training))
    rest(x)
    assert seen == [False]                                                  # hooks are shared
    assert type(eval_copy(torch.compile(Busy()))) is Busy                   # at rest without the compiler


def test_a_forward_that_was_put_on_a_model_runs_on_the_copy():
    net, x = Busy().train(), torch.randn(5, 4)
    net.forward = MethodType(torch.autocast("cpu", torch.bfloat16)(net.forward.__func__), net)   # as Accelerate does it
    with torch.no_grad(): assert torch.equal(eval_copy(net)(x), net.eval()(x))


def test_embedding_from_another_thread_leaves_training_alone(photos):
    "The search is right while the model is trained, and no step is made in eval mode."
    cfg = Config.load("emoji").replace(workers=0, feature_dropout=.5)
    model = build_model(cfg, 4).train()
    gallery = Gallery.build(model, photos, progress=None)
    true = [gallery.search(path, 6) for path in gallery.images.sources]
    stop, at_rest, wrong = threading.Event(), [], []
    flags = {name: m.training for name, m in model.named_modules()}
    def train():
        x = torch.randn(2, 3, 64, 64)
        while not stop.is_set():
            model.train()
            with torch.no_grad(): model(x)                                  # dropout is drawn in here
            at_rest.extend(name for name, m in model.named_modules() if m.training != flags[name])
    trainer = threading.Thread(target=train)
    trainer.start()
    for _ in range(4):
        for path, hits in zip(gallery.images.sources, true):
            found = gallery.search(path, 6)
            if not torch.equal(found.ids, hits.ids) or not close(found.similarity, hits.similarity): wrong.append(path)
    stop.set()
    trainer.join()
    assert not wrong and not at_rest and model.training


def test_embedding_keeps_the_mode_of_every_part(photos):
    model = build_model(Config.load("emoji").replace(workers=0), 4).train()
    model.head.eval()                                                       # a part with a mode of its own
    flags = [m.training for m in model.modules()]
    x = torch.randn(2, 3, 64, 64)
    E, frozen = model.embed(x), model.embed_frozen(x)
    model.for_embedding().fingerprint()
    assert [m.training for m in model.modules()] == flags
    model.eval()
    with torch.no_grad(): assert torch.equal(model(x).embeddings, E)
    assert torch.equal(model.embed_frozen(x), frozen)


# Cards

def test_cards_hold_names_as_text(model, tmp_path):
    folder = tmp_path/"<b>x</b> \x1b[31m‮ *y* [z](http:)\n# no"
    for i in range(2): put(folder/f"{i}.png", i)
    gallery = Gallery.build(model, folder, progress=None)
    text = (gallery.save(tmp_path/"g")/"model"/"README.md").read_text(encoding="utf-8")
    assert "<b>" not in text and "\x1b" not in text and "‮" not in text and "\n# no" not in text and "[z](" not in text
    odd = build_model(Config.load("emoji").as_method("frozen").replace(workers=0, dataset="<img src=x>|\n# `a`"), 2)
    odd.classes = ["caf\udce9", "ok"]                                       # a name that is no UTF-8
    odd.save(tmp_path/"m", metrics={"R@1": .5, "a|b": "c|d"})
    card = (tmp_path/"m"/"README.md").read_text(encoding="utf-8")
    assert "<img" not in card and card.startswith("# &lt;img") and "\n# `a`" not in card and r"a\|b" in card
    assert json.loads((tmp_path/"m"/"config.json").read_text())["classes"] == odd.classes
    assert Model.load(tmp_path/"m").classes == odd.classes


def test_a_model_that_was_trained_after_the_build_is_refused(photos, tmp_path):
    model = build_model(Config.load("emoji").as_method("frozen").replace(workers=0), 2).eval()
    gallery = Gallery.build(model, photos, progress=None)
    saved = gallery.save(tmp_path/"g")
    first = gallery.images.sources[0]
    assert gallery.search(first).similarity[0] > .999
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with torch.no_grad():
        for p in model.backbone.parameters(): p.add_(torch.randn_like(p))
    files = {p: p.read_bytes() for p in saved.rglob("*") if p.is_file() and p.parent.name != "update"}
    put(photos/"a"/"new.png", 77)
    for use in (lambda: gallery.search(first), lambda: gallery.update(progress=None), lambda: gallery.save(saved)):
        with pytest.raises(GalleryError, match="was changed after it embedded this gallery"): use()
    assert files == {p: p.read_bytes() for p in files} and len(gallery) == 6
    gallery.search(gallery.embeddings[0])                        # no model is asked
    model.load_state_dict(before)                                # as it was
    assert gallery.search(first).similarity[0] > .999
    assert gallery.update(progress=None).added == ["a/new.png"]


def test_the_fingerprint_is_not_made_for_every_search(gallery, model, tmp_path, monkeypatch):
    gallery.save(tmp_path/"g")
    loaded = Gallery.load(tmp_path/"g")
    reads = []
    real = Model.load.__func__
    monkeypatch.setattr(Model, "load", classmethod(lambda cls, *a, **kw: reads.append(1) or real(cls, *a, **kw)))
    for g in (gallery, loaded): g.search(g.images.sources[0])
    monkeypatch.setattr(Model, "fingerprint", None)
    for g in (gallery, loaded): g.search(g.images.sources[0])
    assert len(reads) == 1                                       # nor is the model read for every search


def test_files_of_others_in_a_gallerys_folder_stay(gallery, model, photos, tmp_path):
    place = gallery.save(tmp_path/"g")
    (place/"notes.txt").write_text("mine")
    (place/"model"/"why.txt").write_text("mine too")
    (place/"sub").mkdir()
    (place/"sub"/"a.txt").write_text("a")
    (place/"sub"/"to").symlink_to("a.txt")
    put(photos/"a"/"new.png", 77)
    Gallery.load(place).update(progress=None)
    Gallery.build(model, photos, progress=None, out=place)
    assert (place/"notes.txt").read_text() == "mine" and (place/"model"/"why.txt").read_text() == "mine too"
    assert (place/"sub"/"to").is_symlink() and (place/"sub"/"to").read_text() == "a"
    assert len(Gallery.load(place)) == 7
    assert sorted(p.name for p in place.iterdir() if p.name != "update") == [
        "embeddings.safetensors", "gallery.json", "images.jsonl", "model", "notes.txt", "sub"]


@pytest.mark.parametrize("text", ["{}", "[]", "", '{"images": ["a.png"]}'])
def test_a_gallery_json_of_others_is_no_gallery(gallery, model, photos, tmp_path, text):
    (tmp_path/"g").mkdir()
    (tmp_path/"g"/"precious.txt").write_text("mine")
    (tmp_path/"g"/"gallery.json").write_text(text)
    for use in (lambda: Gallery.build(model, photos, progress=None, out=tmp_path/"g"),
                lambda: gallery.save(tmp_path/"g")):
        with pytest.raises(GalleryError, match="holds a gallery.json that is not of a gallery"): use()
    assert sorted(p.name for p in (tmp_path/"g").iterdir()) == ["gallery.json", "precious.txt"]


def test_a_link_to_a_gallery_stays_one(gallery, model, photos, tmp_path):
    (tmp_path/"far").mkdir()
    link = tmp_path/"glink"
    link.symlink_to(tmp_path/"far"/"g")
    Gallery.build(model, photos, progress=None, out=link)        # leads nowhere yet
    put(photos/"a"/"new.png", 77)
    Gallery.load(link).update(progress=None)
    assert link.is_symlink() and len(Gallery.load(tmp_path/"far"/"g")) == 7
    gallery.save(link)
    assert link.is_symlink() and len(Gallery.load(link)) == len(Gallery.load(tmp_path/"far"/"g")) == 6


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_galleries_of_models_in_other_precisions(photos, tmp_path, dtype):
    model = build_model(Config.load("emoji").as_method("frozen").replace(workers=0), 2).eval().to(dtype)
    gallery = Gallery.build(model, photos, progress=None, out=tmp_path/"g")
    assert gallery.embeddings.dtype == torch.float32
    loaded = Gallery.load(tmp_path/"g")
    for i, path in enumerate(loaded.images.sources):
        hits = loaded.search(path, 1)
        assert hits.ids.tolist() == [i] and hits.similarity[0] > .99


def test_files_that_exchanged_their_names(gallery, photos, tmp_path, monkeypatch):
    "Of one size and one time: nothing but the numbers of the files tells."
    one, two = photos/"a"/"0.png", photos/"a"/"2.png"
    size = max(p.stat().st_size for p in (one, two))
    for p in (one, two):
        p.write_bytes(p.read_bytes().ljust(size, b"\0"))
        os.utime(p, ns=(10**18, 10**18))
    gallery.update(progress=None)
    loaded = Gallery.load(gallery.save(tmp_path/"g"))
    one.rename(tmp_path/"x")
    two.rename(one)
    (tmp_path/"x").rename(two)
    embedded = counted(monkeypatch)
    assert loaded.update(progress=None).changed == ["a/0.png", "a/2.png"] and not embedded
    assert loaded.search(one, 1).names == ["a/0.png"] and loaded.search(two, 1).names == ["a/2.png"]
    assert loaded.update(progress=None).kept == 6
