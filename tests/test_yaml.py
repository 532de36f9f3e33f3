"Settings files: the rules of YAML 1.2, strict types, and nothing that a file could do to the process."
import dataclasses
import json
import os
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import yaml

from vptsp.config import Config, ConfigError, presets, yaml_value
from vptsp.yaml12 import plain_value, read_yaml, write_yaml


def read(tmp_path, text, **changes):
    file = tmp_path/"s.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Config.load(file, **changes)


def refused(tmp_path, text) -> str:
    with pytest.raises(ConfigError) as e: read(tmp_path, text)
    message = str(e.value)
    assert "s.yaml" in message and "\n" not in message and len(message) < 1600
    return message


# what is said is what is read

@pytest.mark.parametrize("line, value", [
    ("mixed_precision: no", "no"), ("mixed_precision: 'no'", "no"), ('mixed_precision: "no"', "no"),
    ("tune: none", "none"), ("lr: 1e-3", .001), ("lr: 1E-3", .001), ("lr: .1", .1), ("lr: 5", 5.), ("lr: '0.1'", .1),
    ("lr: 1_000", 1000.), ("seed: 010", 10), ("seed: 0o10", 8), ("seed: 0x10", 16), ("seed: '0x10'", 16),
    ("seed: 08", 8),
    ("epochs: 5.0", 5), ("epochs: 1e2", 100), ("epochs: +5", 5), ("head: True", True), ("head: FALSE", False),
    ("head: 'true'", True), ("dataset: 1234", "1234"), ("dataset: 007", "007"), ("dataset: 1.50", "1.50"),
    ("dataset: 2024-01-05", "2024-01-05"), ("dataset: no", "no"), ("dataset: true", "true"),
    ("dataset: 'null'", "null"),
    ("dataset: 12:30", "12:30"), ("backbone: 1e3", "1e3"), ("dataset: a#b", "a#b"), ("dataset: a #b", "a"),
    ("dataset: !!str 7", "7"), ("lr: &rate 1e-4\nlr_proxy: *rate", 1e-4), ("dataset: >-\n  a\n  b", "a b"),
    ("dataset: Vögel und 鳥", "Vögel und 鳥"), ("{lr: 1e-4}", 1e-4), ("\ufefflr: 1e-4", 1e-4),
    ("lr: 1e-4\r\nseed: 1\r\n", 1e-4),
    ("%YAML 1.1\n---\nmixed_precision: no\n", "no"), ("---\nlr: 1e-4\n...\n", 1e-4), ("# only\nlr: 1e-4 # rate", 1e-4),
])
def test_a_value_is_what_it_says(tmp_path, line, value):
    name = next(name for name in ("mixed_precision", "tune", "lr", "seed", "epochs", "head", "dataset", "backbone")
                if f"{name}:" in line)
    found = getattr(read(tmp_path, line), name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("line, says", [
    ("mixed_precision: off", "Did you mean 'no'?"), ("mixed_precision: No", "Did you mean 'no'?"),
    ("mixed_precision: false", "Did you mean 'no'?"), ("mixed_precision: ~", "Did you mean 'no'?"),
    ("adapter: null", "Did you mean 'none'?"), ("adapter: None", "Did you mean 'none'?"),
    ("adapter:", "Did you mean 'none'?"),
    ("semantic_proxies: off", "Did you mean 'none'?"), ("dataset: ~", "must be text"), ("dataset: [a]", "must be text"),
    ("head: yes", "true or false"), ("head: 'no'", "true or false"), ("head: 1", "true or false"),
    ("head: on", "true or false"),
    ("lr: 1:30", "must be a number"), ("lr: 0,1", "must be a number"), ("lr: true", "must be a number"),
    ("lr: ~", "a number"),
    ("lr: .inf", "must be a number"), ("lr: .nan", "must be a number"), ("lr: 1e999", "must be a number"),
    ("lr: 10%", "must be a number"), ("epochs: 5.5", "epochs = 5.5: this must be a whole number"),
    ("epochs: '5.5'", "epochs = 5.5: this must be a whole number"), ("epochs: 2024-01-05", "a whole number"),
    ("seed: 0o9", "a whole number"), ("seed: " + "9"*5000, "a whole number"),
    ("seed: 99999999999999999999", "between 0 and"),
    ("seed: -1", "between 0 and"), ("lr: {value: {a: 1}}", "must be a number"),
])
def test_a_value_of_another_kind_is_refused(tmp_path, line, says):
    assert says in refused(tmp_path, line)


@pytest.mark.parametrize("text, says", [
    ("lr: .1\nlr: .2", "line 2: 'lr' stands in line 1 already"), ("lr: .1\n'lr': .1", "'lr' stands in line 1 already"),
    ("vit_prompt: true\nvit_prompt: false", "'vit_prompt' stands in line 1 already"),
    ("lr: {value: 1, value: 2}", "'value' stands in line 1 already"),
    ("", "got nothing"), ("# lr: 1\n", "got nothing"), ("- lr", "got a list"), ("hello", "got a str"),
    ("7", "got a int"),
    ("lr: .1\n---\nlr: .2", "a second document"), ("lr:\n\tvalue: .1", "put spaces in its place"),
    ("lr:\t.1", "put spaces in its place"), ("lr: [1", "not YAML: line 1"), ("lr: 'a", "not YAML: line 1"),
    ("lr: .1\n epochs: 2", "not YAML: line 2"), ("lr .1\nepochs: 3", "not YAML: line 2"),
    ("lr: *nothing", "nothing is called &nothing"),
    ("a: &a [*a]", "nothing is called &a"), ("? [a, b]\n: 1", "a name is expected"), (": 1", "a name is expected"),
    ("<<: {lr: .1}", "write the values out"), ("1: 2", "there is no setting '1'"),
    ("no: 2", "there is no setting 'no'"),
    ("training: {lr: .1}", "there is no setting 'training'"), ("lr: \x00", "not YAML"), ("lr: \x07", "not YAML"),
    (b"dataset: caf\xe9", "save it as UTF-8"), ("lr: .1".encode("utf-16"), "save it as UTF-8"),
    ("vit_prompt: true\nnum_prompts: 5", "there it is called num_prompt"), ("vit_bitfit: yes", "must be true or false"),
])
def test_files_that_say_nothing_usable(tmp_path, text, says):
    assert says in refused(tmp_path, text)


# what a file must not do

HOSTILE = {
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [{','.join([f'*{p}']*9)}]\n"
                                                      for p, c in zip("abcdefgh", "bcdefghi")),
    "brackets": "lr: " + "["*100_000, "braces": "{a: "*50_000,
    "names": "\n".join(f"k{i}: 1" for i in range(20_000)),
    "text": "dataset: " + "x"*1_000_000, "spaces": " "*2_000_000, "dashes": "- "*90_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_nothing(tmp_path, name):
    tracemalloc.start()
    start = time.perf_counter()
    try:
        refused(tmp_path, HOSTILE[name])
        most = tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()
    assert time.perf_counter() - start < 20 and most < 60e6


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['touch {0}']", "!!python/name:os.system",
                                 "!!binary aGk=",
                                 "!!set {a}", "!thing {a: 1}", "!!timestamp 2024-01-05", "!!python/tuple [1]"])
