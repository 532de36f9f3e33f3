"Notebooks turned into pages by nbconvert, where no kernel is: their pictures are there."
import subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [f"--HTMLExporter.{name}_url=" for name in ("require_js", "mathjax", "mermaid_js", "jquery", "widget_renderer")]       # nbconvert's own page would fetch these from elsewhere

@pytest.mark.parametrize("name", ["09_proxies", "14_metrics", "35_widgets.report", "tutorials/quickstart"])
def test_pictures_without_a_kernel(lab, name, tmp_path):
    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "html", *SCRIPTS, "--output", "page", "--output-dir", tmp_path, ROOT/"nbs"/f"{name}.ipynb"], check=True, capture_output=True)
    lab.page.goto((tmp_path/"page.html").as_uri())
    pictures = lab.page.locator(".jp-OutputArea-output img")
    assert pictures.count() > 0
    assert all(w > 50 for w in pictures.evaluate_all("all => all.map(i => i.complete ? i.naturalWidth : 0)"))
