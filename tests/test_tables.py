"""Tables and lists as people have them: what cannot be read as it was meant is refused with the line."""
import csv
import io
import os
import random
import re
import unicodedata
import warnings

import numpy as np
import pytest
from PIL import Image

from vptsp import splits
from vptsp.benchmarks import load_dataset
from vptsp.files import DataError
from vptsp.lists import find_image, listed_image, numbered_lines, read_lines, read_text
from vptsp.readers import from_csv, from_folder, from_pairs
from vptsp.records import read_table
from vptsp.rows import part_of

NAMES = [f"{c}{i}.png" for c in "abcdef" for i in range(3)]


def picture(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade % 256,)*3).save(path)


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(NAMES): picture(tmp_path/name, i)
    return tmp_path


def lines(label=lambda name: name[0], path=lambda name: name, sep=",", end="\n", header="path,label"):
    rows = [f"{path(name)}{sep}{label(name)}" for name in NAMES]
    return end.join([header.replace(",", sep), *rows]) + end


def counted(data):
    "Class -> images, over all sets."
    return {name: n for s in data.sets.values() for name, n in zip(s.classes, s.labels.bincount().tolist())}


def read(folder, text, name="t.csv", encoding="utf-8", **options):
    "What the table gives, and the warnings."
    (folder/name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = from_csv(folder/name, **options)
    return data, [str(w.message) for w in caught]


def refused(folder, text, message, **options):
    with pytest.raises(DataError, match=message): read(folder, text, **options)


SIX = dict.fromkeys("abcdef", 3)


# ---- further columns

CAMERA = "path,label,Camera ID,note\n" + "".join(
    f"{n},{n[0]},{['7', '', 'NA'][i % 3] if n < 'd' else '07'},x\n" for i, n in enumerate(NAMES))


@pytest.mark.parametrize("columns", [("Camera ID",), ["camera id", "note"], "camera id"])
def test_further_columns_are_kept_as_text(folder, columns):
    data, said = read(folder, CAMERA, columns=columns)
    names = [columns] if isinstance(columns, str) else list(columns)
    assert not said and list(data.train.about) == list(data.query.about) == names
    assert data.train.about[names[0]] == ["7", None, None]*3 and data.query.about[names[0]] == ["07"]*9
    assert data.train.of_classes([1]).about[names[0]] == ["7", None, None]
    assert read(folder, CAMERA)[0].train.about == {}


def test_further_columns_beside_parts_and_super_classes(folder):
    text = "path,label,split,super,cam\n" + "".join(
        f"{n},{n[0]},{'train' if n < 'd' else ('query', 'gallery')[i % 2]},s,{i % 4}\n" for i, n in enumerate(NAMES))
    data, _ = read(folder, text, columns=["cam"])
    assert set(data.train.about) == set(data.query.about) == set(data.gallery.about) == {"super", "cam"}
    assert set(data.query.about["cam"]) == {"0", "2"} and set(data.gallery.about["cam"]) == {"1", "3"}
    assert read(folder, text, columns=["cam"], split="all")[0].train.about["cam"][:4] == ["0", "1", "2", "3"]


def test_further_columns_that_are_not_there(folder):
    refused(folder, CAMERA, "t.csv has no column 'cam'; it has 'path', 'label', 'Camera ID', 'note'.", columns=["cam"])
    twice = CAMERA.replace("note", "camera id")
    refused(folder, twice, "the column camera id stands in the header 2 times", columns="Camera ID")
    again = CAMERA + "a0.png,a,8,x\n"
    refused(folder, again, "line 20: .*a0.png' has '8' in the column Camera ID, but '7' in t.csv, line 2",
            columns=["Camera ID"])
    assert counted(read(folder, again)[0]) == SIX


def test_further_columns_of_parquet(folder):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for values, texts in (([3.0, None, 4.5], ["3", None, "4.5"]), ([True, False, None], ["True", "False", None]),
                          (["x ", "", "nan"], ["x", None, None])):
        table = pa.table({"path": NAMES, "label": [n[0] for n in NAMES], "Cam": values*6})
        parquet.write_table(table, folder/"t.parquet")
        assert from_csv(folder/"t.parquet", columns=["cam"]).train.about["cam"] == texts*3
    with pytest.raises(DataError, match="has no column 'x'; it has 'path', 'label', 'Cam'"):
        from_csv(folder/"t.parquet", columns=["x"])


# ---- fields, headers, encodings

@pytest.mark.parametrize("text, name, encoding", [
    (lines(), "t.csv", "utf-8"), (lines(), "t.CSV", "utf-8-sig"), (lines(end="\r\n"), "t.csv", "utf-8"),
    (lines(end="\r"), "t.csv", "utf-8"), (lines(), "t.csv", "utf-16"), (lines(), "t.csv", "utf-32"),
    (lines(sep="\t"), "t.tsv", "utf-8"), (lines(sep="\t"), "T.TAB", "utf-16"), (lines(sep="|"), "t.txt", "utf-8"),
    (lines(sep=";"), "t.txt", "utf-8"), (lines(header="Path,LABEL"), "t.csv", "utf-8"),
    (lines(header=" path , label "), "t.csv", "utf-8"), (lines(header='"path","label"'), "t.csv", "utf-8"),
    (lines(end="\n\n"), "t.csv", "utf-8"), (lines() + ",\n  ,  \n", "t.csv", "utf-8"),
    ("sep=;\n" + lines(sep=";"), "t.txt", "utf-8"), ("\n\n" + lines(), "t.csv", "utf-8"),
    (lines(header="\uff50ath,label"), "t.csv", "utf-8"), (lines(label=lambda n: f' "{n[0]}"'), "t.csv", "utf-8")])
def test_what_is_the_same_table(folder, text, name, encoding):
    data, said = read(folder, text, name, encoding)
    assert counted(data) == SIX and not said


def test_the_delimiter_is_said_where_the_suffix_says_another(folder):
    data, said = read(folder, lines(sep=";"))
    assert counted(data) == SIX and said == ["t.csv: fields are read between semicolons, as the header has them."]
    _, said = read(folder, lines(), "t.tsv")
    assert "between commas" in said[0]


def test_an_index_column_and_notes_are_passed_over(folder):
    rows = [f'{i},{name},{name[0]},"first\nsecond, third"' for i, name in enumerate(NAMES)]
    assert counted(read(folder, "\n".join([",path,label,note", *rows]))[0]) == SIX


@pytest.mark.parametrize("text, message", [
    ("", "t.csv is empty"), ("\n\n", "t.csv is empty"), ("path,label\n", "has a header, but no rows"),
    ("a0.png,a\nb0.png,b\n", "expected a header with the columns path and label, but found 'a0.png', 'a'"),
    ("path,label,Label \na0.png,a,b\n", "the column label stands in the header 2 times"),
    ("path;label,split\na0.png;a,train\n", "expected a header"),
    ('"path,label"\n"a0.png,a"\n', "in one field: take away the quotes around whole lines"),
    ('{"path": "a0.png"}\n', "but found '{\"path\": \"a0.png\"}'"),
    (lines() + "path,label\n", "line 20: the header stands here again"),
    (lines() + "a0.png\n", "line 20: 1 field, but the header has 2 columns"),
    (lines() + "\n\na0.png,\n", "line 22: path and label must both be there, but the label is ''"),
    (lines() + ",a\n", "line 20: path and label must both be there, but the path is ''"),
    (lines(label=lambda n: "cat, siamese"), "line 2: 3 fields, but the header has 2 columns: a text that holds commas"),
    (lines(sep=";", label=lambda n: "cat; siamese"), "a text that holds semicolons stands in quotes"),
    ("path,label\na0.png,a\n\n\nb0.png,b,\n", "line 5: 3 fields"),
    (lines().replace("b0.png,b", "b0.png,\0b"), "holds NUL characters, the first on line 5"),
    (lines(label=lambda n: "é").encode("latin-1"), "is not UTF-8 text .* on line 2"),
    (lines().encode("utf-16-le"), "holds NUL characters"),
    (b"PK\x03\x04 and so on", "is an Excel workbook or a zip archive"), (b"\x1f\x8b\x08", "is compressed by gzip"),
    (b"\xff\xfep", "is not UTF-16 text")])
def test_what_is_no_table(folder, text, message):
    refused(folder, text, message)


# ---- quotes

@pytest.mark.parametrize("text, message", [
    (lines().replace("b0.png,b", 'b0.png,"curly'), "line 5: a quote is opened that is never closed"),
    (lines().replace("b0.png,b", 'b0.png,"24" monitor'), r"line 5: a quote is followed by more text\. Inside quotes"),
    (lines().replace("b0.png,b", 'b0.png,"big').replace("c0.png,c", 'c0.png,"other"'),
     "line 5: a quote is opened that is not closed before line 8"),
    (lines().replace("b0.png,b", 'b0.png,"big').replace("c0.png,c", 'c0.png,24"'),
     "lines 5 to 8: the label 'big.*goes over several lines: is a quote not closed"),
    (lines().replace("b0.png,b", '"b0.png,b').replace("c0.png,c", 'c0.png",c'), "lines 5 to 8: the path .*goes over"),
    (lines(label=lambda n: f'"class\n{n[0]}"'), "lines 2 to 3: the label 'class"),
    (lines(label=lambda n: f'"class\r{n[0]}"'), "lines 2 to 3: the label 'class"),
    (lines(label=lambda n: '"open' if n == "a0.png" else "x"*9000), "line 2: a field of more than 131,072 characters"),
    (lines(header="path,label,note", label=lambda n: n[0] + {"b0.png": ',"see', "b2.png": ',below"'}.get(n, ",")),
     "a quote that is opened on line 5 goes on until line 7 and swallows the row of 'b1.png'")])
def test_quotes_that_swallow(folder, text, message):
    refused(folder, text, message)


def test_quotes_that_do_not(folder):
    label = {"a": '"cat, siamese"', "b": '"24"" monitor"', "c": ' """x"""', "d": "it's"}
    data, said = read(folder, lines(label=lambda n: label.get(n[0], n[0])))
    assert set(counted(data)) == {"cat, siamese", '24" monitor', '"x"', "it's", "e", "f"} and not said
    data, said = read(folder, lines(label=lambda n: '5" disc' if n[0] == "c" else n[0]))
    assert counted(data)['5" disc'] == 3
    assert said == ["t.csv, line 8: the label '5\" disc' holds a quote, which is taken as it stands."]


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\x0c", "\x0b", "\x1c", "\u3000", "\t"])
def test_no_row_is_cut_by_what_is_no_line_end(folder, inside):
    data, _ = read(folder, lines(label=lambda n: f"x{inside}{n[0]}"))
    assert counted(data) == {f"x{inside}{c}": 3 for c in "abcdef"}
    (folder/"list.txt").write_text(f"a{inside}b\r\nc\rd\n\ne", encoding="utf-8", newline="")
    assert read_lines(folder/"list.txt") == [f"a{inside}b", "c", "d", "e"]
    assert numbered_lines(folder/"list.txt")[-1] == (5, "e")


@pytest.mark.parametrize("seed", range(12))
def test_what_csv_writes_is_read_as_it_was_and_no_row_is_lost_to_a_slip(folder, seed):
    "Any labels in any dialect; and with one character more, a row is refused or wrong by itself, never gone."
    rng = random.Random(seed)
    signs = list("abXY,;|\t \"'`=-_.#\\/[]") + ["\u2028", "\x85", "\x0c", "\u00e9", "\u4e2d"]
    names = [f"{c}{''.join(rng.choices(signs, k=6))}".strip() for c in "abcdef"]
    delimiter, end = rng.choice(",;\t|"), rng.choice(["\n", "\r\n", "\r"])
    out = io.StringIO(newline="")
    quoting = rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([["path", "label"], *([n, names["abcdef".index(n[0])]] for n in NAMES)])
    text = out.getvalue()
    data, _ = read(folder, text, split="all")
    assert counted(data) == dict.fromkeys(names, 3)
    for _ in range(10):
        at = rng.randrange(len("path,label") + 2, len(text))
        slip = text[:at] + rng.choice(['"', delimiter, *signs]) + text[at:]
        try: data, _ = read(folder, slip, split="all")
        except DataError: continue
        right = sum(data.train.classes[c] == names["abcdef".index(s.name[0])]
                    for s, c in zip(data.train.sources, data.train.labels.tolist()))
        assert len(data.train) == len(NAMES) and right >= len(NAMES) - 1, slip


# ---- labels

@pytest.mark.parametrize("twin", ["a ", "\u00a0a", "a\t"])
def test_blanks_around_a_label_do_not_count(folder, twin):
    assert counted(read(folder, lines(label=lambda n: twin if n == "a1.png" else n[0]))[0]) == SIX


def test_the_form_of_accents_does_not_count(folder):
    forms = ("NFC", "NFD", "NFC")
    data, _ = read(folder, lines(label=lambda n: unicodedata.normalize(forms[int(n[1])], f"é{n[0]}")))
    assert counted(data) == {f"é{c}": 3 for c in "abcdef"}


@pytest.mark.parametrize("one, other", [("Cat", "cat"), ("snow leopard", "snow  leopard"), ("cat", "\uff43at"),
                                        ("zo\u200bo", "zoo"), ("straße", "STRASSE")])
def test_names_that_are_nearly_the_same(folder, one, other):
    label = {"a": one, "b": other}
    text = lines(label=lambda n: label.get(n[0], n[0]))
    refused(folder, text, "look like one class", split=[other])
    data, said = read(folder, text, split=["f"])
    assert {one, other} <= set(data.train.classes) and "nearly the same name and count as different" in said[0]
    parted = "\n".join([line + (",split" if i == 0 else f",{'test' if line[0] == 'b' else 'train'}")
                        for i, line in enumerate(text.splitlines())])
    refused(folder, parted, "look like one class")


def test_numbers_written_in_several_ways_are_named(folder):
    _, said = read(folder, lines(label=lambda n: {"a": "7", "b": "07", "c": "7.0"}.get(n[0], n[0])), split=["f"])
    assert "'07' and '7' and '7.0' are nearly the same name" in said[0]


@pytest.mark.parametrize("label", ["\"['cat', 'dog']\"", "['cat']", '"[1, 2]"'])
def test_lists_of_labels_written_as_text(folder, label):
    refused(folder, lines(label=lambda n: label), r"line 2: the label .* is a list: an image has one label")
    assert "[new]" in counted(read(folder, lines(label=lambda n: "[new]" if n[0] == "a" else n[0]))[0])


@pytest.mark.parametrize("word", ["", " ", '""', "\u200b", "nan", "NaN", "None", "NULL", "<NA>", "N/A", "#N/A", "na",
                                  "?", "-", "#BEZUG!", "#NV", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NUM!",
                                  "#NULL!"])
def test_missing_labels(folder, word):
    text = lines(label=lambda n: word if n[0] == "b" else n[0])
    refused(folder, text, "line 5: path and label must both be there, but the label is .* 3 of 18 rows")
    data, _ = read(folder, text, missing="drop")
    assert counted(data) == {c: 3 for c in "acdef"} and "3 x .png: its row has no label" in data.passed_over.lines()[0]
    assert read(folder, text, missing="keep", split=[word.strip('"')])[0].counts()["query"] == (3, 1)
    refused(folder, lines(), "missing = 'no'", missing="no")
    refused(folder, lines(label=lambda n: word), "no row has a label", missing="drop")


def test_signs_among_signs_are_labels(folder):
    data, _ = read(folder, lines(label=lambda n: "?-!+ab"["abcdef".index(n[0])]))
    assert counted(data) == {c: 3 for c in "?-!+ab"}
    assert counted(read(folder, lines(label=lambda n: {"a": "#1", "b": "Na"}.get(n[0], n[0])))[0])["#1"] == 3


def test_minus_one_is_missing_where_nothing_else_is_negative(folder):
    text = lines(label=lambda n: str("abcdef".index(n[0]) - 1))
    refused(folder, text, "line 2: .* but the label is '-1'")
    assert counted(read(folder, text, missing="drop")[0]) == {c: 3 for c in "01234"}
    assert len(counted(read(folder, text.replace(",0\n", ",-2\n"))[0])) == 6


# ---- paths

def test_paths_into_the_folder(folder, tmp_path):
    (tmp_path/"link").symlink_to(folder)
    ways = (lambda n: str(folder/n), lambda n: f"./{n}", lambda n: f".\\{n}", lambda n: f"{n} ", lambda n: f"x/../{n}",
            lambda n: os.path.realpath(folder/n), lambda n: str(tmp_path/"link"/n), lambda n: f"{folder}//{n}")
    for way in ways: assert counted(read(folder, lines(path=way))[0]) == SIX
    text = lines(path=lambda n: f"{folder}/{n}")
    assert counted(read(folder, text, root="/")[0]) == counted(read(folder, text, root=tmp_path/"link")[0]) == SIX
    text = lines(path=lambda n: f"{tmp_path}/link/{n}")
    assert counted(read(folder, text, root=tmp_path/"link")[0]) == SIX


def test_a_name_in_the_other_form_of_accents_is_found(tmp_path):
    picture(tmp_path/unicodedata.normalize("NFC", "é.png"))
    assert listed_image(tmp_path, unicodedata.normalize("NFD", "é.png")).is_file()


def test_a_file_whose_name_has_blanks_or_backslashes(tmp_path):
    for name in (" a.png", "b\\c.png"): picture(tmp_path/name)
    assert listed_image(tmp_path, " a.png").name == " a.png"
    assert listed_image(tmp_path, "b\\c.png").name == "b\\c.png"


@pytest.mark.parametrize("path, message", [
    ("/etc/passwd", "leaves the folder"), ("../t.csv", "leaves the folder"), ("a/../../x.png", "leaves the folder"),
    ("..\\x.png", "leaves the folder"), ("C:\\data\\a0.png", "leaves the folder"), ("\\\\server\\a0.png", "leaves"),
    ("A0.PNG", "there is no image .*A0.PNG', but a list names it; is it 'a0.png'"), (".", "no image|leaves"),
    ("a0", "there is no image .*; is it 'a0.png'"), ("https://x.org/a0.png", "is an address, no path"),
    ("nowhere/a0.png", "there is no image"), ("a0.png\x1b[2J", r"no image .*\\x1b\[2J"), ("x"*5000, "no image")])
def test_paths_to_nowhere(folder, path, message):
    refused(folder, f"path,label\na1.png,a\n{path},b\n", f"t.csv, line 3: .*{message}")
    assert find_image(folder, path) is None


def test_paths_from_the_working_folder(folder, monkeypatch):
    (folder/"lists").mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match="it is there from the working folder: give root = '.'"):
        read(folder, lines(), "lists/t.csv")
    assert counted(read(folder, lines(), "lists/t.csv", root=".")[0]) == SIX
    with pytest.raises(DataError, match="there is no folder 'none'"): read(folder, lines(), root="none")


