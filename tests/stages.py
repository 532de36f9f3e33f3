"""The test command: every stage by its name, one after the other, and at the end which of them failed.

    python tests/stages.py            # all
    python tests/stages.py lint js    # some
"""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON, BIN = sys.executable, Path(sys.executable).parent
PYTEST = [PYTHON, "-m", "pytest", "-q", "-ra"]
LIVE = "tests/browser/test_live.py"
STAGES = {  # name -> commands
    "lint": [[BIN/"ruff", "check", "."], [PYTHON, "tests/check_notebooks.py"]],
    "js": [["node", "--test", *sorted((ROOT/"tests"/"js").glob("*.test.mjs"))]],
    "notebooks": [[PYTHON, "tests/check_notebooks.py", "--run"]],
    "tests": [[*PYTEST, "-n", "2", "--dist", "loadfile", "tests", "--ignore", "tests/browser"]],
    "browser": [[*PYTEST, LIVE],                         # alone, as it measures how soon a button stops
                [*PYTEST, "-n", "2", "--dist", "loadfile", "tests/browser", "--ignore", LIVE]],
}


def passed(name):
    "Run a stage; whether each of its commands succeeded."
    if name == "js" and not shutil.which("node"):
        print("SKIPPED: node is not installed (Debian, Ubuntu: apt-get install nodejs); no user needs it")
        return True
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return all(subprocess.run([str(w) for w in words], cwd=ROOT, env=env).returncode == 0 for words in STAGES[name])


def main(names):
    unknown = [n for n in names if n not in STAGES]
    if unknown: sys.exit(f"there is no stage {unknown[0]!r}; the stages are: {', '.join(STAGES)}")
    rows = []
    for name in names or STAGES:
        print(f"\n== {name}", flush=True)
        start = time.time()
        rows.append((name, passed(name), time.time() - start))
    print("\n" + "\n".join(f"{name:<10} {'passed' if ok else 'FAILED'} {s:6.0f} s" for name, ok, s in rows))
    failed = [name for name, ok, _ in rows if not ok]
    if failed: sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__": main(sys.argv[1:])
