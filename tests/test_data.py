"""Images, layouts and batches: what goes wrong in practice, every form of an archive, and the batches of 0.1."""
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vptsp.benchmarks import benchmarks, datasets, ks_of, load_dataset, load_emoji, register_benchmark
from vptsp.config import Config, ConfigError
from vptsp.data import RetrievalData
from vptsp.files import DataError, bundled_folder
from vptsp.images import ImageSet, open_image, show_classes
from vptsp.loaders import ClassBalancedSampler, eval_loader, eval_transform, train_loader, train_transform
from vptsp.readers import class_folders, from_csv, from_folder, from_hf, from_pairs, image_files

HALF = (.5, .5, .5)


def picture(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), (shade % 256,)*3).save(path)


def warned(call):
    "What `call` gives, and the warnings it gave."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in caught]


# ---- images

def test_every_kind_of_picture(tmp_path):
    Image.fromarray(np.full((4, 4), 256*77, np.uint16)).save(tmp_path/"deep.png")
    Image.new("L", (40, 20), 7).save(tmp_path/"grey.png")
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path/"clear.png")
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path/"print.jpg")
    Image.new("RGB", (4, 4), (9, 99, 199)).quantize(4).save(tmp_path/"palette.gif")
    assert open_image(tmp_path/"deep.png").getpixel((0, 0)) == (77, 77, 77)
    assert open_image(tmp_path/"grey.png").mode == "RGB"
    assert open_image(tmp_path/"clear.png").getpixel((0, 0)) == (255, 255, 255)
    red, green, blue = open_image(tmp_path/"print.jpg").getpixel((0, 0))
    assert red > 250 and green < 5 and blue < 5
    assert open_image(tmp_path/"palette.gif").getpixel((0, 0)) == (9, 99, 199)


def test_turned_broken_and_missing(tmp_path):
    turned = Image.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[274] = 6
    turned.save(tmp_path/"turned.jpg", exif=exif)
    (tmp_path/"broken.jpg").write_bytes((tmp_path/"turned.jpg").read_bytes()[:200])
    assert open_image(tmp_path/"turned.jpg").size == (20, 40)
    with pytest.raises(DataError, match="broken.jpg' cannot be decoded"): open_image(tmp_path/"broken.jpg")
    with pytest.raises(DataError, match="no image"): open_image(tmp_path/"missing.jpg")


def test_labels_that_no_class_has():
    with pytest.raises(DataError, match="labels go from 0 to 2"): ImageSet(["a", "b"], [0, 2], ["x", "y"])
    with pytest.raises(DataError, match="1 images but 2 labels"): ImageSet(["a"], [0, 1], ["x", "y"])


def test_show_classes_takes_any_name():
    images = ImageSet([Image.new("RGB", (9, 9), "teal")]*4, [0, 1, 2, 3], ["$50_$100", "_hidden", "😀", "<b>"])
    show_classes(images).savefig("/dev/null", format="png")
    assert len(show_classes({"a": images, "b": images}, [0, 3], each=2).subfigs) == 2


def test_a_random_transform_leaves_the_generator_alone():
    images = load_emoji().train.with_transform(train_transform(Config.load("emoji"), HALF, HALF))
    before = torch.get_rng_state()
    images[3, 17]
    assert torch.equal(before, torch.get_rng_state())


# ---- the emoji

def test_emoji_counts_and_changed_files(tmp_path):
    data = load_emoji()
    assert data.counts() == {"train": (3098, 517), "query": (3201, 532)}
    small = data.holdout(.2)
    assert len(small.query.classes) == 103 and set(small.query.classes) <= set(data.train.classes)
    cut = tmp_path/"emoji"
    cut.mkdir()
    for name in ("emoji.json", "emoji.csv", "emoji.webp"):
        (cut/name).write_bytes((bundled_folder()/"emoji"/name).read_bytes()[:100_000])
    with pytest.raises(DataError, match="emoji.webp is not the file that emoji.json describes"): load_emoji(cut)
    with pytest.raises(DataError, match="there is no emoji.json"): load_emoji(tmp_path)