def test_a_folder_of_the_same_beginning_is_another_folder(tmp_path):
    picture(tmp_path/"data2"/"a.png")
    (tmp_path/"data").mkdir()
    with pytest.raises(DataError, match="leaves the folder"): listed_image(tmp_path/"data", f"{tmp_path}/data2/a.png")


# ---- one image twice

@pytest.mark.parametrize("path", ["a0.png", "./a0.png", "link.png", ".\\a0.png"])
def test_one_image_with_two_labels_or_twice(folder, path):
    (folder/"link.png").symlink_to("a0.png")
    refused(folder, lines() + f"{path},f\n", "line 20: .* has the label 'f', but 'a' in t.csv, line 2: an image has")
    data, said = read(folder, lines() + f"{path},a\n")
    assert counted(data) == SIX and "t.csv, line 20: " in said[0] and "stands in t.csv, line 2 already" in said[0]


@pytest.mark.parametrize("one, other", [("train", "test"), ("query", "gallery")])
def test_one_image_for_two_things(folder, one, other):
    parts = {"d": "train", "a": one, "b": "query", "c": "test" if other == "test" else other}
    text = "\n".join(["path,label,split", *(f"{n},{n[0]},{parts[n[0]]}" for n in NAMES if n[0] in parts)])
    refused(folder, f"{text}\na0.png,a,{other}", f"line 14: .* stands in {one} and in {other}", closed_set=True)


