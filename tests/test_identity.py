"Data is what its images are: hashes, caches, threads, the same image in two sets, names that look alike."
import io
import multiprocessing
import os
import shutil
import sqlite3
import tarfile
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import vptsp.data
import vptsp.identity
from vptsp.analysis.check import check_data
from vptsp.benchmarks import load_emoji
from vptsp.config import Config
from vptsp.data import RetrievalData
from vptsp.files import DataError, kept_array
from vptsp.identity import can_be_read_apart, file_hashes, index_path, sets_hash, twin_names
from vptsp.images import ImageSet
from vptsp.loaders import eval_loader
from vptsp.readers import from_folder, from_pairs
from vptsp.widgets.base import sprite


@pytest.fixture(autouse=True)
def own_index(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("index")))


def plain(colour, side=24): return Image.new("RGB", (side, side), colour)


def folder_of(root, colours="rgbc", n=2, suffix="bmp"):
    "Class folders; a class has a shade of its own, an image of it another."
    for c, letter in enumerate(colours):
        (root/f"class {letter}").mkdir(parents=True, exist_ok=True)
        for i in range(n): plain((50*c, 9*i, 7)).save(root/f"class {letter}"/f"{i}.{suffix}")
    return root


def age(root, seconds=60):
    "Files written a while ago; ctime cannot be set, so the clock is."
    for path in root.rglob("*.*"): os.utime(path, (time.time() - seconds,)*2)


@pytest.fixture
def later(monkeypatch):
    "As if every file had been there for a while."
    monkeypatch.setattr(vptsp.identity, "_settled", lambda s, now: True)


# ---- hashes

def test_other_pixels_another_hash_wherever_they_come_from(tmp_path):
    labels = [c for c in range(4) for _ in range(2)]
    def pairs(colour): return from_pairs([(plain(colour), label) for label in labels])
    assert pairs("red").sha256 == pairs("red").sha256 != pairs("blue").sha256
    def in_memory(colour):
        return RetrievalData("x", ImageSet([plain(colour)], [0], ["a"]), ImageSet([plain("red")], [0], ["b"])).sha256
    assert in_memory("green") == in_memory("green") != in_memory("blue")
    paths = [str(p) for p in sorted(folder_of(tmp_path/"p").rglob("*.bmp"))]
    def as_text(paths): return sets_hash({"train": ImageSet(paths, [0]*len(paths), ["a"])})
    before = as_text(paths)
    plain("white").save(paths[0])
    assert as_text(paths) != before


def test_the_root_the_names_and_the_times_do_not_matter(tmp_path):
    one, two = folder_of(tmp_path/"here"), folder_of(tmp_path/"there"/"deeper")
    for path in two.rglob("1.bmp"): path.rename(path.with_name("second.bmp"))
    age(two)
    assert from_folder(one).sha256 == from_folder(two).sha256
    (two/"class r").rename(two/"class s")
    assert from_folder(one).sha256 != from_folder(two).sha256           # the classes do


def test_sets_and_order_do_matter():
    a = ImageSet([plain("red"), plain("blue")], [0, 0], ["a"])
    b = ImageSet([plain("blue"), plain("red")], [0, 0], ["a"])
    assert sets_hash({"train": a}) != sets_hash({"train": b})
    assert sets_hash({"train": a}) != sets_hash({"query": a})
    assert sets_hash({"train": a}) == sets_hash({"train": a.subset([0, 1])})


def test_edited_in_place_is_noticed(tmp_path, later):
    path = folder_of(tmp_path/"f")/"class r"/"0.bmp"
    before, times = from_folder(tmp_path/"f").sha256, path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))           # the old date, the old size
    assert path.stat().st_mtime_ns == times.st_mtime_ns and path.stat().st_size == times.st_size
    assert from_folder(tmp_path/"f").sha256 != before


