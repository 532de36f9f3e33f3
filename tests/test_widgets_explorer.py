"Explorer and inspector with unusual names and choices."
import io
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch.nn.functional as F
import traitlets
from PIL import Image
from test_analysis import images, made_up

from vptsp.analysis.study import Study, study, study_of
from vptsp.data import RetrievalData
from vptsp.pictures import RIGHT, WRONG, _constants
from vptsp.widgets.base import STATIC
from vptsp.widgets.explorer import Explorer, first_colour, payload
from vptsp.widgets.inspector import ProxyInspector
from vptsp.widgets.pair import ExplorerPair

HOSTILE = ["$50_$100", "_hidden", "中文", "</script><b>x", "%s {0} \\frac{"]


@pytest.fixture(scope="module")
def found() -> Study:
    data = RetrievalData("$a_$b 中文", images(dict.fromkeys(HOSTILE, 3)), images({"d": 3, "e": 3}), sha256="hostile")
    return study(*made_up(data, ("proxy", "semantic", "bias")), columns={"_$x$": np.arange(21)*.5}, progress=None)


@pytest.fixture(scope="module")
def explorer(found) -> Explorer:
    return Explorer(found, progress=None)


@pytest.fixture(scope="module")
def inspector(found) -> ProxyInspector:
    run = SimpleNamespace(data=RetrievalData(found.name, found.pools["train"], found.pools["query"], sha256="hostile"),
                          model=None)
    return ProxyInspector(run, found.stages, progress=None)


def shown(widget) -> dict:
    "What a notebook gets, without a complaint."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, about = widget._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(data)
    assert about["image/png"]["alt"] == data["text/plain"]
    return data


@pytest.mark.parametrize("column", ["class", "split", "R@1", "MAP@R", "_$x$"])
def test_explorer_shows_hostile_names(explorer, column):
    explorer.colour = column
    shown(explorer)


@pytest.mark.parametrize("name", HOSTILE)
def test_inspector_shows_hostile_names(inspector, name):
    inspector.turn_to(name)
    assert name in shown(inspector)["text/plain"]


def test_names_stand_in_the_picture(explorer, inspector):
    explorer.colour = "class"
    words = [text.get_text() for text in explorer._figure().legends[0].get_texts()]
    assert words[0] == r"\$50_\$100" and words[1].endswith("_hidden") and "proxy" in words
    inspector.turn_to("_hidden")
    assert "_hidden" in inspector._figure()._suptitle.get_text()
    inspector.turn_to("中文")                                            # without a sign in the font: its number
    assert inspector._figure()._suptitle.get_text().startswith("class ")


def smallest(figure) -> float:
    from matplotlib.text import Text
    return min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text())


def test_words_in_pictures_are_large_enough(explorer, inspector):
    assert smallest(explorer._figure()) >= 8 and smallest(inspector._figure()) >= 8


def test_names_end_no_script(explorer, inspector, tmp_path):
    for widget in (explorer, inspector):
        html = widget.save(tmp_path/"page.html").read_text(encoding="utf-8")
        assert html.count("</script>") == 2                          # the page's own
        assert "<b>x" not in html and "https://" not in html


def test_choosing(explorer):
    explorer.selected = [5, 3]
    assert [row["number"] for row in explorer.rows()] == [5, 3]
    assert np.frombuffer(explorer.get_state()["selected"], np.int32).tolist() == [5, 3]
    explorer.set_state({"selected": memoryview(np.int32([7, 6]).tobytes())})
    assert explorer.selected == [7, 6]
    assert explorer.search("HIDDEN") == [3, 4, 5] and explorer.search("nowhere") == []
    with pytest.raises(traitlets.TraitError, match="image 21 is none of the 21 shown"): explorer.selected = [21]
    with pytest.raises(traitlets.TraitError, match="image -1"): explorer.selected = [-1]
    with pytest.raises(traitlets.TraitError, match="no column 'mood'; there are: class"): explorer.colour = "mood"


def test_what_stands_in_the_inspector_is_explained(inspector):
    text = (STATIC/"inspector_words.js").read_text(encoding="utf-8")
    meanings = _constants(text)["MEANINGS"]
    columns = [*inspector.payload["columns"], "prompt norm"]
    assert {*columns, *inspector.payload["kinds"]} <= set(meanings)
    assert all(words.endswith(".") for words, formula in meanings.values())