# ---- what is for what

def parted(of, extra=""):
    return "\n".join(["path,label,Split", *(f"{n},{n[0]},{of.get(n[0], 'train')}" for n in NAMES)]) + extra


@pytest.mark.parametrize("train, test", [("Train", "TEST"), ("training", "Validation"), ("trn", "val"),
                                         (" train ", "dev"), ("TRAINING SET", "test_set"), ("train", "Probe")])
def test_words_for_parts(folder, train, test):
    data, _ = read(folder, parted({c: train for c in "abc"} | {c: test for c in "def"}))
    assert data.counts() == {"train": (9, 3), "query": (9, 3)}


def test_parts_that_are_not_clear(folder):
    refused(folder, parted({"f": "tset"}), "line 17: split 'tset' is none of train, test")
    refused(folder, parted({"f": ""}), "line 17: split '' is none of")
    refused(folder, parted({"e": "test", "f": "query"}), "both test and query")
    refused(folder, parted({}), "nothing is for testing .* images to test on")
    refused(folder, parted({"f": "gallery"}), "nothing is for testing")
    refused(folder, parted({c: "test" for c in "abcdef"}), "nothing is for training")
    refused(folder, parted({"f": "test"}), "has a column split of its own: leave out split = .'a'.", split=["a"])
    refused(folder, parted({"f": "test"}), "leave out split = 0.7", split=.7)
    refused(folder, lines(), "closed_set is for tables with a column split", closed_set=True)


