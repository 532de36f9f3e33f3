"Notebooks turned into pages by nbconvert, where no kernel is: their pictures are there."
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# nbconvert's own page would fetch these from elsewhere
FETCHED = ("require_js", "mathjax", "mermaid_js", "jquery", "widget_renderer")
NO_SCRIPTS = [f"--HTMLExporter.{name}_url=" for name in FETCHED]


@pytest.mark.parametrize("name", ["09_proxies", "14_metrics", "36_widgets.gallery", "tutorials/quickstart"])
def test_pictures_without_a_kernel(lab, name, tmp_path):
    words = [sys.executable, "-m", "nbconvert", "--to", "html", *NO_SCRIPTS, "--output", "page"]
    subprocess.run([*words, "--output-dir", tmp_path, ROOT/"nbs"/f"{name}.ipynb"], check=True, capture_output=True)
    lab.page.goto((tmp_path/"page.html").as_uri())
    pictures = lab.page.locator(".jp-OutputArea-output img")
    assert pictures.count() > 0
    assert all(w > 50 for w in pictures.evaluate_all("all => all.map(i => i.complete ? i.naturalWidth : 0)"))
