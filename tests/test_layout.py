"The house: imports go downwards, old paths lead on, docments speak of their own argument, the contract is typed."
import ast
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fastcore.docments import docments

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT/"nbs").glob("[0-9]*.ipynb"))


def module_of(notebook):
    "Name of the module that a notebook defines."
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if found := re.match(r"#\| default_exp (\S+)", "".join(cell["source"])): return f"vptsp.{found[1]}"


MODULES = [module_of(p) for p in NOTEBOOKS]  # in reading order
OLD = [f"vptsp.{name}" for name in ("attention", "check", "explorer", "inspector", "live", "report")]


def file_of(module):
    return ROOT/Path(*module.split(".")).with_suffix(".py")


def imported(module):
    "Names of our modules that a module imports anywhere in it."
    for node in ast.walk(ast.parse(file_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): yield from (a.name for a in node.names if a.name.startswith("vptsp"))
        if isinstance(node, ast.ImportFrom):
            above = module.split(".")[:-node.level] if node.level else []
            home = ".".join([*above, *filter(None, [node.module])])
            if home.startswith("vptsp"): yield from (n for n in (home, *(f"{home}.{a.name}" for a in node.names)))


# Imports

@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module):
    above = set(MODULES[MODULES.index(module):]) | set(OLD)
    wrong = sorted(above & set(imported(module)))
    assert not wrong, f"{module} imports {', '.join(wrong)}, which stands above it in the reading order"


@pytest.mark.parametrize("module, wing", [("vptsp.training", "vptsp.widgets"), ("vptsp.training", "vptsp.analysis"),
                                          ("vptsp.analysis.compare", "vptsp.widgets"), ("vptsp.config", "torch")])
def test_what_an_import_does_not_bring(module, wing):
    code = f"import sys, {module}; sys.exit({wing!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0, f"importing {module} imports {wing}"


def test_every_module_has_its_notebook():
    ours = {file_of(m) for m in MODULES + OLD}
    others = {p for p in (ROOT/"vptsp").rglob("*.py") if p.name not in ("__init__.py", "_modidx.py")} - ours
    assert not others


@pytest.mark.parametrize("module", OLD)
def test_old_paths_lead_on(module):
    old = importlib.import_module(module)
    assert old.__all__
    assert all(getattr(old, name).__module__ in MODULES for name in old.__all__)


# Size

@pytest.mark.parametrize("module", MODULES)
def test_a_module_fits_in_the_head(module):
    lines = file_of(module).read_text(encoding="utf-8").splitlines()
    written = [line for line in lines if line.strip() and not line.startswith("# %%")]
    assert len(written) <= 300, f"{module} has {len(written)} lines: it is two modules"


# Words beside arguments

def public_functions():
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            thing = getattr(module, name)
            if getattr(thing, "__module__", None) != module.__name__: continue
            if inspect.isfunction(thing): yield f"{module.__name__}.{name}", thing
            if inspect.isclass(thing):
                for method, f in vars(thing).items():
                    f = getattr(f, "__func__", f)
                    if inspect.isfunction(f) and (method == "__init__" or not method.startswith("_")):
                        if f.__module__ in MODULES and not f.__qualname__.startswith("__create_fn__"):
                            yield f"{module.__name__}.{name}.{method}", f


FUNCTIONS = [pytest.param(f, id=name) for name, f in public_functions()
             if f.__code__.co_filename.startswith(str(ROOT))]  # what dataclasses write has no source


@pytest.mark.parametrize("function", FUNCTIONS)
def test_docments(function):
    parameters = inspect.signature(function).parameters
    untyped = [n for n, p in parameters.items() if n not in ("self", "cls") and p.annotation is inspect.Parameter.empty
               and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert not untyped, f"{', '.join(untyped)}: no annotation"
    first = inspect.getsource(function).partition("def ")[2].splitlines()[0]
    assert not re.match(r"\w+\(.+\)( -> .+)?: +# ", first), f"taken for the text of the last argument: {first}"
    for name, text in docments(function, returns=False).items():
        if not text: continue
        assert "->" not in text, f"an arrow stands in the text of {name}: {text!r}"
        named = re.match(r"(\w+) *:", text)
        other = named and named[1] in parameters and named[1] != name
        assert not other, f"the text of {name} speaks of {named[1]}: {text!r}"


# Types

def test_the_contract_is_typed():
    if not shutil.which("node"): pytest.skip("pyright needs node (Debian, Ubuntu: apt-get install nodejs)")
    words = ["-m", "pyright", "--pythonpath", sys.executable, "tests/contract.py"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_page_links_to_what_is_there():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT/"README.md").read_text("utf-8"))
    assert len(links) > 50 and [link for link in links if not (ROOT/link).exists()] == []
