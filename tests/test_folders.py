"Folders as people have them: splits by any name, what is passed over, links, names of any bytes."
import os
import socket
import subprocess
import unicodedata
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image, features

from vptsp.benchmarks import load_dataset
from vptsp.files import DataError
from vptsp.folders import class_folders, from_folder
from vptsp.listing import Ledger, image_files, image_tree, sub_folders, why_no_image


def put(root, *places, n=2):
    "Small images, every one with pixels of its own, in the folders."
    for place in places:
        (root/place).mkdir(parents=True, exist_ok=True)
        for i in range(n): (root/place/f"{i}.ppm").write_bytes(b"P6 1 1 255 " + f"{place} {i}".encode().ljust(3))
    return root


@contextmanager
def said():
    "The warnings that a block gives, as texts."
    texts = []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield texts
        texts += [str(w.message) for w in found]


def quiet(root, **words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return from_folder(root, **words)


def sides(data): return {name: sorted(images.classes) for name, images in data.sets.items()}


# Splits

TRAIN = ["train", "Train", "TRAIN", "training", "trn", "trainset", "train_set", "Training Set", "train-images",
         "01_train", "train2017", "TrainImages", "images_train", "trainval", "train+val", "train_seen",
         "cars_train"]
TEST = ["test", "Test", "TESTING", "tst", "testset", "test_set", "Test Data", "test-images", "2_test", "val", "valid",
        "Validation", "val2017", "dev", "eval", "evaluation", "holdout", "hold_out", "query", "queries", "Probe",
        "cars_test"]


@pytest.mark.parametrize("train, test", [
    ("Trainingsdaten", "Testdaten"), ("Trainingsbilder", "Validierungsdaten"), ("Lerndaten", "Prüfdaten"),
    ("训练集", "测试集"), ("训练数据", "测试数据"), ("訓練集", "測試集"),
    ("训练图片", "验证集"), ("训练数据集", "测试数据集"),
    ("データ訓練", "テストデータ"), ("学習用データ", "検証用データ"), ("学習用", "評価用"), ("訓練画像", "テスト画像"),
    ("トレーニングデータ", "テストデータセット"), ("훈련데이터", "테스트데이터"), ("обучающая", "тестовая"),
    ("entraînement", "test"), ("jeu_d_apprentissage", "jeu_de_test"), ("donnees_entrainement", "donnees_test"),
    ("datos_de_entrenamiento", "datos_de_prueba"), ("entrenamiento", "validación"), ("treino", "validação")])
def test_words_of_other_languages(tmp_path, train, test):
    for form in ("NFC", "NFD"):
        names = [unicodedata.normalize(form, name) for name in (train, test)]
        root = tmp_path/form
        put(root, f"{names[0]}/ant", f"{names[0]}/bee", f"{names[1]}/cat")
        assert sides(quiet(root)) == {"train": ["ant", "bee"], "query": ["cat"]}

def test_class_folders_that_are_all_called_like_sides(tmp_path):
    put(tmp_path, "train_cat", "train_owl", "test_ant", "test_dog")
    with pytest.raises(DataError, match="sides of a split, or classes.*depth=1"): from_folder(tmp_path)
    data = quiet(tmp_path, depth=1, split=["test_ant", "test_dog"])
    assert sides(data) == {"train": ["train_cat", "train_owl"], "query": ["test_ant", "test_dog"]}
    put(tmp_path, "zebra")
    assert len(quiet(tmp_path).train.classes) == 2     # beside another they are names of classes

@pytest.mark.parametrize("name", ["testarossa", "trainspotting", "コンテスト", "テストステロン", "protest"])
def test_a_word_inside_another_is_no_side(tmp_path, name):
    put(tmp_path, name, "train_station", "zebra", "cat")
    with said() as texts: data = from_folder(tmp_path)
    assert sorted([*data.train.classes, *data.query.classes]) == sorted([name, "train_station", "zebra", "cat"])
    assert not texts

@pytest.mark.parametrize("train", TRAIN)
@pytest.mark.parametrize("test", ["test", "Validation"])
def test_words_for_training(tmp_path, train, test):
    if train.startswith("cars"): test = "cars_" + test
    put(tmp_path, f"{train}/ant", f"{train}/bee", f"{test}/cat")
    assert sides(from_folder(tmp_path)) == {"train": ["ant", "bee"], "query": ["cat"]}


@pytest.mark.parametrize("test", TEST)
@pytest.mark.parametrize("train", ["train", "Training"])
def test_words_for_testing(tmp_path, train, test):
    if test.startswith("cars"): train = "cars_" + train
    put(tmp_path, f"{train}/ant", f"{train}/bee", f"{test}/cat")
    assert sides(from_folder(tmp_path)) == {"train": ["ant", "bee"], "query": ["cat"]}


@pytest.mark.parametrize("query, gallery", [("query", "gallery"), ("Queries", "database"), ("probe", "index"),
                                            ("query", "bounding_box_test"), ("test_query", "test_gallery")])
def test_words_for_query_and_gallery(tmp_path, query, gallery):
    put(tmp_path, "train/ant", f"{query}/cat", f"{gallery}/cat", f"{gallery}/dog")
    assert sides(from_folder(tmp_path)) == {"train": ["ant"], "query": ["cat", "dog"], "gallery": ["cat", "dog"]}


@pytest.mark.parametrize("above", ["images", "data", "dataset/images", "wrapped/once/more"])
def test_a_split_further_down(tmp_path, above):
    put(tmp_path, f"{above}/Train/ant", f"{above}/val/cat")
    (tmp_path/"labels"/"Train").mkdir(parents=True)
    (tmp_path/"labels"/"Train"/"1.txt").write_text("0 .5 .5")
    assert sides(quiet(tmp_path)) == {"train": ["ant"], "query": ["cat"]}


def test_a_folder_more_in_every_side(tmp_path):
    put(tmp_path, "train/images/ant", "train/images/bee", "valid/images/cat")
    assert sides(from_folder(tmp_path)) == {"train": ["ant", "bee"], "query": ["cat"]}


@pytest.mark.parametrize("train, test", [("train", "val"), ("Train", "Test"), ("training", "validation"),
                                         ("images/train", "images/test"), ("train", "query")])
def test_the_same_classes_on_both_sides_need_a_word(tmp_path, train, test):
    put(tmp_path, *(f"{side}/{c}" for side in (train, test) for c in ("ant", "bee")))
    with pytest.raises(DataError, match="classes in common .2, 'ant' for one.*closed_set=True"): from_folder(tmp_path)
    data = from_folder(tmp_path, closed_set=True)
    assert data.closed_set
    assert sides(data) == {"train": ["ant", "bee"], "query": ["ant", "bee"]}
    merged = from_folder(tmp_path, parts="merge")          # the other way out
    assert sides(merged) == {"train": ["ant"], "query": ["bee"]}
    assert [len(images) for images in merged.sets.values()] == [4, 4]


@pytest.mark.parametrize("twin", ["Ant", "ANT ", "a\u0301nt"])
def test_nearly_the_same_class_on_both_sides(tmp_path, twin):
    name = unicodedata.normalize("NFC", "a\u0301nt") if "\u0301" in twin else "ant"
    put(tmp_path, f"train/{name}", "train/bee", f"test/{twin}", "test/cat")
    with pytest.raises(DataError, match="classes in common"): from_folder(tmp_path)


def test_closed_set_says_only_what_is_so(tmp_path):
    put(tmp_path/"a", "train/ant", "test/bee")
    assert not from_folder(tmp_path/"a", closed_set=True).closed_set
    put(tmp_path/"b", "ant", "bee")
    with pytest.raises(DataError, match="needs folders that say which images train"):
        from_folder(tmp_path/"b", closed_set=True)


def test_the_same_last_folder_never_stands_on_both_sides(tmp_path):
    put(tmp_path, *(f"{c}/{year}" for c in ("cat", "dog", "owl") for year in ("2021", "2022")))
    with pytest.raises(DataError, match="'2021' would train in one place"): from_folder(tmp_path)
    assert sides(from_folder(tmp_path, depth=1)) == {"train": ["cat"], "query": ["dog", "owl"]}
    assert len(from_folder(tmp_path, depth=2).train.classes) == 3
    put(tmp_path/"in", "train/big/ant", "train/small/bee", "test/big/cat", "test/small/ant")
    with pytest.raises(DataError, match="classes in common.*depth=2"): from_folder(tmp_path/"in")
    assert from_folder(tmp_path/"in", depth=2).query.classes == ["big/cat", "small/ant"]


def test_a_wrapped_folder_takes_the_advice(tmp_path):
    put(tmp_path, *(f"animals/{c}/{year}" for c in ("cat", "dog") for year in ("2021", "2022")))
    with pytest.raises(DataError, match="depth=1"): from_folder(tmp_path)
    assert sides(from_folder(tmp_path, depth=1)) == {"train": ["cat"], "query": ["dog"]}


def test_val_beside_test_is_left_out_aloud(tmp_path):
    put(tmp_path, "train/ant", "train/bee", "val/cat", "test/dog")
    with said() as texts: data = from_folder(tmp_path)
    assert sides(data) == {"train": ["ant", "bee"], "query": ["dog"]}
    assert "'val' is left out, because 'test' is measured" in texts[0]
    assert len(data.passed_over) == data.passed_over.loss == 2


def test_train_val_and_eval(tmp_path):
    put(tmp_path, "train/ant", "val/cat", "eval/dog")
    assert sides(quiet(tmp_path)) == {"train": ["ant"], "query": ["dog"]}


@pytest.mark.parametrize("folders, sentence", [
    ("train/a test/b query/c gallery/c", "either test is measured, or query in gallery"),
    ("train/a test/b query/c", "either test is measured, or query in gallery"),
    ("train/a gallery/b", "no folder of queries for the gallery"),
    ("gallery/b", "no folder of queries for the gallery"),
    ("Train/a train/b test/c", "'Train', 'train', which all say 'train'"),
    ("train2014/a train2017/b val2017/c", "which all say 'train'"),
    ("train/a val/b valid/c", "which all say 'val'"),
    ("train/a other/b", "a side of a split, or a class"),
    ("train_one/a test_two/b", "sides of a split, or classes"),
    ("train/train test/test", "no class folders"),
    ("train/a test/b one/c two/d three/e", "sides of a split, or classes"),
    ("train test", "no class folders, so nobody knows their classes.*depth=1"),
    ("train/a train/b test", "no class folders, so nobody knows their classes"),
    ("train/images valid/images", "no class folders, so nobody knows their classes"),
    ("images/train/a images/test/b masks/train/a masks/test/b", "have a split of their own.*give that folder"),
    ("cat/train cat/test dog/train dog/test", "have a split of their own.*depth=1"),
    ("fold1/train/a fold1/val/b fold2/train/b fold2/val/a", "have a split of their own"),
    ("images/a images/b masks/a masks/b", "would train in one place"),
])
def test_what_names_leave_open_is_refused(tmp_path, folders, sentence):
    put(tmp_path, *folders.split())
    with pytest.raises(DataError, match=sentence): quiet(tmp_path)


def test_a_side_behind_a_link_is_not_passed_over(tmp_path):
    put(tmp_path/"root", "train/ant", "train/bee")
    put(tmp_path/"far", "cat")
    (tmp_path/"root"/"test").symlink_to(tmp_path/"far")
    with pytest.raises(DataError, match="no image that can be taken: .*follow_outside=True"):
        from_folder(tmp_path/"root")
    assert sides(from_folder(tmp_path/"root", follow_outside=True)) == {"train": ["ant", "bee"], "query": ["cat"]}


def test_an_unreadable_side_is_not_passed_over(tmp_path, monkeypatch):
    put(tmp_path, "train/ant", "train/bee", "test/cat")
    scandir = os.scandir
    def refusing(path):
        if Path(path).name == "test": raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)
    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match="no image that can be taken: cannot be listed .Permission denied"):
        from_folder(tmp_path)


