"""Labels as people have them: any values that can be told apart, missing ones by a word, names that stay apart."""
import warnings
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vptsp.analysis.check import check_data
from vptsp.files import DataError
from vptsp.labels import LabelError, label_values, missing_labels, name_key, near_names, number_labels
from vptsp.loaders import ClassBalancedSampler
from vptsp.readers import from_hf, from_pairs

NAN = float("nan")


def warned(call):
    "What `call` gives, and the warnings it gave."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in caught]


# ---- values

@pytest.mark.parametrize("labels, values", [
    (["cat", "dog"], ["cat", "dog"]), ((3, 1), [3, 1]), (range(2), [0, 1]), (iter("ab"), ["a", "b"]),
    (torch.tensor([3, 1]), [3, 1]), (torch.tensor([[3], [1]]), [3, 1]), (np.array([[3], [1]]), [3, 1]),
    (torch.tensor([3, 1], dtype=torch.uint8), [3, 1]), (np.array([3, 1], np.uint16), [3, 1]),
    (np.array([2**64 - 1, 0], np.uint64), [2**64 - 1, 0]), ([10**10, 10**30], [10**10, 10**30]),
    (torch.tensor([3., 1.], requires_grad=True), [3, 1]), (torch.tensor([.6, 1.]), [.6, 1]),
    (torch.tensor([.5, 1.], dtype=torch.bfloat16), [.5, 1]), (np.array([.1, .6], np.float16), [.1, .6]),
    ([torch.tensor(.6), np.float32(.6), .6, np.array([.6])], [.6]*4), ([True, False], [True, False]),
    (np.array([True, False]), [True, False]), ([torch.tensor(True), np.bool_(False)], [True, False]),
    (np.array(["a", "b "]), ["a", "b"]), (np.array([b"a", b"b"]), ["a", "b"]), ([b"\xff"], ["\\xff"]),
    ([" cat", "cat\t"], ["cat", "cat"]), (["cafe\u0301"], ["caf\u00e9"]), ([(1, 2), (3,)], [(1, 2), (3,)]),
    ([date(2020, 1, 1)], [date(2020, 1, 1)]), ([Decimal("1.5"), Fraction(1, 3)], [Decimal("1.5"), Fraction(1, 3)]),
    (np.array(["2020-01-01"], "M8[D]"), ["2020-01-01"]), ([-3, -2, 4], [-3, -2, 4]), ([-1, -2], [-1, -2]), ([], [])])
def test_values_that_can_be_told_apart(labels, values):
    found, kept = label_values(labels)
    assert found == values and list(map(type, found)) == list(map(type, values))
    assert kept == list(range(len(values)))


@pytest.mark.parametrize("labels, message", [
    ([[1], [2]], "number 0 is .*, a list: an image has one label"), ([(1, [2])], "a tuple: an image has one label"),
    (np.eye(3), r"have the shape \(3, 3\)"), (torch.zeros(2, 2, 2), "have the shape"), ("cat", "one text, 'cat',"),
    ([torch.tensor([1, 2])], "a Tensor: an image has one"), ([np.array([1, 2])], "a ndarray: an image has one"),
    ({1, 2}, "a set, which has no order"), ({"a": 1}, "a dict, which has no order"), (None, "one value, 'None'"),
    (3, "one value, '3'"), (torch.tensor(3), "one value"), ([{"a": 1}], "a dict: an image has one label"),
    ([1, "1"], "1 and '1' stand side by side"), ([True, "True"], "True and 'True' stand side by side"),
    ([True, 1], "True and 1 stand side by side"), ([False, 2, 3], "False and 2 stand side by side"),
    ([.5, ".5", "0.5"], "0.5 and '0.5' stand"), ([object(), object()], "a object: an image has one label")])
def test_values_that_cannot(labels, message):
    with pytest.raises(LabelError, match=message): label_values(labels)
    with pytest.raises(LabelError, match=message): number_labels(labels)


class NAType:
    "As pandas writes what is not there."


@pytest.mark.parametrize("labels, lost", [
    ([1., NAN, 2.], [1]), (["a", None, "b"], [1]), (["a", "", " "], [1, 2]), ([0, -1, 2], [1]), ([-1., 0.], [0]),
    (np.array([0, -1]), [1]), (torch.tensor([0, -1]), [1]), (torch.tensor([NAN, 1.]), [0]), ([-1, -1], [0, 1]),
    (["0", "-1"], [1]), (["nan", "a"], [0]), (["None", "<NA>", "NaT", "NaN", "none"], [0, 1, 2, 3]),
    (np.array(["NaT", "2020"], "M8[Y]"), [0]), (np.ma.array([1, 2], mask=[0, 1]), [1]), ([NAType(), "a"], [0]),
    (np.ma.array([1., 2.], mask=[0, 1], dtype=np.float32), [1]), ([NAN, -1, 3], [0, 1]), ([Decimal("nan"), 1], [0])])