def test_the_picture_names_its_curves_and_axes(inspector):
    inspector.turn_to("_hidden")
    figure = inspector._figure()
    curves = [ax for sub in figure.subfigs for ax in sub.axes if ax.lines]
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in curves] == [("epoch", "cosine"), ("epoch", "1 - cosine")]
    assert [len(ax.lines) for ax in curves] == [3, 3]
    legend, = figure.subfigs[1].legends
    assert [text.get_text() for text in legend.get_texts()] == ["proxy", "memory", "bias"]
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    assert not any(box.overlaps(ax.get_tightbbox()) for ax in curves)


def test_one_epoch_has_no_drift(found, inspector):
    once = SimpleNamespace(data=RetrievalData(found.name, found.pools["train"], found.pools["query"], sha256="hostile"),
                           model=None)
    alone = ProxyInspector(once, found.stages[-1:], progress=None)
    assert "drift" not in alone.payload["columns"] and "drift" in inspector.payload["columns"]
    assert len(alone.payload["classes"][0]["row"]) == len(alone.payload["columns"])
    titles = [ax.get_title() for ax in alone._figure().axes]
    assert "drift" not in titles and "drift" not in alone.alt and any("cosine" in title for title in titles)

def test_explorer_and_inspector_follow_each_other(found, inspector):
    explorer = Explorer(found, progress=None)
    inspector.shown = -1
    inspector.follow(explorer)
    explorer.proxy = 2
    assert inspector.shown == 2
    explorer.proxy = -1                                              # images were chosen
    assert inspector.shown == 2
    inspector.turn_to("_hidden")
    assert explorer.proxy == 1
    other = Explorer(Study(**{**found.__dict__, "proxied": found.proxied[::-1].copy()}), progress=None)
    with pytest.raises(ValueError, match="5 proxies and this inspector 5, or in another order"): inspector.follow(other)

def test_turning(inspector):
    inspector.turn_to("HID")
    assert inspector.shown == 1
    with pytest.raises(ValueError, match="0 of the 5 training classes have 'unicorn' in their name"):
        inspector.turn_to("unicorn")
    with pytest.raises(ValueError, match="2 of the 5 .* have '_' in their name: "): inspector.turn_to("_")
    for wrong in (5, -2):
        with pytest.raises(traitlets.TraitError, match=f"class {wrong} is none of the 5"): inspector.shown = wrong
    inspector.shown = -1
    assert "the page of" in inspector.alt


def test_payload_is_packed(found):
    sent = payload(found, [np.zeros((21 + 15, 2), np.float32), np.ones((21 + 15, 2), np.float32)], (b"", 8, 5))
    near = np.frombuffer(sent["near"], np.uint16).reshape(21, 7)
    assert (near[15:, 5:] == 21).all()                               # where there is no further neighbour
    assert sent["low"] == 0 and sent["high"] == 1 and np.frombuffer(sent["xy"][1], np.uint16).tolist() == [65535]*42
    column = next(c for c in sent["columns"] if c["name"] == "_$x$")
    assert column["names"] is None and (column["low"], column["high"]) == (0., 10.)
    answers = next(c for c in sent["columns"] if c["name"] == "R@1")
    assert answers["colours"] == [{"right": RIGHT, "wrong": WRONG}[name] for name in answers["names"]]
    x, stars = (F.normalize(found.stages[-1][name], dim=1) if name == "embeddings" else
                F.normalize(found.stages[-1]["proxies"]["proxy"], dim=1) for name in ("embeddings", "proxy"))
    cosines = np.frombuffer(sent["cosine"], np.int16).reshape(21, 7)/1e4
    i, j = 3, near[3, 2]
    assert abs(cosines[3, 2] - float(x[i] @ x[j])) < 1e-4
    star_near = np.frombuffer(sent["star_near"], np.int32).reshape(5, 7)
    assert star_near[1].tolist() == (stars @ x.T)[1].argsort(descending=True)[:7].tolist()
    among = (stars @ stars.T).fill_diagonal_(-2)
    assert np.frombuffer(sent["rival"], np.int32).tolist() == among.argmax(1).tolist()
    assert abs(np.frombuffer(sent["rival_cosine"], np.int16)/1e4 - among.amax(1).numpy()).max() < 1e-4
    assert all(len(c["values"]) == 4*21 for c in sent["columns"])