def test_touched_is_the_same_and_read_again(tmp_path, later, monkeypatch):
    read, real = [], vptsp.identity._read_hash
    monkeypatch.setattr(vptsp.identity, "_read_hash", lambda path: read.append(path) or real(path))
    root = folder_of(tmp_path/"f")
    before = from_folder(root).sha256
    assert len(read) == 8
    assert from_folder(root).sha256 == before and len(read) == 8        # from the index
    os.utime(root/"class r"/"0.bmp")
    assert from_folder(root).sha256 == before and len(read) == 9


def test_a_file_that_was_just_written_is_not_entered(tmp_path):
    path = tmp_path/"a"
    path.write_bytes(b"one")
    file_hashes([path])
    with sqlite3.connect(index_path()) as index: assert index.execute("SELECT count(*) FROM hashes").fetchone() == (0,)


def test_names_that_are_no_text(tmp_path):
    root = os.fsencode(folder_of(tmp_path/"f"))
    os.rename(root + b"/class r", root + b"/kat\xe9gorie")
    os.rename(root + b"/kat\xe9gorie/0.bmp", root + b"/kat\xe9gorie/\xff0.bmp")
    data = from_folder(tmp_path/"f")
    assert len(data.sha256) == 64
    data.cached(tmp_path/"cache", 16, progress=None)
    assert all(line.encode() for line in check_data(data).lines())


def test_a_missing_file_is_named(tmp_path):
    data = from_folder(folder_of(tmp_path/"f"))
    (tmp_path/"f"/"class r"/"1.bmp").unlink()
    with pytest.raises(DataError, match="class r/1.bmp' cannot be read"): data.sha256                # noqa: B018


# ---- the index only saves time

@pytest.mark.parametrize("harm", ["damaged", "a folder", "in the way", "locked"])
def test_hashes_without_an_index(tmp_path, later, harm, monkeypatch):
    paths = [tmp_path/"a", tmp_path/"b"]
    for path in paths: path.write_bytes(path.name.encode())
    wanted = file_hashes(paths)
    place = index_path()
    if harm == "damaged": place.write_bytes(b"no database"*1000)
    if harm in ("a folder", "in the way"):
        place.unlink()
        if harm == "a folder": place.mkdir()
        else: place.parent.rmdir() or place.parent.write_text("a file")
    if harm == "locked":
        lock, real = sqlite3.connect(place), sqlite3.connect
        lock.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: real(path, timeout=.05))
    assert file_hashes(paths) == wanted == file_hashes(paths)
    if harm == "damaged":
        with sqlite3.connect(place) as index: assert index.execute("SELECT count(*) FROM hashes").fetchone() == (2,)


def hash_all(paths, index, out):
    os.environ["XDG_CACHE_HOME"] = index
    out.put(file_hashes(paths))