def test_an_empty_side_is_not_passed_over(tmp_path):
    put(tmp_path, "train/ant", "train/bee")
    (tmp_path/"test").mkdir()
    with pytest.raises(DataError, match="no image that can be taken"): from_folder(tmp_path)
    put(tmp_path, "test/cat")
    (tmp_path/"val").mkdir()                       # nobody needs it
    assert sides(from_folder(tmp_path)) == {"train": ["ant", "bee"], "query": ["cat"]}


def test_measuring_without_training(tmp_path):
    put(tmp_path/"a", "query/ant", "gallery/ant", "gallery/bee")
    with said() as texts: data = from_folder(tmp_path/"a")
    assert sides(data) == {"train": [], "query": ["ant", "bee"], "gallery": ["ant", "bee"]}
    assert "no folder to train on" in texts[0]
    put(tmp_path/"b", "test/ant", "test/bee")
    assert sides(quiet(tmp_path/"b")) == {"train": [], "query": ["ant", "bee"]}


def test_training_alone_is_split(tmp_path):
    put(tmp_path, "Train/ant", "Train/bee")
    with said() as texts: data = from_folder(tmp_path)
    assert sides(data) == {"train": ["ant"], "query": ["bee"]}
    assert "no folder to test on: the split is made among its classes" in texts[0]