def test_val_beside_a_test_is_left_out_and_said(folder):
    data, said = read(folder, parted({"e": "val", "f": "test"}))
    assert data.counts() == {"train": (12, 4), "query": (3, 1)} and "3 images of val are left out" in said[0]
    assert len(data.passed_over) == 3
    assert read(folder, parted({"f": "val"}))[0].query.classes == ["f"]


def test_the_same_classes_on_both_sides_by_a_word(folder):
    text = "\n".join(["path,label,split", *(f"{n},{n[0]},{'test' if n[1] == '2' else 'train'}" for n in NAMES)])
    refused(folder, text, "classes are in train and in test")
    assert read(folder, text, closed_set=True)[0].counts() == {"train": (12, 6), "query": (6, 6)}


@pytest.mark.parametrize("split", ["all", 1., 1])
def test_training_on_all(folder, split):
    for text in (lines(), parted({"f": "test"})):
        data, _ = read(folder, text, split=split)
        assert data.counts() == {"train": (18, 6), "query": (0, 0)} and not data.has_test


@pytest.mark.parametrize("split", [True, False, np.bool_(True), None, len, list, 1j])
def test_a_flag_is_no_split(folder, split):
    split_said = re.escape(getattr(split, "__name__", str(split)))
    refused(folder, lines(), f"split = {split_said}: the share of the classes that trains lies between", split=split)
    pairs = [(Image.new("RGB", (8, 8)), name) for name in "abcd"]
    with pytest.raises(DataError, match="'all' trains on every class"): from_pairs(pairs, split=split)
    for i, name in enumerate(NAMES): picture(folder/"tree"/name[0]/name, i)
    with pytest.raises(DataError, match=f"split = {split_said}: "): from_folder(folder/"tree", split=split)


