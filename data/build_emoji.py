"""Build `data/emoji`: the emoji of seven vendors, matched by code point, as one WebP sprite and a table.

    python data/build_emoji.py [--cache DIR]  # needs npm and the packages `resvg-py`, `pillow`

Class = a code point, samples = how the vendors drew it, super-class = Noto's category,
train / test = parity of md5(code point).
"""
import argparse
import csv
import hashlib
import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

from iconify import VERSIONS, IconSet
from PIL import Image

from vptsp.files import write_json

VENDORS = ["noto", "noto-v1", "twemoji", "fluent-emoji-flat", "emojione", "fxemoji", "streamline-emojis"]
SIDE, QUALITY, MIN_VENDORS = 64, 80, 5
HERE = Path(__file__).parent

COLUMNS = ("tile", "code_point", "name", "vendor", "category", "split")


def plain(name):
    "`grinning-face`, `Grinning Face` and `grinningface` are one name."
    return re.sub("[^a-z0-9]", "", name.lower())


def code(chars):
    "Without the variation selector, which changes no drawing."
    return "-".join(part for part in chars.split("-") if part != "fe0f")


def is_left_out(cp):
    "Keycap digits, regional indicators, skin tones and the clock faces, which differ by the hand alone."
    n = int(cp, 16)
    return n < 0x80 or 0x1F1E6 <= n <= 0x1F1FF or 0x1F3FB <= n <= 0x1F3FF or 0x1F550 <= n <= 0x1F567


def own_codes(icon_set):
    "`{icon name: codes}` of a vendor's own table."
    codes = defaultdict(set)
    for chars, name in icon_set.chars.items(): codes[name].add(code(chars))
    return codes


def names_to_codes(sets):
    "Every name under which a code is known: the vendors' own tables, their aliases, and Unicode's names."
    known = defaultdict(set)
    for icon_set in sets.values():
        own = own_codes(icon_set)
        for name, codes in own.items(): known[plain(name)] |= codes
        for alias, icon in icon_set.aliases.items(): known[plain(alias)] |= own.get(icon["parent"], set())
    for code_point in sorted({c for codes in known.values() for c in codes if "-" not in c}):
        name = unicodedata.name(chr(int(code_point, 16)), "unnamed")
        known.setdefault(plain(name), {code_point})
    return known


def codes_by_name(icon_set, known):
    "`{icon name: codes}`, of a vendor without a table by what others call it."
    if icon_set.chars: return own_codes(icon_set)
    codes = {}
    for name in icon_set.icons:
        without_number = re.sub("-1$", "", name)  # Streamline numbers its variants: the first one stands for the emoji
        codes[name] = known.get(plain(name)) or known.get(plain(without_number)) or set()
    return codes


def match(sets):
    """`{code point: {vendor: icon name}}` for single code points.
    A name that stands for two codes is dropped for that vendor."""
    known, found, dropped = names_to_codes(sets), defaultdict(dict), []
    for vendor, icon_set in sets.items():
        for name, codes in codes_by_name(icon_set, known).items():
            if len(codes) > 1:
                dropped.append((vendor, name, sorted(codes)))
                continue
            for code_point in codes:
                if "-" not in code_point: found[code_point].setdefault(vendor, name)
    enough = {cp: icons for cp, icons in sorted(found.items()) if len(icons) >= MIN_VENDORS and not is_left_out(cp)}
    return enough, dropped


def split_of(code_point):
    return "train" if int(hashlib.md5(code_point.encode()).hexdigest(), 16) % 2 == 0 else "test"


def on_white(drawn):
    white = Image.new("RGBA", drawn.size, "white")
    white.alpha_composite(drawn)
    return white.convert("RGB")


def draw_all(sets, classes):
    "Rows of the table, and a tile for each."
    rows, tiles = [], []
    for code_point, icons in classes.items():
        name = icons["noto"].replace("-", " ")
        category = sets["noto"].categories.get(icons["noto"], "Symbols")
        for vendor in VENDORS:
            if vendor not in icons: continue
            drawn = sets[vendor].draw(icons[vendor], SIDE)
            if drawn.getextrema()[3][1] == 0:
                print("blank, left out:", vendor, icons[vendor])
                continue
            rows.append([len(rows), code_point, name, vendor, category, split_of(code_point)])
            tiles.append(on_white(drawn))
    return rows, tiles


