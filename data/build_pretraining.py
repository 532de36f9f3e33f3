"""Build the images on which the bundled backbone is pretrained: user-interface icons and letters.
Kept in a cache, not shipped.

    python data/build_pretraining.py [--cache DIR]

Needs npm and the packages `resvg-py`, `fonttools`, `brotli`, `pillow`, `scipy`.

- icons: a name drawn by at least four icon sets is a class. A name is left out if its words all stand in the name of
  one emoji of the benchmark (either split), if it is a synonym of one listed below, so that no class of the benchmark
  is seen in pretraining.
- letters: a character found in at least 15 typefaces is a class. Characters that most typefaces draw alike (Latin,
  Cyrillic and Greek A) are one class; code points of the benchmark are left out.

Writes `icons.npz` (`rgba` (n, 64, 64, 4)) and `letters.npz` (`alpha` (n, 64, 64)), each with `label` (n,) and
`names` (c,), and a `pretraining.json` of counts.
"""
import argparse
import csv
import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from build_emoji import VENDORS
from fontTools.ttLib import TTFont
from iconify import VERSIONS, IconSet, fetch
from PIL import Image, ImageDraw, ImageFont

SUBSETS, FONT_STYLES = ("latin", "latin-ext", "cyrillic", "greek"), ("400-normal", "700-normal", "400-italic")
SIDE, MIN_SETS, MAX_VARIANTS, MIN_FAMILIES, FONT_SIZE = 64, 4, 3, 15, 44
HERE = Path(__file__).parent

# every one OFL-1.1, checked below
FONTS = """
advent-pro@5.3.0 alegreya-sans@5.3.0 alegreya-sc@5.3.0 alegreya@5.3.0 alice@5.3.0 amatic-sc@5.3.0 andika@5.3.0
anonymous-pro@5.3.0 arimo@5.3.0 arsenal@5.3.0 bad-script@5.3.0 bitter@5.3.0 cardo@5.3.0 caudex@5.3.0 caveat@5.3.0
comfortaa@5.3.0 commissioner@5.3.0 cormorant-garamond@5.3.0 cormorant-infant@5.3.0 cormorant@5.3.0 cousine@5.3.0
cuprum@5.3.0 didact-gothic@5.3.0 eb-garamond@5.3.0 exo-2@5.3.0 fira-code@5.3.0 fira-mono@5.3.0 fira-sans@5.3.0
forum@5.3.0 gabriela@5.2.8 geologica@5.3.0 gfs-didot@5.3.0 golos-text@5.3.0 ibm-plex-mono@5.3.0 ibm-plex-sans@5.3.0
ibm-plex-serif@5.3.0 inter@5.3.0 istok-web@5.3.0 jetbrains-mono@5.3.0 jura@5.3.0 kelly-slab@5.3.0 kurale@5.3.0
ledger@5.2.8 literata@5.3.0 lobster@5.3.0 lora@5.3.0 manrope@5.3.0 marck-script@5.3.0 marmelad@5.2.8
merriweather@5.3.0 montserrat-alternates@5.3.0 montserrat@5.3.0 mulish@5.3.0 neucha@5.3.0 noto-sans@5.3.0
noto-serif@5.3.0 nova-mono@5.3.0 nunito-sans@5.3.0 nunito@5.3.0 old-standard-tt@5.3.0 onest@5.3.1 open-sans@5.3.0
oranienbaum@5.3.0 oswald@5.3.0 pacifico@5.3.0 philosopher@5.3.0 piazzolla@5.3.0 play@5.3.0 playfair-display-sc@5.3.0
playfair-display@5.3.0 poiret-one@5.3.0 press-start-2p@5.3.0 prosto-one@5.2.8 pt-mono@5.3.0 pt-sans-narrow@5.3.0
pt-sans@5.3.0 pt-serif@5.3.0 raleway@5.3.0 roboto-condensed@5.3.0 roboto-mono@5.3.0 roboto@5.3.0 rubik@5.3.0
ruslan-display@5.2.7 russo-one@5.3.0 scada@5.3.0 seymour-one@5.2.7 sofia-sans@5.3.0 source-code-pro@5.3.1
source-sans-3@5.3.1 source-serif-4@5.3.1 spectral@5.3.0 tektur@5.3.0 tenor-sans@5.3.0 tinos@5.3.0 unbounded@5.3.0
vollkorn@5.3.0 vt323@5.3.0 yanone-kaffeesatz@5.3.0 yeseva-one@5.3.0
""".split()


# -- icons -----------------------------------------------------------------------------------------