@pytest.mark.parametrize("all_of_it", ["all", 1.])
def test_training_on_everything(tmp_path, all_of_it):
    put(tmp_path/"a", "ant", "bee")
    data = from_folder(tmp_path/"a", split=all_of_it)
    assert sides(data) == {"train": ["ant", "bee"], "query": []}
    assert not data.has_test
    put(tmp_path/"b", "train/ant", "val/ant", "test/bee", "extra/cat")
    data = quiet(tmp_path/"b", split=all_of_it)      # the sides together, and nothing beside them
    assert data.counts() == {"train": (6, 2), "query": (0, 0)}
    assert len(data.passed_over) == 2


def test_a_split_is_not_made_twice(tmp_path):
    put(tmp_path, "train/ant", "train/bee", "test/cat")
    for split in (["bee"], .8, "bee"):
        with pytest.raises(DataError, match="has a split of its own .train, test."): from_folder(tmp_path, split=split)
    assert sides(from_folder(tmp_path, split=["bee"], parts="merge")) == {"train": ["ant", "cat"], "query": ["bee"]}


def test_parts_by_hand(tmp_path):
    put(tmp_path, "one/ant", "two/bee", "three/cat", "four/dog")
    parts = {"train": ["one", tmp_path/"two"], "test": "three/"}
    with said() as texts: data = from_folder(tmp_path, parts=parts)
    assert sides(data) == {"train": ["ant", "bee"], "query": ["cat"]}
    assert "in no folder that parts names" in texts[0]
    for wrong, sentence in (({"train": "one"}, "test .or query. must be among them"),
                            ({"train": "one", "test": "five"}, "no such folder"),
                            ({"train": "one", "test": "../x"}, "no such folder"),
                            ({"train": "one", "tests": "two"}, "'tests' is none of"),
                            ({"train": ".", "test": "two"}, "no folder inside another"), ("all", "give 'merge'")):
        with pytest.raises(DataError, match=sentence): from_folder(tmp_path, parts=wrong)