def test_tags_make_no_objects(tmp_path, tag):
    assert "only plain values are" in refused(tmp_path, f"lr: {tag.replace('{0}', str(tmp_path/'made'))}")
    assert not (tmp_path/"made").exists()


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path/"pipe.yaml")
    with pytest.raises(ConfigError, match="no regular file"): Config.load(tmp_path/"pipe.yaml")
    with pytest.raises(ConfigError, match="no regular file"): Config.load("/dev/zero")
    (tmp_path/"run").mkdir()
    with pytest.raises(ConfigError, match="is a folder"): Config.load(tmp_path/"run")
    Config().save(tmp_path/"run"/"config.yaml")
    with pytest.raises(ConfigError, match="the settings are in .*config.yaml"): Config.load(tmp_path/"run")
    with pytest.raises(ConfigError, match="cannot be read: No such file"): Config.load(tmp_path/"none.yaml")


# writing

NAMES = ["no", "NO", "y", "off", "null", "~", "", "007", "1e3", "1_0", "12:30", "2024-01-05", "0x1f", "a: b",
         "a #b", "- a", "[a]", "'", '"',
         "\\", "a\nb", "\t", " a ", "é鳥", "\u2028\x85\x7f\ufeff", "\x1b[31m", "\U0001f600", "%a", "@a", "&a", "*a",
         "!a", "|", "=", "<<",
         "C:\\data", "/data/a b", ".5", "true", "NaN", "Infinity", ".inf", "0o7", "1.", "\ud800"]


