"Galleries: folders as people have them, what must not happen on disk, and files that somebody else wrote."
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from vptsp.benchmarks import load_emoji
from vptsp.config import Config
from vptsp.embedding import embed_images, embed_readable
from vptsp.files import DataError
from vptsp.listing import Ledger, image_tree
from vptsp.model import Model, build_model
from vptsp.retrieval import Gallery, GalleryError, fingerprint
from vptsp.sources import images_of


@pytest.fixture(scope="module")
def emoji(): return load_emoji().query.of_classes(range(0, 500, 40))

@pytest.fixture(scope="module")
def frozen(): return build_model(Config.load("emoji").as_method("frozen"), 1)

@pytest.fixture
def photos(tmp_path, emoji):
    "Folders in folders, junk, one file that broke, and a link back."
    root = tmp_path/"photos"
    for i in range(len(emoji)):
        name = emoji.classes[int(emoji.labels[i])].split(" ", 1)[1]
        place = root/"ab"[i % 2]/name
        place.mkdir(parents=True, exist_ok=True)
        emoji.open(i).save(place/f"{emoji.about['vendor'][i]}.png")
    (root/"a"/"cut.jpg").write_bytes(b"\xff\xd8\xff")
    (root/"a"/"._cut.jpg").write_bytes(b"x")
    (root/"notes.txt").write_text("x")
    (root/".trash").mkdir()
    emoji.open(0).save(root/".trash"/"old.png")
    (root/"b"/"back").symlink_to(root)
    return root

@pytest.fixture
def gallery(frozen, photos): return Gallery.build(frozen, photos, progress=None)

def test_which_images_a_folder_has(photos, emoji):
    found, root = images_of(photos)
    assert len(found) == len(emoji) + 1 and root == photos        # the broken one, no junk, the link not followed
    assert sorted(images_of(list(found.sources))[0].sources) == sorted(found.sources)
    assert images_of(["/x/a/x.png", "/x/b/c/y.png"])[1] == Path("/x")
    assert images_of(emoji)[1] is None

def test_what_no_gallery_is_made_of(tmp_path, frozen):
    (tmp_path/"empty").mkdir()
    (tmp_path/"cut.jpg").write_bytes(b"x")
    for source, says in ((tmp_path/"nowhere", "there is no folder"), (tmp_path/"empty", "there is no image in"),
                         (load_emoji(), "not from RetrievalData"), ([], "there is none"),
                         ([tmp_path/"cut.jpg"], "none of the 1 images can be read; the first: the image")):
        with pytest.raises(GalleryError, match=says): Gallery.build(frozen, source, progress=None)

def test_neither_batches_nor_workers_change_embeddings(frozen, photos, emoji):
    files = [*image_tree(photos, Ledger()), photos/"gone.png"]
    E, broken = embed_readable(frozen, files, batch_size=50)
    other, again = embed_readable(frozen, files, batch_size=7, workers=1)
    assert torch.allclose(E, other, atol=1e-5) and broken == again and len(E) == len(emoji)
    assert [files[i].name for i in broken] == ["cut.jpg", "gone.png"]
    assert torch.allclose(embed_readable(frozen, emoji)[0], embed_images(frozen, emoji), atol=1e-6)

def test_the_fingerprint_is_of_what_embeds(tmp_path):
    model, x = build_model(Config.load("emoji"), 24), torch.randn(3, 3, 64, 64)
    state, before = torch.get_rng_state(), fingerprint(model)
    assert torch.equal(torch.get_rng_state(), state)              # nothing global moves
    whole, small = model.save(tmp_path/"whole"), model.for_embedding().save(tmp_path/"small")
    again = Model.load(small)
    assert fingerprint(Model.load(whole)) == fingerprint(again) == before == model.fingerprint()
    assert torch.equal(again.embed(x), model.embed(x))
    assert model.class_prompts is not None and again.class_prompts is None
    with torch.no_grad(): model.proxies.bias[0] += 1
    assert fingerprint(model) == before                           # a proxy embeds nothing
    with torch.no_grad(): next(model.prompts.parameters())[0, 0] += 1e-6
    assert fingerprint(model) != before                           # a prompt does

def test_every_image_finds_itself(gallery, emoji):
    assert list(gallery.skipped) == ["a/cut.jpg"] and len(gallery) == len(emoji) and gallery.labels is None
    files = gallery.images.sources
    for file, hits in zip(files, gallery.search(files, k=3)):
        assert hits.paths[0] == file and float(hits.similarity[0]) == pytest.approx(1, abs=1e-5)
    E = gallery.embeddings
    for query in (files[7], str(files[7]), Image.open(files[7]), E[7], E[7].numpy()):
        assert int(gallery.search(query).ids[0]) == 7
    slow = (E @ E[7]).argsort(descending=True)[:4]
    assert torch.equal(gallery.search(E[7], k=4).ids, slow)
    assert gallery.search([]) == []
    assert [len(hits.ids) for hits in gallery.search(E[:2], k=10**6)] == [len(gallery)]*2

def test_what_is_no_query(gallery, photos):
    with pytest.raises(DataError, match="cut.jpg' cannot be decoded"):
        gallery.search([gallery.images.sources[0], photos/"a"/"cut.jpg"])
    with pytest.raises(GalleryError, match="not of the same model"): gallery.search(torch.ones(5))
    with pytest.raises(GalleryError, match="not float"): gallery.search([.5, .5])