STYLES = set("""
outline outlined filled fill solid line linear bold thin light duotone duo rounded round sharp twotone tone two broken
regular color flat o s l remix 10 12 16 20 24 28 32 48 256
""".split())
PREFIXES = set("outline baseline twotone round sharp md ios".split())
# what an emoji of the benchmark shows under another word
SYNONYMS = set("""
squirrel donut flame siren zodiac aries taurus gemini cancer leo virgo libra scorpio scorpius sagittarius capricorn
aquarius pisces
bike bicycle motorbike motorcycle scooter truck train tram subway bus car taxi boat ship plane airplane aeroplane
flight rocket helicopter
sun sunny moon cloud rain snow snowflake thunder lightning storm umbrella rainbow tornado fog wind
heart broken love hearts star stars sparkle sparkles fire bomb skull ghost alien robot poo poop
cat dog bird fish bug bee butterfly turtle rabbit horse cow pig mouse paw spider snail ant crab tree leaf flower
clover mushroom
apple cherry lemon banana grape carrot pizza burger hamburger coffee tea cup mug beer wine cocktail cake cookie candy
egg bread cheese icecream
house home hospital school factory building bank church castle tent hotel store shop
smile smiley happy sad angry laugh wink surprised frown meh emoji mood sentiment emoticon
football soccer basketball baseball tennis volleyball golf hockey rugby bowling trophy medal award crown gem diamond
ring gift balloon
key lock unlock bell hammer wrench axe scissors pencil pen book books notebook calendar clipboard envelope mail email
phone telephone camera
television tv computer laptop keyboard printer battery plug bulb lightbulb flashlight candle magnet microscope
telescope syringe pill
guitar piano violin trumpet drum headphone headphones microphone radio glasses shirt tshirt dress shoe hat cap
hand thumb thumbs thumbsup thumbsdown finger fist wave clap eye eyes ear nose mouth tongue lips brain tooth bone foot
baby child man woman boy girl family bathroom toilet shower bath bed couch sofa chair door elevator wheelchair recycle
radioactive biohazard atom
anchor compass map globe earth mountain volcano camping hourglass watch alarm stopwatch clock timer
""".split())


def name_of(icon):
    "The icon's name without the words that tell its style."
    words = icon.lower().split("-")
    while len(words) > 1 and words[-1] in STYLES: words = words[:-1]
    while len(words) > 1 and words[0] in PREFIXES: words = words[1:]
    return " ".join(words)


def stem(name):
    "The words of a name, singular."
    return frozenset(re.sub("s$", "", word) for word in re.split("[ -]", name.lower()))


def emoji_words(cache):
    "The sets of words under which any vendor or Unicode knows an emoji of the benchmark."
    with open(HERE/"emoji"/"emoji.csv") as file:
        codes = {row["code_point"]: row["name"] for row in csv.DictReader(file)}
    names = set(codes.values()) | {unicodedata.name(chr(int(c, 16)), "") for c in codes}
    for icon_set in (IconSet(cache, vendor) for vendor in VENDORS):
        names |= {name for chars, name in icon_set.chars.items() if chars.replace("-fe0f", "") in codes}
    return {stem(name) for name in names if name}, set(codes)


def common_icons(sets):
    "`{name: {set: icons}}` of the names that several sets draw."
    by_name = defaultdict(lambda: defaultdict(list))
    for icon_set in sets.values():
        for icon, about in icon_set.icons.items():
            if not about.get("hidden"): by_name[name_of(icon)][icon_set.name].append(icon)
    return {name: icons for name, icons in by_name.items() if len(icons) >= MIN_SETS}


def is_emoji(name, emoji):
    "Does an icon of this name show an emoji of the benchmark?"
    return any(stem(name) <= words for words in emoji) or bool(set(name.split()) & SYNONYMS)


