"""The command line as its users run it: Ctrl-C and SIGTERM at every moment, closed pipes, full and closed outputs,
terminals that are not UTF-8, no home and no temporary folder, a folder that is gone under one's feet; and each write
synced before it replaces what was there. Right: one line, no traceback, the exit code of its kind."""
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from _trial import FOLDER, ROOT, Trials, differences, fresh, must, photos, train, trained, vptsp_

trials, DATA = Trials(), photos()
COMMAND = [sys.executable, "-m", "vptsp.cli"] if not (Path(sys.executable).parent/"vptsp").exists() else \
    [str(Path(sys.executable).parent/"vptsp")]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
RUN, GALLERY = trained("run"), fresh("gallery")
must(vptsp_("index", RUN, DATA, "--out", GALLERY))
QUERY = sorted(DATA.rglob("*.png"))[0]


def started(*words, env=None, **how):
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.Popen([*COMMAND, *map(str, words)], env={**ENV, **(env or {})}, **how)


def run(*words, limit=120, **how):
    process = started(*words, **how)
    try: out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    return process.returncode, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace")


def one_line(err):
    "No traceback, and the last line is ours."
    last = (err.strip().splitlines() or [""])[-1]
    return "Traceback" not in err and "Error" not in err and last.startswith("vptsp: ")


def told(end): return f"exit {end[0]}: {end[2].strip()[-200:]!r}"


def listens():
    "As a shell's foreground job, whatever this script was started by."
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# signals, while it imports and while it works; one, and three in a row
HEARD = {signal.SIGINT: (130,), signal.SIGTERM: (143,), signal.SIGHUP: (129,)}
for number, codes in HEARD.items():
    for wait in (.05, .3, 1., 2., 3., 4.5):
        place = fresh("stopped")
        process = started(*train(place, "bank", "epochs=400"), start_new_session=True, preexec_fn=listens)
        time.sleep(wait)
        process.send_signal(number)
        try: err = process.communicate(timeout=60)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            err = "did not end"
        early = process.returncode in (-number, 1) and f"{ROOT/'vptsp'}/" not in err  # before any of our lines was run
        held = process.returncode in codes and "Traceback" not in err and (one_line(err) or early) or early
        trials.add(f"{number.name} after {wait} s", held, f"exit {process.returncode}: {err.strip()[-200:]!r}")
for wait in (1., 3., 4.):
    process = started(*train(fresh("stopped"), "bank", "epochs=400"), start_new_session=True, preexec_fn=listens)
    time.sleep(wait)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(.05)
    err = process.communicate(timeout=60)[1].decode(errors="replace")
    held = process.returncode in (130, -signal.SIGINT) and "Traceback" not in err
    trials.add(f"Ctrl-C three times after {wait} s", held,
               f"exit {process.returncode}: {err.strip()[-200:]!r}")
for words in (["index", RUN, DATA, "--out", "NEW"], ["evaluate", RUN, "--data", DATA], ["demo", "--out", "NEW"],
              ["explore", RUN, "--data", DATA, "--out", "NEW"]):
    for wait in (1.5, 3.):
        place = fresh("new")
        process = started(*[place if w == "NEW" else w for w in words],
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=90)[1].decode(errors="replace")
        trials.add(f"Ctrl-C after {wait} s, {words[0]}", process.returncode in (0, 130) and "Traceback" not in err,
                   f"exit {process.returncode}: {err.strip()[-200:]!r}")

# what is stopped goes on
place = fresh("stopped")
process = started(*train(place, "bank"), start_new_session=True)
while not (place/"history.jsonl").exists() and process.poll() is None: time.sleep(.01)
process.send_signal(signal.SIGTERM)
err = process.communicate(timeout=60)[1].decode(errors="replace")
again = vptsp_(*train(place, "bank"))
trials.add("SIGTERM, then the same command", again.code == 0 and not differences(RUN, place) and "same command" in err,
           f"{err.strip()[-160:]!r}; {again}")

# outputs
def in_bash(script):
    return subprocess.run(["/bin/bash", "-c", script], env=ENV, capture_output=True, text=True, timeout=120)


SEARCH = " ".join(f"'{w}'" for w in (*COMMAND, "search", GALLERY, QUERY, "-k", 60))
for case, script, codes in (("| head -1", f"{SEARCH} | head -1; exit ${{PIPESTATUS[0]}}", (0, 1, 141)),
                            ("> /dev/full", f"{SEARCH} > /dev/full", (2,)),
                            ("--json > /dev/full", f"{SEARCH} --json > /dev/full", (2,)),
                            (">&- (closed)", f"{SEARCH} >&-", (0, 2)), ("2>&- (closed)", f"{SEARCH} 2>&-", (0,)),
                            ("<&- (closed)", f"{SEARCH} <&-", (0,)),
                            ("all closed", f"{SEARCH} <&- >&- 2>&-", (0, 2))):
    end = in_bash(script)
    held = end.returncode in codes and "Traceback" not in end.stderr and "Error" not in end.stderr
    trials.add(f"search {case}", held, f"exit {end.returncode}: {end.stderr.strip()[-200:]!r}")
