"`make lab` as the Makefile starts it: the page it names, its links, and a notebook that opening does not change."
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CURRENT = "window.jupyterapp?.shell.currentWidget"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def named_page(runtime):
    "Address in the page that the server hands to a browser for the file it was given, once that is written."
    texts = [page.read_text() for page in runtime.glob("jpserver-file-to-run-*-open.html")]
    found = [re.search(r'href="(http[^"]+)"', text) for text in texts]
    return found[0][1] if found and found[0] else None


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory):
    "What the command opens in a browser; its server is stopped by its own process id."
    home = tmp_path_factory.mktemp("make-lab")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(home/"ipython"),
           **{f"JUPYTER_{name.upper()}_DIR": str(home/name) for name in ("config", "data", "runtime")}}
    flags = f"--no-browser --port={free_port()} --ServerApp.port_retries=0 --expose-app-in-browser"
    words = ["make", "-o", f"{sys.prefix}/ready", "lab", f"VENV={sys.prefix}", f"LAB={flags}"]
    with open(home/"log", "w") as log:
        make = subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
    until = time.monotonic() + 60
    while not (page := named_page(home/"runtime")):
        if make.poll() is not None or time.monotonic() > until:
            pytest.fail("make lab did not start, or names no notebook:\n" + (home/"log").read_text()[-3000:])
        time.sleep(.1)
    about = json.loads(next((home/"runtime").glob("jpserver-*.json")).read_text())
    yield page
    os.kill(about["pid"], signal.SIGTERM)
    make.wait(30)


def test_the_page_it_names(browser, address):
    page = browser.new_page()
    page.goto(address)
    page.wait_for_function(f"{CURRENT}?.sessionContext?.session?.kernel?.status === 'idle'", timeout=60_000)
    assert page.evaluate(f"{CURRENT}.context.path") == "nbs/index.ipynb"
    assert page.evaluate(f"{CURRENT}.context.model.dirty") is False, "the notebook is marked as changed"
    assert page.locator(".Toastify__toast").count() == 0, "a pop-up asks for something"
    links = set()
    for cell in range(page.evaluate(f"{CURRENT}.content.widgets.length")):     # only what is near the view is drawn
        page.evaluate(f"{CURRENT}.content.scrollToItem({cell})")
        page.wait_for_timeout(100)
        links |= set(page.evaluate(f"[...{CURRENT}.node.querySelectorAll('.jp-MarkdownOutput a')].map(a => a.href)"))
    ours = [link for link in links if link.startswith(address.partition("/lab")[0]) and "#" not in link]
    assert any("CHANGELOG.md" in link for link in ours) and any("/data/emoji/" in link for link in ours)
    broken = [link for link in ours if page.request.get(link).status != 200]
    assert not broken
    page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")
    page.close()