def test_sides_in_every_class(tmp_path):
    put(tmp_path, "cat/train", "cat/test", "dog/train", "dog/test")
    data = from_folder(tmp_path, closed_set=True)
    assert data.closed_set
    assert sides(data) == {"train": ["cat", "dog"], "query": ["cat", "dog"]}
    assert {path.parent.name for path in data.train.sources} == {"train"}
    for data in (quiet(tmp_path, depth=1), from_folder(tmp_path, parts="merge")):
        assert sides(data) == {"train": ["cat"], "query": ["dog"]}
        assert len(data.train) == 4


@pytest.mark.parametrize("depth", [0, -1, "2", 1.5])
def test_depth_is_a_number_of_folders(tmp_path, depth):
    put(tmp_path, "ant", "bee")
    with pytest.raises(DataError, match="a number of folders, 1 or more"): from_folder(tmp_path, depth=depth)


@pytest.mark.parametrize("read", [from_folder, class_folders])
def test_warnings_show_the_line_that_reads(tmp_path, read):
    put(tmp_path, ".", "ant", "bee")
    (tmp_path/"empty").mkdir()
    with pytest.warns(UserWarning) as found: read(tmp_path)
    assert {w.filename for w in found} == {__file__}
    assert len(found) == 2


# Classes that are called like a side

@pytest.mark.parametrize("folders", [
    "ant bee cat test", "ant bee test train", "plane train", "bus/a car/b plane/c train/d train/e", "test1 test2"])
def test_a_class_called_train_or_test(tmp_path, folders):
    put(tmp_path, *folders.split())
    with said() as texts: data = from_folder(tmp_path)
    assert sorted(data.train.classes + data.query.classes) == folders.split()
    assert "taken for classes" in texts[0]


def test_a_side_inside_a_class_is_said(tmp_path):
    put(tmp_path, "ant", "ant/test", "bee", "bee/test", "cat")
    with said() as texts: data = from_folder(tmp_path)
    assert data.counts() == {"train": (4, 1), "query": (6, 2)}
    assert "called like a side of a split, but its images count for the class 'ant' (2 such folders)" in texts[0]


@pytest.mark.parametrize("folders", ["train_station test_tube lake", "express_train freight_train bus",
                                     "contest latest ant", "validity trainer_shoe dev_board"])
def test_words_that_only_contain_one(tmp_path, folders):
    put(tmp_path, *folders.split())
    with said() as texts: data = from_folder(tmp_path)
    assert not texts
    assert sorted(data.train.classes + data.query.classes) == sorted(folders.split())


def test_super_classes_called_train_need_a_word(tmp_path):
    put(tmp_path, "bus/a", "car/b", "train/c")
    with pytest.raises(DataError, match="depth=2"): from_folder(tmp_path)
    assert sides(quiet(tmp_path, depth=2)) == {"train": ["bus/a"], "query": ["car/b", "train/c"]}


def test_class_folders_takes_the_sides_together(tmp_path):
    put(tmp_path, "train/ant", "train/bee", "test/ant")
    rows = class_folders(tmp_path)
    assert sorted((row.class_name, row.super_class) for row in rows) == [("ant", None)]*4 + [("bee", None)]*2


@pytest.mark.parametrize("name, above", [("cub200", "images"), ("cars196", "car_data")])
def test_benchmarks_sorted_into_train_and_test(tmp_path, name, above):
    put(tmp_path/"far", "001.a")
    put(tmp_path/"root", *(f"{above}/{side}/00{c}.{'abcd'[c]}" for side in ("train", "test") for c in (1, 2, 3)))
    (tmp_path/"root"/above/"train"/"004.e").symlink_to(tmp_path/"far"/"001.a")      # as with lists, links are followed
    with pytest.warns(UserWarning, match="figures will not be comparable"): data = load_dataset(name, tmp_path/"root")
    assert sides(data) == {"train": ["001.b", "002.c"], "query": ["003.d", "004.e"]}
    assert len(data.train) == 8


# Which images are whose

def test_sub_folders_of_a_class(tmp_path):
    put(tmp_path, "ant", "ant/more", "ant/more/yet", "bee")
    assert from_folder(tmp_path).counts() == {"train": (6, 1), "query": (2, 1)}
    put(tmp_path/"deep", "a/b/ant", "a/b/bee")
    assert sides(from_folder(tmp_path/"deep")) == {"train": ["ant"], "query": ["bee"]}
    put(tmp_path/"three", "a/b/ant", "a/c/bee", "x/y/cat", "x/z/dog")
    data = from_folder(tmp_path/"three")
    assert data.train.about["super"] == ["a/b"]*2 + ["a/c"]*2