def test_a_split_under_another_name_is_said(folder):
    _, said = read(folder, parted({"f": "test"}).replace("Split", "Subset"))
    assert "the column subset (test, train) is not used: call it split" in said[0]
    assert not read(folder, parted({c: c for c in "abcdef"}).replace("Split", "Subset"))[1]


@pytest.mark.parametrize("column", ["dataset", "data_set", "Data Set", "dataset_split", "image_set", "type", "mode",
                                    "purpose", "group", "kind", "", "x y"])
@pytest.mark.parametrize("train, test", [("train", "test"), ("Training", "VAL"), ("seen", "unseen")])
def test_any_column_of_words_for_parts_is_said(folder, column, train, test):
    text = parted({c: train for c in "abc"} | {c: test for c in "def"}).replace("Split", column)
    _, said = read(folder, text)
    assert len(said) == 1 and "is not used: call it split" in said[0] and column.casefold() in said[0]
    assert not read(folder, text + "\n", columns=[column])[1] if column else True
    assert not read(folder, parted({c: train for c in "abcdef"}).replace("Split", column))[1]   # one part only
    assert not read(folder, parted({c: "test" if c == "a" else "tabby" for c in "abcdef"}).replace("Split", column))[1]


@pytest.mark.parametrize("column", ["is_train", "is_training_image", "train", "isTrain", "istrain", "in_test", "Test"])
@pytest.mark.parametrize("no, yes", [("0", "1"), ("False", "True"), ("no", "yes"), ("", "x"), ("0.0", "1.0")])
def test_a_flag_for_a_part_is_said(folder, column, no, yes):
    text = parted({c: no for c in "abc"} | {c: yes for c in "def"}).replace("Split", column)
    _, said = read(folder, text)
    assert len(said) == 1 and "is not used: call it split, with train and test as its values" in said[0]
    for other in ("is_male", "restrained", "trainer", "contested", "test_result"):
        assert not read(folder, text.replace(column, other, 1))[1]
    assert not read(folder, text.replace(f",{yes}\n", ",2\n" if yes == "1" else ",maybe\n", 1))[1]