def test_hits_as_page_and_as_picture(gallery, emoji):
    hits = gallery.search(emoji.open(3), k=6)
    assert hits._repr_html_().count("<img src='data:image/webp") == 7
    assert hits.static().size[0] == 7*112
    assert len(repr(hits).splitlines()) == 6

def test_saved_and_loaded_it_answers_to_the_bit(gallery, frozen, photos, emoji, tmp_path):
    place = gallery.save(tmp_path/"galleries"/"mine")
    again, files = Gallery.load(place), gallery.images.sources
    assert torch.equal(again.embeddings, gallery.embeddings)
    assert (again.names, again.skipped, again.root) == (gallery.names, gallery.skipped, gallery.root)
    again.search(gallery.embeddings[3])
    assert again._model is None                                   # no model was needed
    for query in (files[3], emoji.open(5)):
        a, b = again.search(query, k=9), gallery.search(query, k=9)
        assert torch.equal(a.similarity, b.similarity) and a.paths == b.paths
    assert Gallery.load(place, model=frozen).search(files[3]).paths[0] == files[3]
    with pytest.raises(GalleryError, match="embedded by another model"):
        Gallery.load(place, model=build_model(Config.load("emoji"), 24))
    Gallery.load(place).save(place)                               # over itself, its model unread
    assert Gallery.load(place).search(files[3]).paths[0] == files[3]
    assert [p.name for p in place.parent.iterdir()] == ["mine"]   # nothing beside it is left

def test_images_that_moved_since(gallery, photos, tmp_path):
    place = gallery.save(tmp_path/"mine")
    gallery.images.sources[3].rename(tmp_path/"moved.png")
    assert Gallery.load(place).search(gallery.embeddings[3]).static()          # grey
    photos.rename(tmp_path/"elsewhere")
    query = tmp_path/"elsewhere"/gallery.names[8]
    assert Gallery.load(place, root=tmp_path/"elsewhere").search(query).paths[0] == query

def test_names_from_elsewhere_stay_text(frozen, photos, tmp_path):
    (photos/"<img src=x onerror=alert(1)> $x_{$.png").write_bytes((photos/".trash"/"old.png").read_bytes())
    os.rename(os.fsencode(photos/"a"/"cut.jpg"), os.fsencode(photos/"a") + b"/\xff.jpg")   # a name that is no text
    gallery = Gallery.build(frozen, photos, progress=None)
    assert Gallery.load(gallery.save(tmp_path/"mine")).skipped == gallery.skipped
    odd = next(i for i, name in enumerate(gallery.names) if "onerror" in name)
    hits = gallery.search(gallery.embeddings[odd])
    assert "&lt;img src=x" in hits._repr_html_() and "<img src=x" not in hits._repr_html_()
    hits.static()

def test_a_save_that_fails_leaves_what_was_there(gallery, photos, tmp_path):
    with pytest.raises(GalleryError, match="is no gallery"): gallery.save(photos)
    place = gallery.save(tmp_path/"mine")
    before = (place/"embeddings.safetensors").read_bytes()
    gallery.embeddings, gallery.names = gallery.embeddings + 1, [object()]*len(gallery)
    with pytest.raises(TypeError): gallery.save(place)
    assert (place/"embeddings.safetensors").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "photos"]

@pytest.mark.parametrize("line, says", [
    ('{"path": "../../etc/passwd"}', "outside its root, '../../etc/passwd'"),
    ('{"path": "/etc/passwd"}', "outside its root"),
    ('{"path": "a/../../x"}', "outside its root"),
    ('{"way": 1}', "damaged (KeyError"),
    ("{", "damaged (JSONDecodeError"),
])
def test_a_gallery_that_was_tampered_with(gallery, tmp_path, line, says):
    place = gallery.save(tmp_path/"mine")
    lines = (place/"images.jsonl").read_text().splitlines()
    (place/"images.jsonl").write_text("\n".join([*lines[1:], line]))
    with pytest.raises(GalleryError) as e: Gallery.load(place)
    assert says in str(e.value)

def test_a_gallery_that_was_cut_short(gallery, photos, tmp_path):
    place = gallery.save(tmp_path/"mine")
    lines = (place/"images.jsonl").read_text().splitlines()
    (place/"images.jsonl").write_text("\n".join(lines[1:]))
    says = f"says {len(lines)} images, images.jsonl {len(lines) - 1}"
    with pytest.raises(GalleryError, match=says): Gallery.load(place)
    (place/"images.jsonl").write_text("\n".join(lines))
    (place/"embeddings.safetensors").write_bytes((place/"embeddings.safetensors").read_bytes()[:99])
    with pytest.raises(GalleryError, match="damaged .SafetensorError"): Gallery.load(place)
    with pytest.raises(FileNotFoundError, match="there is no gallery in"): Gallery.load(photos)

def test_images_that_are_no_files(frozen, emoji, tmp_path):
    gallery = Gallery.build(frozen, emoji, progress=None)
    loaded = Gallery.load(gallery.save(tmp_path/"emoji"))
    assert loaded.labels == gallery.labels and gallery.labels[0] == emoji.classes[int(emoji.labels[0])]
    assert loaded.names[0] == str(emoji.sources[0])
    with pytest.raises(DataError, match="was no file"): loaded.images.open(0)
    hits = gallery.search(emoji.open(60), k=6)
    assert hits.labels[0] == gallery.labels[60] and hits.rows()[0]["path"] == gallery.names[60]