def test_images_one_folder_down_in_every_class(tmp_path):
    put(tmp_path, "cat/images", "dog/images", "owl/images", "owl/images/more")
    (tmp_path/"cat"/"boxes.txt").write_text("0 0 1 1")
    assert sides(from_folder(tmp_path)) == {"train": ["cat"], "query": ["dog", "owl"]}
    put(tmp_path/"two", "cat/images", "cat/masks", "dog/images", "dog/masks")
    with pytest.raises(DataError, match="'images' would train in one place"): from_folder(tmp_path/"two")


def test_classes_and_super_classes_are_not_mixed(tmp_path):
    put(tmp_path, "ant", "bee", "more/cat", "more/dog")
    with pytest.raises(DataError, match="mixes classes and super-classes: 'ant' .*'more'.*depth=1"):
        from_folder(tmp_path)
    assert sides(from_folder(tmp_path, depth=1)) == {"train": ["ant"], "query": ["bee", "more"]}


@pytest.mark.parametrize("folders", [". wrap/images/ant wrap/images/bee", ". wrap/data/train/ant wrap/data/test/bee",
                                     "images images/train/ant images/test/bee", "train train/ant test/bee",
                                     "train/ant test/bee test/bee/more/deep"])
@pytest.mark.parametrize("words", [{}, {"split": "all"}, {"parts": "merge"}, {"depth": 1}])
def test_no_image_is_lost_without_a_count(tmp_path, folders, words):
    put(tmp_path, *folders.split(), n=3)
    data = quiet(tmp_path, **words)
    taken = sum(len(images) for images in data.sets.values())
    assert taken + len(data.passed_over) == 9
    assert taken >= 6


def test_images_in_no_class_folder(tmp_path):
    put(tmp_path, ".", "ant", "bee")
    with said() as texts: data = from_folder(tmp_path)
    assert data.counts() == {"train": (2, 1), "query": (2, 1)}
    assert "2 x .ppm: lies in no class folder" in texts[0]
    (tmp_path/"arrays"/"ant").mkdir(parents=True)
    (tmp_path/"arrays"/"ant"/"1.npy").write_bytes(b"x")
    with pytest.raises(DataError, match="no class folder of .* has an image: 1 x .npy"): from_folder(tmp_path/"arrays")
    put(tmp_path/"flat", ".")
    with pytest.raises(DataError, match="2 images but no class folders.*one folder per class"):
        from_folder(tmp_path/"flat")


def test_a_class_folder_without_images(tmp_path):
    put(tmp_path, "ant", "bee", "cat")
    for path in (tmp_path/"cat").iterdir(): path.rename(path.with_suffix(".heic"))
    (tmp_path/"empty").mkdir()
    with said() as texts: from_folder(tmp_path)
    assert "2 class folders have no image, 'cat' for one" in texts[0]
    assert "2 x .heic: Pillow cannot open it: convert it to JPEG" in texts[1]


# What is an image

def test_pillow_says_what_is_an_image(tmp_path):
    kinds = {".jpg": "JPEG", ".jfif": "JPEG", ".JPE": "JPEG", ".mpo": "JPEG", ".jpg ": "JPEG", ".download": "JPEG",
             ".jp2": "JPEG2000", ".ppm": "PPM", ".pgm": "PPM", ".bmp": "BMP", ".dib": "DIB", ".tga": "TGA",
             ".webp": "WEBP", ".tif": "TIFF", ".gif": "GIF", ".png": "PNG", "": "PNG", ".001": "GIF"}
    if features.check("avif"): kinds[".avif"] = "AVIF"
    for suffix, kind in kinds.items(): Image.new("RGB", (8, 8)).save(tmp_path/f"photo{suffix}", kind)
    assert sorted(p.name for p in image_files(tmp_path)) == sorted(f"photo{suffix}" for suffix in kinds)


@pytest.mark.parametrize("name, kind, reason", [
    ("a.heic", "JPEG", "pillow_heif"), ("a.NEF", "TIFF", "raw"), ("a.dng", "TIFF", "raw"), ("a.svg", None, "drawing"),
    ("a.eps", None, "drawing"), ("a.zip", None, "unpack"), ("a.mp4", None, "film"), ("a.jpg~", "JPEG", "copy"),
    ("a.jpg.part", "JPEG", "half a download"), ("a.txt", "JPEG", "no picture"), ("a.h5", None, "no picture"),
    ("a", None, "no picture"), ("a.xyz", None, "no picture")])
def test_why_a_file_is_no_image(tmp_path, name, kind, reason):
    (tmp_path/name).write_bytes(b"P1 is what it begins with")
    if kind: Image.new("RGB", (8, 8)).save(tmp_path/name, kind)
    assert reason in why_no_image(tmp_path/name)


