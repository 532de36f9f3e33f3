"""Ways to damage a file, and the trial of what then comes of it."""
import os
import random
import shutil
import struct
from collections import Counter

from _trial import call, copied, read_tensors
from safetensors.torch import save_file


def header_of(file):
    with open(file, "rb") as f: return 8 + struct.unpack("<Q", f.read(8))[0]


def flip(at=None, high=False):
    "A bit somewhere, in a tensor's exponent, or within the first so many bytes."
    def damage(file):
        data = bytearray(file.read_bytes())
        if high: i, bit = (start := header_of(file)) + 4*random.randrange((len(data) - start)//4) + 3, 6
        elif at == "header": i, bit = random.randrange(header_of(file)), random.randrange(8)
        else: i, bit = random.randrange(len(data)), random.randrange(8)
        data[i] ^= 1 << bit
        file.write_bytes(data)
    return damage


def cut(share): return lambda file: os.truncate(file, int(file.stat().st_size*share))
def garbage(file): file.write_bytes(random.randbytes(300))
def deleted(file): file.unlink()
def zeros(file): file.write_bytes(bytes(file.stat().st_size))
def longer(file): file.write_bytes(file.read_bytes() + random.randbytes(20))


def into_a_folder(file):
    file.unlink()
    file.mkdir()


def swapped_block(file):
    "Two blocks of 512 bytes exchanged, as a disk may do it."
    data = bytearray(file.read_bytes())
    a, b = 512*(len(data)//1024), 512*(len(data)//1024 - 1)
    data[a:a + 512], data[b:b + 512] = data[b:b + 512], data[a:a + 512]
    file.write_bytes(data)


def text_changed(old, new): return lambda file: file.write_text(file.read_text().replace(old, new))
def in_place_of(other): return lambda file: shutil.copy(other, file)


def tensors_changed(change):
    "The file written again with other tensors, without a hash, as an older version did."
    def damage(file):
        tensors, about = read_tensors(file)
        about.pop("sha256", None)
        save_file({k: t.contiguous() for k, t in change(tensors).items()}, file, metadata=about)
    return damage


def without(start): return tensors_changed(lambda ts: {k: t for k, t in ts.items() if not k.startswith(start)})
def with_one_more(ts): return {**ts, "model.surplus": next(iter(ts.values())).clone()}


def first_is(start, change):
    "The first tensor of that name changed."
    def of(ts):
        name = next(k for k in ts if k.startswith(start))
        return {**ts, name: change(ts[name])}
    return tensors_changed(of)


def with_nan(t):
    t = t.clone().float()
    t.view(-1)[0] = float("nan")
    return t


COMMON = {"a bit flipped": [flip()]*6, "cut": [cut(s) for s in (.001, .3, .9, .9999)], "emptied": [cut(0)],
          "deleted": [deleted], "garbage": [garbage], "zeros": [zeros], "longer": [longer], "a folder": [into_a_folder]}
TENSORS = {"an exponent's bit flipped": [flip(high=True)]*6, "a bit of the header flipped": [flip("header")]*8,
           "blocks exchanged": [swapped_block]}


def kind_of(end, equal):
    "What became of it, in words."
    if end.refused: return "one sentence"
    if end.code == 0: return "the same numbers" if equal() else "OTHER NUMBERS"
    return "a traceback" if end.traceback else f"exit {end.code}"


def damaged(trials, what, source, name, ways, use, equal):
    "Each way to damage `name` in a copy of `source`; what `use` makes of it."
    for way, acts in ways.items():
        ends, example = Counter(), ""
        for act in acts:
            folder = copied(source)
            act(folder/name)
            end = call(lambda folder=folder: use(folder))
            kind = kind_of(end, lambda: equal(folder, end))  # noqa: B023
            ends[kind] += 1
            if end.code or kind == "OTHER NUMBERS": example = end.last[-230:]
        right = not ends.keys() - {"one sentence", "the same numbers"}
        counts = ", ".join(f"{n} {kind}" for kind, n in ends.items())
        trials.add(f"{what}, {name}, {way}", right, f"{counts} {example!r}")
