"""Write `backbone.json` (hash, recipe, figures) and the card of the bundled backbone, once it is pretrained.

    python data/card_backbone.py [--cache DIR] [--out DIR]
"""
import argparse
import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from build_pretraining import FONTS, stem

from vptsp.analysis.compare import pixel_embeddings
from vptsp.benchmarks import load_emoji
from vptsp.config import Config
from vptsp.embedding import embed_all
from vptsp.files import write_json
from vptsp.metrics import retrieval_metrics
from vptsp.pretrained import load_vit

HERE = Path(__file__).parent
HALF = (.5,)*3  # mean and standard deviation
# words of names that say nothing of what an icon shows
GENERIC = """arrow button circle square face sign mark symbol up down left right a of with no and box point round one
two three number large small card page triangle side double open close""".split()


def retrieval(embeddings, labels):
    metrics = retrieval_metrics(embeddings, labels, ks=(1,))
    return {name: round(metrics[name], 4) for name in ("R@1", "MAP@R")}


def figures(vit):
    "Untuned retrieval on both halves of the emoji, beside raw pixels."
    data, cfg = load_emoji(), Config.load("emoji")

    def embed(images):
        return F.normalize(vit.forward_features(images)[:, 0], dim=1)

    out = {}
    for name, images in (("training classes", data.train), ("test classes", data.query)):
        embeddings, labels = embed_all(embed, images, cfg, HALF, HALF)
        pixels = pixel_embeddings(images)
        out[name] = {"backbone": retrieval(embeddings, labels), "pixels": retrieval(pixels, labels)}
    return out


def overlap(cache):
    "Words that names of pretraining icons share with names of emoji."
    icons = [str(name) for name in np.load(Path(cache)/"icons.npz")["names"]]
    with open(HERE/"emoji"/"emoji.csv") as file:
        emoji = {row["name"]: row["split"] for row in csv.DictReader(file)}
    same = [icon for icon in icons if any(stem(icon) <= stem(name) for name in emoji)]
    generic = {next(iter(stem(word))) for word in GENERIC}
    words = {word for icon in icons for word in stem(icon)} - generic
    sharing = sorted(name for name, split in emoji.items() if split == "test" and stem(name) & words)
    return dict(
        icon_names=len(icons),
        whose_words_all_stand_in_one_emoji_name=len(same),
        test_emoji_sharing_some_content_word=len(sharing),
        examples=sharing[::max(1, len(sharing)//12)])


def describe(out, cache):
    "What `backbone.json` says."
    weights = out/"model.safetensors"
    training = json.loads((out/"pretraining.json").read_text())
    recipe = {**training["args"], **{key: training[key] for key in ("images_seen", "classes", "icons", "palettes")}}
    for key in ("cache", "out"): recipe.pop(key, None)
    vit = load_vit("bundled", weights=weights).eval()
    return dict(
        files={"model.safetensors": hashlib.sha256(weights.read_bytes()).hexdigest()},
        parameters=sum(p.numel() for p in vit.parameters()),
        recipe=recipe,
        log=training["log"],
        figures=figures(vit),
        overlap=overlap(cache),
        sources=json.loads((cache/"pretraining.json").read_text()))


def percent(metrics): return f"{100*metrics['R@1']:.1f} | {100*metrics['MAP@R']:.1f}"


def write_card(out, about):
    recipe, sources, shared = about["recipe"], about["sources"], about["overlap"]
    examples = ", ".join(shared["examples"][:6])
    rows = "\n".join(
        f"| {name} | {percent(found['backbone'])} | {percent(found['pixels'])} |"
        for name, found in about["figures"].items())
    sets = "\n".join(
        f"| {name} {s['version']} | {s['licence']} | {s['author']} |"
        for name, s in sorted(sources["icons"]["sets"].items()))
    (out/"README.md").write_text(f"""# The bundled backbone

A timm `VisionTransformer` of {about['parameters']/1e6:.1f}M parameters: 64 px, a convolutional stem to 4 x 4 \
tokens, width 128, 6 blocks, 4 heads. Load it with `load_vit("bundled")`.
It exists so that prompts, proxies and everything around them can be tried without a network. It is no \
substitute for a real backbone.

## What it was trained on

- {sources['icons']['images']:,} user-interface icons of {sources['icons']['classes']:,} names, each drawn by \
at least four icon sets;
- {sources['letters']['images']:,} letters, {sources['letters']['classes']:,} characters in {len(FONTS)} typefaces,

painted in random colours, bent and shifted on the fly, for {about['log'][-1]['minutes']:.0f} minutes on two \
CPU cores ({recipe['images_seen']/1e6:.1f}M pictures). Task: normalised softmax over (drawing, palette); \
pictures get harder as it gets
better. The learning rate was to fall over {recipe['minutes']:.0f} minutes, and the run ended at step \
{recipe['stop']:,}, before it had fallen all the way: a longer one would be stronger. \
`data/build_pretraining.py` fetches and draws, `data/pretrain.py` trains, `data/card_backbone.py` writes this \
card. The Apache-2.0 licence of the repository holds for the weights.

## What it has not seen

No emoji. Code points of the benchmark are left out of the letters; an icon is left out if all words of its \
name stand in the name of one emoji, or if it is one of a list of synonyms
({sources['icons']['left_out_as_emoji']} names in all). What remains is kinship of meaning: \
{shared['test_emoji_sharing_some_content_word']} of the test emoji share some content word with some icon, for \
instance {examples}.

## What it can do, untuned

| emoji | R@1 | MAP@R | raw 16 x 16 pixels: R@1 | MAP@R |
|---|---|---|---|---|
{rows}

## Sources

Typefaces: {len(FONTS)} families of `@fontsource/*`, all under the SIL Open Font Licence 1.1; their names and \
versions stand in `data/build_pretraining.py`, their copyright notices in each package. Icon sets, from \
`@iconify-json/*`:

| set | licence | author |
|---|---|---|
{sets}
""", encoding="utf-8")


def main(a):
    out = Path(a.out)
    about = describe(out, Path(a.cache))
    write_card(out, about)
    write_json(out/"backbone.json", about)
    print(json.dumps({key: about[key] for key in ("figures", "overlap", "parameters")}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default="data/.cache")
    parser.add_argument("--out", default="data/backbone")
    main(parser.parse_args())