def test_first_sight(found, explorer):
    fresh = Explorer(found, progress=None)
    assert fresh.colour == "class" and fresh.splits == ["query"]                 # few classes, the test images
    many = Study(**{**found.__dict__, "classes": [f"class {i}" for i in range(13)]})
    assert first_colour(many) == "R@1"
    nothing = {**many.columns, "R@1": np.full(21, None)}
    assert first_colour(Study(**{**many.__dict__, "columns": nothing})) == "class"
    drawn = int((found.split == list(found.pools).index("query")).sum())
    assert f"{drawn} images of" in fresh._figure().axes[0].get_title()
    fresh.splits = ["train", "query"]
    assert "21 images of" in fresh._figure().axes[0].get_title()
    with pytest.raises(traitlets.TraitError, match="proxy 5 is none of the 5"): fresh.proxy = 5


def test_embeddings_alone(found):
    x = found.stages[-1]["embeddings"][found.split == 1]
    pictures, names = [Image.new("RGB", (9, 9), (40*i, 0, 0)) for i in range(6)], ["d"]*3 + ["e"]*3
    known = Explorer(x.numpy(), images=pictures, labels=names, columns={"age": np.arange(6.)}, progress=None)
    assert known.study.classes == ["d", "e"] and known.study.row(4)["age"] == 4
    assert known.study.columns["R@1"].tolist() == found.columns["R@1"][found.split == 1].tolist()
    unknown = Explorer(x, images=pictures, progress=None)
    assert unknown.study.classes == ["no class known"] and unknown.study.rates[0]["rate"] is None
    assert unknown.study.near.tolist() == known.study.near.tolist() and unknown.colour == "class"
    assert unknown.static().data.startswith(b"\x89PNG") and unknown.payload["proxied"] == []
    with pytest.raises(ValueError, match="6 embeddings of 5 images"): Explorer(x, images=pictures[:5])
    assert len(study_of(x, pictures, most=4)) == 4


def test_one_class_has_no_rival(found):
    stages = [{**stage, "proxies": {name: v[:1] for name, v in stage["proxies"].items()}} for stage in found.stages]
    alone = Study(**{**found.__dict__, "stages": stages, "proxied": found.proxied[:1]})
    sent = payload(alone, [np.zeros((21 + 3, 2), np.float32), np.ones((21 + 3, 2), np.float32)], (b"", 8, 5))
    assert np.frombuffer(sent["rival"], np.int32).tolist() == [-1]


def test_cache_is_the_runs_own_folder(found, tmp_path):
    class OfFolder(Study):
        folder = tmp_path
    again = OfFolder(**found.__dict__)
    Explorer(again, progress=None)
    files = sorted(p.name for p in Path(tmp_path/"maps").iterdir())
    Explorer(again, progress=None)
    assert len(files) == 3 and sorted(p.name for p in Path(tmp_path/"maps").iterdir()) == files


def many(monkeypatch, found) -> Study:
    "The study as it would be were it too large to lay out."
    monkeypatch.setattr("vptsp.analysis.study.MOST_LAID", 20)
    monkeypatch.setattr("vptsp.analysis.study.LAID", 16)
    return replace(found, worst=np.array([20, 19]))


def test_of_many_images_a_sample_is_laid_out_and_said_so(monkeypatch, found):
    study = many(monkeypatch, found)
    sample = study.sample()
    assert len(sample) == 16 and (np.diff(sample) > 0).all() and {19, 20} <= set(sample.tolist())
    maps = study.maps()
    assert [m.shape for m in maps] == [(21 + 15, 2)]*len(study.stages) and np.isfinite(maps).all()
    others = np.setdiff1d(np.arange(21), sample)
    laid = maps[-1][sample]
    assert (maps[-1][others] >= laid.min(0)).all() and (maps[-1][others] <= laid.max(0)).all()   # between its nearest
    explorer = Explorer(study, progress=None)
    assert "A sample of 16 is laid out" in explorer.alt
    assert np.frombuffer(explorer.payload["tiles"], np.int32).tolist() == sample.tolist()