words = " ".join(f"'{w}'" for w in (*COMMAND, *train(FOLDER/"piped", "bank")))
for case in ("| head -1", "2>&1 | head -1"):
    fresh("piped")
    end = in_bash(f"{words} {case}; exit ${{PIPESTATUS[0]}}")
    held = "Traceback" not in end.stdout + end.stderr
    trials.add(f"train {case}: no traceback", held, f"exit {end.returncode} {end.stderr[-200:]!r}")

# terminals, names
emoji = fresh("emoji")
shutil.copytree(DATA, emoji)
(emoji/"class 00").rename(emoji/"😀 grinning")
(emoji/"class 01").rename(emoji/os.fsdecode(b"caf\xe9"))
must(vptsp_("index", RUN, emoji, "--out", fresh("emoji gallery")))
smile = sorted((emoji/"😀 grinning").iterdir())[0]
for encoding in ("cp1252", "ascii", "latin-1", "utf-16"):
    for words in (["search", FOLDER/"emoji gallery", smile, "-k", 6], ["data", "check", "emoji"], ["settings", "emoji"],
                  ["search", FOLDER/"nowhere 😀", smile], ["params", "emoji"]):
        end = run(*words, env={"PYTHONIOENCODING": encoding})
        right = (2,) if "nowhere" in str(words[1]) else (0, 1) if words[0] == "data" else (0,)
        trials.add(f"{words[0]} on a terminal of {encoding}", end[0] in right and "Traceback" not in end[2], told(end))
locale_c = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
end = run("search", FOLDER/"emoji gallery", smile, env=locale_c)
trials.add("search in the locale C", end[0] == 0 or end[0] == 2 and "PYTHONUTF8=1" in end[2], told(end))

# surroundings
nowhere = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR"), "/proc/nowhere")
bare = {k: v for k, v in ENV.items() if k not in ("HOME", "USER", "TERM", "LANG")}
for case, env in (("no home and no temporary folder", {**ENV, **nowhere}), ("an empty environment", bare)):
    place = fresh("bare")
    process = subprocess.run([*COMMAND, *map(str, train(place, "bank"))], env=env, capture_output=True, timeout=180)
    wrong = differences(RUN, place) if process.returncode == 0 else [process.stderr[-300:]]
    trials.add(f"train with {case}", not wrong, wrong or "")
gone = fresh("gone")
gone.mkdir()
end = in_bash(f"cd {gone} && rmdir {gone} && {' '.join(map(repr, COMMAND))} train emoji --out here")
trials.add("from a folder that is gone", end.returncode == 2 and "Traceback" not in end.stderr, end.stderr[-200:])
for words in ([], ["train"], ["train", "emoji", "--out", ""], ["nonsense"], ["train", "\udcff"], ["search", "\n", "x"]):
    end = run(*words)
    trials.add(f"vptsp {' '.join(words)!r}", end[0] in (0, 2) and "Traceback" not in end[2], told(end))

# each write reaches the disk before it replaces what was there
SPY = FOLDER/"spy.py"
SPY.write_text(f'''
import os, sys
log = open({str(FOLDER/"log")!r}, "a")
def place_of(a): return os.readlink(f"/proc/self/fd/{{a}}") if isinstance(a, int) else os.fspath(a)
def watch(name, real):
    def call(*args, **kw):
        print(name, *map(place_of, args[:2]), file=log)
        return real(*args, **kw)
    return call
for name in ("rename", "replace", "fsync", "fdatasync"): setattr(os, name, watch(name, getattr(os, name)))
from vptsp.cli import main
sys.exit(main())
''')
place = fresh("synced")
subprocess.run([sys.executable, SPY, *map(str, train(place))], env=ENV, capture_output=True, timeout=180)
lines = (FOLDER/"log").read_text().splitlines() if (FOLDER/"log").exists() else []
moves = [(i, line) for i, line in enumerate(lines) if line.startswith(("rename ", "replace ")) and str(place) in line]
unsynced = []
for i, line in moves:
    source = line.split(" ", 1)[1].split(f" {place}")[0]
    if not any(other.split(" ", 1) == [kind, source] for other in lines[:i] for kind in ("fsync", "fdatasync")):
        unsynced.append(line[-120:])
folders = [line for line in lines if line.startswith("fsync ") and Path(line[6:]).is_dir()]
detail = f"{len(moves)} moves, not synced {unsynced[:3]}, {len(folders)} folders synced"
case = "each file of a run is synced before it is moved into place, and its folder behind it"
trials.add(case, moves and not unsynced and folders, detail)
trials.end()
