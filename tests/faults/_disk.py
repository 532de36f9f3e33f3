"""A library ahead of libc that counts a child's disk operations and ends or fails it at a chosen one.

A script calls `disk = Disk()` before it imports anything heavy: it is started once more with the library loaded.
"""
import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).with_name("_disk.c")
KILL, TEAR = 0, -1
ERRORS = {"no space left": errno.ENOSPC, "input/output error": errno.EIO, "read-only": errno.EROFS,
          "over quota": errno.EDQUOT, "no permission": errno.EACCES}


class Disk:
    "Arms the library in a child."
    def __init__(self):
        self.missing = "" if sys.platform == "linux" and shutil.which("gcc") else "needs Linux and gcc"
        if self.missing: return
        if "VPTSP_FAULTS_DISK" not in os.environ: self._again()
        self.library = ctypes.CDLL(os.environ["VPTSP_FAULTS_DISK"])
        self.library.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_char_p]

    def _again(self):
        library = Path(tempfile.mkdtemp(prefix="vptsp-faults-disk-"))/"disk.so"
        subprocess.run(["gcc", "-O1", "-w", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
        os.environ |= {"VPTSP_FAULTS_DISK": str(library), "LD_PRELOAD": str(library)}
        os.execv(sys.executable, [sys.executable, "-u", *sys.argv])

    def arm(self, folder, at=0, act=KILL, listed=None):
        "In this process from here on: `act` at operation `at` under a folder; 0 only counts."
        text = None if listed is None else os.fsencode(listed)
        self.library.faults_arm(os.fsencode(folder), at, act, text)

    def operations(self, child_of, listed):
        "The operations of a child, as (kind, path): `child_of(before)` runs it."
        end = child_of(lambda folder: self.arm(folder, listed=listed))
        return end, [tuple(line.split(" ", 1)) for line in Path(listed).read_text().splitlines()]


def counted(operations): return ", ".join(f"{n} {kind}" for kind, n in Counter(k for k, _ in operations).most_common())
