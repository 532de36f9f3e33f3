"Fetch Iconify's icon sets from the npm registry, at pinned versions, and draw their icons."
import io
import json
import subprocess
from pathlib import Path

import resvg_py
from PIL import Image

# Every set that a script here draws from. `licence` is checked against the package's own info.json.
VERSIONS = {
    # emoji (the benchmark)
    "noto": "1.2.9", "noto-v1": "1.2.5", "twemoji": "1.2.5", "fluent-emoji-flat": "1.2.6",
    "emojione": "1.2.3", "fxemoji": "1.2.2", "streamline-emojis": "1.2.4",
    # user-interface icons (pretraining)
    "akar-icons": "1.2.7", "ant-design": "1.2.9", "basil": "1.2.4", "bi": "1.2.7", "bx": "1.2.3", "carbon": "1.2.29",
    "eva": "1.2.3", "fa6-solid": "1.2.4", "feather": "1.2.1", "flat-color-icons": "1.2.3", "flowbite": "1.2.7",
    "fluent": "1.2.60", "fluent-color": "1.2.21", "game-icons": "1.2.4", "gg": "1.2.2", "healthicons": "1.2.13",
    "heroicons": "1.2.3", "hugeicons": "1.2.35", "ic": "1.2.4", "icon-park": "1.2.4", "iconoir": "1.2.11",
    "ion": "1.2.7",
    "jam": "1.2.3", "lucide": "1.2.137", "majesticons": "1.2.5", "maki": "1.2.5", "material-symbols": "1.2.98",
    "mdi": "1.2.3", "mingcute": "1.2.8", "mynaui": "1.2.19", "octicon": "1.2.36", "ph": "1.2.2",
    "pixelarticons": "1.2.9",
    "proicons": "1.2.20", "ri": "1.2.10", "si": "1.2.17", "solar": "1.2.13", "streamline": "1.2.5",
    "streamline-color": "1.2.2", "streamline-flex-color": "1.2.2", "streamline-plump-color": "1.2.2",
    "streamline-ultimate-color": "1.2.2", "tabler": "1.2.41", "teenyicons": "1.2.2", "uil": "1.2.3", "vaadin": "1.2.1",
    "zondicons": "1.2.2",
}


def has(package, version):
    "Is this version of a package in its folder?"
    about = package/"package.json"
    return about.is_file() and json.loads(about.read_text())["version"] == version


def fetch(cache_dir, specs):
    "Install npm packages `{name: version}` under `cache_dir` (once) and return the folder that holds them."
    root = Path(cache_dir)
    modules = root/"node_modules"
    missing = [f"{name}@{version}" for name, version in specs.items() if not has(modules/name, version)]
    if missing:
        root.mkdir(parents=True, exist_ok=True)
        if not (root/"package.json").is_file(): (root/"package.json").write_text('{"private": true}')
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", *missing]
        subprocess.run(command, cwd=root, check=True)
    return modules


class IconSet:
    "One Iconify set: its names, its licence, and its icons as images."

    def __init__(self, cache_dir, name):
        package = f"@iconify-json/{name}"
        self.name, self.folder = name, fetch(cache_dir, {package: VERSIONS[name]})/package
        self.data, self.info, self.chars = (self.read(f"{part}.json") for part in ("icons", "info", "chars"))
        self.icons, self.aliases = self.data["icons"], self.data.get("aliases", {})
        categories = self.read("metadata.json").get("categories", {})
        self.categories = {icon: category for category, icons in categories.items() for icon in icons}

    def read(self, file):
        "A JSON file of the package; empty where there is none."
        path = self.folder/file
        return json.loads(path.read_text()) if path.is_file() else {}

    @property
    def licence(self): return self.info["license"]["spdx"]

    @property
    def author(self): return self.info["author"]["name"]

    def svg(self, name, colour="#000"):
        icon = self.icons[name]
        box = {"left": 0, "top": 0, "width": 16, "height": 16}
        left, top, width, height = (icon.get(k, self.data.get(k, default)) for k, default in box.items())
        side = max(width, height)  # centred on a square, so that drawing never distorts
        left, top = left - (side - width)/2, top - (side - height)/2
        return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{left} {top} {side} {side}" color="{colour}">{icon["body"]}</svg>')

    def draw(self, name, size):
        "The icon as an RGBA image of `size` x `size`."
        png = resvg_py.svg_to_bytes(svg_string=self.svg(name), width=size, height=size, skip_system_fonts=True)
        return Image.open(io.BytesIO(bytes(png))).convert("RGBA")
