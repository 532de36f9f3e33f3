"""Names from anywhere: bytes that are no text, escape codes, marks that turn a line around, line breaks, great length.

A terminal, a page and a card hold them as printable text on one line; JSON holds them exactly, in ASCII.
"""
import contextlib
import io
import json
import os
import re
import warnings

import pytest
from tqdm import tqdm

from vptsp.analysis.check import check_data
from vptsp.analysis.compare import Comparison
from vptsp.analysis.study import study
from vptsp.benchmarks import load_emoji
from vptsp.callbacks import Progress
from vptsp.cli import main
from vptsp.commands.words import say, tell
from vptsp.config import Config
from vptsp.data import RetrievalData
from vptsp.files import printable
from vptsp.images import ImageSet
from vptsp.model import build_model
from vptsp.retrieval import Gallery
from vptsp.training import Trainer
from vptsp.widgets.explorer import Explorer
from vptsp.widgets.inspector import ProxyInspector
from vptsp.widgets.live import Live
from vptsp.widgets.report import report_page

BAD = {
    "bytes": "caf\udce9",                        # Latin-1, unzipped from Windows
    "escape": "\x1b[31mred\x1b[0m",
    "bidi": "gpj.\u202eelif",
    "isolate": "a\u2066b\u2069",
    "lines": "two\nlines\r\nand\u2028more\x85",
    "invisible": "cat\u200b\ufeff",
    "bell": "\x07\x08\x7f\x9b31m",
    "markup": "<b>bold</b>&amp;</script><script>alert(1)</script>",
    "long": "x"*400,
}
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

def clean(text, lines=None):
    "Nothing in it that a terminal or a page obeys."
    found = FORBIDDEN.search(text)
    assert not found, f"{found[0]!r} in {text[max(0, found.start() - 60):found.end() + 60]!r}"
    if lines is not None: assert len(text.splitlines()) == lines, text
    return text

@pytest.mark.parametrize("name", BAD.values(), ids=BAD)
def test_a_name_is_one_printable_line(name):
    assert printable(name).isprintable() and clean(printable(name), 1)
    assert printable(printable(name)) == printable(name)

def shell(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err): code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()

@pytest.fixture(scope="module")
def data():
    "Data whose classes, and whose own name, are the worst."
    emoji, names = load_emoji(), list(BAD.values())
    train, query = emoji.train.of_classes(range(9)), emoji.query.of_classes(range(9))
    train.classes, query.classes = [f"train {n}" for n in names], [f"test {n}" for n in names]
    return RetrievalData("\x1b[31mmine\udce9\u202e", train, query)

@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    words = dict(epochs=1, batch_size=8, num_prompts=1, num_class_prompts=1, eval_from=1)
    out, err = io.StringIO(), io.StringIO()
    cfg = Config.load("emoji", **words)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        run = Trainer(cfg, data, tmp_path_factory.mktemp("runs")/"r", callbacks=[Progress()]).fit()
    run.said = out.getvalue() + err.getvalue()
    return run


# -- terminals ----------------------------------------------------------------------------------------------------

def test_reprs(run, data):
    for thing in (data, run, study(run, progress=None), Comparison(run.cfg, data)): clean(repr(thing), 1)
    clean(run._repr_html_())

def test_what_a_training_says(run): clean(run.said.replace("\r", "\n").replace("\x1b[A", ""))

def test_the_line_of_a_data_check(data): clean("\n".join(check_data(data).lines()))

def test_warnings_and_lines():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for name in BAD.values():
            tell(name)
            say(UserWarning(name))
    clean(out.getvalue(), len(BAD))
    clean(err.getvalue(), len(BAD))

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Class folders and files with such names, as the disk has them."
    root, images = tmp_path_factory.mktemp("names"), load_emoji().train.of_classes(range(8))
    names = [BAD[k] for k in ("bytes", "escape", "bidi", "isolate", "lines", "invisible", "bell")] + ["x"*200]
    for i in range(len(images)):
        place = os.fsencode(str(root)) + b"/" + os.fsencode(names[int(images.labels[i])])
        os.makedirs(place, exist_ok=True)
        images.open(i).save(os.fsdecode(place) + f"/{i}.png")
    return root