def test_the_emoji_keep_their_hash():
    "Runs of before are found by it."
    assert load_emoji().sha256.startswith("c5039cd9b19b7392")


# ---- layouts of the published code

def published(root):
    "Each benchmark's layout with a handful of images."
    for name in ("cub200", "cars196"):
        for c in range(4):
            for i in range(3): picture(root/name/"images"/f"{c:03d}.kind {c}"/f"{i}.jpg", 20*c + i)
    write_sop(root/"online_products", "images", "Info_Files", "bicycle")
    shop = root/"inshop"
    write_inshop(shop, shop)
    for split, classes in (("train", (1, 2)), ("test", (3, 4))):
        names = [f"train_val2018/Plantae/{c}/{i}.jpg" for c in classes for i in range(2)]
        for name in names: picture(root/"inaturalist"/name)
        (root/"inaturalist"/f"Inaturalist_{split}_set1.txt").write_text("\n".join(names))
    return root


def write_sop(folder, images, lists, product):
    for split in ("train", "test"):
        first = 1 if split == "train" else 3
        lines = [f"{3*c + i + 1} {c + first} 1 {product}_final/{split}{c}_{i}.JPG" for c in range(2) for i in range(3)]
        for line in lines: picture(folder/images/line.split()[3])
        (folder/lists).mkdir(exist_ok=True)
        (folder/lists/f"Ebay_{split}.txt").write_text("\n".join(["image_id class_id super_class_id path", *lines]))


def write_inshop(images, lists):
    rows = [(f"img/WOMEN/Tees/id_{c:08d}/{i}.jpg", f"id_{c:08d}", "train" if c < 2 else ("query", "gallery")[i % 2])
            for c in range(4) for i in range(4)]
    for row in rows: picture(images/row[0])
    lists.mkdir(exist_ok=True)
    header = [str(len(rows)), "image_name item_id evaluation_status"]
    (lists/"list_eval_partition.txt").write_text("\n".join([*header, *map(" ".join, rows)]))


def test_published_layouts(tmp_path):
    root = published(tmp_path)
    names = ("cub200", "cars196", "sop", "inshop", "inaturalist")
    data, sentences = warned(lambda: {name: load_dataset(name, root) for name in names})
    assert data["cub200"].counts() == data["cars196"].counts() == {"train": (6, 2), "query": (6, 2)}
    assert data["sop"].counts() == {"train": (6, 2), "query": (6, 2)}
    assert data["inshop"].counts() == {"train": (8, 2), "query": (4, 2), "gallery": (4, 2)}
    assert data["inaturalist"].train.classes == ["Plantae/1", "Plantae/2"]
    assert "5,864 of 100: figures will not be comparable" in sentences[0]


def test_what_load_dataset_refuses(tmp_path):
    root = published(tmp_path)
    with pytest.raises(DataError, match="no folder"): load_dataset("cub200", root/"inshop")
    with pytest.raises(DataError, match="atasets are: .*cub200"): load_dataset("birds", ".")
    with pytest.raises(DataError, match="where is cub200"): load_dataset("cub200")
    with pytest.raises(DataError, match="there is no folder"): load_dataset("cub200", root/"nowhere")
    names = root/"inaturalist"/"Inaturalist_test_set1.txt"
    names.write_text("../../../etc/passwd.jpg")
    with pytest.raises(DataError, match="leaves the folder"): load_dataset("inaturalist", root)
    names.write_text("1.jpg")
    with pytest.raises(DataError, match="is too short"): load_dataset("inaturalist", root)
    (root/"online_products"/"Info_Files"/"Ebay_train.txt").write_text("header\n1 a 1 x.jpg")
    with pytest.raises(DataError, match="expected lines `image_id"): load_dataset("sop", root)
    (root/"inshop"/"list_eval_partition.txt").write_text("1\nheader\nimg/1.jpg id_1 valid")
    with pytest.raises(DataError, match="expected lines `image_name"): load_dataset("inshop", root)