def test_several_processes_share_an_index(tmp_path):
    paths = [tmp_path/str(i) for i in range(300)]
    for i, path in enumerate(paths): path.write_bytes(b"%d" % (i//2))
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    workers = [context.Process(target=hash_all, args=(paths, os.environ["XDG_CACHE_HOME"], out)) for _ in range(4)]
    for worker in workers: worker.start()
    found = [out.get(timeout=60) for _ in workers]
    for worker in workers: worker.join()
    assert all(hashes == found[0] for hashes in found) and len(set(found[0])) == 150


# ---- caches

def colour_of(data): return data.train.open(0).getpixel((0, 0))


def test_a_cache_is_never_anothers(tmp_path):
    labels = [c for c in range(4) for _ in range(2)]
    for colour in ((255, 0, 0), (0, 0, 255)):
        data = from_pairs([(plain(colour), label) for label in labels])
        assert colour_of(data.cached(tmp_path/"cache", 16, None)) == colour
    path = folder_of(tmp_path/"f")/"class b"/"0.bmp"
    for colour in ((255, 0, 0), (0, 0, 255)):                           # of one size, one after the other
        plain(colour).save(path)
        assert colour_of(from_folder(tmp_path/"f").cached(tmp_path/"cache", 16, None)) == colour


def test_a_cache_knows_how_its_images_were_opened(tmp_path):
    for c in range(4):
        (tmp_path/"f"/f"{c}").mkdir(parents=True)
        x = np.tile(np.linspace(0, 4095, 24).astype(np.uint16), (24, 1)) + c
        Image.fromarray(x.clip(0, 4095)).save(tmp_path/"f"/f"{c}"/"a.png")
    data = from_folder(tmp_path/"f")
    bright, dark = (data.opened(full_scale=white).cached(tmp_path/"cache", 16, None) for white in (4095, 65535))
    assert bright.sha256 == dark.sha256 == data.sha256
    assert max(bright.train.open(0).getextrema())[1] > 200 > 16 > max(dark.train.open(0).getextrema())[1]


def test_data_that_changed_after_it_was_made(tmp_path):
    data = from_folder(folder_of(tmp_path/"f"))
    data.sha256                                                         # noqa: B018
    plain("white").save(data.train.sources[0])
    with pytest.raises(DataError, match="no longer those that it was made of: make the data anew"):
        data.cached(tmp_path/"cache", 16, None)
    assert colour_of(from_folder(tmp_path/"f").cached(tmp_path/"cache", 16, None)) == (255, 255, 255)


def test_data_that_changes_while_it_is_decoded(tmp_path, monkeypatch):
    data, real = from_folder(folder_of(tmp_path/"f")), vptsp.data._decode
    def slow(images, folder, side, progress):
        real(images, folder, side, progress)
        plain("white").save(data.train.sources[0])
    monkeypatch.setattr(vptsp.data, "_decode", slow)
    with pytest.raises(DataError, match="make the data anew"): data.cached(tmp_path/"cache", 16, None)
    assert list((tmp_path/"cache").iterdir()) == []


class Cropped:
    "A dataset whose items are others each time."
    def __init__(self): self.targets, self.rng = [0, 0, 1, 1], np.random.default_rng(0)
    def __len__(self): return 4
    def __getitem__(self, i):
        return Image.fromarray(self.rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)), self.targets[i]


def test_items_that_are_others_each_time(tmp_path):
    with pytest.raises(DataError, match="must be the same each time they are read"):
        from_pairs(Cropped()).cached(tmp_path/"cache", 16, None)


def test_two_processes_make_one_cache(tmp_path):
    root, context = folder_of(tmp_path/"f"), multiprocessing.get_context("fork")
    def use():
        real = vptsp.data._decode
        vptsp.data._decode = lambda *a: (time.sleep(.1), real(*a), time.sleep(.1))
        from_folder(root).cached(tmp_path/"cache", 16, None)
    processes = [context.Process(target=use) for _ in range(3)]
    for process in processes: process.start()
    for process in processes: process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list((tmp_path/"cache").iterdir())) == 1


def test_a_cache_without_a_test_set(tmp_path):
    data = RetrievalData("all", ImageSet([plain("red")], [0], ["a"]), ImageSet([], [], []))
    cached = data.cached(tmp_path, 16, None)
    assert not cached.has_test and len(cached.query) == 0 and colour_of(cached) == (255, 0, 0)
    assert "no test set" in repr(data) and data.counts()["query"] == (0, 0) and not len(data.unanswerable())
    assert any("there is no test set" in line for line in check_data(data).lines())


def test_a_damaged_cache_says_so(tmp_path):
    data = from_folder(folder_of(tmp_path/"f"))
    data.cached(tmp_path/"cache", 16, None)
    for path in (tmp_path/"cache").rglob("places.npy"): path.write_bytes(b"")
    with pytest.raises(DataError, match="are damaged .*: remove this folder"): data.cached(tmp_path/"cache", 16, None)


# ---- threads