def test_a_column_of_parquet_like_a_split_is_said(folder):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for values in (["train"]*9 + ["test"]*9, [True]*9 + [False]*9, [1]*9 + [0]*9, [b"train"]*9 + [b"test"]*9):
        named = {"path": NAMES, "label": [n[0] for n in NAMES], "is_train": values}
        parquet.write_table(pa.table(named), folder/"t.parquet")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from_csv(folder/"t.parquet")
        said = [str(w.message) for w in caught]
        assert len(said) == (values[0] != b"train") and all("the column is_train (" in text for text in said)


@pytest.mark.parametrize("word, part", [("train", "train"), ("Training-Images", "train"), ("VALIDATION", "val"),
                                        ("test data", "test"), ("Query", "query"), ("lemon", None), ("trainer", None),
                                        ("", None), ("latest", None), ("hold_out", "eval"), ("Held-Out", "eval"),
                                        ("eval", "eval"), ("devel", "val"), ("dev set", "val"), ("trainval", "train"),
                                        ("train_val", "train"), ("trainset", "train"), ("TrainImages", "train"),
                                        ("te", "test"), ("tr", "train"), ("seen", "train"), ("unseen", "test"),
                                        ("test_seen", "test"), ("val_seen", "val"), ("index", "gallery"),
                                        ("Database", "gallery"), ("test query", "query"), ("test1", None),
                                        ("0", None), ("not test", None), ("train/test", None), ("all", None)])
def test_part_of(word, part):
    assert part_of(word) == part


def test_words_of_folders_are_words_of_tables():
    for words in (splits.plain, splits.with_queries, splits.all_sides):
        assert not [word for word, role in words.items() if part_of(word) != splits.all_sides[word]]
    assert splits.roles_of(["hold_out", "devel", "trainval"]) == {
        "eval": ["hold_out"], "val": ["devel"], "train": ["trainval"]}


def test_sides_in_the_words_of_others(folder):
    data, said = read(folder, parted({"f": "hold_out", "e": "devel"}).replace(",train", ",trainval"))
    assert data.counts() == {"train": (12, 4), "query": (3, 1)} and data.query.classes == ["f"]
    assert "3 images of val are left out" in said[0] and len(data.passed_over) == 3
    data, said = read(folder, parted({"f": "holdout", "e": "test"}))
    assert data.query.classes == ["e"] and "3 images of eval are left out: there is a test." in said[0]
    refused(folder, parted({"f": "test1", "e": "test2"}), "split 'test2' is none of train, test")


def test_the_words_of_split(folder):
    numbers = lines(label=lambda n: str("abcdef".index(n[0])))
    for split in ([3, 4], ("3", "4"), {3, 4}, [3., 4.]):
        assert read(folder, numbers, split=split)[0].query.classes == ["3", "4"]
    assert read(folder, lines(), split="f")[0].query.classes == ["f"]
    text = lines(label=lambda n: "all" if n[0] == "f" else n[0])
    assert read(folder, text, split=["all"])[0].query.classes == ["all"]
    refused(folder, lines(), "split names 'af', but no image has this class", split="af")
    for split in (3, -1, float("nan"), True): refused(folder, lines(), "lies between 0 and 1", split=split)
    refused(folder, lines(), "split = None: the share of the classes that trains", split=None)


# ---- Parquet

