"""Build `data/emoji`: the emoji of seven vendors, matched by code point, as one WebP sprite and a table.

    python data/build_emoji.py [--cache DIR]        # needs npm and the packages `resvg-py`, `pillow`

Class = a code point, samples = how the vendors drew it, super-class = Noto's category, train / test = parity of md5(code point).
"""
import argparse, csv, hashlib, json, re, unicodedata
from collections import Counter, defaultdict
from pathlib import Path

from PIL import Image
from iconify import VERSIONS, IconSet

VENDORS = ["noto", "noto-v1", "twemoji", "fluent-emoji-flat", "emojione", "fxemoji", "streamline-emojis"]
SIDE, QUALITY, MIN_VENDORS = 64, 80, 5
HERE = Path(__file__).parent

plain = lambda name: re.sub("[^a-z0-9]", "", name.lower())          # `grinning-face`, `Grinning Face` and `grinningface` are one name
code  = lambda chars: "-".join(p for p in chars.split("-") if p != "fe0f")  # the variation selector changes no drawing

def is_left_out(cp):
    "Keycap digits, regional indicators, skin tones and the clock faces, which differ by the hand alone."
    n = int(cp, 16)
    return n < 0x80 or 0x1F1E6 <= n <= 0x1F1FF or 0x1F3FB <= n <= 0x1F3FF or 0x1F550 <= n <= 0x1F567

def names_to_codes(sets):
    "Every name under which a code is known: the vendors' own tables, their aliases, and Unicode's names."
    known = defaultdict(set)
    for s in sets.values():
        own = defaultdict(set)
        for chars, name in s.chars.items(): own[name].add(code(chars))
        for name, codes in own.items(): known[plain(name)] |= codes
        for alias, icon in s.aliases.items(): known[plain(alias)] |= own.get(icon["parent"], set())
    for cp in sorted({c for codes in known.values() for c in codes if "-" not in c}):
        known.setdefault(plain(unicodedata.name(chr(int(cp, 16)), "unnamed")), {cp})
    return known

def match(sets):
    "`{code point: {vendor: icon name}}` for single code points. A name that stands for two codes is dropped for that vendor."
    known, found, dropped = names_to_codes(sets), defaultdict(dict), []
    for vendor, s in sets.items():
        codes = defaultdict(set)
        if s.chars:
            for chars, name in s.chars.items(): codes[name].add(code(chars))
        else:
            for name in s.icons:                                    # Streamline numbers its variants: the first one stands for the emoji
                codes[name] = known.get(plain(name)) or known.get(plain(re.sub("-1$", "", name))) or set()
        for name, cs in codes.items():
            if len(cs) > 1: dropped.append((vendor, name, sorted(cs)))
            elif cs and "-" not in (cp := next(iter(cs))): found[cp].setdefault(vendor, name)
    return {cp: v for cp, v in sorted(found.items()) if len(v) >= MIN_VENDORS and not is_left_out(cp)}, dropped

def main(cache):
    sets = {v: IconSet(cache, v) for v in VENDORS}
    classes, dropped = match(sets)
    rows, tiles = [], []
    for cp, by_vendor in classes.items():
        split = "train" if int(hashlib.md5(cp.encode()).hexdigest(), 16) % 2 == 0 else "test"
        for vendor in VENDORS:
            if vendor not in by_vendor: continue
            drawn = sets[vendor].draw(by_vendor[vendor], SIDE)
            if drawn.getextrema()[3][1] == 0: print("blank, left out:", vendor, by_vendor[vendor]); continue
            white = Image.new("RGBA", drawn.size, "white"); white.alpha_composite(drawn)
            name = by_vendor["noto"].replace("-", " ")
            rows.append([len(rows), cp, name, vendor, sets["noto"].categories.get(by_vendor["noto"], "Symbols"), split])
            tiles.append(white.convert("RGB"))
    columns = int(len(tiles)**.5) + 1
    sprite = Image.new("RGB", (columns*SIDE, -(-len(tiles)//columns)*SIDE), "white")
    for i, tile in enumerate(tiles): sprite.paste(tile, (i % columns*SIDE, i//columns*SIDE))
    out = HERE/"emoji"; out.mkdir(exist_ok=True)
    sprite.save(out/"emoji.webp", quality=QUALITY, method=6)
    with open(out/"emoji.csv", "w", newline="") as f:
        w = csv.writer(f, lineterminator="\n"); w.writerow(["tile", "code_point", "name", "vendor", "category", "split"]); w.writerows(rows)
    count = lambda split: {"images": sum(r[5] == split for r in rows), "classes": len({r[1] for r in rows if r[5] == split})}
    about = dict(
        files={f: hashlib.sha256((out/f).read_bytes()).hexdigest() for f in ("emoji.webp", "emoji.csv")},
        side=SIDE, columns=columns, train=count("train"), test=count("test"), categories=dict(Counter(r[4] for r in rows)),
        vendors={v: dict(images=sum(r[3] == v for r in rows), version=VERSIONS[v], licence=s.licence, author=s.author) for v, s in sets.items()},
        dropped_for_ambiguous_names=dropped)
    (out/"emoji.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    write_card(out, about)
    print(json.dumps({k: about[k] for k in ("train", "test", "categories")}, indent=1), (out/"emoji.webp").stat().st_size)

def write_card(out, about):
    t, q = about["train"], about["test"]
    vendors = "\n".join(f"| {v} {a['version']} | {a['images']:,} | {a['licence']} | {a['author']} |" for v, a in about["vendors"].items())
    (out/"README.md").write_text(f"""# Emoji, as seven vendors drew them

{t['images'] + q['images']:,} pictures of {t['classes'] + q['classes']:,} emoji. Class = a code point, sample = one vendor's drawing, super-class = Noto's category. The task: given one drawing, find another vendor's drawing of
the same emoji, among emoji that were never trained on. `load_dataset("emoji")` reads it.

| split | images | classes |
|---|---|---|
| train | {t['images']:,} | {t['classes']:,} |
| test | {q['images']:,} | {q['classes']:,} |

The split is the parity of md5(code point), so it depends on nothing that was measured. Single code points only, drawn by at least {MIN_VENDORS} vendors; no skin tones, joined sequences, flags of regions, keycap digits or clock faces (which differ by
the hand alone). Vendors without a table of code points are matched by name, through every name that the others, their aliases and Unicode give; a name that stands for two code points is dropped for that vendor
({len(about['dropped_for_ambiguous_names'])} were). Two vendors are near kin: Noto and its first version. Drawn at {SIDE} px on white with resvg, one WebP sprite of quality {QUALITY}; `data/build_emoji.py` makes all of it again.

| vendor, version | images | licence | author |
|---|---|---|---|
{vendors}

All drawings come from the `@iconify-json/*` packages of the npm registry and keep their licences, which ask for attribution as given here (CC BY 4.0) or for the notice (Apache 2.0, MIT). They were rasterised, and are otherwise unchanged.
Sets under CC BY-SA were left out.
""", encoding="utf-8")

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", default="data/.cache", help="where npm packages are kept")
    main(p.parse_args().cache)
