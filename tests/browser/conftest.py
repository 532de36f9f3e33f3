"""One JupyterLab a session, on loopback and with folders of its own, and a chromium that drives it:
a test asks for `lab`, and fails if the page logged an error or asked for anything elsewhere."""
import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT, FAILURES = Path(__file__).parents[2], Path(__file__).parent/"failures"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
LAB = ROOT/"nbs"/".jupyter"  # what `make lab` takes its settings from
OVERRIDES = Path("labconfig")/"default_setting_overrides.json"
ALL_CELLS_DRAWN = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
HERE = re.compile(r"data:|blob:|file:|about:|(https?|wss?)://(127\.0\.0\.1|localhost)[:/]")


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM:
        pytest.skip("chromium is not installed: apt-get install chromium (Debian, Ubuntu), or install Google Chrome")
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


def write_settings(config):
    "The settings of `make lab`, and what the tests need besides: every cell drawn, in sight or not."
    settings = json.loads((LAB/OVERRIDES).read_text())
    for plugin, values in ALL_CELLS_DRAWN.items(): settings[plugin] = settings.get(plugin, {}) | values
    (config/OVERRIDES).parent.mkdir(parents=True)
    (config/OVERRIDES).write_text(json.dumps(settings))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_server(home, notebooks, port):
    "JupyterLab as a process, its output in `home/log`."
    folders = {f"JUPYTER_{name.upper()}_DIR": str(home/name) for name in ("config", "data", "runtime")}
    env = {**os.environ, **folders, "JUPYTER_CONFIG_PATH": str(LAB), "PYTHONPATH": str(ROOT),
           "IPYTHONDIR": str(home/"ipython"), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    words = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
             "--ServerApp.port_retries=0", f"--notebook-dir={notebooks}", "--expose-app-in-browser",
             "--LabApp.extension_manager=readonly", "--IdentityProvider.token=", "--ServerApp.password="]
    if hasattr(os, "geteuid") and os.geteuid() == 0: words.append("--allow-root")
    with open(home/"log", "w") as log:
        return subprocess.Popen(words, env=env, cwd=home, stdout=log, stderr=subprocess.STDOUT)


def wait_for_server(process, url, log, seconds=60):
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(f"{url}/api", timeout=5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail("JupyterLab did not start:\n" + log.read_text()[-3000:])
            time.sleep(.1)


@pytest.fixture(scope="session")
def server(browser, tmp_path_factory):
    "Address and notebook folder (a copy of nbs) of a JupyterLab."
    home = tmp_path_factory.mktemp("lab")
    notebooks = home/"nbs"
    shutil.copytree(ROOT/"nbs", notebooks, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    write_settings(home/"config")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start_server(home, notebooks, port)
    try:
        wait_for_server(process, url, home/"log")
        yield url, notebooks
    finally:
        process.terminate()
        try: process.wait(20)
        except subprocess.TimeoutExpired: process.kill()


class Lab:
    "A page of JupyterLab."

    def __init__(self, context, server):
        self.url, self.folder = server
        self.page, self.console, self.outside = context.new_page(), [], []
        self.expected = ""   # words of errors that a test brings about
        self.watch(self.page)

    def watch(self, page):
        "Note what a page complains about and what it asks for that is not here."
        def note_request(request):
            if not HERE.match(request.url): self.outside.append(request.url)
        page.on("console", lambda m: self.console.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.console.append(str(e)))
        page.on("request", note_request)
        page.on("websocket", note_request)

    def open(
        self,
        notebook,    # path under nbs
        cells=None,  # sources, to write it first
    ):
        "Open a notebook and wait for its kernel."
        if cells:
            code = [nbformat.v4.new_code_cell(c) for c in cells]
            nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL}, cells=code), self.folder/notebook)
        self.page.goto(f"{self.url}/lab/tree/{notebook}?reset")
        self.until("window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", 60)

    def until(self, condition, seconds=30):  # condition: JavaScript
        "Wait until something holds in the page."
        return self.page.wait_for_function(condition, timeout=1000*seconds)

    def start(self):
        "Run all cells, without waiting."
        self.page.evaluate("""() => {
            window.ran = false;
            jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.ran = true; });
        }""")

    def run_all(self, seconds=60):
        "Run all cells to the end; none may leave a traceback."
        self.start()
        self.until("window.ran === true", seconds)
        errors = self.errors()
        assert not errors, "\n".join(errors)

    def outputs(self):
        "What the cells hold, as it would be saved."
        notebook = "jupyterapp.shell.currentWidget.content.model.toJSON()"
        return self.page.evaluate(f"{notebook}.cells.flatMap(c => c.outputs ?? [])")

    def errors(self): return [f"{o['ename']}: {o['evalue']}" for o in self.outputs() if o["output_type"] == "error"]

    def python(self, code):
        "Value of an expression in the notebook's kernel (a literal); waits while the kernel is busy."
        reply = self.page.evaluate("""async code => {
            const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const request = {code: "", silent: true, store_history: false, user_expressions: {value: code}};
            return (await kernel.requestExecute(request).done).content.user_expressions.value;
        }""", code)
        if reply["status"] != "ok":
            message = f"{code}: {reply['ename']}: {reply['evalue']}"
            raise RuntimeError(message)
        return ast.literal_eval(reply["data"]["text/plain"])

    def shot(self, name):
        FAILURES.mkdir(exist_ok=True)
        self.page.screenshot(path=FAILURES/f"{name}.png")


@pytest.fixture
def lab(browser, server):
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    lab = Lab(context, server)
    yield lab
    lab.page.evaluate("window.jupyterapp?.serviceManager.sessions.shutdownAll()")
    context.close()
    errors = [line for line in lab.console if not (lab.expected and lab.expected in line)]
    assert not errors, f"the page logged errors: {errors[:5]}"
    assert not lab.outside, f"the page asked for what is not here: {lab.outside[:5]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    "A picture of the page that a test failed on, in failures/."
    report = yield
    if report.failed and call.when == "call" and "lab" in item.funcargs: item.funcargs["lab"].shot(item.name)
    return report