# ---- as the archives unpack

def cub_archive(root):
    lines = []
    for c in range(1, 5):
        for i in range(3):
            lines.append(f"{len(lines) + 1} {c:03d}.Bird_{c}/Bird_{c}_{i}.jpg")
            picture(root/"CUB_200_2011"/"images"/lines[-1].split()[1], 20*c + i)
    (root/"CUB_200_2011"/"images.txt").write_text("\n".join(lines) + "\n")
    for junk in ("Thumbs.db", ".DS_Store", "._Bird_1_0.jpg"):
        (root/"CUB_200_2011"/"images"/"001.Bird_1"/junk).write_bytes(b"not an image")
    return root


def cars_archive(root, one_list):
    from scipy.io import savemat
    notes = {"train": [], "test": []}
    for c in range(1, 5):
        for i in range(4):
            part = ("train", "test")[i % 2]
            n = len(notes[part]) + 1 + (100 if one_list and part == "test" else 0)
            notes[part].append({"fname": f"{n:05d}.jpg", "relative_im_path": f"car_ims/{n:06d}.jpg", "class": c})
            picture(root/(f"car_ims/{n:06d}.jpg" if one_list else f"cars_{part}/{n:05d}.jpg"), 20*c + i)
    if one_list:
        savemat(root/"cars_annos.mat", {"annotations": notes["train"] + notes["test"]})
        return root
    (root/"devkit").mkdir()
    savemat(root/"devkit"/"cars_train_annos.mat", {"annotations": notes["train"]})
    savemat(root/"devkit"/"cars_test_annos_withlabels.mat", {"annotations": notes["test"]})
    return root


def test_archives_of_cub(tmp_path):
    root = cub_archive(tmp_path)
    for where in (root, root/"CUB_200_2011"):
        data, _ = warned(lambda where=where: load_dataset("cub200", where))
        assert data.counts() == {"train": (6, 2), "query": (6, 2)}
    birds = root/"CUB_200_2011"
    (birds/"images"/"002.Bird_2"/"Bird_2_1.jpg").unlink()
    with pytest.raises(DataError, match="Bird_2_1.jpg', but a list names it"): load_dataset("cub200", root)


def test_cub_without_its_list_and_with_classes_missing(tmp_path):
    birds = cub_archive(tmp_path)/"CUB_200_2011"
    (birds/"images.txt").unlink()
    for path in (birds/"images"/"002.Bird_2").iterdir(): path.unlink()
    data, sentences = warned(lambda: load_dataset("cub200", tmp_path))
    assert data.counts() == {"train": (3, 1), "query": (6, 2)}
    sentences = " ".join(sentences)
    assert "1 class folders have no image, '002.Bird_2' for one" in sentences
    assert "figures will not be comparable" in sentences
    (birds/"images"/"002.Bird_2").rmdir()
    (birds/"images"/"001.Bird_1").rename(birds/"images"/"000.Bird_0")
    picture(birds/"images"/"003.Bird_3"/"more.jpg")
    _, sentences = warned(lambda: load_dataset("cub200", tmp_path))
    assert "The class with fewest images is" in sentences[0]