@pytest.mark.parametrize("name", NAMES)
def test_any_text_is_read_back(name):
    settings = {"dataset": name, "loss_args": {name: [name, 1, .5, True, None]}}
    text = write_yaml(settings)
    assert text.isascii() or name.isprintable()
    for reader in (read_yaml, yaml.safe_load): assert reader(text) == settings


@pytest.mark.parametrize("number", [0., -0., 1e-8, 1e-300, 1e22, 5e-6, 123456.789, 1/3, 3, -7, 2**63, True, None, 100.])
def test_any_number_is_read_back(number):
    text = write_yaml({"x": number})
    for reader in (read_yaml, yaml.safe_load):
        found = reader(text)["x"]
        assert found == number and type(found) is type(number) and str(found) == str(number)


@pytest.mark.parametrize("name", presets)
def test_a_saved_file_is_the_same_to_an_older_reader(name, tmp_path):
    cfg = Config.load(name, mixed_precision="no", dataset="no")
    cfg.save(tmp_path/"c.yaml")
    text = (tmp_path/"c.yaml").read_text()
    assert Config.load(tmp_path/"c.yaml") == cfg == Config(**yaml.safe_load(text)) and 'mixed_precision: "no"' in text


# one value on a command line

@pytest.mark.parametrize("word, value", [
    ("mixed_precision=no", "no"), ("mixed_precision='no'", "no"), ('mixed_precision="no"', "no"), ("lr=1e-3", .001),
    ("lr= .5 ", .5),
    ("dataset=1234", "1234"), ("dataset=007", "007"), ("backbone=123", "123"), ("dataset=#1", "#1"),
    ("dataset=a: b", "a: b"),
    ("dataset=C:\\new", "C:\\new"), ("dataset=*", "*"), ("head=false", False), ("epochs=3", 3), ("seed=010", 10),
])
def test_a_word_of_the_command_line(word, value):
    name, _, text = word.partition("=")
    found = getattr(Config().replace(**{name: yaml_value(text)}), name)
    assert found == value and type(found) is type(value)


def test_words_of_the_command_line_that_are_refused():
    assert yaml_value("{margin: 0.1}") == {"margin": .1} and yaml_value("") is None and yaml_value("null") is None
    for text in ("{a", "'a", '["a"'):
        with pytest.raises(ConfigError, match="the value: not YAML: line 1"): yaml_value(text)
    for name, text in (("flip", "yes"), ("lr", "1:30"), ("head", "yes"), ("adapter", "null")):
        with pytest.raises(ConfigError, match=f"^{name} = "): Config().replace(**{name: yaml_value(text)})


# values given in Python

def test_numbers_and_texts_of_other_kinds():
    cfg = Config(lr=np.float32(.5), epochs=np.int64(3), dataset=np.str_("a"), tune=np.str_("none"))
    assert (cfg.lr, cfg.epochs, cfg.dataset, cfg.tune) == (.5, 3, "a", "none")
    assert {type(v) for v in (cfg.dataset, cfg.tune)} == {str} and type(cfg.epochs) is int
    for value in (10**400, [1], b"x", 1j, "٣x"):
        with pytest.raises(ConfigError, match="lr = "): Config(lr=value)
    with pytest.raises(ConfigError, match="Put it in quotes"): Config(dataset=7)


def test_a_models_description_is_a_settings_file(tmp_path):
    cfg = Config.load("emoji", lr=.5)
    about = dict(vptsp="0.1.0", settings=dataclasses.asdict(cfg), num_classes=3, classes=None)
    (tmp_path/"config.json").write_text(json.dumps(about))
    assert Config.load(tmp_path/"config.json") == cfg == Config.load(about)


def test_plain_values():
    words = "~ Null nUll TRUE tRue 1. .5 . 1e5 e5 - 0x 0b1 1:2".split()
    values = [None, None, "nUll", True, "tRue", 1., .5, ".", 1e5, "e5", "-", "0x", "0b1", "1:2"]
    assert [plain_value(word) for word in words] == values


def test_importing_settings_reads_no_file():
    code = "import sys, vptsp.config; assert not {'ruamel.yaml', 'yaml', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