def test_commands_over_such_names(folder, tmp_path):
    run, settings = tmp_path/"run", ("epochs=1", "batch_size=8", "num_prompts=1", "num_class_prompts=1")
    gallery, broken = tmp_path/"gallery", folder/"\x1b[31mcut.png"
    code, out, err = shell("train", "emoji", "dataset=folder", *settings, "--data", folder, "--out", run)
    assert code == 0, err
    clean(out + err.replace("\r", "\n"))
    for words in (["data", "check", "folder", "--data", folder, "--out", tmp_path/"check.html"],
                  ["evaluate", run, "--data", folder], ["report", run, "--data", folder],
                  ["explore", run, "--data", folder]):
        code, out, err = shell(*words)
        assert code == 0, (words, err)
        clean(out + err.replace("\r", "\n"))
    for page in (tmp_path/"check.html", run/"report.html", run/"explorer.html", run/"model"/"README.md"):
        clean(re.sub(r"<script.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.S).replace("\r", ""))
    broken.write_bytes(b"cut")
    code, out, err = shell("index", run, folder, "--out", gallery)
    assert code == 0 and "cut.png" in err
    clean(out + err.replace("\r", "\n"))
    broken.unlink()
    query = next(p for p in sorted(folder.rglob("*.png")) if "caf" in str(p))
    code, out, err = shell("search", gallery, query, "-k", 40)
    assert code == 0 and len(out.splitlines()) == 40
    clean(out)
    code, out, _ = shell("search", gallery, query, "-k", 40, "--json")
    found = json.loads(out)
    assert code == 0 and out.isascii() and found["query"] == found["hits"][0]["path"] == str(query)   # exactly

@pytest.mark.parametrize("words", [["train", "{}"], ["train", "emoji", "{}=1"], ["train", "emoji", "tune={}"], ["{}"],
                                   ["train", "emoji", "--{}"], ["search", "{}", "{}"], ["data", "check", "{}"],
                                   ["train", "folder", "--data", "{}", "--out", "x"], ["settings", "dataset={}"]])
@pytest.mark.parametrize("kind", [k for k in BAD if k != "long"])
def test_what_was_typed_comes_back_printable(words, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = shell(*(word.replace("{}", BAD[kind]) for word in words))
    assert code in (0, 2)
    clean(out)
    clean(err, 1 if code else None)


def texts_in(value):
    "Every text of what JSON holds."
    if isinstance(value, str): yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_in(inner)


# -- pages and cards ----------------------------------------------------------------------------------------------

def test_pages(run, data, tmp_path):
    for widget in (Explorer(run, progress=None), ProxyInspector(run, progress=None)):
        page = widget.save(tmp_path/"page.html").read_text(encoding="utf-8")
        assert "<b>bold</b>" not in page.replace("\\u003c", "") and "<script>alert" not in page
        clean(re.sub(r"<script.*?</script>", "", page, flags=re.S).replace("\r", ""))
        for text in texts_in(json.loads(re.search(r'<script[^>]*json[^>]*>(.*?)</script>', page, re.S)[1])): clean(text)
        clean(widget.alt + widget.title, 1)

def test_the_report(run, data):
    comparison = Comparison(run.cfg, data)
    frozen = Trainer(run.cfg.as_method("frozen"), data, callbacks=[]).fit()
    comparison.add("frozen", frozen.metrics, 0, 0.)
    comparison.add("\x1b[31mmine\u202e<b>", run.metrics, 9, 1.)
    comparison.runs = {"frozen": frozen, "\x1b[31mmine\u202e<b>": run}
    page = report_page(comparison, "\x1b[31mmine\u202e<b>")
    page.encode("utf-8")
    ours = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "<b>bold</b>" not in ours and "mine\\u202e&lt;b&gt;" in ours
    clean(ours.replace("\r", ""))

def test_the_check_page(data):
    import vptsp.widgets.check  # noqa: F401
    page = check_data(data).page()
    page.encode("utf-8")
    assert "<b>bold</b>" not in page
    clean(page)

def test_the_card_of_a_model(run): clean((run.folder/"model"/"README.md").read_text(encoding="utf-8"))

def test_hits(tmp_path, data):
    model = build_model(Config.load("emoji").as_method("frozen"), 1)
    images = ImageSet(data.query.sources, data.query.labels, data.query.classes, data.query.sheet,
                      {"source": [list(BAD.values())[i % len(BAD)] for i in range(len(data.query))]})
    gallery = Gallery.build(model, images, progress=None)
    hits = gallery.search(gallery.embeddings[0], 12)
    clean(repr(hits), 12)
    clean(hits._repr_html_())
    clean(repr(gallery), 1)
    names = gallery.names
    gallery.save(tmp_path/"g")
    assert Gallery.load(tmp_path/"g").names == names                          # exactly, though no text holds them

def test_live_prints_a_name(run, data):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(run.cfg, data, callbacks=[Live()]).fit()
    clean(out.getvalue())

def test_a_bar_has_a_printable_name(run, data, monkeypatch):
    seen, real = [], tqdm.__init__
    def init(self, *args, **kwargs):
        seen.append(kwargs.get("desc") or "")
        real(self, *args, **kwargs)
    monkeypatch.setattr(tqdm, "__init__", init)
    Trainer(run.cfg, data, callbacks=[Progress()]).fit()
    assert seen
    for text in seen: clean(text)
