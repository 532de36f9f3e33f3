"""Every file that a gallery, an update that was broken off, and a decoded cache keep, damaged in every way; a model
that is no longer sound; the user's own files beside the gallery's. Right as for `damage`."""
import json
import shutil

from _damage import (
    COMMON,
    TENSORS,
    cut,
    damaged,
    deleted,
    first_is,
    flip,
    garbage,
    in_place_of,
    tensors_changed,
    text_changed,
    with_nan,
    with_one_more,
    without,
)
from _trial import (
    FOLDER,
    Trials,
    before_call,
    call,
    copied,
    die,
    files_in,
    fresh,
    main,
    must,
    photos,
    trained,
    vptsp_,
)

from vptsp.all import from_folder

trials, DATA = Trials(), photos()
RUN, OTHER = trained("run"), trained("other run", "bank", "seed=1")
GALLERY, SECOND = fresh("gallery"), fresh("second gallery")
must(vptsp_("index", RUN, DATA, "--out", GALLERY))
must(vptsp_("index", OTHER, DATA, "--out", SECOND))
QUERY = sorted(DATA.rglob("*.png"))[0]


def search(folder): return main(["search", str(folder), str(QUERY), "-k", "36", "--json"])


want = must(call(lambda: search(GALLERY))).last
def found_alike(_, end): return end.last == want


def json_with(**changes):
    "The gallery's word on itself, changed."
    def damage(file): file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return damage


def unhashed_with(**changes):
    "The same in a gallery of an older version, which has no hashes."
    def damage(file):
        about = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("sha256", "files")}
        file.write_text(json.dumps({**about, **changes}))
    return damage


def json_is(value): return lambda file: file.write_text(json.dumps(value))


def lines_changed(change):
    def damage(file): file.write_text("".join(change(file.read_text().splitlines(True))))
    return damage


EMBEDDINGS, MODEL = "embeddings.safetensors", "model/model.safetensors"
rows = {"NaN in it": [first_is("emb", with_nan)], "without its tensor": [without("emb")],
        "a row less": [first_is("emb", lambda t: t[:-1])], "a column less": [first_is("emb", lambda t: t[:, :-1])],
        "rows exchanged": [first_is("emb", lambda t: t.flip(0))],
        "in half precision": [first_is("emb", lambda t: t.half())],
        "not of length one": [first_is("emb", lambda t: t*2)], "a tensor more": [tensors_changed(with_one_more)],
        "another gallery's": [in_place_of(SECOND/EMBEDDINGS)]}
damaged(trials, "gallery", GALLERY, EMBEDDINGS, {**COMMON, **TENSORS, **rows}, search, found_alike)
about = {"a list": [json_is([])], "null": [json_is(None)], "a number": [json_is(5)],
         "root is a number": [json_with(root=5)], "root is a list": [json_with(root=["x"])],
         "no fingerprint": [json_with(fingerprint=None)], "skipped is a number": [json_with(skipped=3)],
         "images is absurd": [json_with(images=10**18), json_with(images=-1), json_with(images="36")],
         "passed over is garbage": [json_with(passed_over=[1, 2])], "exclude is a number": [json_with(exclude=7)],
         "another gallery's": [in_place_of(SECOND/"gallery.json")]}
damaged(trials, "gallery", GALLERY, "gallery.json", {**COMMON, **about}, search, found_alike)
ABSURD = dict(root=5, fingerprint=None, skipped=3, images=10**18, passed_over=[1, 2], exclude=7, id=[1], walked="x")
old = {f"of an older version, {name} = {value}": [unhashed_with(**{name: value})] for name, value in ABSURD.items()}
damaged(trials, "gallery", GALLERY, "gallery.json", old, search, found_alike)
lines = {"a line less": [lines_changed(lambda x: x[:-1])], "a line twice": [lines_changed(lambda x: x + x[-1:])],
         "two lines exchanged": [lines_changed(lambda x: [*x[:5], x[6], x[5], *x[7:]])],
         "a class renamed": [text_changed('"class 03"', '"class 04"')],
         "a line that is no mapping": [lines_changed(lambda x: [*x[:-1], "5\n"])],
         "another gallery's": [in_place_of(SECOND/"images.jsonl")]}
damaged(trials, "gallery", GALLERY, "images.jsonl", {**COMMON, **lines}, search, found_alike)
parts = {"without the head": [without("head.")], "NaN in it": [first_is("head.", with_nan)],
         "another gallery's": [in_place_of(SECOND/MODEL)]}
damaged(trials, "gallery", GALLERY, MODEL, {**COMMON, **TENSORS, **parts}, search, found_alike)
damaged(trials, "gallery", GALLERY, "model/config.json", COMMON, search, found_alike)


def no_model(folder): shutil.rmtree(folder.parent)


damaged(trials, "gallery", GALLERY, MODEL, {"the whole folder deleted": [no_model]}, search, found_alike)