class Alone:
    "A dataset that cannot be asked twice at a time."
    def __init__(self, n=40): self.targets, self.busy, self.threads = [i//4 for i in range(n)], False, set()
    def __len__(self): return len(self.targets)
    def __getitem__(self, i):
        assert not self.busy
        self.busy = True
        self.threads.add(threading.get_ident())
        time.sleep(.001)
        self.busy = False
        return plain((i, 9, 9), 8), self.targets[i]


def test_a_sequence_is_read_by_one_thread(tmp_path):
    dataset = Alone()
    data = from_pairs(dataset)
    found = check_data(data)
    data.cached(tmp_path, 8, None)
    assert not found.broken and dataset.threads == {threading.get_ident()}


class Archive:
    "Pictures in one file, the number of each in its red; opened once, or once in every process."
    def __init__(self, path, n=80, in_every_process=False):
        self.path, self.files, self.in_every_process = path, {}, in_every_process
        self.targets = [i//4 for i in range(n)]
        with tarfile.open(path, "w") as archive:
            for i in range(n):
                content = io.BytesIO()
                plain((i, 5, 7), 8).save(content, "PNG")
                about = tarfile.TarInfo(f"{i}.png")
                about.size = content.tell()
                content.seek(0)
                archive.addfile(about, content)
        with tarfile.open(path) as archive: self.members = archive.getmembers()

    def __len__(self): return len(self.targets)

    def __getitem__(self, i):
        process = os.getpid() if self.in_every_process else 0
        if process not in self.files: self.files[process] = open(self.path, "rb")
        file = self.files[process]
        file.seek(self.members[i].offset_data)
        time.sleep(1e-4)
        return Image.open(io.BytesIO(file.read(self.members[i].size))), self.targets[i]


def test_pictures_of_an_archive_are_right(tmp_path):
    cached = from_pairs(Archive(tmp_path/"a.tar")).cached(tmp_path/"cache", 8, None)
    numbers = [images.open(i).getpixel((0, 0))[0] for images in (cached.train, cached.query) for i in range(40)]
    assert numbers == list(range(80))


@pytest.mark.parametrize("in_every_process", [False, True])
def test_worker_processes_do_not_share_an_open_file(tmp_path, in_every_process):
    data = from_pairs(Archive(tmp_path/"a.tar", in_every_process=in_every_process))
    cfg = Config.load("emoji").replace(image_size=8, resize=8, batch_size=4, workers=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loader = eval_loader(data.train, cfg, (0.,)*3, (1.,)*3)
    assert loader.num_workers == (2 if in_every_process else 0)
    assert any("as with workers=0" in str(w.message) for w in caught) == (not in_every_process)
    for _ in range(2):
        numbers = torch.cat([images[:, 0, 0, 0]*255 for images, _ in loader]).round().int().tolist()
        assert numbers == list(range(40))
    assert can_be_read_apart(load_emoji().query) and can_be_read_apart(data.cached(tmp_path/"cache", 8, None).query)


def test_errors_of_a_dataset_are_wrapped(tmp_path):
    class Broken(Alone):
        def __getitem__(self, i):
            if i == 3: raise RuntimeError("lost the disk")
            return super().__getitem__(i)
    data = from_pairs(Broken())
    for read in (lambda: data.train.open(3), lambda: data.sha256, lambda: data.cached(tmp_path, 8, None)):
        with pytest.raises(DataError, match="number 3 of .* cannot be read .RuntimeError: lost the disk"): read()
    assert [name for name, _, _ in check_data(data).broken] == ["train"]


# ---- the same image twice, names that look alike

def one_class(sources, name): return ImageSet(sources, [0]*len(sources), [name])


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_the_same_file_in_two_sets_is_refused(tmp_path, link):
    path = tmp_path/"a.png"
    plain("red").save(path)
    again = path
    if link: link(path, again := tmp_path/"b.png")
    plain("blue").save(tmp_path/"c.png")
    plain("green").save(tmp_path/"d.png")
    a, b, c = one_class([path], "a"), one_class([again, tmp_path/"c.png"], "b"), one_class([tmp_path/"d.png"], "c")
    with pytest.raises(DataError, match="1 images are in query and in gallery, .*each would find itself"):
        RetrievalData("x", c, one_class([path], "b"), b)
    for closed in (False, True):
        with pytest.raises(DataError, match="1 images are in train and in query"):
            RetrievalData("x", a, b, closed_set=closed)


def test_the_same_item_and_the_same_picture(tmp_path):
    picture = plain("red")
    with pytest.raises(DataError, match="in query and in gallery"):
        RetrievalData("x", one_class([plain("blue")], "c"), one_class([picture], "a"), one_class([picture], "a"))
    data = from_pairs([(picture, c) for c in range(4)])                 # other items, if of one picture
    with pytest.raises(DataError, match="in query and in gallery"):
        RetrievalData("x", data.train, data.query, data.query)
    (tmp_path/"copy.png").write_bytes(b"")
    RetrievalData("x", one_class(["a/1.png"], "a"), one_class(["b/1.png"], "b"))        # one name is not one file


def test_the_same_image_twice_among_queries(tmp_path):
    for name in "abc": plain("red").save(tmp_path/f"{name}.png")
    (tmp_path/"link.png").symlink_to(tmp_path/"a.png")
    os.link(tmp_path/"a.png", tmp_path/"copy.png")
    def data(names, labels=None, **words):
        query = ImageSet([tmp_path/f"{name}.png" for name in names], labels or [0]*len(names), ["x", "y"])
        return RetrievalData("d", ImageSet([], [], []), query, **words)
    for names in (["b", "b"], ["a", "b", "link"]):
        with pytest.raises(DataError, match="1 images are in query twice under one class"): data(names)
    data(["a", "b", "copy"])                                        # a copy, if of no extra room: the check names it
    data(["b", "b"], [0, 1])                                        # of two classes: a hard case, no present
    gallery = ImageSet([tmp_path/"c.png"], [0], ["x", "y"])
    data(["b", "b"], gallery=gallery)
    assert len(check_data(data(["a", "b"])).same) == 1


def test_class_names_that_look_alike():
    assert twin_names(["Cat", "cat ", "dog", "caf\u00e9", "cafe\u0301", "a  b", "A b", "a-b", "a+b"]) == [
        ["A b", "a  b", "a-b"], ["Cat", "cat "], ["cafe\u0301", "caf\u00e9"]]
    def data(train, test, **words):
        images = [ImageSet([plain("red") for _ in names], range(len(names)), names) for names in (train, test)]
        return RetrievalData("x", *images, **words)
    with pytest.raises(DataError, match="'Cat' is in train and 'cat' in test, which look like one class"):
        data(["Cat"], ["cat"])
    data(["Cat"], ["cat"], closed_set=True)
    both = data(["Cat", "cat", "dog", "owl"], ["pig"])
    assert "class names that look alike: 'Cat' and 'cat'" in check_data(both).lines()
    held_out = [set(both.holdout(.5, seed).query.classes) for seed in range(8)]
    assert all(len(names & {"Cat", "cat"}) != 1 for names in held_out)   # both or neither
    with pytest.raises(DataError, match="hold out"): data(["Cat", "cat"], ["pig"]).holdout(.5)


def test_what_the_check_says_of_data_that_proves_nothing():
    def lines(counts, colours=("red", "lime")):
        images = [ImageSet([striped(c) for c in names for _ in range(2)], [i//2 for i in range(2*len(names))], names)
                  for names in counts]
        return "\n".join(check_data(RetrievalData("x", *images)).lines())
    def striped(name):
        x = np.random.default_rng(ord(name)).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        return Image.fromarray(x)
    assert "there is one test class: whatever is found is right" in lines(["ab", "c"])
    assert "there are two test classes" in lines(["ab", "cd"])
    assert "prove nothing" not in lines(["ab", "cde"])


def test_flat_images_and_wrong_labels_are_named():
    rng = np.random.default_rng(0)
    def noise(low, high): return Image.fromarray(rng.integers(low, high, (40, 40, 3), dtype=np.uint8))
    dot = Image.new("RGB", (200, 200))
    dot.putpixel((3, 3), (255, 255, 255))
    twice = noise(0, 255)
    train = ImageSet([noise(0, 255), noise(0, 14), dot, twice, twice.copy()], [0, 0, 0, 0, 1], ["a", "b"])
    found = check_data(RetrievalData("x", train, ImageSet([noise(0, 255)], [0], ["c"])))
    assert found.flat == [("train", 1), ("train", 2)]
    assert any(line.startswith("2 images are flat") for line in found.lines())
    assert found.mislabelled == [[("train", 3), ("train", 4)]]
    assert any(line.startswith("the same picture under different classes") for line in found.lines())


# ---- arrays that are kept

def test_what_an_array_depends_on_is_told_apart(tmp_path):
    x = np.arange(6.)
    alike = [(b"a|b",), (b"a", b"b"), (b"a", b"b", b""), ("a",), (b"'a'",), (1,), ("1",), (1.,), (True,), (x,),
             (x.tobytes(),), (x.reshape(2, 3),), (x.reshape(3, 2),), (x.view(np.int64),), (x, b""), ([1, 2],)]
    for i, parts in enumerate(alike): assert kept_array(tmp_path, parts, lambda i=i: np.array([i])) == [i], parts
    assert kept_array(tmp_path, (x.reshape(3, 2)[::-1][::-1],), lambda: np.array([99])) == [12]

def test_a_kept_array_that_is_damaged_or_cannot_be_kept(tmp_path):
    made = []
    def squares():
        made.append(1)
        return np.arange(4)**2
    kept_array(tmp_path, ("squares",), squares)
    file, = tmp_path.iterdir()
    for content in (b"", file.read_bytes()[:-5], b"no array"):
        file.write_bytes(content)
        assert kept_array(tmp_path, ("squares",), squares).tolist() == [0, 1, 4, 9]
    assert len(made) == 4 and kept_array(tmp_path, ("squares",), squares).tolist() == [0, 1, 4, 9] and len(made) == 4
    (tmp_path/"no folder").write_text("")
    assert kept_array(tmp_path/"no folder", ("squares",), squares).tolist() == [0, 1, 4, 9]
    assert sorted(tmp_path.iterdir()) == sorted([file, tmp_path/"no folder"])


def test_thumbnails_of_a_sequence_are_made_by_one_thread(tmp_path):
    dataset = Alone()
    images = from_pairs(dataset).train
    class Shown:
        sha256 = "alone"
        def __len__(self): return len(images)
        def place(self, i): return images, i
    sprite(Shown(), 8, progress=None)
    assert dataset.threads == {threading.get_ident()}


# Copies

def classes_of_pictures(root, names, n=3):
    for c, name in enumerate(names):
        (root/name).mkdir(parents=True)
        for i in range(n): plain((50*c, 9*i, 7)).save(root/name/f"{i}.png")
    return root


def test_a_gallery_that_is_a_copy_of_the_queries_is_said(tmp_path):
    classes_of_pictures(tmp_path/"train", ["ant", "bee"])
    classes_of_pictures(tmp_path/"query", ["cat", "dog"])
    shutil.copytree(tmp_path/"query", tmp_path/"gallery")
    with pytest.warns(UserWarning, match="6 of 6 queries have a copy, the same bytes, in the gallery"):
        from_folder(tmp_path)


def test_some_copies_are_said(tmp_path):
    classes_of_pictures(tmp_path/"train", ["ant", "bee"])
    classes_of_pictures(tmp_path/"test", ["cat", "dog"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_folder(tmp_path)
    shutil.copy(tmp_path/"test"/"cat"/"0.png", tmp_path/"test"/"cat"/"0 - Copy.png")
    with pytest.warns(UserWarning, match="2 of 7 queries have a copy, the same bytes, in the query set"):
        from_folder(tmp_path)
    shutil.copy(tmp_path/"test"/"cat"/"0.png", tmp_path/"test"/"dog"/"other.png")   # of another class: the check's task
    os.remove(tmp_path/"test"/"cat"/"0 - Copy.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_folder(tmp_path)