def test_openers_that_a_user_registered(tmp_path, monkeypatch):
    from PIL import ImageFile
    class Opener(ImageFile.ImageFile):
        format = "HEIF"
    Image.init()
    monkeypatch.setitem(Image.OPEN, "HEIF", (Opener, None))
    monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")
    assert why_no_image(tmp_path/"a.heic") is None


def test_known_suffixes_cost_no_look_into_the_file(tmp_path, monkeypatch):
    put(tmp_path, "ant", "bee")
    for name in ("notes.txt", "labels.json", "old.heic"): (tmp_path/"ant"/name).write_text("x")
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("a file was opened"))
    assert len(image_tree(tmp_path, Ledger())) == 4


# What is passed over

def test_the_ledger_counts_by_folder_suffix_and_reason(tmp_path):
    put(tmp_path, "ant", "bee", ".hidden", "__MACOSX/ant", "ant/@eaDir/0.ppm", "#recycle", "bee/.checkpoints", n=1)
    for name in ("._0.ppm", "Thumbs.db", ".DS_Store", "desktop.ini"): (tmp_path/"ant"/name).write_bytes(b"x")
    for i in range(3): (tmp_path/"bee"/f"{i}.HEIC").write_bytes(b"x")
    (tmp_path/"bee"/"album.jpg").mkdir()
    with said() as texts: data = from_folder(tmp_path)
    assert data.counts() == {"train": (1, 1), "query": (1, 1)}
    counts = data.passed_over.counts
    assert counts[str(tmp_path), "folder", "hidden"] == 1
    assert counts[str(tmp_path), "folder", "left by a system or a program"] == 2
    assert counts[str(tmp_path/"ant"), "folder", "left by a system or a program"] == 1     # @eaDir
    assert counts[str(tmp_path/"ant"), ".db", "left by a system or a program"] == 1
    assert counts[str(tmp_path/"ant"), "", "hidden"] == 1                                  # .DS_Store
    (lost,) = [key for key in counts if key[1] == ".heic"]
    assert counts[lost] == data.passed_over.loss == 3
    assert len(texts) == 1 and "3 passed over. 3 x .heic" in texts[0]                      # nobody misses the others


def test_a_folder_called_like_an_image(tmp_path):
    put(tmp_path, "ant", "ant/album.jpg", "bee.png", "cat")
    assert sides(from_folder(tmp_path)) == {"train": ["ant"], "query": ["bee.png", "cat"]}
    assert [p.name for p in sub_folders(tmp_path)] == ["ant", "bee.png", "cat"]
    assert len(image_tree(tmp_path/"ant", Ledger())) == 4


def test_an_unreadable_folder_is_counted(tmp_path, monkeypatch):
    put(tmp_path, "ant", "ant/locked", "bee", "cat")
    scandir = os.scandir
    def refusing(path):
        if Path(path).name == "locked": raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)
    monkeypatch.setattr(os, "scandir", refusing)
    with said() as texts: data = from_folder(tmp_path)
    assert data.counts() == {"train": (2, 1), "query": (4, 2)}
    assert "1 x folder: cannot be listed (Permission denied)" in texts[0]
    assert str(tmp_path/"ant"/"locked") in texts[0]
    monkeypatch.setattr(os, "scandir", lambda path: refusing(Path("locked")))
    with pytest.raises(DataError, match="cannot be listed .Permission denied."): from_folder(tmp_path)


def test_a_disk_that_fails_half_way_keeps_what_was_listed(tmp_path, monkeypatch):
    put(tmp_path, "ant", "bee", n=4)
    scandir = os.scandir
    @contextmanager
    def failing(path):
        def entries(found):
            for i, entry in enumerate(found):
                if Path(path).name == "ant" and i == 2: raise OSError(5, "Input/output error")
                yield entry
        with scandir(path) as found: yield entries(found)
    monkeypatch.setattr(os, "scandir", failing)
    ledger = Ledger()
    assert len(image_tree(tmp_path, ledger)) == 6
    assert "Input/output error" in str(ledger)


def test_pipes_sockets_and_devices_are_never_opened(tmp_path):
    put(tmp_path, "ant", "bee")
    os.mkfifo(tmp_path/"ant"/"pipe.png")                                   # opening it would wait for ever
    os.mkfifo(tmp_path/"ant"/"pipe")
    (tmp_path/"ant"/"null.png").symlink_to("/dev/null")
    (tmp_path/"bee"/"link").symlink_to(tmp_path/"ant"/"pipe")
    with socket.socket(socket.AF_UNIX) as s:
        here = Path.cwd()
        os.chdir(tmp_path/"bee")                                           # its path must be short
        try: s.bind("s.jpg")
        finally: os.chdir(here)
    ledger = Ledger()
    assert len(image_tree(tmp_path, ledger, follow_outside=True)) == 4
    assert sum(n for (_, _, reason), n in ledger.counts.items() if reason == "a pipe, socket or device") == 5