# a broken model is not indexed, and what is there stays
sick = copied(RUN, "sick run")
first_is("head.", with_nan)(sick/MODEL)
for case, place in (("a new gallery", fresh("of the sick")), ("over a gallery", copied(GALLERY, "copy"))):
    end = vptsp_("index", sick, DATA, "--out", place)
    after = call(lambda: search(place)).last if place.exists() else ""  # noqa: B023
    held = end.refused and (after == want if case == "over a gallery" else not files_in(place))
    trials.add(f"a model with NaN indexed, {case}", held, end)


def nan_rows():
    "A model that is sound and gives NaN for one image."
    from vptsp.model import Model
    real = Model.embed
    def embed(self, *args, **kw):
        E = real(self, *args, **kw).clone()
        E[0] = float("nan")
        return E
    Model.embed = embed


for case, place in (("a new gallery", fresh("of the sick")), ("over a gallery", copied(GALLERY, "copy"))):
    end = call(lambda: main(["index", str(RUN), str(DATA), "--out", str(place)]), before=nan_rows)  # noqa: B023
    after = call(lambda: search(place)).last if place.exists() else ""  # noqa: B023
    held = end.refused and (after == want if case == "over a gallery" else not files_in(place))
    trials.add(f"an embedding that is NaN, {case}", held, end)

# the user's own files: kept by a second save, whatever became of it
OWN = {"notes.txt": "mine", "model/notes.txt": "mine too", "more/deep.txt": "and this", "data.part": "half of mine"}
for case, before in (("a second save", None), ("a save that is killed", "kill"), ("a save that fails", "fail")):
    place = copied(GALLERY)
    for name, text in OWN.items():
        (place/name).parent.mkdir(exist_ok=True)
        (place/name).write_text(text)
    (place/"a link").symlink_to("/etc/hostname")
    def harm(kind=before):
        import os
        def fail(*_, **__): raise OSError(28, "No space left on device")
        if kind: before_call(os, "fsync", 5, die if kind == "kill" else fail)
    end = call(lambda: main(["index", str(RUN), str(DATA), "--out", str(place)]), before=harm)  # noqa: B023
    again = vptsp_("index", RUN, DATA, "--out", place)
    there = {name: (place/name).read_text() for name in OWN if (place/name).is_file()}
    held = there == OWN and (place/"a link").is_symlink() and call(lambda: search(place)).last == want  # noqa: B023
    trials.add(f"files of the user's own beside a gallery, {case}", held and again.code == 0,
               f"gone: {sorted(OWN.keys() - there.keys())}; {end}; again {again}")

# a model in the folder of a gallery: `Model.save` of a folder that holds more
from vptsp.all import Model  # noqa: E402

place = fresh("my folder")
place.mkdir()
(place/"notes.txt").write_text("mine")
Model.load(RUN/"model").save(place)
trials.add("files of the user's own beside a model", (place/"notes.txt").read_text() == "mine", sorted(files_in(place)))

# what a killed update has embedded already
part_of = FOLDER/"part"


def killed_update(place):
    from vptsp import retrieval, sources
    owner = retrieval if hasattr(retrieval, "embed_new") else sources
    real = owner.embed_new
    owner.embed_new = lambda *a, **kw: (real(*a, **kw), die())
    return main(["update", str(place), str(DATA)])


few = photos(2, 3, "few")
place = fresh("part")
must(vptsp_("index", RUN, few, "--out", place))
call(lambda: killed_update(place))
for name in sorted(n for n in files_in(place) if n.startswith("update/") and not n.endswith("lock")):
    ways = {k: COMMON[k] for k in ("a bit flipped", "cut", "emptied", "garbage", "deleted")}
    def brought_up(folder): return main(["update", str(folder), str(DATA)]) or search(folder)
    damaged(trials, "update that was killed", place, name, ways, brought_up, found_alike)
trials.add("a killed update leaves what it has embedded", any(n.startswith("update/") for n in files_in(place)))

# a decoded cache
cache = fresh("cache")


def pixels(folder):
    import hashlib
    h = hashlib.sha256()
    for images in from_folder(DATA).cached(folder, 32, None).sets.values():
        for i in range(len(images)): h.update(images.open(i).tobytes())
    print(h.hexdigest())


def pixels_or_say(folder):
    try: pixels(folder)
    except (ValueError, OSError) as e:
        print(f"vptsp: {e}")
        return 2
    return 0


want_pixels = must(call(lambda: pixels(cache))).last
for name in sorted(files_in(cache)):
    damaged(trials, "decoded cache", cache, name, {**COMMON, "empty file": [cut(0)], "gone": [deleted],
            "garbage": [garbage], "a bit flipped": [flip()]*8}, pixels_or_say, lambda _, end: end.last == want_pixels)
trials.end()
