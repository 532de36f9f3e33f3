"""The long forms of the fault tests: processes killed, disks filled, files damaged, several writers, wrong numbers.

    python tests/faults/run.py                   # all, one after the other: hours
    python tests/faults/run.py damage cli_edges  # some

Each is a script of its own. It prints a line a case and at its end `FIGURE name held/all`; this command repeats those
lines and ends with 0 only if all cases held. Short forms of the same faults are in `make test`.
"""
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in HERE.glob("[!_]*.py") if path.stem != "run")
LIMIT = 3 * 3600   # seconds a script


def figure_of(name):
    "Run a script, its lines passed on; its figure, and whether all held."
    words = [sys.executable, "-u", str(HERE/f"{name}.py")]
    figure, start = f"FIGURE {name} gave none", time.monotonic()
    with subprocess.Popen(words, cwd=HERE.parents[1], stdout=subprocess.PIPE, text=True, errors="replace") as script:
        for line in script.stdout or ():
            print(line, end="", flush=True)
            if line.startswith("FIGURE "): figure = line.strip()
            if time.monotonic() - start > LIMIT: script.kill()
    return f"{figure} ({time.monotonic() - start:.0f} s)", script.returncode == 0


def main(names):
    unknown = [name for name in names if name not in NAMES]
    if unknown: sys.exit(f"there is no fault script {unknown[0]!r}; there are: {', '.join(NAMES)}")
    ends = []
    for name in names or NAMES:
        print(f"\n== {name}", flush=True)
        ends.append(figure_of(name))
    print("\n" + "\n".join(figure for figure, _ in ends))
    sys.exit(not all(held for _, held in ends))


if __name__ == "__main__": main(sys.argv[1:])