def test_the_ledger_has_names_that_can_be_shown(tmp_path):
    put(tmp_path, "ant")
    (tmp_path/"ant"/"\x1b[31mred.heic").write_bytes(b"x")
    (tmp_path/"ant"/"\u202egpj.heic").write_bytes(b"x")
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    with open(os.fsencode(tmp_path) + b"/caf\xe9/1.heic", "wb"): pass
    ledger = Ledger()
    image_tree(tmp_path, ledger)
    text = str(ledger)
    assert "\x1b" not in text and "\u202e" not in text
    text.encode()


def test_ledgers_add_up():
    one, other = Ledger(), Ledger()
    one.add(Path("a/1.heic"), "why")
    other.add(Path("a/2.heic"), "why")
    other.add(Path("b/3.svg"), "so", n=4)
    one.merge(other)
    assert (len(one), one.loss) == (6, 6)
    assert one.lines() == ["4 x .svg: so (b/3.svg for one)", "2 x .heic: why (a/1.heic for one)"]
    assert str(Ledger()) == "nothing was passed over"


# Links

def test_links_out_of_the_folder_need_a_word(tmp_path):
    put(tmp_path/"store", "ant", "bee", "cat")
    root = put(tmp_path/"root", "dog", "elk")
    for name in ("ant", "bee"): (root/name).symlink_to(tmp_path/"store"/name)
    (root/"dog"/"far.ppm").symlink_to(tmp_path/"store"/"cat"/"0.ppm")
    (root/"notes.txt").symlink_to("/etc/hostname")                        # nobody's loss
    with said() as texts: data = from_folder(root)
    assert data.counts() == {"train": (2, 1), "query": (2, 1)}
    assert "follow_outside=True" in texts[0] and data.passed_over.loss == 3
    data = from_folder(root, follow_outside=True)
    assert sides(data) == {"train": ["ant", "bee"], "query": ["dog", "elk"]}
    assert data.counts()["query"] == (5, 2)
    assert len(image_tree(root, Ledger())) == 4


def test_a_folder_of_links_only_says_how(tmp_path):
    put(tmp_path/"store", "ant", "bee")
    for c in ("ant", "bee"):
        (tmp_path/"root"/c).mkdir(parents=True)
        for i in range(2): (tmp_path/"root"/c/f"{i}.ppm").symlink_to(tmp_path/"store"/c/f"{i}.ppm")
    with pytest.raises(DataError, match="follow_outside=True"): quiet(tmp_path/"root")
    assert from_folder(tmp_path/"root", follow_outside=True).counts() == {"train": (2, 1), "query": (2, 1)}


def test_the_root_may_be_a_link(tmp_path):
    put(tmp_path/"store", "ant", "bee")
    (tmp_path/"root").symlink_to(tmp_path/"store")
    assert from_folder(tmp_path/"root").counts() == {"train": (2, 1), "query": (2, 1)}
    assert len(image_tree(tmp_path/"root", Ledger())) == 4


def test_a_real_folder_is_taken_once(tmp_path):
    put(tmp_path, "ant", "bee", ".store/cat", n=1)
    (tmp_path/"kitten").symlink_to(tmp_path/".store"/"cat")     # reached by this link alone
    (tmp_path/"again").symlink_to(tmp_path/"ant")
    (tmp_path/"loop").symlink_to(tmp_path)
    (tmp_path/"bee"/"up").symlink_to("..")
    (tmp_path/"bee"/"copy.ppm").symlink_to("0.ppm")
    (tmp_path/"bee"/"dead.ppm").symlink_to("nowhere.ppm")
    (tmp_path/"bee"/"round.ppm").symlink_to("round.ppm")
    data = quiet(tmp_path)
    assert sides(data) == {"train": ["ant"], "query": ["bee", "kitten"]}
    assert all(len(images) == len(set(map(os.path.realpath, images.sources))) for images in data.sets.values())
    reasons = {reason for _, _, reason in data.passed_over.counts}
    assert {"a link to an image that is taken already", "a link to a folder above it", "a link to nothing"} <= reasons


def test_links_do_not_carry_an_image_over_the_split(tmp_path):
    put(tmp_path, "train/ant", "train/bee", "test/cat")
    (tmp_path/"test"/"ant too").symlink_to(tmp_path/"train"/"ant")
    data = quiet(tmp_path)
    assert sides(data) == {"train": ["ant", "bee"], "query": ["cat"]}
    assert data.passed_over.loss == 2


def test_sides_may_link_to_a_store_beside_them(tmp_path):
    put(tmp_path, "all/ant", "all/bee", "all/cat")
    for side, names in (("train", ("ant", "bee")), ("test", ("cat",))):
        (tmp_path/side).mkdir()
        for name in names: (tmp_path/side/name).symlink_to(Path("..", "all", name))
    assert sides(quiet(tmp_path)) == {"train": ["ant", "bee"], "query": ["cat"]}


def test_links_in_a_circle_outside(tmp_path):
    put(tmp_path, "root/ant", "out/bee")
    (tmp_path/"root"/"out").symlink_to(tmp_path/"out")
    (tmp_path/"out"/"back").symlink_to(tmp_path/"root")
    (tmp_path/"out"/"self").symlink_to(tmp_path/"out")
    (tmp_path/"root"/"all").symlink_to(tmp_path)
    assert len(image_tree(tmp_path/"root", Ledger(), follow_outside=True)) == 4


