"Caches: decoded images and hashes of files, when bits flip, processes meet or die, and the disk is full."
import errno
import multiprocessing
import os
import pickle
import random
import sqlite3
import time

import numpy as np
import pytest
from PIL import Image

import vptsp.data
import vptsp.identity
from vptsp.data import RetrievalData
from vptsp.files import DamagedFile, DataError, StorageError
from vptsp.identity import file_hashes, index_path
from vptsp.images import ImageSet
from vptsp.readers import from_folder

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def own_index(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("index")))
    monkeypatch.setattr(os, "fsync", lambda at: None)


@pytest.fixture
def data(tmp_path):
    r = np.random.default_rng(0)
    for c in range(4):
        (tmp_path/"in"/f"class {c}").mkdir(parents=True)
        for i in range(2):
            pixels = r.integers(0, 256, (12 + c, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path/"in"/f"class {c}"/f"{i}.png")
    return from_folder(tmp_path/"in")


def pixels_of(data): return [[images.open(i).tobytes() for i in range(len(images))] for images in data.sets.values()]


def done(*works, lag=0.):
    "Exit codes of processes that work side by side."
    processes = [FORK.Process(target=work) for work in works]
    for process in processes:
        process.start()
        time.sleep(lag)
    for process in processes: process.join(60)
    return [process.exitcode for process in processes]


# Decoded images

@pytest.mark.parametrize("name", ["pixels", "places.npy", "digests.npy", "hashes.json", "cache.json"])
def test_a_flipped_bit_in_a_cache_is_noticed(data, tmp_path, name):
    true = pixels_of(data.cached(tmp_path/"cache", 64, None))
    place, = (tmp_path/"cache").iterdir()
    for file in place.rglob(name):
        whole, r = file.read_bytes(), random.Random(0)
        for _ in range(25):
            content = bytearray(whole)
            content[r.randrange(len(content))] ^= 1 << r.randrange(8)
            file.write_bytes(content)
            with pytest.raises(DataError, match="are damaged .*: remove this folder, and they are made anew") as e:
                assert pixels_of(data.cached(tmp_path/"cache", 64, None)) == true
            assert "\n" not in str(e.value)
        for size in (0, len(whole)//2, len(whole) - 1):
            file.write_bytes(whole[:size])
            with pytest.raises(DataError, match="remove this folder"):
                pixels_of(data.cached(tmp_path/"cache", 64, None))
        file.unlink()
        with pytest.raises(DamagedFile, match="remove this folder"): data.cached(tmp_path/"cache", 64, None)
        file.write_bytes(whole)
    assert pixels_of(data.cached(tmp_path/"cache", 64, None)) == true == pixels_of(data)


def test_a_damaged_picture_does_not_touch_the_others(data, tmp_path):
    true = pixels_of(data.cached(tmp_path/"cache", 64, None))
    file = next((tmp_path/"cache").rglob("train/pixels"))
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    images = data.cached(tmp_path/"cache", 64, None).train
    images = pickle.loads(pickle.dumps(images))                             # as a worker process gets it
    with pytest.raises(DataError, match="are damaged .train, picture 0"): images.open(0)
    assert [images.open(i).tobytes() for i in range(1, len(images))] == true[0][1:]


def test_a_picture_is_hashed_once_a_process(data, tmp_path, monkeypatch):
    images = data.cached(tmp_path/"cache", 64, None).train
    for i in range(len(images)): images.open(i)
    monkeypatch.setattr(vptsp.decoded, "pixel_digest", None)
    for i in range(len(images)): images.open(i)


def test_of_several_processes_one_decodes(data, tmp_path):
    true, real = pixels_of(data), vptsp.data._decode
    def slow(images, folder, side, progress):
        with open(tmp_path/"decoded", "a") as file: file.write("x")
        time.sleep(.05)
        real(images, folder, side, progress)
        time.sleep(.1)
    def use():
        vptsp.data._decode = slow
        assert pixels_of(from_folder(tmp_path/"in").cached(tmp_path/"cache", 64, None)) == true
    assert done(*[use]*4, lag=.05) == [0]*4
    assert (tmp_path/"decoded").read_text() == "xx"                         # train and query
    assert len(list((tmp_path/"cache").iterdir())) == 1                     # no lock, no part


def test_a_process_that_died_leaves_neither_lock_nor_half_a_cache(data, tmp_path):
    real = vptsp.data._decode
    def die():
        def decode(images, folder, side, progress):
            real(images, folder, side, progress)
            os._exit(9)
        vptsp.data._decode = decode
        data.cached(tmp_path/"cache", 64, None)
    assert done(die) == [9]
    left = {p.name[:6] for p in (tmp_path/"cache").iterdir()}
    assert ".part-" in left and len(left) == 2                              # and its lock
    assert pixels_of(data.cached(tmp_path/"cache", 64, None)) == pixels_of(data)
    assert [p.name for p in (tmp_path/"cache").iterdir() if p.name.startswith(".")] == []


def test_who_waits_long_says_so(data, tmp_path, monkeypatch):
    place = tmp_path/"cache"
    def slow(part):
        time.sleep(.5)
        (part/"a").write_text("x")
    def hold(): vptsp.decoded.made_once(place, slow)
    process = FORK.Process(target=hold)
    process.start()
    end = time.time() + 20
    while not (tmp_path/".cache.lock").exists() and time.time() < end: time.sleep(.005)
    with pytest.warns(UserWarning, match=rf"waiting: another process \(pid {process.pid} on .*\) is writing the cache"):
        vptsp.decoded.made_once(place, lambda part: pytest.fail("made twice"), patience=.05)
    process.join(20)
    assert (place/"a").read_text() == "x"


def test_no_room_for_a_cache(data, tmp_path, monkeypatch):
    real = vptsp.data._decode
    def full(images, folder, side, progress):
        real(images, folder, side, progress)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(vptsp.data, "_decode", full)
    with pytest.raises(StorageError, match="cache.* cannot be written: no space is left"):
        data.cached(tmp_path/"cache", 64, None)
    assert list((tmp_path/"cache").iterdir()) == []
    monkeypatch.setattr(vptsp.data, "_decode", real)
    assert pixels_of(data.cached(tmp_path/"cache", 64, None)) == pixels_of(data)


def test_a_cache_where_no_folder_can_be(data, tmp_path):
    (tmp_path/"file").write_text("mine")
    with pytest.raises(StorageError, match="a file stands where a folder should be"):
        data.cached(tmp_path/"file", 64, None)
    with pytest.raises(StorageError, match="a file stands where a folder should be"):
        data.cached(tmp_path/"file"/"deep", 64, None)


def test_an_empty_set_has_a_cache_too(tmp_path):
    data = RetrievalData("all", ImageSet([Image.new("RGB", (9, 9), "red")], [0], ["a"]), ImageSet([], [], []))
    assert pixels_of(data.cached(tmp_path/"cache", 64, None)) == pixels_of(data)
    assert pixels_of(data.cached(tmp_path/"cache", 64, None)) == pixels_of(data)


# The index of hashes

def test_a_damaged_index_never_gives_another_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(vptsp.identity, "_settled", lambda s, now: True)
    paths = [tmp_path/f"file {i}" for i in range(6)]
    for i, path in enumerate(paths): path.write_bytes(bytes([i])*100)
    true = file_hashes(paths)
    whole, r = index_path().read_bytes(), random.Random(0)
    rows = [at for at in range(len(whole)) if whole[at]]                    # empty pages hold nothing
    for at in r.sample(rows, 150):
        content = bytearray(whole)
        content[at] ^= 1 << r.randrange(8)
        index_path().write_bytes(content)
        assert file_hashes(paths) == true
    index_path().write_bytes(whole)
    with sqlite3.connect(index_path()) as index:
        index.execute("UPDATE hashes SET sha256 = zeroblob(32)")            # the stamps are right
        index.execute("UPDATE hashes SET stamp = 5 WHERE path LIKE '%3'")
    assert file_hashes(paths) == true == file_hashes(paths)


def test_an_index_that_breaks_in_the_middle_is_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(vptsp.identity, "_settled", lambda s, now: True)
    paths = [tmp_path/f"file {i}" for i in range(40)]
    for i, path in enumerate(paths): path.write_bytes(bytes([i])*100)
    true = file_hashes(paths)
    content = bytearray(index_path().read_bytes())
    content[4096:] = b"\xff"*(len(content) - 4096)                          # the head is well
    index_path().write_bytes(content)
    assert file_hashes(paths) == true
    read = []
    real = vptsp.identity._read_hash
    monkeypatch.setattr(vptsp.identity, "_read_hash", lambda path: read.append(path) or real(path))
    assert file_hashes(paths) == true == file_hashes(paths)
    assert len(read) <= 40                                                  # once more at most, then from the index


def test_the_index_of_an_older_version_is_read_anew_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(vptsp.identity, "_settled", lambda s, now: True)
    (tmp_path/"a").write_bytes(b"one")
    true = file_hashes([tmp_path/"a"])
    with sqlite3.connect(index_path()) as index: index.execute("UPDATE hashes SET stamp = substr(stamp, 1, 32)")
    read = []
    real = vptsp.identity._read_hash
    monkeypatch.setattr(vptsp.identity, "_read_hash", lambda path: read.append(path) or real(path))
    for _ in range(3): assert file_hashes([tmp_path/"a"]) == true
    assert len(read) == 1