def parquet(folder, name="t.parquet", **columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq
    pq.write_table(pa.table(columns), folder/name)
    return folder/name


def test_parquet_with_every_kind_of_column(folder):
    pa = pytest.importorskip("pyarrow")
    letters = [n[0] for n in NAMES]
    assert counted(from_csv(parquet(folder, path=NAMES, label=letters))) == SIX
    assert counted(from_csv(parquet(folder, "t.data", Path=NAMES, LABEL=letters, other=letters))) == SIX
    coded = pa.array(letters).dictionary_encode()
    assert counted(from_csv(parquet(folder, path=pa.array(NAMES, pa.large_string()), label=coded))) == SIX
    numbers = [10*"abcdef".index(c) for c in letters]
    assert set(counted(from_csv(parquet(folder, path=NAMES, label=numbers)))) == {"0", "10", "20", "30", "40", "50"}
    assert from_csv(parquet(folder, path=NAMES, label=numbers), split=[30]).query.classes == ["30"]
    some = pa.array([None if c == "a" else 1e15*i for c, i in zip(letters, numbers)])
    with pytest.raises(DataError, match="t.parquet, row 1: path and label must both be there, but the label is None"):
        from_csv(parquet(folder, path=NAMES, label=some))
    assert "10000000000000000" in counted(from_csv(parquet(folder, path=NAMES, label=some), missing="drop"))
    splits = ["Test" if c == "f" else "train" for c in letters]
    assert from_csv(parquet(folder, path=NAMES, label=letters, split=splits)).query.classes == ["f"]


def test_parquet_floats_of_few_bits_are_as_they_were_written(folder):
    pa = pytest.importorskip("pyarrow")
    for kind in (pa.float32(), pa.float64()):
        values = pa.array([.1*int("abcdef".index(n[0])) for n in NAMES], kind)
        data = from_csv(parquet(folder, path=NAMES, label=values, size=values), columns=["size"])
        if kind == pa.float32(): assert set(counted(data)) == {"0", "0.1", "0.2", "0.3", "0.4", "0.5"}
        assert {"0.1", "0.2"} <= {*data.train.about["size"]}


def test_parquet_that_is_none(folder):
    letters = [n[0] for n in NAMES]
    with pytest.raises(DataError, match="a list: an image has one label"):
        from_csv(parquet(folder, path=NAMES, label=[[c] for c in letters]))
    with pytest.raises(DataError, match="row 1: the path is .* a dict: it must be a text"):
        from_csv(parquet(folder, path=[{"bytes": b"x", "path": n} for n in NAMES], label=letters))
    with pytest.raises(DataError, match="columns path and label, but found 'image', 'label'"):
        from_csv(parquet(folder, image=NAMES, label=letters))
    with pytest.raises(DataError, match="row 1: .* path is ''"): from_csv(parquet(folder, path=[None], label=["a"]))
    with pytest.raises(DataError, match="row 2: .* stands|row 2: .* has the label 'b', but 'a' in t.parquet, row 1"):
        from_csv(parquet(folder, path=["a0.png", "a0.png"], label=["a", "b"]))
    cut = folder/"cut.parquet"
    cut.write_bytes(parquet(folder, path=NAMES, label=letters).read_bytes()[:200])
    with pytest.raises(DataError, match="cut.parquet cannot be read as a Parquet table"): from_csv(cut)
    cut.write_text(lines())
    with pytest.raises(DataError, match="cut.parquet cannot be read as a Parquet table"): from_csv(cut)
    with pytest.raises(DataError, match="there is no file"): from_csv(folder/"none.parquet")


def test_places_of_rows(folder):
    (folder/"t.csv").write_text('note,path,label\n"a\nb",a0.png,a\n\nx,b0.png,b\n')
    assert [row.place for row in read_table(folder/"t.csv")] == ["t.csv, lines 2 to 3", "t.csv, line 5"]
    with pytest.raises(DataError, match="there is no file"): read_text(folder/"none.txt")
    with pytest.raises(DataError, match="there is no file"): from_csv(folder)


# ---- the benchmarks' lists

def listed(tmp_path, name, text):
    path = tmp_path/name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="", encoding="utf-8")
    return tmp_path


def loaded(name, root):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_dataset(name, root)
    return data, [str(w.message) for w in caught]


def cub(tmp_path, change=lambda rows: rows):
    rows = [f"{3*c + i + 1} {c:03d}.bird x/{i} a.jpg" for c in range(4) for i in range(3)]
    for row in rows: picture(tmp_path/"CUB_200_2011"/"images"/row.split(maxsplit=1)[1])
    return listed(tmp_path, "CUB_200_2011/images.txt", "\n".join(change(rows)))


def test_the_list_of_cub(tmp_path):
    assert loaded("cub200", cub(tmp_path))[0].counts() == {"train": (6, 2), "query": (6, 2)}
    data, _ = loaded("cub200", cub(tmp_path, lambda rows: [r.replace("/", "\\") for r in rows]))
    assert data.train.classes == ["000.bird x", "001.bird x"]
    for change, message in (
            (lambda rows: [*rows, "", "", "a.jpg"], "images.txt, line 15: expected lines `image_id class_folder"),
            (lambda rows: [*rows, "13 nowhere/1.jpg"], "images.txt, line 13: there is no image"),
            (lambda rows: [*rows, "13 ../1.jpg"], "images.txt, line 13: the path '../1.jpg' leaves"),
            (lambda rows: [*rows, "13 001.bird x/../000.bird x/0 a.jpg"], "line 13: .* has the label '001.bird x'")):
        with pytest.raises(DataError, match=message): loaded("cub200", cub(tmp_path, change))
    data, said = loaded("cub200", cub(tmp_path, lambda rows: [*rows, rows[0]]))
    assert data.counts()["train"] == (6, 2) and "images.txt, line 13: " in said[0]