def variants(icons):
    "A few of the icons that one set has under one name."
    return icons[:: max(1, len(icons)//MAX_VARIANTS)][:MAX_VARIANTS]


def build_icons(cache, emoji):
    sets = {name: IconSet(cache, name) for name in VERSIONS if name not in VENDORS}
    common = common_icons(sets)
    kept = sorted(name for name in common if not is_emoji(name, emoji))
    rgba, label = [], []
    for i, name in enumerate(kept):
        for set_name, icons in common[name].items():
            for icon in variants(icons):
                drawn = np.asarray(sets[set_name].draw(icon, SIDE))
                if drawn[..., 3].mean() <= 4: continue
                rgba.append(drawn)
                label.append(i)
    np.savez(Path(cache)/"icons.npz", rgba=np.stack(rgba), label=np.array(label), names=np.array(kept))
    cards = {s.name: dict(version=VERSIONS[s.name], licence=s.licence, author=s.author) for s in sets.values()}
    return dict(images=len(label), classes=len(kept), left_out_as_emoji=len(common) - len(kept), sets=cards)


# -- letters ---------------------------------------------------------------------------------------


def draw_glyph(font, char):
    "The character centred on its own box, white on black, or None where it is empty or only a speck."
    l, t, r, b = font.getbbox(char)
    if max(r - l, b - t) < 12 or r <= l or b <= t: return None
    if max(r - l, b - t) > SIDE - 4:
        font = font.font_variant(size=int(FONT_SIZE*(SIDE - 4)/max(r - l, b - t)))
        l, t, r, b = font.getbbox(char)
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).text(((SIDE - l - r)/2, (SIDE - t - b)/2), char, fill=255, font=font)
    return np.asarray(image)


def characters(file):
    "Letters, numbers, punctuation and symbols of a font file."
    codes = TTFont(file)["cmap"].getBestCmap()
    return [chr(c) for c in codes if c > 32 and unicodedata.category(chr(c))[0] in "LNPS"]


def draw_style(folder, family, style, codes):
    "`{character: glyph}` of one style of a family, code points of the benchmark left out."
    drawn = {}
    for subset in SUBSETS:
        file = folder/"files"/f"{family}-{subset}-{style}.woff2"
        if not file.is_file(): continue
        font = ImageFont.truetype(str(file), FONT_SIZE)
        for char in characters(file):
            if f"{ord(char):04x}" in codes or char in drawn: continue
            glyph = draw_glyph(font, char)
            if glyph is not None: drawn[char] = glyph
    return drawn


def count_alike(drawn, alike):
    "Count the pairs of characters whose glyphs are the same in this style."
    same = defaultdict(list)
    for char, glyph in drawn.items(): same[glyph.tobytes()].append(char)
    for chars in same.values():
        for a in chars:
            for b in chars:
                if a < b: alike[a, b] += 1


def draw_letters(cache, codes):
    "Glyphs and families of each character, and how often two characters look the same."
    specs = [spec.rpartition("@") for spec in FONTS]
    root = fetch(Path(cache)/"fonts", {f"@fontsource/{family}": version for family, _, version in specs})/"@fontsource"
    samples, families, alike = defaultdict(list), defaultdict(set), Counter()
    for family, _, _ in specs:
        about = json.loads((root/family/"metadata.json").read_text())
        assert about["license"]["type"] == "OFL-1.1", f"{family}: {about['license']}"
        for style in FONT_STYLES:
            drawn = draw_style(root/family, family, style, codes)
            for char, glyph in drawn.items():
                samples[char].append(glyph)
                families[char].add(family)
            count_alike(drawn, alike)
    return samples, families, alike


def group_alike(samples, alike):
    "`{character: the first of those that most typefaces draw like it}`."
    parent = {char: char for char in samples}

    def root_of(char):
        while parent[char] != char: char = parent[char]
        return char

    for (a, b), n in alike.items():
        if n < .5*min(len(samples[a]), len(samples[b])): continue
        first, second = sorted((root_of(a), root_of(b)))
        parent[second] = first
    return {char: root_of(char) for char in samples}


def build_letters(cache, codes):
    samples, families, alike = draw_letters(cache, codes)
    first_of = group_alike(samples, alike)
    glyphs, found_in = defaultdict(list), defaultdict(set)
    for char in sorted(samples):
        if first_of[char] == char: glyphs[char] += samples[char]
        found_in[first_of[char]] |= families[char]
    kept = [c for c in sorted(glyphs) if len(found_in[c]) >= MIN_FAMILIES and len(glyphs[c]) >= MIN_FAMILIES]
    alpha = np.stack([glyph for char in kept for glyph in glyphs[char]])
    label = np.repeat(np.arange(len(kept)), [len(glyphs[char]) for char in kept])
    np.savez(Path(cache)/"letters.npz", alpha=alpha, label=label, names=np.array(kept))
    return dict(images=len(label), classes=len(kept), families=FONTS)


def main(cache):
    emoji, codes = emoji_words(cache)
    about = dict(icons=build_icons(cache, emoji), letters=build_letters(cache, codes))
    (Path(cache)/"pretraining.json").write_text(json.dumps(about, indent=1, ensure_ascii=False))
    for name, part in about.items(): print(name, {key: n for key, n in part.items() if isinstance(n, int)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default="data/.cache", help="where npm packages and the arrays are kept")
    main(parser.parse_args().cache)