def test_missing_labels(labels, lost):
    n = len(labels)
    with pytest.raises(LabelError, match=f"{len(lost)} of {n} are missing, number {lost[0]} is"): label_values(labels)
    kept = [i for i in range(n) if i not in lost]
    assert label_values(labels, missing="drop")[1] == kept
    assert number_labels(labels, missing="drop").kept[0].tolist() == kept
    assert label_values(labels, missing="keep")[1] == list(range(n))
    with pytest.raises(LabelError, match="this must be one of refuse, drop, keep"): label_values(labels, missing="x")


def test_what_is_missing_is_one_class_where_it_is_kept():
    assert number_labels([NAN, None, "a", float("nan"), ""], missing="keep").numbers[0].tolist() == [0, 0, 1, 0, 0]
    assert missing_labels(["a", None]) == [1] and missing_labels([-1, -2]) == []


def test_groups_are_numbered_together():
    one, two = number_labels(np.array([10**10, 3]), ["3", "x"][:0] or [3, 7]).numbers
    assert one.tolist() == [2, 0] and two.tolist() == [0, 1] and one.dtype == torch.long
    assert number_labels(["b "], ["a", "b"]).values == ["a", "b"]
    assert number_labels(torch.tensor([.6]), np.array([.6])).values == [.6]      # 32 bits and 64
    assert number_labels([0, -1], [1, -2]).values == [-2, -1, 0, 1]              # told by all of them
    with pytest.raises(LabelError, match="1 of 2 are missing, number 1 is -1"): number_labels([1, 2], [0, -1])
    with pytest.raises(LabelError, match="1 and '1' stand side by side"): number_labels([1], ["1"])
    assert [k.tolist() for k in number_labels([0, -1], [-1, 1], missing="drop").kept] == [[0], [1]]


def test_arrow_and_what_is_like_pandas():
    pa = pytest.importorskip("pyarrow")
    big = 2**60 + 1
    assert label_values(pa.array([1, None, big]), missing="drop") == ([1, big], [0, 2])
    assert label_values(pa.chunked_array([["a"], ["b"]]).dictionary_encode())[0] == ["a", "b"]
    for few in (pa.array([.1, None, 2e10], pa.float32()), pa.array([.1, None, 2e10], pa.float32()).dictionary_encode()):
        assert label_values(few, "drop") == ([.1, 20000000000], [0, 2])
    assert label_values(pa.array(np.array([.1, .3], np.float16)))[0] == [.1, .3]

    class Series:
        def __init__(self, values): self.values = values
        def __array__(self, dtype=None, copy=None): return np.array(self.values, dtype=object)
        def __len__(self): return len(self.values)
    assert label_values(Series(["a", None, "b"]), missing="drop") == (["a", "b"], [0, 2])


# ---- names

def test_names_that_are_nearly_the_same():
    assert near_names(["Cat", "dog", "cat ", "CAT"]) == [["Cat", "cat ", "CAT"]]
    assert near_names(["7", "07", "7.0", "+7", "70", "0.7"]) == [["7", "07", "7.0", "+7"]]
    assert near_names(["7", "07"], numbers=False) == [] and near_names(["cat", "cat"]) == []
    assert near_names(["1.5", "1.50", "-1.5", "0", "-0"]) == [["1.5", "1.50"], ["0", "-0"]]
    assert near_names(["1.1", "1.10"], fractions=False) == [] and near_names(["1", "1.0"], fractions=False)
    assert near_names(["1"*29 + "0", "1"*29 + "1", "v1", "v01", "1/7", "1/07", "7 ", "007"]) == [["7 ", "007"]]
    cats = ["black_cat", "black cat", "Black-Cat", "black - cat", "black__cat", "black\u2010cat", "black\uff3fcat"]
    assert near_names([*cats, "blackcat", "black+cat", "black.cat", "black/cat"]) == [cats]
    assert near_names(["1-2", "1_2", "12", "1.2"]) == [["1-2", "1_2"]]
    signs = ["A-", "A", "A+", "_A", "lag_-1", "lag_1", "lag -2", "lag 2", "-3", "3", "-", "_"]
    assert near_names(signs) == []
    assert name_key("\ufb01ne\u200b \u00a0Stra\u00dfe") == "fine strasse"


