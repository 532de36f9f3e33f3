"What widgets share: scripts that are linked, saved pages, pictures; and the unit tests of the scripts, by node."
import base64
import html
import io
import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import traitlets
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from vptsp import pictures, progress
from vptsp.pictures import RIGHT, WRONG, data_uri, picture_name, png, tile_row
from vptsp.widgets.base import STATIC, Widget, link, page, script, sprite, style

ROOT = Path(__file__).parents[1]
ENTRIES = ("explorer", "inspector", "attention", "live")
NODE = shutil.which("node")
WITHOUT_NODE = "node is not installed: it runs the unit tests of the widgets' scripts"
needs_node = pytest.mark.skipif(NODE is None, reason=WITHOUT_NODE)


# Scripts and styles

@needs_node
def test_scripts_by_node():
    files = sorted((ROOT/"tests"/"js").glob("*.test.mjs"))
    assert files
    done = subprocess.run([NODE, "--test", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

def test_lines_fit_the_screen():
    files = [*STATIC.iterdir(), *(ROOT/"tests"/"js").iterdir()]
    wide = [f"{file.name}:{number}" for file in files
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if len(line) > 100]
    assert not wide

@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_one_module(name):
    linked = script(f"{name}.js")
    assert not re.search(r"^import\b", linked, re.M)
    assert re.findall(r"^export .*", linked, re.M) == ["export default {render};"]
    assert linked.count("function make(") == 1

@needs_node
@pytest.mark.parametrize("name", ENTRIES)
def test_a_page_has_one_scope(name, tmp_path):
    whole = tmp_path/"page.mjs"
    whole.write_text(f"{script(f'{name}.js')}\n{link('page.js')}", encoding="utf-8")
    done = subprocess.run([NODE, "--check", whole], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def written(folder, **files):
    for name, text in files.items(): (folder/f"{name}.js").write_text(text, encoding="utf-8")
    return folder

def test_each_file_once_and_before_who_needs_it(tmp_path):
    written(tmp_path, c="export const c = 1;\n", b='import {c} from "./c.js";\n\nexport const b = c;\n',
            a='import {b} from "./b.js";\nimport {c} from "./c.js";\n\nexport default {render: b + c};\n')
    with pytest.raises(ValueError, match="cannot be linked"): link("a.js", tmp_path)
    imports = 'import {b} from "./b.js";\nimport {c} from "./c.js";\n'
    written(tmp_path, a=f"{imports}\nconst render = b + c;\n\nexport default {{render}};\n")
    assert re.findall(r"^// (\w)\.js", link("a.js", tmp_path), re.M) == ["c", "b", "a"]

def test_several_names_over_lines_are_imported(tmp_path):
    written(tmp_path, b="export const x = 1;\nexport const y = 2;\n",
            a='import {\n  x,\n  y\n} from "./b.js";\n\nconst z = x + y;\n')
    assert link("a.js", tmp_path) == "// b.js\nconst x = 1;\nconst y = 2;\n\n// a.js\nconst z = x + y;\n"

def test_two_files_may_not_define_one_name(tmp_path):
    written(tmp_path, b="function make() {}\n", a='import {} from "./b.js";\n\nexport class make {}\n')
    with pytest.raises(ValueError, match="a.js and b.js both define make"): link("a.js", tmp_path)

@pytest.mark.parametrize("line", [
    'import * as all from "./b.js";', 'import "./b.js";', 'import {x as y} from "./b.js";',
    'import {x} from "https://a.b/c.js";', "export {a};"])
def test_what_cannot_be_linked_is_refused(tmp_path, line):
    written(tmp_path, a=f"{line}\nconst a = 1;\n")
    with pytest.raises(ValueError, match="cannot be linked"): link("a.js", tmp_path)

def test_every_style_sheet_has_what_all_share():
    for name in ENTRIES:
        assert style(f"{name}.css").startswith((STATIC/"base.css").read_text(encoding="utf-8"))
        assert f".vptsp-{name} " in style(f"{name}.css")

@needs_node
def test_python_reads_the_colours_of_the_script():
    names = ["PALETTE", "RAMP", "LOW", "BOTH", "RIGHT", "WRONG", "ACCENT", "NONE", "KINDS"]
    code = f"import * as all from {json.dumps((STATIC/'colours.js').as_uri())}; console.log(JSON.stringify(all))"
    done = subprocess.run([NODE, "--input-type=module", "-e", code], capture_output=True, text=True, check=True)
    assert {name: json.loads(done.stdout)[name] for name in names} == {name: getattr(pictures, name) for name in names}


# Pages

HOSTILE = '</script><script>document.title="broken"</script><img src=x onerror=alert(1)> {{style}} & "quoted"'

def test_names_in_a_page_are_text():
    sent = {"name": HOSTILE, "places": (b"\x00\x01", [b"\x02"])}
    text = page(HOSTILE, script("live.js"), style("live.css"), sent, b"png", HOSTILE)
    assert '<script>document' not in text and "<img src=x" not in text
    assert len(re.findall("</script>", text)) == 2
    state = json.loads(re.search(r'id="state">(.*?)</script>', text, re.S)[1])
    assert state == {"name": HOSTILE, "places": [{"bytes": "AAE="}, [{"bytes": "Ag=="}]]}

def test_a_page_fetches_nothing_and_holds_bytes_once():
    text = page("title", script("explorer.js"), style("explorer.css"), {"sprite": bytes(30_000)}, bytes(3000))
    assert not re.search(r'(src|href)="(?!data:)|@import|url\((?!data:)|https?:|fetch', text)
    assert len(text) < 44_000 + len(script("explorer.js")) + len(style("explorer.css")) + 4000

def test_a_page_refuses_what_is_no_json():
    with pytest.raises(ValueError): page("title", "", "", {"rate": float("nan")})


# The class of all widgets

class Number(Widget):
    entry = "live"
    value = traitlets.Int(2).tag(sync=True)
    chosen = traitlets.List(traitlets.Int()).tag(sync=True, to_json=lambda v, _: np.asarray(v, np.int32).tobytes())
    hidden = traitlets.Int(7)

    @property
    def title(self): return "A <number>"
    @property
    def alt(self): return f"The number {self.value}"
    def _has_picture(self): return self.value != 0
    def _figure(self):
        figure = Figure(figsize=(2, 1))
        figure.suptitle("$50_$100" if self.value < 0 else "number")
        if self.value < -1:
            message = "no such number"
            raise ValueError(message)
        return figure

def bundle(widget):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data, about = widget._repr_mimebundle_()
    return data, about, [str(w.message) for w in told if "could not be drawn" in str(w.message)]

def test_a_widget_has_its_script_and_style():
    assert Number._esm == script("live.js") and Number._css == style("live.css")

def test_a_widget_comes_with_picture_and_words():
    data, about, told = bundle(Number())
    assert "application/vnd.jupyter.widget-view+json" in data and data["text/plain"] == "The number 2" and not told
    assert about["image/png"] == {"alt": "The number 2"}
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size == (200, 100)
    assert Number().static().alt == "The number 2"

def below(widget):
    "What stands below a widget: HTML, and the page in its frame."
    shown, below = [data for data, _ in widget.outputs()]
    assert "application/vnd.jupyter.widget-view+json" in shown and below["text/plain"] == ""
    frame = re.search(r'<iframe sandbox="allow-scripts allow-downloads"[^>]* srcdoc="([^"]*)"></iframe>',
                      below["text/html"])
    return below["text/html"], frame and html.unescape(frame[1])

def test_a_page_stands_below_a_widget():
    outside, page = below(Number())
    assert '"value": 2' in page and page.count("</script>") == 2
    assert "<number>" not in outside and outside.count("<iframe") == 1    # nothing of a page is markup of the notebook

def test_a_picture_stands_below_where_the_page_is_large_and_nothing_before_there_is_one():
    class Large(Number):
        most_below = 1000
    outside, page = below(Large())
    picture = re.search(r'<img src="data:image/png;base64,([^"]*)" alt="The number 2"', page)[1]
    assert Image.open(io.BytesIO(base64.b64decode(picture))).size == (200, 100) and len(outside) < 10_000
    assert below(Number(value=0))[1] is None

@pytest.mark.parametrize("value,why", [(-1, "ValueError"), (-2, "no such number"), (0, None)])
def test_a_picture_that_cannot_be_drawn_leaves_the_widget(value, why, tmp_path):
    data, about, told = bundle(Number(value=value))
    assert "application/vnd.jupyter.widget-view+json" in data and "image/png" not in data and "image/png" not in about
    assert (why in data["text/plain"] and why in told[0]) if why else data["text/plain"] == "The number 0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = Number(value=value).save(tmp_path/"number.html").read_text(encoding="utf-8")
    assert f"<noscript><p>The number {value}</p></noscript>" in text

def test_a_saved_widget_has_its_own_traits(tmp_path):
    text = Number(value=5, chosen=[1, 258]).save(str(tmp_path/"number.html")).read_text(encoding="utf-8")
    assert "<title>A &lt;number&gt;</title>" in text and "data:image/png;base64," in text
    state = json.loads(re.search(r'id="state">(.*?)</script>', text, re.S)[1])
    assert state == {"value": 5, "chosen": {"bytes": base64.b64encode(np.array([1, 258], np.int32).tobytes()).decode()}}


# Thumbnails

class Images:
    sha256 = "images"
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def place(self, i): return SimpleNamespace(open=self.open), i
    def open(self, i):
        if i == 1:
            message = "broken"
            raise ValueError(message)
        return Image.new("RGB", (30, 30), (0, 0, 40*i))

def test_a_sheet_has_a_white_tile_for_what_cannot_be_read(tmp_path):
    file, side, across = sprite(Images(5), cache=tmp_path, progress=None)
    sheet = Image.open(io.BytesIO(file))
    assert (sheet.size, side, across) == ((144, 96), 48, 3)
    assert sheet.getpixel((72, 24)) == (255, 255, 255)
    assert abs(sheet.getpixel((72, 72))[2] - 160) < 12
    assert sprite(Images(5), cache=tmp_path, progress=None)[0] == file and len(list(tmp_path.iterdir())) == 1

def test_more_than_one_picture_holds_is_refused():
    with pytest.raises(ValueError, match="more than one picture holds"): sprite(Images(2_000_000))


# Pictures

def test_names_are_drawn_as_they_are():
    assert picture_name("$50_$100") == r"\$50_\$100"
    assert picture_name("_hidden").endswith("_hidden") and not picture_name("_hidden").startswith("_")
    assert picture_name("Zażółć Ω ♀") == "Zażółć Ω ♀"
    assert picture_name("日本 bird") == "bird"
    assert picture_name("日本") == ""
    assert picture_name("two\nlines\tand  tabs") == "two lines and tabs"
    assert picture_name("\udc80file\x00name") == "filename"
    assert picture_name(7) == "7"
    assert picture_name("$$$$$$", 4) == r"\$\$\$…"
    assert picture_name("twelve signs", 12) == "twelve signs" and picture_name("twelve signs", 11) == "twelve sig…"

@pytest.mark.parametrize("name", ["$50_$100", "_hidden", r"back\slash$", "$", "a$b$c", "^_{", "%"])
def test_a_name_can_be_drawn(name):
    figure = Figure()
    ax = figure.subplots()
    ax.plot([1, 2], label=picture_name(name))
    legend = ax.legend()
    figure.suptitle(f"{picture_name(name)} and {picture_name(name)}")
    assert len(legend.get_texts()) == 1 and len(png(figure)) > 100

def test_a_row_has_frames_where_something_is_right_or_wrong():
    ax = Figure().subplots()
    tile_row(ax, [np.zeros((4, 4, 3), np.uint8)]*5, [True, False, None, True, True], [*"abcde"], "row", slots=4)
    assert [to_hex(p.get_edgecolor()) for p in ax.patches] == [RIGHT, WRONG, RIGHT]
    assert ax.patches[0].get_linestyle() != ax.patches[1].get_linestyle()
    assert len(ax.images) == 4 and [t.get_text() for t in ax.texts] == ["a", "b", "c", "d", "row"]
    assert min(t.get_fontsize() for t in ax.texts) >= 8

def test_an_image_as_an_address():
    address = data_uri(Image.new("RGB", (4, 4), "red"), "PNG")
    assert address.startswith("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).getpixel((0, 0)) == (255, 0, 0)


# A bar in a notebook

class Output:
    def __init__(self): self.shown = []
    def update(self, data, raw): self.shown.append(data)

def test_a_bar_leaves_nothing_in_a_notebook(monkeypatch, capsys):
    output = Output()
    def display(data, raw, display_id):
        output.update(data, raw)
        return output
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    for _ in progress.ProgressBar(range(3), desc="reading", leave=False, mininterval=0): pass
    assert "3/3" in output.shown[-2]["text/plain"] and output.shown[-1] == {}
    for _ in progress.ProgressBar(range(3), leave=True): pass
    assert "3/3" in output.shown[-1]["text/plain"]                        # that one is to stay
    before = len(output.shown)
    for _ in progress.ProgressBar(range(3), disable=True): pass
    for _ in progress.ProgressBar(range(3), leave=False, delay=5): pass   # was never shown
    assert len(output.shown) == before and capsys.readouterr() == ("", "")
