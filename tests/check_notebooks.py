"""Check that notebooks and everything made from them agree; run notebooks; write what is made from them.

    python tests/check_notebooks.py            # fails if modules or README differ from the notebooks, or are not clean
    python tests/check_notebooks.py --run      # runs every notebook and fails if one fails
    python tests/check_notebooks.py --write    # export, run, clean and write instead; slow cells keep their output
    python tests/check_notebooks.py --write --slow comparison      # run those as well (over an hour)
    python tests/check_notebooks.py --one 05   # what `make check NB=05` does: export, ruff, run that notebook
"""
import argparse
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
LARGEST = 400  # kB, of a notebook
MADE_FROM_NOTEBOOKS = ("nbs", "vptsp"), ("settings.ini", "README.md", "pyproject.toml")  # folders, files
NOT_OURS = ("__pycache__", ".ipynb_checkpoints")


def run(*words, cwd=ROOT):
    "Run a command, one thread a process."
    return subprocess.run([str(w) for w in words], cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


def notebooks(wanted=()):
    "Paths of the notebooks whose path contains one of `wanted`, or of all."
    found = sorted(p for p in (ROOT/"nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    return [p for p in found if not wanted or any(w in str(p.relative_to(ROOT/"nbs")) for w in wanted)]


def cells_of(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


# What is made from the notebooks

def readme(path):
    "README.md from index.ipynb: its prose, its code and its text outputs; pictures by their path from the root."
    parts = []
    for cell in cells_of(path):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            source = re.sub(r"\]\((?!https?:|#)", "](nbs/", source)
            parts.append(source.replace('src="images/', 'src="nbs/images/').replace("](nbs/../", "]("))
        elif not source.startswith("#| hide"):
            parts.append(f"```python\n{source}\n```")
            for output in cell.get("outputs", []):
                text = output.get("text") or output.get("data", {}).get("text/plain")
                if text: parts.append(f"```\n{''.join(text).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def in_copy(command):
    "What a command leaves of a copy of the notebooks and modules."
    copy = Path(tempfile.mkdtemp())
    folders, files = MADE_FROM_NOTEBOOKS
    for name in folders:
        shutil.copytree(ROOT/name, copy/name, ignore=shutil.ignore_patterns(*NOT_OURS))
    for name in files:
        shutil.copy(ROOT/name, copy/name)
    if run(BIN/command, cwd=copy): sys.exit(f"{command} failed")
    return copy


def differing(copy, folder, pattern):
    "Names of the files that differ between the repository and a copy, or are missing in one of them."
    names = {p.relative_to(root/folder) for root in (ROOT, copy) for p in (root/folder).rglob(pattern)
             if not set(NOT_OURS) & set(p.parts)}
    pairs = [(ROOT/folder/n, copy/folder/n) for n in sorted(names)]
    same = [a.is_file() and b.is_file() and filecmp.cmp(a, b, shallow=False) for a, b in pairs]
    return [str(a.relative_to(ROOT)) for (a, _), equal in zip(pairs, same) if not equal]


def check():
    "What is wrong with the notebooks and what is made from them: sentences."
    exported, cleaned = in_copy("nbdev_export"), in_copy("nbdev_clean")
    wrong = [f"{n} differs from what its notebook exports: run `make notebooks`, and edit the notebook, not the module"
             for n in differing(exported, "vptsp", "*.py")]
    wrong += [f"{n} has metadata that nbdev_clean removes: run nbdev_clean"
              for n in differing(cleaned, "nbs", "*.ipynb")]
    for copy in (exported, cleaned): shutil.rmtree(copy)
    if readme(ROOT/"nbs"/"index.ipynb") != (ROOT/"README.md").read_text(encoding="utf-8"):
        wrong.append("README.md differs from nbs/index.ipynb: run `make notebooks`")
    for p in notebooks():
        size = p.stat().st_size/1e3
        if size > LARGEST:
            wrong.append(f"{p.relative_to(ROOT)} has {size:.0f} kB; it may have {LARGEST}: make its pictures smaller")
    if wrong: sys.exit("\n".join(wrong))
    print(f"{len(notebooks())} notebooks, their modules and the README agree.")


# Running them

def flag(cell):
    "Why tests do not run this cell, if they don't."
    found = re.match(r"#\| *(slow|cuda|browser)", "".join(cell["source"])) if cell["cell_type"] == "code" else None
    return found and found[1]


def never(cell):
    "Whether a cell is for the module alone."
    return cell["cell_type"] == "code" and bool(re.search(r"^#\| *eval: *false", "".join(cell["source"]), re.M))


def run_all():
    "Run every notebook in two processes."
    for p in notebooks():
        for why in filter(None, map(flag, cells_of(p))):
            print(f"SKIPPED a cell of {p.relative_to(ROOT)}: flagged `{why}`, its output is kept; "
                  f"run it with nbdev_test --flags {why}")
    start = time.time()
    if run(BIN/"nbdev_test", "--n_workers", 2, "--timing"): sys.exit("a notebook failed")
    print(f"every notebook ran, {time.time() - start:.0f} s")


def run_one(number):
    "Export, and look at one notebook: ruff, then run it."
    found = [p for p in notebooks() if p.name.partition("_")[0] == number]
    if len(found) != 1:
        numbers = ", ".join(p.name.partition("_")[0] for p in notebooks() if p.name[0].isdigit())
        sys.exit(f"NB={number}: this must be the number of a notebook, one of {numbers}")
    if run(BIN/"nbdev_export"): sys.exit("nbdev_export failed")
    if run(BIN/"ruff", "check", found[0], ROOT/"vptsp"): sys.exit("ruff found something")
    if run(BIN/"nbdev_test", "--path", found[0], "--do_print"): sys.exit(f"{found[0].name} failed")


# Writing them

def executed(path, slow):
    "A notebook with the outputs of a run; cells that tests do not run keep theirs."
    import nbformat
    from nbclient import NotebookClient
    nb = nbformat.read(path, 4)
    kept = [c for c in nb.cells if never(c) or (flag(c) and not (slow and flag(c) == "slow"))]
    for c in kept: c.cell_type = "raw"
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(nb, timeout=None, kernel_name="python3", resources=where).execute()
    for c in kept: c.cell_type = "code"
    return nb


def without_widgets(nb):
    "Leave of a widget its picture: a saved widget is megabytes of its script."
    nb.metadata.pop("widgets", None)
    for c in nb.cells:
        if c.cell_type != "code": continue
        live = [o for o in c.outputs if o.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)]
        gone = [o for o in live if "image/png" not in o.data]
        gone += [below for o, below in pairwise(c.outputs) if o in live]      # what is shown without a kernel
        gone += [o for o in c.outputs if o.get("name") == "stderr" or o.get("data") == {}]
        c.outputs = [o for o in c.outputs if o not in gone]
    return nb


def write(names, slow):
    "Export, run in order, clean; README last."
    import nbformat
    if run(BIN/"nbdev_export"): sys.exit("nbdev_export failed")
    for p in notebooks(names):
        start = time.time()
        nbformat.write(without_widgets(executed(p, slow)), p)
        print(f"{p.relative_to(ROOT)}: {time.time() - start:.0f} s, {p.stat().st_size/1e3:.0f} kB", flush=True)
    for _ in range(2): run(BIN/"nbdev_clean")  # the ids that the first gives, the second keeps
    (ROOT/"README.md").write_text(readme(ROOT/"nbs"/"index.ipynb"), encoding="utf-8")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", action="store_true")
    p.add_argument("--one", metavar="NB")
    p.add_argument("--write", action="store_true")
    p.add_argument("--slow", action="store_true")
    p.add_argument("names", nargs="*", help="with --write: only notebooks whose path contains one of these")
    a = p.parse_args()
    if a.write: write(a.names, a.slow)
    elif a.one: run_one(a.one)
    elif a.run: run_all()
    else: check()


if __name__ == "__main__": main()
