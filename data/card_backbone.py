"""Write `backbone.json` (hash, recipe, figures) and the card of the bundled backbone, once it is pretrained.

    python data/card_backbone.py [--cache DIR] [--out DIR]
"""
import argparse, csv, hashlib, json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from build_pretraining import FONTS, stem
from vptsp.backbone import load_vit
from vptsp.config import Config
from vptsp.data import load_emoji
from vptsp.metrics import retrieval_metrics
from vptsp.report import pixel_embeddings
from vptsp.training import embed_all

HERE = Path(__file__).parent

def figures(vit):
    "Untuned retrieval on both halves of the emoji, beside raw pixels."
    data, cfg, out = load_emoji(), Config.load("emoji"), {}
    embed = lambda x: F.normalize(vit.forward_features(x)[:, 0], dim=1)
    for name, s in (("training classes", data.train), ("test classes", data.query)):
        E, y = embed_all(embed, s, cfg, (.5,)*3, (.5,)*3)
        out[name] = {who: {k: round(retrieval_metrics(e, y, ks=(1,))[k], 4) for k in ("R@1", "MAP@R")} for who, e in (("backbone", E), ("pixels", pixel_embeddings(s)))}
    return out

def overlap(cache):
    "Words that names of pretraining icons share with names of emoji."
    icons = [str(n) for n in np.load(Path(cache)/"icons.npz")["names"]]
    emoji = {r["name"]: r["split"] for r in csv.DictReader(open(HERE/"emoji"/"emoji.csv"))}
    same = [n for n in icons if any(stem(n) <= stem(e) for e in emoji)]
    generic = set("arrow button circle square face sign mark symbol up down left right a of with no and box point round one two three number large small card page triangle side double open close".split())
    words = {w for n in icons for w in stem(n)} - {next(iter(stem(w))) for w in generic if stem(w)}
    some = sorted(e for e, split in emoji.items() if split == "test" and stem(e) & words)
    return dict(icon_names=len(icons), whose_words_all_stand_in_one_emoji_name=len(same), test_emoji_sharing_some_content_word=len(some), examples=some[::max(1, len(some)//12)])

def main(a):
    out = Path(a.out)
    recipe, sources = json.loads((out/"pretraining.json").read_text()), json.loads((Path(a.cache)/"pretraining.json").read_text())
    vit = load_vit("bundled", weights=out/"model.safetensors").eval()
    about = dict(files={"model.safetensors": hashlib.sha256((out/"model.safetensors").read_bytes()).hexdigest()}, parameters=sum(p.numel() for p in vit.parameters()),
                 recipe={**recipe["args"], **{k: recipe[k] for k in ("images_seen", "classes", "icons", "palettes")}}, log=recipe["log"], figures=figures(vit), overlap=overlap(a.cache), sources=sources)
    for k in ("cache", "out"): about["recipe"].pop(k, None)
    f, o, r, s = about["figures"], about["overlap"], about["recipe"], about["sources"]
    pct = lambda d: f"{100*d['R@1']:.1f} | {100*d['MAP@R']:.1f}"
    sets = "\n".join(f"| {n} {v['version']} | {v['licence']} | {v['author']} |" for n, v in sorted(s["icons"]["sets"].items()))
    (out/"README.md").write_text(f"""# The bundled backbone

A timm `VisionTransformer` of {about['parameters']/1e6:.1f}M parameters: 64 px, a convolutional stem to 4 x 4 tokens, width 128, 6 blocks, 4 heads. Load it with `load_vit("bundled")`.
It exists so that prompts, proxies and everything around them can be tried without a network. It is no substitute for a real backbone.

## What it was trained on

- {s['icons']['images']:,} user-interface icons of {s['icons']['classes']:,} names, each drawn by at least four icon sets;
- {s['letters']['images']:,} letters, {s['letters']['classes']:,} characters in {len(FONTS)} typefaces,

painted in random colours, bent and shifted on the fly, for {about['log'][-1]['minutes']:.0f} minutes on two CPU cores ({r['images_seen']/1e6:.1f}M pictures). Task: normalised softmax over (drawing, palette); pictures get harder as it gets
better. The learning rate was to fall over {r['minutes']:.0f} minutes, and the run ended at step {r['stop']:,}, before it had fallen all the way: a longer one would be stronger. `data/build_pretraining.py` fetches and draws, `data/pretrain.py` trains, `data/card_backbone.py` writes this card. The Apache-2.0 licence of the repository holds for the weights.

## What it has not seen

No emoji. Code points of the benchmark are left out of the letters; an icon is left out if all words of its name stand in the name of one emoji, or if it is one of a list of synonyms
({s['icons']['left_out_as_emoji']} names in all). What remains is kinship of meaning: {o['test_emoji_sharing_some_content_word']} of the test emoji share some content word with some icon, for instance {', '.join(o['examples'][:6])}.

## What it can do, untuned

| emoji | R@1 | MAP@R | raw 16 x 16 pixels: R@1 | MAP@R |
|---|---|---|---|---|
""" + "\n".join(f"| {n} | {pct(v['backbone'])} | {pct(v['pixels'])} |" for n, v in f.items()) + f"""

## Sources

Typefaces: {len(FONTS)} families of `@fontsource/*`, all under the SIL Open Font Licence 1.1; their names and versions stand in `data/build_pretraining.py`, their copyright notices in each package. Icon sets, from `@iconify-json/*`:

| set | licence | author |
|---|---|---|
{sets}
""", encoding="utf-8")
    (out/"backbone.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({k: about[k] for k in ("figures", "overlap", "parameters")}, indent=1))

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", default="data/.cache"); p.add_argument("--out", default="data/backbone")
    main(p.parse_args())