def sheet_of(tiles, columns):
    sheet = Image.new("RGB", (columns*SIDE, -(-len(tiles)//columns)*SIDE), "white")
    for i, tile in enumerate(tiles): sheet.paste(tile, (i % columns*SIDE, i//columns*SIDE))
    return sheet


def counts(rows, split):
    rows = [row for row in rows if row[5] == split]
    return {"images": len(rows), "classes": len({row[1] for row in rows})}


def vendor_card(icon_set, rows):
    images = sum(row[3] == icon_set.name for row in rows)
    version = VERSIONS[icon_set.name]
    return dict(images=images, version=version, licence=icon_set.licence, author=icon_set.author)


def main(cache):
    sets = {vendor: IconSet(cache, vendor) for vendor in VENDORS}
    classes, dropped = match(sets)
    rows, tiles = draw_all(sets, classes)
    columns = int(len(tiles)**.5) + 1
    out = HERE/"emoji"
    out.mkdir(exist_ok=True)
    sheet_of(tiles, columns).save(out/"emoji.webp", quality=QUALITY, method=6)
    with open(out/"emoji.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    about = dict(
        files={name: hashlib.sha256((out/name).read_bytes()).hexdigest() for name in ("emoji.webp", "emoji.csv")},
        side=SIDE,
        columns=columns,
        train=counts(rows, "train"),
        test=counts(rows, "test"),
        categories=dict(Counter(row[4] for row in rows)),
        vendors={vendor: vendor_card(icon_set, rows) for vendor, icon_set in sets.items()},
        dropped_for_ambiguous_names=dropped)
    write_json(out/"emoji.json", about)
    write_card(out, about)
    shown = {key: about[key] for key in ("train", "test", "categories")}
    print(json.dumps(shown, indent=1), (out/"emoji.webp").stat().st_size)


def write_card(out, about):
    train, test, dropped = about["train"], about["test"], about["dropped_for_ambiguous_names"]
    images, classes = train["images"] + test["images"], train["classes"] + test["classes"]
    vendors = "\n".join(
        f"| {vendor} {a['version']} | {a['images']:,} | {a['licence']} | {a['author']} |"
        for vendor, a in about["vendors"].items())
    (out/"README.md").write_text(f"""# Emoji, as seven vendors drew them

{images:,} pictures of {classes:,} emoji. Class = a code point, sample = one vendor's drawing, super-class = \
Noto's category. The task: given one drawing, find another vendor's drawing of
the same emoji, among emoji that were never trained on. `load_dataset("emoji")` reads it.

| split | images | classes |
|---|---|---|
| train | {train['images']:,} | {train['classes']:,} |
| test | {test['images']:,} | {test['classes']:,} |

The split is the parity of md5(code point), so it depends on nothing that was measured. Single code points \
only, drawn by at least {MIN_VENDORS} vendors; no skin tones, joined sequences, flags of regions, keycap digits \
or clock faces (which differ by
the hand alone). Vendors without a table of code points are matched by name, through every name that the \
others, their aliases and Unicode give; a name that stands for two code points is dropped for that vendor
({len(dropped)} were). Two vendors are near kin: Noto and its first version. Drawn at {SIDE} px on white with \
resvg, one WebP sprite of quality {QUALITY}; `data/build_emoji.py` makes all of it again.

| vendor, version | images | licence | author |
|---|---|---|---|
{vendors}

All drawings come from the `@iconify-json/*` packages of the npm registry and keep their licences, which ask \
for attribution as given here (CC BY 4.0) or for the notice (Apache 2.0, MIT). They were rasterised, and are \
otherwise unchanged.
Sets under CC BY-SA were left out.
""", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default="data/.cache", help="where npm packages are kept")
    main(parser.parse_args().cache)