@pytest.mark.parametrize("copy", [
    "Dog (1)", "dog(2)", "dog_(1)", "dog - Copy", "dog - Copy (2)", "dog copy", "dog copy 2", "dog_copy", "dog - Kopie",
    "dog Kopie 3", "dog - Kopie (2)", "dog (copy)", "dog (3rd copy)", "Copy of dog", "Kopie von dog", "dog copie",
    "dog - c\u00f3pia", "dog - \u526f\u672c", "dog \u306e\u30b3\u30d4\u30fc", "dog copy copy"])
def test_copies_by_the_system_are_nearly_the_same(copy):
    assert near_names(["dog", copy, "cat"]) == [["dog", copy]]
    assert near_names([copy, "cat", "dog (7)", "owl copy"]) == []
    labels = ["dog"]*3 + [copy]*3 + ["cat"]*12
    with pytest.raises(DataError, match="look like one class"): from_pairs(pairs(labels), split=[copy])
    data, said = warned(lambda: from_pairs(pairs(labels), split=["cat"]))
    assert {"dog", copy} == set(data.train.classes) and "count as different classes" in said[0]


def test_what_is_no_copy():
    names = ["car", "car (2012)", "car (red)", "car copyright", "photocopy", "copy", "(1)", "(2)", "car 1", "carcopy",
             "copier", "copy car", "crane (1)", "crane (3)", "car of copy"]
    assert near_names(names) == []
    assert near_names(["7", "07 (1)", "7 copy", "8"]) == [["7", "07 (1)", "7 copy"]]
    assert near_names(["cat copy", "cat", "cat copy (2)"]) == [["cat copy", "cat", "cat copy (2)"]]


PICTURES = [Image.new("RGB", (4, 4), (9*i, 0, 0)) for i in range(18)]
SIX = [c for c in range(6) for _ in range(3)]


def pairs(labels): return list(zip(PICTURES, labels))


class Set:
    "A dataset as torchvision has them."
    def __init__(self, targets, classes=None): self.targets, self.classes = targets, classes
    def __len__(self): return 18
    def __getitem__(self, i): return PICTURES[i], self.targets[i]


def names_of(data): return data.train.classes + data.query.classes