def heard(explorer, content, *buffers) -> list:
    "What the page is answered."
    answers = []
    explorer.send = lambda content, buffers=None: answers.append((content, buffers))
    explorer._handle_custom_msg(content, buffers)
    return answers


def test_thumbnails_that_are_asked_for(found):
    explorer = Explorer(found, progress=None)
    assert explorer.payload["tiles"] is None
    [(content, [sheet])] = heard(explorer, {"tiles": [3, 20, 21, -1, "x", None]})
    assert content == {"tiles": [3, 20], "side": 48, "across": 2}
    assert Image.open(io.BytesIO(sheet)).size == (96, 48)
    assert heard(explorer, {"tiles": []}) == heard(explorer, {"tiles": [99]}) == []


def asker(found) -> Explorer:
    "An explorer of a run whose model says of every image that it is the study's image 17."
    explorer = Explorer(found, progress=None)
    explorer._embeds = SimpleNamespace(model=SimpleNamespace(cfg=SimpleNamespace(full_scale=0, srgb=False)))
    return explorer


def test_an_image_of_ones_own_is_put_beside_its_nearest(monkeypatch, found, tmp_path):
    seen = []
    def embedded(model, images):
        seen.extend(images)
        return found.stages[-1]["embeddings"][17:18]
    monkeypatch.setattr("vptsp.widgets.explorer.embed_images", embedded)
    explorer = asker(found)
    Image.new("RGB", (30, 20), "red").save(tmp_path/"<b>mine.png")
    near = explorer.query(tmp_path/"<b>mine.png")
    assert near[0][0] == 17 and near[0][1] == pytest.approx(1, abs=1e-5)
    assert {found.split[i] for i, _ in near} == {1}                   # of the splits that are shown
    assert explorer.asked["name"] == "<b>mine.png" and seen[0].size == (30, 20)
    assert Image.open(io.BytesIO(explorer.asked["picture"])).size == (96, 96)
    heard(explorer, {"image": "dropped.png"}, memoryview((tmp_path/"<b>mine.png").read_bytes()))
    assert (explorer.asked["name"], explorer.asked["near"]) == ("dropped.png", [i for i, _ in near])
    for nameless in (Image.new("RGB", (9, 9)), io.BytesIO((tmp_path/"<b>mine.png").read_bytes())):
        explorer.query(nameless)
        assert explorer.asked["name"] == "image"


def test_a_file_that_is_no_image_is_told_and_nothing_else_happens(monkeypatch, found):
    explorer = asker(found)
    explorer.selected = [4]
    heard(explorer, {"image": "a.png"}, memoryview(b"no image"))
    assert "no image format" in explorer.asked["error"] and "near" not in explorer.asked
    assert explorer.selected == [4] and heard(explorer, {"image": "a.png"}) == heard(explorer, {}) == []
    with pytest.raises(ValueError, match="there is no model here"): Explorer(found, progress=None).query("x.png")


def test_two_runs_are_paired_image_by_image(found, tmp_path):
    other = replace(found, columns=found.columns | {"R@1": found.columns["R@1"].copy()})
    answers = other.columns["R@1"]
    i = int(np.flatnonzero(answers == "right")[-1])
    answers[i] = "wrong"
    pair = ExplorerPair(found, other, ("a</b>", "b"), progress=None)
    change = pair.study.columns["change"]
    assert change[i] == "right in a</b> only" and (change == change[i]).sum() == 1
    assert not [word for word in set(change) if word and word == "right in b only"]
    column = next(c for c in pair.payloads[0]["columns"] if c["name"] == "change")
    assert dict(zip(column["names"], column["colours"]))["right in a</b> only"] == WRONG     # that was broken
    assert "a</b>: R@1" in pair.alt and shown(pair)
    html = pair.save(tmp_path/"pair.html").read_text(encoding="utf-8")
    assert html.count("</script>") == 2 and "a</b>" not in html
    with pytest.raises(ValueError, match="two runs on the same data"):
        ExplorerPair(found, replace(found, sha256="other"), progress=None)