def test_archives_of_cars(tmp_path):
    cars_archive(tmp_path/"devkit", one_list=False)
    cars_archive(tmp_path/"one_list", one_list=True)
    for part in ("train", "test"):
        for c in range(4):
            for i in range(2): picture(tmp_path/"folders"/f"cars_{part}"/f"Make {c}"/f"{part}{i}.jpg", 20*c + i)
    for layout in ("devkit", "one_list", "folders"):
        data, _ = warned(lambda layout=layout: load_dataset("cars196", tmp_path/layout))
        assert data.counts() == {"train": (8, 2), "query": (8, 2)}
    (tmp_path/"devkit"/"devkit"/"cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(DataError, match="no cars_test_annos_withlabels.mat"):
        load_dataset("cars196", tmp_path/"devkit")
    (tmp_path/"one_list"/"cars_annos.mat").write_bytes(b"cut short")
    with pytest.raises(DataError, match="cannot be read as MATLAB annotations"):
        load_dataset("cars196", tmp_path/"one_list")


def test_archives_of_sop_and_inshop(tmp_path):
    write_sop(tmp_path/"Stanford_Online_Products", ".", ".", "chair")
    shop = tmp_path/"In-shop Clothes Retrieval Benchmark"
    write_inshop(shop/"Img", shop/"Eval")
    for where in (tmp_path, tmp_path/"Stanford_Online_Products"):
        data, _ = warned(lambda where=where: load_dataset("sop", where))
        assert data.counts() == {"train": (6, 2), "query": (6, 2)}
        assert data.train.about["super"][0] == "chair"
    for where in (tmp_path, shop):
        data, _ = warned(lambda where=where: load_dataset("inshop", where))
        assert data.counts() == {"train": (8, 2), "query": (4, 2), "gallery": (4, 2)}
        assert data.query.classes == data.gallery.classes


# ---- records

def test_the_records_say_what_five_tables_said():
    classes = {"cub200": 100, "cars196": 98, "sop": 11318, "inshop": 3997, "inaturalist": 5690, "emoji": 517}
    assert {name: benchmarks[name].classes for name in classes} == classes
    assert set(datasets) == set(benchmarks) and datasets["emoji"] is load_emoji
    assert benchmarks["inshop"].ks == (1, 10, 20, 30, 40, 50)
    assert benchmarks["inaturalist"].counts == {"train": (325846, 5690), "query": (136093, 2452)}
    with pytest.raises(TypeError, match="ks"): register_benchmark("forgotten")
    assert "forgotten" not in benchmarks


def test_ks_are_at_most_what_can_be_found():
    emoji = load_emoji()
    assert ks_of(emoji) == (1, 2, 4, 8)
    assert ks_of(RetrievalData("sop", emoji.train, emoji.query.subset(range(50)))) == (1, 10)
    some, others = emoji.query.subset(range(50)), emoji.query.subset(range(50, 100))
    assert ks_of(RetrievalData("inshop", emoji.train, some, others)) == (1, 10, 20, 30, 40, 50)
    assert ks_of(RetrievalData("my photos", emoji.train, emoji.query)) == (1, 2, 4, 8)


def test_a_benchmark_from_outside(tmp_path):
    @register_benchmark("shades of a test", ks=(1, 3))
    def read(root):
        return from_folder(root)
    for c in range(4):
        for i in range(3): picture(tmp_path/"any"/f"{c}"/f"{i}.png", 50*c + i)
    data = load_dataset("shades of a test", tmp_path/"any")
    assert ks_of(data) == (1, 3)                              # though the folder is called otherwise
    with pytest.raises(DataError, match="where is shades"): load_dataset("shades of a test")
    assert Config.load("emoji", dataset="shades of a test").dataset in datasets


def test_a_model_trains_on_a_benchmark_from_outside():
    from vptsp.training import Trainer
    @register_benchmark("shades to train on", ks=(1, 3), needs_root=False)
    def read(root=None):
        return from_pairs([(Image.new("RGB", (64, 64), (8*i, 0, 0)), f"{i//4}") for i in range(32)])
    cfg = Config.load("emoji", dataset="shades to train on", batch_size=8, epochs=1)
    run = Trainer(cfg, load_dataset(cfg.dataset)).fit()
    assert 0 <= run.metrics["R@1"] <= 1


def test_old_names_are_found():
    import vptsp.data
    names = ("bundled_folder checked_file open_image Sheet ImageSet RetrievalData DataError from_folder from_csv "
             "from_pairs from_hf load_emoji load_dataset datasets train_transform eval_transform "
             "ClassBalancedSampler train_loader eval_loader")
    for name in names.split(): assert getattr(vptsp.data, name)
    with pytest.raises(AttributeError): vptsp.data.nothing  # noqa: B018


# ---- your own images

def test_folders(tmp_path):
    images = published(tmp_path)/"cub200"/"images"
    assert from_folder(images).counts() == {"train": (6, 2), "query": (6, 2)}
    assert from_folder(images, split=["000.kind 0"]).query.classes == ["000.kind 0"]
    with pytest.raises(DataError, match="no image has this class; did you mean '000.kind 0'?"):
        from_folder(images, split=["000.kind O"])
    with pytest.raises(DataError, match="cannot be split into training and test classes at 0"):
        from_folder(images, split=0.)
    assert from_folder(images, split=1.).counts() == {"train": (12, 4), "query": (0, 0)}
    (tmp_path/"empty"/"a").mkdir(parents=True)
    with pytest.raises(DataError, match="no class folder of"): warned(lambda: from_folder(tmp_path/"empty"))


def test_folders_that_say_what_is_what(tmp_path):
    for part, classes in (("train", "ab"), ("query", "cd"), ("gallery", "cde")):
        for c in classes: picture(tmp_path/part/c/"1.png")
    data = from_folder(tmp_path)
    assert data.counts() == {"train": (2, 2), "query": (2, 2), "gallery": (3, 3)}
    assert data.query.classes == data.gallery.classes == ["c", "d", "e"]
    shutil.rmtree(tmp_path/"gallery")
    (tmp_path/"query").rename(tmp_path/"test")
    assert from_folder(tmp_path).counts() == {"train": (2, 2), "query": (2, 2)}


def test_super_class_folders(tmp_path):
    for c in range(4): picture(tmp_path/("big", "small")[c % 2]/f"c{c}"/"1.png", c)
    data = from_folder(tmp_path)
    assert data.train.classes + data.query.classes == ["big/c0", "big/c2", "small/c1", "small/c3"]
    assert data.query.about["super"] == ["small", "small"]
    assert "2 queries have no other image of their class to find and are not counted" in repr(data)
    picture(tmp_path/"big"/"stray.png")
    with pytest.raises(DataError, match="mixes classes and super-classes"): class_folders(tmp_path)


def test_what_is_no_image(tmp_path):
    picture(tmp_path/"1.JPG")
    picture(tmp_path/"._1.jpg")
    for name in (".DS_Store", "Thumbs.db", "notes.txt"): (tmp_path/name).write_bytes(b"no")
    assert [p.name for p in image_files(tmp_path)] == ["1.JPG"]


def test_tables(tmp_path):
    root = published(tmp_path)
    names = [(f"cub200/images/{c:03d}.kind {c}/{i}.jpg", c) for c in range(4) for i in range(3)]
    def table(name, header, lines):
        (root/name).write_text("\n".join([header, *lines]))
        return root/name
    lines = [f"{name},kind {c},{'train' if c < 3 else 'test'}" for name, c in names]
    assert from_csv(table("t.csv", "path,label,split", lines)).counts() == {"train": (9, 3), "query": (3, 1)}
    lines = [f"{name},kind {c},{'ab'[c % 2]}" for name, c in names]
    data = from_csv(table("super.csv", "path,label,super", lines), split=["kind 3"])
    assert data.query.about["super"] == ["b"]*3
    lines = [f"{names[0][0]},a,train", f"{names[3][0]},b,query", f"{names[4][0]},b,gallery"]
    data = from_csv(table("gallery.csv", "path,label,split", lines))
    assert data.counts() == {"train": (1, 1), "query": (1, 1), "gallery": (1, 1)}


def test_tables_that_are_wrong(tmp_path):
    first = published(tmp_path)/"cub200"/"images"/"000.kind 0"
    name = (first/"0.jpg").relative_to(tmp_path).as_posix()
    def refused(content, message, encoding="utf-8"):
        (tmp_path/"t.csv").write_bytes(content.encode(encoding))
        with pytest.raises(DataError, match=message): from_csv(tmp_path/"t.csv")
    refused(f"path,label,split\n{name},,train\n", "line 2: path and label must both be there")
    refused(f"path,label,split\n{name}\n", "line 2: 1 field, but the header has 3 columns")
    refused(f"path,label,split\n{name},a,tset\n", "line 2: split 'tset' is none of")
    refused("path,label\nb\u00e4r.jpg,b\u00e4r\n", "is not UTF-8 text", "latin-1")
    refused(f"path,label,split\n{name},a,train\n{name},a,test\n", "in train and in test")
    refused(f"path,label,split\n{name},a,train\n", "images to train on and images to test on")
    refused("name,class\n", "expected a header with the columns path and label")
    refused("path,label\n/etc/passwd,a\n", "leaves the folder")


def test_pairs_and_hub_tables():
    black = Image.new("RGB", (4, 4))
    names = from_pairs([(black, f"class {i//2}") for i in range(8)]).train.classes
    assert names == ["class 0", "class 1"]
    assert from_pairs([(black, torch.tensor(i//2)) for i in range(8)]).train.classes == ["0", "1"]
    with pytest.raises(DataError, match="has no images"): from_pairs([])

    class Named(list):
        targets, classes = [0, 1, 2], ["a", "b"]
    with pytest.raises(DataError, match="outside its 2 class names"): from_pairs(Named([black]*3))

    class Table(list):
        column_names, features = ["image", "label"], {"label": object()}
        def __getitem__(self, k): return [r[k] for r in self] if isinstance(k, str) else super().__getitem__(k)
    data = from_hf(Table({"image": black, "label": "ab"[i % 2]} for i in range(6)))
    assert data.name == "dataset" and data.counts() == {"train": (3, 1), "query": (3, 1)}
    with pytest.raises(DataError, match="no column 'picture'; it has: image, label"):
        from_hf(Table([{}]), image="picture")


# ---- batches

def test_batches_are_those_of_0_1():
    "Seeds mean what they meant: the first batch of two epochs, in a run and in its second process."
    labels = load_emoji().train.labels
    sampler = ClassBalancedSampler(labels, 16, 2, seed=3)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch, 5)
        epochs.append(next(iter(sampler)))
    second = next(iter(ClassBalancedSampler(labels, 16, 2, seed=3, rank=1, world_size=2)))
    golden = json.loads((Path(__file__).parent/"golden_batches.json").read_text(encoding="utf-8"))
    assert [[list(pair) for pair in batch] for batch in (*epochs, second)] == golden


def test_whole_classes_and_no_image_twice():
    sampler = ClassBalancedSampler([0]*5 + [1]*5 + [2]*5 + [3], batch_size=6, samples_per_class=2, seed=1)
    batches = list(sampler)
    assert len(batches) == 16//6 and list(sampler) == batches
    for batch in batches:
        labels = [int(sampler.labels[i]) for i, _ in batch]
        assert labels[0::2] == labels[1::2] and len(set(labels)) == 3
        for c in set(labels) - {3}: assert len({i for i, _ in batch if sampler.labels[i] == c}) == 2
    sampler.set_epoch(1)
    assert list(sampler) != batches
    sampler.set_epoch(0, step=1)
    assert list(sampler) == batches[1:] and len(sampler) == 1
    parts = [next(iter(ClassBalancedSampler(sampler.labels, 5, 2, rank=r, world_size=2))) for r in range(2)]
    assert [len(part) for part in parts] == [2, 2]             # whole classes, also where k does not divide b


@pytest.mark.parametrize("b, k, size", [(6, 2, 2), (6, 2, 4), (6, 3, 4), (5, 2, 3), (6, 1, 5), (6, 2, 6)])
def test_processes_share_every_batch(b, k, size):
    labels = [0]*5 + [1]*5 + [2]*5 + [3] + [4]*3 + [5]*2
    whole = list(ClassBalancedSampler(labels, b, k, seed=2))
    parts = [list(ClassBalancedSampler(labels, b, k, seed=2, rank=r, world_size=size)) for r in range(size)]
    assert [sum(shares, []) for shares in zip(*parts)] == whole
    lengths = {len(share) for shares in parts for share in shares}
    assert min(lengths) and max(lengths) - min(lengths) <= 1
    if b//k % size: return
    for (i, _), (j, _) in zip(parts[0][0][::k], parts[0][0][k - 1::k]): assert labels[i] == labels[j]   # whole classes


def test_every_image_of_a_class_before_any_again():
    sampler = ClassBalancedSampler(load_emoji().train.labels, 32, 2)
    times = torch.bincount(torch.tensor([i for batch in sampler for i, _ in batch]), minlength=len(sampler.labels))
    assert all(times[ids].max() - times[ids].min() <= 1 for ids in sampler.members)


def test_batches_that_cannot_be_filled():
    labels = [0]*5 + [1]*5 + [2]*5 + [3]
    with pytest.raises(DataError, match="a batch of 6 images is too small for 7 processes"):
        ClassBalancedSampler(labels, 6, 2, world_size=7)
    with pytest.raises(DataError, match="needs 3 classes, but there are 2"):
        ClassBalancedSampler([0, 0, 0, 1, 1, 1], 6, 2)
    with pytest.raises(DataError, match="2 images are less than one batch of 4"): ClassBalancedSampler([0, 1], 4, 2)


def test_a_step_of_more_batches_than_an_epoch_has():
    few, cfg = load_emoji().train.of_classes(range(8)), Config.load("emoji", batch_size=16)
    batches = len(train_loader(few, cfg, (0,)*3, (1,)*3))
    train_loader(few, cfg.replace(accumulate=batches), (0,)*3, (1,)*3)
    with pytest.raises(ConfigError, match=f"accumulate = {batches} is a step an epoch"):
        train_loader(few, cfg.replace(accumulate=batches + 1), (0,)*3, (1,)*3)

def test_the_loaders_give_the_floats_of_the_transforms():
    images, mean, std = load_emoji().train, (.4, .5, .6), (.2, .3, .4)
    cfg = Config.load("emoji", batch_size=8, crop_min=.3, flip=.5)
    for loader, transform in ((train_loader, train_transform), (eval_loader, eval_transform)):
        batches, plain = loader(images, cfg, mean, std), images.with_transform(transform(cfg, mean, std))
        ids = next(iter(batches.batch_sampler))
        assert torch.equal(next(iter(batches))[0], torch.stack([plain[i][0] for i in ids]))


# ---- decoded once

def noise(root):
    for c in range(4):
        (root/str(c)).mkdir(parents=True)
        for i in range(2): Image.effect_noise((90 + 10*c, 60), 60).convert("RGB").save(root/str(c)/f"{i}.png")
    return root


def test_the_cache_shows_testing_the_same_pixels(tmp_path):
    plain = from_folder(noise(tmp_path/"in"))
    small = plain.cached(tmp_path/"cache", 32, progress=None)
    assert small.query.open(0).size == (58, 32) and small.sha256 == plain.sha256
    assert small.query.about["source"][0] == str(plain.query.sources[0])
    cfg = Config.load("emoji", image_size=24, resize=32, batch_size=4, samples_per_class=2, workers=2)
    for a, b in zip(eval_loader(plain.query, cfg, HALF, HALF), eval_loader(small.query, cfg, HALF, HALF)):
        assert torch.equal(a[0], b[0])


def test_a_cache_is_made_once_and_whole(tmp_path, monkeypatch):
    plain = from_folder(noise(tmp_path/"in"))
    plain.cached(tmp_path/"cache", 32, progress=None)
    written = {p: p.stat().st_mtime_ns for p in (tmp_path/"cache").rglob("*")}
    from_folder(tmp_path/"in").cached(tmp_path/"cache", 32)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path/"cache").rglob("*")} == written
    last = tmp_path/"in"/"3"/"1.png"
    whole = last.read_bytes()
    last.write_bytes(b"cut")
    with pytest.raises(DataError, match="cannot be decoded"):
        from_folder(tmp_path/"in").cached(tmp_path/"cache", 32, progress=None)
    assert len(list((tmp_path/"cache").iterdir())) == 1
    last.write_bytes(whole)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match="choose another folder or a smaller side"):
        plain.cached(tmp_path/"other", 30, progress=None)