@pytest.mark.parametrize("labels, names", [
    (SIX, list("012345")), ([7*c for c in SIX], ["00", "07", "14", "21", "28", "35"]),
    ([c/2 for c in SIX], ["0", "0.5", "1", "1.5", "2", "2.5"]), ([f"{c} " for c in SIX], list("012345")),
    (torch.tensor(SIX), list("012345")), ([c > 2 for c in SIX], ["False", "True"]),
    ([torch.tensor(c/5) for c in SIX], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ([(c, "x") for c in SIX], [f"{c}, x" for c in range(6)]), ([b"ab"[c > 2:][:1] for c in SIX], ["a", "b"]),
    (np.array(SIX)*10**9, [f"{c}000000000".zfill(10) for c in range(6)])])
def test_class_names_of_labels(labels, names):
    for data in (from_pairs(pairs(labels)), from_pairs(Set(labels))):
        assert names_of(data) == names


@pytest.mark.parametrize("labels, message", [
    ([None, *SIX[1:]], "pairs: labels: 1 of 18 are missing, number 0 is None"), ([-1, *SIX[1:]], "number 0 is -1"),
    ([[c] for c in SIX], "an image has one label"), (np.eye(18), "have the shape"), ([1, "1"]*9, "stand side by side"),
    ([*SIX, 7], "19 labels, but there are 18 items|no pair"), (["", *map(str, SIX[1:])], "number 0 is ''")])
def test_labels_that_pairs_refuse(labels, message):
    with pytest.raises(LabelError, match=message): from_pairs(Set(labels))


@pytest.mark.parametrize("gone", [None, NAN, -1, torch.tensor(-1)])
def test_images_without_a_label_are_left_out_by_a_word(gone):
    data = from_pairs(pairs([*SIX[:-1], gone]), missing="drop")
    assert data.counts() == {"train": (9, 3), "query": (8, 3)}
    assert data.query.open(7).getpixel((0, 0)) == (9*16, 0, 0)           # the images keep their numbers
    assert "no label" in names_of(from_pairs(Set([*SIX[:-1], -1], list("abcdef")), missing="keep"))


def test_two_numbers_of_one_name_stay_two_classes():
    animals = ["ant", "crane", "bee", "crane", "dog", "elk"]
    data, said = warned(lambda: from_pairs(Set(SIX, animals), split=["dog", "elk"]))
    assert data.train.classes == ["ant", "bee", "crane (1)", "crane (3)"]
    assert data.train.labels.bincount().tolist() == [3]*4 and said == [
        "pairs: the class name 'crane' stands for the labels 1 and 3; these are classes of their own: "
        "'crane (1)', 'crane (3)'."]
    assert warned(lambda: from_pairs(Set(SIX, animals), split=[1, 3]))[0].query.classes == ["crane (1)", "crane (3)"]
    with pytest.raises(DataError, match=r"split names 'crane', but .* did you mean 'crane \("):
        warned(lambda: from_pairs(Set(SIX, animals), split=["crane"]))
    data, _ = warned(lambda: from_pairs(Set(SIX, ["crane", "crane ", *"cdef"])))
    assert data.train.classes == ["c", "crane (0)", "crane (1)"]


@pytest.mark.parametrize("classes", [
    [("tench", "Tinca tinca"), ("goldfish",), *"cdef"],
    {0: "tench, Tinca tinca", 1: "goldfish", **dict(enumerate("cdef", 2))},
    {"0": "tench, Tinca tinca", "1": "goldfish", **{str(i): c for i, c in enumerate("cdef", 2)}},
    {"tench, Tinca tinca": 0, "goldfish": 1, **{c: i for i, c in enumerate("cdef", 2)}},
    np.array(["tench, Tinca tinca", "goldfish ", *"cdef"])])
def test_class_names_in_every_form(classes):
    assert set(names_of(from_pairs(Set(SIX, classes)))) == {"tench, Tinca tinca", "goldfish", *"cdef"}


def test_labels_without_a_name():
    with pytest.raises(DataError, match="the label 5 lies outside its 2 class names"):
        from_pairs(Set([0]*17 + [5], ["a", "b"]))
    with pytest.raises(DataError, match="the label -2 lies outside"): from_pairs(Set([0]*17 + [-2], ["a", "b"]))
    assert names_of(from_pairs(Set([c > 2 for c in SIX], ["cat", "dog"]))) == ["cat", "dog"]


def test_the_words_of_split():
    for split in ([3, 4], ["3", "4"], (3., 4), {3, 4}, torch.tensor([3, 4]), np.array([3, 4]),
                  [torch.tensor(3), np.int64(4)]):
        assert from_pairs(pairs(SIX), split=split).query.classes == ["3", "4"]
    twelve = [(PICTURES[0], c) for c in range(12) for _ in range(2)]
    for split in ([9], "9", ["09"]): assert from_pairs(twelve, split=split).query.classes == ["09"]
    assert from_pairs(pairs(["dog" if c > 2 else "cat" for c in SIX]), split="dog").query.classes == ["dog"]
    assert from_pairs(pairs([c/2 for c in SIX]), split=[.5, 1]).query.classes == ["0.5", "1"]
    assert from_pairs(pairs(SIX), split=np.float32(.5)).query.classes == ["3", "4", "5"]
    assert not from_pairs(pairs(SIX), split="all").has_test
    with pytest.raises(DataError, match="split names '9', but no image has this class"):
        from_pairs(pairs(SIX), split=[9])
    with pytest.raises(DataError, match="cannot be split"): from_pairs(pairs(SIX), split=[])


@pytest.mark.parametrize("one, other", [("Cat", "cat"), ("black cat", "black_cat"), ("Black-Cat", "black cat")])
def test_twins_across_the_split_are_refused(one, other):
    labels = [one]*3 + [other]*3 + ["dog"]*12
    with pytest.raises(DataError, match=f"{other!r} in test, which look like one class"):
        from_pairs(pairs(labels), split=[other])
    data, said = warned(lambda: from_pairs(pairs(labels), split=["dog"]))
    assert data.train.classes == [one, other] and "count as different classes" in said[0]


@pytest.mark.parametrize("twin", ["07", "7.0", "+7"])
def test_numbers_written_twice_are_not_parted(twin):
    labels = ["7"]*3 + [twin]*3 + ["8"]*12
    with pytest.raises(DataError, match="look like one class"): from_pairs(pairs(labels), split=[twin])
    data, said = warned(lambda: from_pairs(pairs(labels), split=["8"]))
    assert {"7", twin} == set(data.train.classes) and "count as different classes" in said[0]
    assert any(line.startswith("class names that look alike") for line in check_data(data).lines())
    assert from_pairs(pairs(["1.1"]*9 + ["1.10"]*9), split=["1.10"]).query.classes == ["1.10"]     # sections
    assert from_pairs(pairs(["007"]*9 + ["017"]*9), split=["017"]).query.classes == ["017"]


# ---- sequences

def test_items_that_are_no_pairs():
    no_pair = "item 0 of pairs is no pair"
    for wrong, message in (([PICTURES[0]]*2, no_pair), (["ab", "cd"], no_pair), ({"a": 1}, no_pair),
                           ([PICTURES[:1]], no_pair), (zip(PICTURES, SIX), "a zip cannot be read by number")):
        with pytest.raises(DataError, match=message): from_pairs(wrong, split="all").train.open(0)
    broken = Set(SIX)
    broken.__class__ = type("Broken", (Set,), {"__getitem__": lambda self, i: 1/0})
    with pytest.raises(DataError, match="number 3 of 'mine' cannot be read .ZeroDivisionError: division by zero"):
        from_pairs(broken, name="mine").train.open(3)


@pytest.mark.parametrize("held, message", [
    (None, "there is no image: leave it out"), (torch.rand(3, 8, 8), r"is a Tensor torch.float32 \(3, 8, 8\): "),
    (np.zeros((8, 8, 3)), "is a ndarray float64"), (3, "is a int"), ({"bytes": None}, "there is no image"),
    (np.zeros((3, 8, 8), np.uint8), "is a ndarray uint8"), (b"no picture", "cannot be decoded"),
    ({"bytes": b"x"}, "cannot be decoded")])
def test_images_that_are_none(held, message):
    with pytest.raises(DataError, match=f"number 0 of 'pairs': .*{message}"):
        from_pairs([(held, 0), (held, 1)]).train.open(0)


def test_images_in_every_form(tmp_path):
    PICTURES[7].save(tmp_path/"a.png")
    raw = (tmp_path/"a.png").read_bytes()
    for held in (PICTURES[7], raw, {"bytes": raw, "path": "x"}, {"bytes": None, "path": str(tmp_path/"a.png")},
                 np.asarray(PICTURES[7]), bytearray(raw), open(tmp_path/"a.png", "rb")):  # noqa: SIM115
        assert from_pairs([(held, 0), (held, 1)]).train.open(0).getpixel((0, 0)) == (63, 0, 0)


def test_grey_arrays_in_every_form():
    for grey in (np.full((8, 8), 63, np.uint8), np.full((8, 8, 1), 63, np.uint8)):
        assert from_pairs([(grey, 0), (grey, 1)]).train.open(0).getpixel((0, 0)) == (63, 63, 63)
    deep = np.full((8, 8), 63*257, np.uint16)
    assert from_pairs([(deep, 0), (deep, 1)]).train.open(0).getpixel((0, 0)) == (63, 63, 63)


def test_pairs_of_paths_are_files(tmp_path):
    for i in range(4): PICTURES[i].save(tmp_path/f"{i}.png")
    files = [str(tmp_path/f"{i}.png") for i in range(4)]
    data = from_pairs(list(zip(files, [5, 5, 7, 7])), split=[7])
    assert data.query.sources == [Path(files[2]), Path(files[3])] and data.query.classes == ["7"]
    data, said = warned(lambda: from_pairs([*zip(files, "aabb"), (files[0], "a")]))
    assert data.counts()["train"] == (2, 1) and "item 4 of pairs: " in said[0]
    with pytest.raises(DataError, match="item 4 of pairs: .* has the label 'b', but 'a' in item 0 of pairs"):
        from_pairs([*zip(files, "aabb"), (files[0], "b")])
    with pytest.raises(DataError, match="item 1 of pairs: there is no image 'nowhere.png'"):
        from_pairs([(files[0], "a"), ("nowhere.png", "b")])


def test_targets_that_are_not_the_labels_of_the_items():
    class Changed(Set):
        def __getitem__(self, i): return PICTURES[i], self.targets[i] % 2
    with pytest.raises(LabelError, match="item 17 has the label 1, but its targets has 5"): from_pairs(Changed(SIX))


def test_joined_datasets_number_the_same_classes():
    from torch.utils.data import ConcatDataset, Subset
    def part(classes, labels):
        out = Set(labels, classes)
        out.__class__ = type("Part", (Set,), {"__len__": lambda self: len(self.targets)})
        return out
    pets, cars = part(["cat", "dog"], [0, 0, 1, 1]), part(["truck", "van"], [0, 1, 1])
    nested = ConcatDataset([ConcatDataset([pets, Subset(pets, [0])]), Subset(Subset(cars, [0, 1]), [1])])
    for joined, message in ((ConcatDataset([pets, cars]), "0 is 'cat' in one .* 'truck' in another"),
                            (nested, "1 is 'dog' in one of the datasets that are joined and 'van' in another")):
        with pytest.raises(LabelError, match=f"pairs: the label {message}"): from_pairs(joined)
        with pytest.raises(LabelError, match="label"): from_pairs(joined, split="all")
    for other in (part(["cat", "dog"], [0, 1]), part(["cat", "dog", "owl"], [2, 1]), part(None, [0, 1]),
                  part(["truck", "van"], [2, 3]), part(["truck", "van"], ["truck", "van"])):
        if "truck" in other.targets: other, pets = other, part(["cat", "dog"], ["cat", "dog"])
        assert from_pairs(ConcatDataset([pets, other]), split="all").train.classes
    named = ConcatDataset([pets, cars])
    named.classes = ["a", "b"]
    pets.targets = [0, 1]
    assert from_pairs(named).query.classes == ["b"]


# ---- the hub

class Table:
    "What `from_hf` needs of a `datasets.Dataset`."
    column_names = ("image", "label")
    def __init__(self, labels, names=None, images=PICTURES):
        self.labels, self.images = labels, images
        self.features = {"label": type("Feature", (), {"names": names} if names else {})()}
    def __len__(self): return len(self.labels)
    def __getitem__(self, k): return self.labels if k == "label" else {"image": self.images[k], "label": self.labels[k]}


@pytest.mark.parametrize("labels, names", [([*SIX[:-1], -1], list("abcdef")), ([*SIX[:-1], None], list("abcdef")),
                                           ([*SIX[:-1], -1], None), ([*map(str, SIX[:-1]), None], None)])
def test_hub_tables_with_missing_labels(labels, names):
    with pytest.raises(LabelError, match="dataset: labels: 1 of 18 are missing, number 17"):
        from_hf(Table(labels, names))
    assert from_hf(Table(labels, names), missing="drop").counts() == {"train": (9, 3), "query": (8, 3)}


def test_floats_of_few_bits_of_hub_tables():
    for bits in ("float32", "float16"):
        table = Table([float(getattr(np, bits)(c/10)) for c in SIX[:-1]] + [.5])
        table.features["label"].dtype = bits
        assert names_of(from_hf(table)) == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert names_of(from_hf(Table(np.array(SIX, np.float32)/10))) == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]


