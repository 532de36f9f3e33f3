"What `check_data` finds in a folder with one fault of each kind."
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vptsp.analysis.check import check_data
from vptsp.readers import from_folder


def file_of(root, c, i): return Path(root)/f"class {c}"/f"{i}.png"

def random_picture(rng):
    small = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return small.resize((48, 48), Image.Resampling.BICUBIC)

@pytest.fixture
def spoilt(tmp_path):
    "Cut short, in both halves, twice in a class, saved anew, tiny, grey with a name that would be a script."
    rng = np.random.default_rng(0)
    for c in range(4):
        (tmp_path/f"class {c}").mkdir()
        for i in range(3): random_picture(rng).save(file_of(tmp_path, c, i))
    file_of(tmp_path, 3, 2).write_bytes(file_of(tmp_path, 3, 1).read_bytes()[:200])
    file_of(tmp_path, 2, 0).write_bytes(file_of(tmp_path, 0, 0).read_bytes())
    file_of(tmp_path, 1, 1).write_bytes(file_of(tmp_path, 1, 0).read_bytes())
    again = Image.open(file_of(tmp_path, 0, 1)).resize((60, 60))
    again.save(tmp_path/"class 3"/"again.jpg", quality=80)
    Image.open(file_of(tmp_path, 2, 1)).resize((20, 20)).save(file_of(tmp_path, 2, 1))
    Image.open(file_of(tmp_path, 2, 2)).convert("L").save(tmp_path/"class 2"/"<script>.png")
    return from_folder(tmp_path)

def pixels(images): return torch.from_numpy(images.thumbnails(range(len(images)), 16)).flatten(1).float() - 127

def test_every_fault_is_found(spoilt):
    found = check_data(spoilt, pixels)
    def name(where): return spoilt.sets[where[0]].sources[where[1]].name
    assert [name(b) for b in found.broken] == ["2.png"]
    assert "cannot be decoded" in found.broken[0][2] and not found.ok
    assert [[s for s, _ in group] for group in found.across] == [["train", "query"]]
    assert len(found.same) == 2
    assert [name(w) for w in found.near[0][:2]] == ["1.png", "again.jpg"]
    assert found.near[0][2] > .9 > found.near[3][2]
    assert [name(w) for w in found.tiny] == ["1.png"] and [name(w) for w in found.grey] == ["<script>.png"]
    assert repr(found) == "\n".join(found.lines())

def test_page_holds_names_as_text(spoilt):
    importlib.import_module("vptsp.widgets.check")                         # draws a DataCheck
    found = check_data(spoilt, pixels)
    page = found.page()
    assert "<script>" not in page and "&lt;script&gt;" in page and "http" not in page
    assert "<script>" not in found._repr_html_()