# Names

def test_a_file_is_no_folder(tmp_path):
    (tmp_path/"a.zip").write_bytes(b"x")
    with pytest.raises(DataError, match="is a file: from_csv reads tables"): from_folder(tmp_path/"a.zip")
    with pytest.raises(DataError, match="there is no folder"): from_folder(tmp_path/"nowhere")


def test_names_that_are_no_text(tmp_path):
    tmp_path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9"))
    put(tmp_path, "ant", "cat")
    os.rename(tmp_path/"ant"/"0.ppm", os.fsencode(tmp_path/"ant") + b"/caf\xe9.ppm")
    os.rename(tmp_path/"cat", os.fsencode(tmp_path) + b"/b\xe9e")
    data = from_folder(tmp_path, split=["b\\xe9e"])
    assert data.counts() == {"train": (2, 1), "query": (2, 1)}
    assert data.query.classes == ["b\\xe9e"]
    assert data.name == "r\\xe9"
    repr(data).encode()
    assert all(path.is_file() for images in data.sets.values() for path in images.sources)


def test_one_name_in_two_forms_is_one_class(tmp_path):
    composed, apart = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    put(tmp_path, composed, apart, "cat", "cat ", "zebra")
    with said() as texts: data = from_folder(tmp_path, split=["zebra"])
    assert data.train.classes == [composed, "cat"] or data.train.classes == sorted([composed, "cat"])
    assert len(data.train) == 8
    assert any("'caf\\xe9'" in text and "'cafe\\u0301'" in text for text in texts)
    assert any("'cat' and 'cat '" in text for text in texts)


def test_the_order_is_that_of_names(tmp_path, monkeypatch):
    put(tmp_path, "b", "a/z", "a")
    names = [str(p.relative_to(tmp_path)) for p in image_tree(tmp_path, Ledger())]
    assert names == ["a/0.ppm", "a/1.ppm", "a/z/0.ppm", "a/z/1.ppm", "b/0.ppm", "b/1.ppm"]
    scandir = os.scandir
    @contextmanager
    def backwards(path):
        with scandir(path) as found: yield reversed(sorted(found, key=lambda e: e.name))
    monkeypatch.setattr(os, "scandir", backwards)
    assert [str(p.relative_to(tmp_path)) for p in image_tree(tmp_path, Ledger())] == names


def test_a_very_deep_folder(tmp_path):
    here, ledger = os.getcwd(), Ledger()
    (tmp_path/"ant").mkdir()
    try:
        os.chdir(tmp_path/"ant")
        for _ in range(1200):                              # more than Python can recurse
            os.mkdir("d")
            os.chdir("d")
        Path("1.ppm").write_bytes(b"P6 1 1 255 rgb")
        os.chdir(here)
        assert len(image_tree(tmp_path, ledger)) == 1
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", tmp_path/"ant"], check=True)   # shutil cannot


# Suffixes that say nothing

@pytest.mark.parametrize("suffix", [".dat", ".bin", ".data", ".img", ".download", ".DAT"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_picture_by_its_first_bytes(tmp_path, suffix, kind):
    for at, name in enumerate(("ant", "bee", "cat", "dog")):
        (tmp_path/name).mkdir()
        Image.new("RGB", (4, 4), (at, 9, 9)).save(tmp_path/name/f"photo{suffix}", kind)
    with said() as texts: data = from_folder(tmp_path)
    assert len(data.train) == len(data.query) == 2 and not texts and not data.passed_over

def test_what_is_no_picture_under_such_a_suffix(tmp_path):
    put(tmp_path, "ant", "bee")
    for at, begin in enumerate((b"", b"0 0.5 0.5 1 1", b"BM is how this note begins", b"RIFF....WAVEfmt ", b"\0"*3073)):
        for suffix in ("dat", "bin", "txt"): (tmp_path/"ant"/f"note{at}.{suffix}").write_bytes(begin)
    with said() as texts: data = from_folder(tmp_path)
    assert len(data.train) == 2 and len(data.passed_over) == 15 and data.passed_over.loss == 0 and not texts

def test_a_picture_called_a_text_is_told_of(tmp_path):
    put(tmp_path, "ant", "bee")
    Image.new("RGB", (4, 4)).save(tmp_path/"ant"/"photo.txt", "PNG")
    with said() as texts: data = from_folder(tmp_path)
    assert data.passed_over.loss == 1 and ".txt: begins like a picture" in texts[0]

def test_arrays_may_be_missed(tmp_path):
    put(tmp_path, "ant", "bee")
    (tmp_path/"ant"/"x.npy").write_bytes(b"\x93NUMPY")
    with said() as texts: data = from_folder(tmp_path)
    assert data.passed_over.loss == 1 and ".npy: an array of numbers" in texts[0]