def test_hub_tables():
    assert names_of(from_hf(Table(SIX, list("abcdef")))) == list("abcdef")
    for split in ([5], "f"): assert from_hf(Table(SIX, list("abcdef")), split=split).query.classes == ["f"]
    with pytest.raises(LabelError, match="18 of 18 are missing"): from_hf(Table([-1]*18, list("ab")))
    with pytest.raises(LabelError, match="a list: an image has one label"): from_hf(Table([[c] for c in SIX]))
    with pytest.raises(DataError, match="number 0 of 'dataset': there is no image"):
        from_hf(Table(SIX, images=[None]*18)).train.open(0)
    parts = type("DatasetDict", (dict,), {"column_names": {"train": ["image"], "test": ["image"]}})()
    with pytest.raises(DataError, match=r"DatasetDict, has the parts train, test: choose one, source\['train'\]"):
        from_hf(parts)
    stream = type("IterableDataset", (), {"column_names": ["image", "label"]})()
    with pytest.raises(DataError, match="cannot be read by number: load it without streaming"): from_hf(stream)


# ---- batches

def test_batches_by_labels_of_any_kind():
    small = list(ClassBalancedSampler([0]*4 + [1]*4, 4, 2))
    for one, two in ((10**10, 10**12), ("a", "b"), (.5, 1.5), ((1, 2), (3, 4))):
        assert list(ClassBalancedSampler([one]*4 + [two]*4, 4, 2)) == small
    assert "2 of 2 classes" in ClassBalancedSampler(torch.tensor([10**10]*4 + [3]*4), 4, 2).coverage()
    with pytest.raises(LabelError, match="number 0 is -1"): ClassBalancedSampler([-1]*4 + [0]*4, 4, 2)
    with pytest.raises(LabelError, match="are missing"): ClassBalancedSampler([NAN]*4 + [0.]*4, 4, 2)
