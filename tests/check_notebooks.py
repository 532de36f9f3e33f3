"""Check that notebooks and everything made from them agree, and run every notebook.

    python tests/check_notebooks.py            # fails if modules or README differ from the notebooks, metadata is unclean, or a notebook fails
    python tests/check_notebooks.py --write    # export, run, clean and write them instead; cells flagged slow keep their output
    python tests/check_notebooks.py --write --slow comparison        # run those as well (over an hour)
"""
import argparse, filecmp, json, os, re, shutil, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
KEPT = 400                              # kB, the largest a notebook may be

def run(*words, cwd=ROOT, **env):
    return subprocess.run([str(w) for w in words], cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1", **env})

def notebooks(): return sorted(p for p in (ROOT/"nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)

def readme(path):
    "README.md from index.ipynb: its prose, its code and its text outputs; pictures by their path from the root."
    out = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown": out.append(re.sub(r"\]\((?!https?:|#)", "](nbs/", source).replace('src="images/', 'src="nbs/images/').replace("](nbs/../", "]("))
        elif not source.startswith("#| hide"):
            out.append(f"```python\n{source}\n```")
            for o in cell.get("outputs", []):
                text = o.get("text") or o.get("data", {}).get("text/plain")
                if text: out.append(f"```\n{''.join(text).rstrip()}\n```")
    return "\n\n".join(out) + "\n"

def flag(cell):
    "Why tests do not run this cell, if they don't."
    found = re.match(r"#\| *(slow|cuda|browser)", "".join(cell["source"])) if cell["cell_type"] == "code" else None
    return found and found[1]

def in_copy(command):
    "What a command leaves of a copy of the notebooks and modules."
    folder = Path(tempfile.mkdtemp())
    for name in ("nbs", "vptsp"): shutil.copytree(ROOT/name, folder/name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("settings.ini", "README.md"): shutil.copy(ROOT/name, folder/name)
    if run(BIN/command, cwd=folder).returncode: sys.exit(f"{command} failed")
    return folder

def differing(folder, part, pattern):
    names = {p.relative_to(r/part) for r in (ROOT, folder) for p in (r/part).rglob(pattern) if "__pycache__" not in p.parts and ".ipynb_checkpoints" not in p.parts}
    return sorted(str(Path(part)/n) for n in names if not (ROOT/part/n).is_file() or not (folder/part/n).is_file() or not filecmp.cmp(ROOT/part/n, folder/part/n, shallow=False))

def check():
    wrong = []
    exported, cleaned = in_copy("nbdev_export"), in_copy("nbdev_clean")
    wrong += [f"{n} differs from what its notebook exports: run `make notebooks`, and edit the notebook, not the module" for n in differing(exported, "vptsp", "*.py")]
    wrong += [f"{n} has metadata that nbdev_clean removes: run nbdev_clean" for n in differing(cleaned, "nbs", "*.ipynb")]
    for folder in (exported, cleaned): shutil.rmtree(folder)
    if readme(ROOT/"nbs"/"index.ipynb") != (ROOT/"README.md").read_text(encoding="utf-8"): wrong.append("README.md differs from nbs/index.ipynb: run `make notebooks`")
    wrong += [f"{p.relative_to(ROOT)} has {p.stat().st_size/1e3:.0f} kB; a notebook may have {KEPT}: make its pictures smaller" for p in notebooks() if p.stat().st_size > KEPT*1000]
    for p in notebooks():
        for why in filter(None, map(flag, json.loads(p.read_text(encoding="utf-8"))["cells"])): print(f"SKIPPED a cell of {p.relative_to(ROOT)}: flagged `{why}`, its output is kept; run it with nbdev_test --flags {why}")
    if wrong: sys.exit("\n".join(wrong))
    print(f"{len(notebooks())} notebooks, their modules and the README agree. Running the notebooks.", flush=True)
    start = time.time()
    if run(BIN/"nbdev_test", "--n_workers", 2, "--timing").returncode: sys.exit("a notebook failed")
    print(f"every notebook ran, {time.time() - start:.0f} s", flush=True)

def write(names, slow):
    "Export, run in order, clean; README last."
    import nbformat
    from nbclient import NotebookClient
    if run(BIN/"nbdev_export").returncode: sys.exit("nbdev_export failed")
    for p in notebooks():
        if names and not any(n in str(p) for n in names): continue
        nb, start = nbformat.read(p, 4), time.time()
        kept = [c for c in nb.cells if flag(c) and not (slow and flag(c) == "slow")]
        for c in kept: c.cell_type = "raw"                                    # not run, so that its output stays
        NotebookClient(nb, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(p.parent)}}).execute()
        for c in kept: c.cell_type = "code"
        nb.metadata.pop("widgets", None)                                  # a saved widget is megabytes of its script
        for c in nb.cells:
            if c.cell_type != "code": continue
            live = [o for o in c.outputs if o.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)]
            c.outputs = [o for o in c.outputs if o.get("name") != "stderr" and (o not in live or "image/png" in o.data)]      # of a widget its picture stays
        nbformat.write(nb, p); print(f"{p.relative_to(ROOT)}: {time.time() - start:.0f} s, {p.stat().st_size/1e3:.0f} kB", flush=True)
    for _ in range(2): run(BIN/"nbdev_clean")                              # the ids that the first gives, the second keeps
    (ROOT/"README.md").write_text(readme(ROOT/"nbs"/"index.ipynb"), encoding="utf-8")

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--write", action="store_true"); p.add_argument("--slow", action="store_true"); p.add_argument("names", nargs="*", help="with --write: only notebooks whose path contains one of these")
    a = p.parse_args()
    write(a.names, a.slow) if a.write else check()