def sop(tmp_path, change=lambda rows: rows, header=("image_id class_id super_class_id path",)):
    for part, first in (("train", 1), ("test", 3)):
        rows = [f"{3*c + i + 1} {c + first} 1 chair_final/{part} {c}_{i}.JPG" for c in range(2) for i in range(3)]
        for row in rows: picture(tmp_path/"Stanford_Online_Products"/row.split(maxsplit=3)[3])
        rows = change(rows) if part == "train" else rows
        listed(tmp_path/"Stanford_Online_Products", f"Ebay_{part}.txt", "\r\n".join([*header, *rows]))
    return tmp_path


def test_the_lists_of_sop(tmp_path):
    for header in (("image_id class_id super_class_id path",), ()):   # without it, no image is lost
        data, _ = loaded("sop", sop(tmp_path, header=header))
        assert data.counts() == {"train": (6, 2), "query": (6, 2)} and data.train.about["super"] == ["chair"]*6
    for change, message in (
            (lambda rows: [*rows[:2], "", "1 a 1 x.jpg"], "Ebay_train.txt, line 5: expected lines `image_id"),
            (lambda rows: [*rows, "7 9 1 chair_final/none.JPG"], "Ebay_train.txt, line 8: there is no image"),
            (lambda rows: [*rows, "7 2 1 chair_final/train 0_0.JPG"], "line 8: .* the label '00002', but '00001' in"),
            (lambda rows: [*rows, "7 3 1 chair_final/test 0_0.JPG"], "Ebay_test.txt, line 2: .* in train and in test")):
        with pytest.raises(DataError, match=message): loaded("sop", sop(tmp_path, change))


def inshop(tmp_path, change=lambda rows: rows, header=("16", "image_name item_id evaluation_status")):
    rows = [f"img/WOMEN/Long Tees/id_{c}/{i}.jpg   id_{c}   {'train' if c < 2 else ('query', 'gallery')[i % 2]}"
            for c in range(4) for i in range(4)]
    for row in rows: picture(tmp_path/row.rsplit(maxsplit=2)[0])
    return listed(tmp_path, "list_eval_partition.txt", "\n".join([*header, *change(rows)]))


def test_the_list_of_inshop(tmp_path):
    for header in (("16", "image_name item_id evaluation_status"), ()):
        data, _ = loaded("inshop", inshop(tmp_path, header=header))
        assert data.counts() == {"train": (8, 2), "query": (4, 2), "gallery": (4, 2)}
    _, said = loaded("inshop", inshop(tmp_path, lambda rows: rows[:-1]))
    assert "the first line says 16 images, but the list has 15" in said[0]
    for change, message in (
            (lambda rows: [*rows, "", "img/1.jpg id_1 valid"], "line 20: expected lines `image_name item_id train"),
            (lambda rows: [*rows, rows[9].replace("gallery", "query")], "line 19: .* stands in gallery and in query"),
            (lambda rows: [*rows, rows[0] + " more"], "line 19: expected lines")):
        with pytest.raises(DataError, match=message): loaded("inshop", inshop(tmp_path, change))


def test_the_lists_of_inaturalist(tmp_path):
    def lists(end="", sep="/"):
        for part, classes in (("train", (1, 2)), ("test", (3, 4))):
            names = [f"train_val2018/Plantae/{c}/{i} a.jpg" for c in classes for i in range(2)]
            for name in names: picture(tmp_path/"inaturalist"/name)
            listed(tmp_path/"inaturalist", f"Inaturalist_{part}_set1.txt", "\n".join(names).replace("/", sep) + end)
        return tmp_path
    for sep in "/\\":
        data, _ = loaded("inaturalist", lists(sep=sep))
        assert data.train.classes == ["Plantae/1", "Plantae/2"] and data.train.about["super"] == ["Plantae"]*4
    with pytest.raises(DataError, match="set1.txt, line 6: '1.jpg' is too short"):
        loaded("inaturalist", lists("\n\n1.jpg"))
    with pytest.raises(DataError, match="set1.txt, line 5: there is no image"):
        loaded("inaturalist", lists("\ntrain_val2018/Plantae/1/9.jpg"))


def test_annotations_of_cars_whose_class_is_no_number(tmp_path):
    from scipy.io import savemat
    for i in range(4): picture(tmp_path/"car_ims"/f"{i}.jpg")
    def cars(classes):
        entries = [{"relative_im_path": f"car_ims/{i}.jpg", "class": c} for i, c in enumerate(classes)]
        savemat(tmp_path/"cars_annos.mat", {"annotations": entries})
        return tmp_path
    assert loaded("cars196", cars([1, 1., 2, 2]))[0].train.classes == ["001"]
    for wrong in (1.5, "a", 0, -1):
        with pytest.raises(DataError, match="annotation 3: the class is .*, which is no number from 1"):
            loaded("cars196", cars([1, 1, wrong, 2]))
