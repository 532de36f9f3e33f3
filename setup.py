"Reads everything from settings.ini, the one place where names and versions stand."
import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="], interpolation=None)
config.read(here/"settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

readme = here/"README.md"
tuned = ["compare.json", "runs.jsonl", "classes.json", "frozen.json", "runs/*/*/classes.json"]  # that demo shows

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme.read_text(encoding="utf-8") if readme.is_file() else "",
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"].split(),
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license="Apache-2.0",
    # the bundled images and backbone travel inside the package as `vptsp.bundle`
    packages=[*find_packages(include=["vptsp", "vptsp.*"]), "vptsp.bundle"],
    package_dir={"vptsp.bundle": "data"},
    package_data={
        "vptsp": ["presets/*.yaml", "py.typed"],
        "vptsp.widgets": ["static/*.js", "static/*.css", "static/*.html", "static/*.json"],
        "vptsp.bundle": ["*/*.webp", "*/*.csv", "*/*.json", "*/*.md", "*/*.safetensors",
                         *(f"experiments/tuned/{name}" for name in tuned)],
    },
    python_requires=">=" + cfg["min_python"],
    install_requires=shlex.split(cfg["requirements"]),
    extras_require={"dev": shlex.split(cfg["dev_requirements"])},
    entry_points={"console_scripts": shlex.split(cfg["console_scripts"])},
    zip_safe=False,
)
