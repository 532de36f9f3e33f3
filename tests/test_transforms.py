"How images are prepared: as the weights ask, as published where the settings say so, and always said in what is saved."
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models.vision_transformer import VisionTransformer
from torchvision import transforms as T

from vptsp.backbone import bundled_vit
from vptsp.benchmarks import load_emoji
from vptsp.config import Config, ConfigError, embedding_settings, presets
from vptsp.data import RetrievalData
from vptsp.embedding import embed_images
from vptsp.images import ImageSet
from vptsp.loaders import as_weights_ask, eval_loader, eval_transform, train_transform
from vptsp.model import Model, build_model
from vptsp.training import Trainer

HALF = (.5, .5, .5)
EMOJI = load_emoji()
FEW = RetrievalData("emoji, 12 classes", EMOJI.train.of_classes(range(12)), EMOJI.query.of_classes(range(12)))
PUBLISHED = [name for name in presets if name.endswith(("_small", "_base"))]
NAMES = ["vit_small_patch16_224.augreg_in21k", "vit_base_patch16_224.augreg2_in21k_ft_in1k",
         "deit3_small_patch16_224.fb_in1k", "vit_base_patch14_dinov2.lvd142m", "vit_small_patch14_reg4_dinov2.lvd142m",
         "vit_base_patch16_clip_224.openai", "vit_base_patch16_clip_224.laion2b", "vit_base_patch16_siglip_224.webli",
         "vit_base_patch16_siglip_384.webli", "vit_large_patch14_clip_336.openai", "deit_tiny_patch16_224.fb_in1k"]


def picture(w, h, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (h//4 + 1, w//4 + 1, 3), np.uint8)
    return Image.fromarray(pixels).resize((w, h), Image.Resampling.BICUBIC)


SIZES = ((500, 375), (375, 500), (224, 224), (100, 90), (61, 400), (1000, 700), (257, 255))
PICTURES = [picture(*size) for size in SIZES]


@pytest.mark.parametrize("name", NAMES)
def test_by_default_as_timm_evaluates(name):
    about = timm.get_pretrained_cfg(name)
    asked = resolve_data_config(pretrained_cfg=about.to_dict())
    cfg = Config(backbone=name, image_size=asked["input_size"][-1])
    theirs, ours = create_transform(**asked), eval_transform(cfg, asked["mean"], asked["std"])
    for image in PICTURES: assert torch.equal(ours(image), theirs(image))


@pytest.mark.parametrize("crop", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_every_crop_as_timm_makes_it(crop, interpolation):
    cfg = Config(image_size=56, resize=64, crop=crop, interpolation=interpolation)
    theirs = create_transform(56, crop_pct=.875, crop_mode=crop, interpolation=interpolation, mean=HALF, std=HALF)
    ours = eval_transform(cfg, HALF, HALF)
    for image in PICTURES: assert torch.equal(ours(image), theirs(image))
    images = ImageSet(PICTURES, [0]*len(PICTURES), ["a"])
    x, _ = next(iter(eval_loader(images, cfg, HALF, HALF, batch_size=len(PICTURES))))
    assert torch.equal(x, torch.stack([ours(image) for image in PICTURES]))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_presets_prepare_as_published(name):
    cfg = Config.load(name)
    assert as_weights_ask(cfg) == cfg and (cfg.resize, cfg.crop, cfg.interpolation) == (256, "center", "bilinear")
    published = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize(HALF, HALF)])
    for image in PICTURES: assert torch.equal(eval_transform(cfg, HALF, HALF)(image), published(image))
    crop = train_transform(cfg, HALF, HALF).transforms[0]
    assert (crop.scale, crop.interpolation) == ((.08, 1.), T.InterpolationMode.BILINEAR)


def test_published_files_and_their_other_backbones():
    theirs = {"vit_prompt": True, "vit_bitfit": True, "pretrained_model": "vit_small_patch16_224_in21k"}
    cfg = Config.load(theirs)
    assert (cfg.resize, cfg.crop, cfg.interpolation) == (256, "center", "bilinear")
    other = Config.load("cub200_small", backbone="vit_base_patch14_dinov2.lvd142m")       # the preset's stay
    assert (other.resize, other.interpolation) == (256, "bilinear")


def test_the_bundled_weights_ask_for_the_whole_image():
    bare, named = bundled_vit(), as_weights_ask(Config(backbone="bundled", image_size=64))
    by_module = as_weights_ask(Config(image_size=64), bare)
    assert (named.resize, named.crop, named.interpolation) == (64, "center", "bilinear") == (
        by_module.resize, by_module.crop, by_module.interpolation)
    cfg = Config.load("emoji")
    assert as_weights_ask(cfg) == cfg.replace(resize=64, crop="center", interpolation="bilinear")
    plain = T.Compose([T.Resize(64), T.CenterCrop(64), T.ToTensor(), T.Normalize(HALF, HALF)])
    for image in PICTURES: assert torch.equal(eval_transform(cfg, HALF, HALF)(image), plain(image))


@pytest.mark.parametrize("about", [None, {}, {"mean": HALF}, {"crop_pct": None, "interpolation": ""}])
def test_weights_that_say_nothing(about):
    vit = VisionTransformer(img_size=32, patch_size=16, embed_dim=32, depth=1, num_heads=2, num_classes=0)
    vit.pretrained_cfg = about
    cfg = as_weights_ask(Config(image_size=32), vit)
    assert (cfg.resize, cfg.crop, cfg.interpolation) == (36, "center", "bilinear")
    cfg = as_weights_ask(Config(image_size=224, backbone="no_such_name"))
    assert (cfg.resize, cfg.crop, cfg.interpolation) == (256, "center", "bilinear")


def tiny(**settings):
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, img_size=32, embed_dim=32, depth=2,
                            num_heads=2)
    return build_model(Config(image_size=32, embed_dim=16, num_class_prompts=1, **settings), 3, backbone=vit), vit


def test_a_model_says_what_it_was_given(tmp_path):
    model, vit = tiny()
    assert (model.cfg.resize, model.cfg.crop, model.cfg.interpolation) == (35, "center", "bicubic")
    assert {"resize": 35, "crop": "center", "interpolation": "bicubic"}.items() <= embedding_settings(model.cfg).items()
    theirs = create_transform(**resolve_data_config(pretrained_cfg={**vit.pretrained_cfg, "input_size": (3, 32, 32)}))
    images = [model.transform()(image) for image in PICTURES]
    for image, x in zip(PICTURES, images): assert torch.equal(theirs(image), x)
    assert torch.equal(embed_images(model, PICTURES, batch_size=len(PICTURES)), model.embed(torch.stack(images)))
    model.save(tmp_path/"m")
    vit.pretrained_cfg = {**vit.pretrained_cfg, "interpolation": "nearest", "crop_pct": .5}    # a later table of timm's
    again = Model.load(tmp_path/"m", backbone=vit)
    assert again.cfg == model.cfg and torch.equal(again.transform()(PICTURES[0]), images[0])


def test_one_setting_at_a_time():
    model, _ = tiny(resize=40)
    assert (model.cfg.resize, model.cfg.interpolation) == (40, "bicubic")
    model, _ = tiny(interpolation="bilinear")
    assert (model.cfg.resize, model.cfg.interpolation) == (35, "bilinear")
    with pytest.raises(ConfigError, match="resize = 200 is smaller than image_size = 224"): Config(resize=200)
    with pytest.raises(ConfigError, match="Did you mean 'bicubic'"): Config(interpolation="cubic")
    assert Config(image_size=336).resize == 0                                              # no other word is needed
    for cfg in (Config(image_size=s, backbone=n) for s in (8, 96, 100, 336, 518) for n in NAMES):
        assert as_weights_ask(cfg).resize >= cfg.image_size


def test_what_was_saved_before_means_what_it_meant():
    folder = Path(__file__).parent/"golden"/"gallery_0_1"/"model"
    about = json.loads((folder/"config.json").read_text())
    assert "interpolation" not in about["settings"]
    for source in (about["settings"], folder/"config.json"):
        cfg = Config.load(source)
        assert (cfg.resize, cfg.crop, cfg.interpolation) == (about["settings"]["resize"], "center", "bilinear")
    assert Config.load({"resize": 256}).interpolation == "weights"          # a few settings are no old file


def test_a_run_says_how_its_images_were_prepared(tmp_path, caplog):
    cfg = Config.load("emoji", batch_size=16, epochs=1, num_prompts=1, num_class_prompts=1)
    run = Trainer(cfg, FEW, tmp_path/"a", pretrained=False, callbacks=[]).fit()
    assert "resize: 64" in (tmp_path/"a"/"config.yaml").read_text() and "notes" not in run.metrics
    assert Config.load(tmp_path/"a"/"config.yaml") == run.cfg == run.model.cfg
    old = {k: v for k, v in vars(run.cfg).items() if k not in ("crop", "interpolation")}   # as 0.1 wrote it
    (tmp_path/"a"/"config.yaml").write_text(json.dumps(old))
    assert Trainer(cfg, FEW, tmp_path/"a", pretrained=False, callbacks=[]).fit().metrics == run.metrics

    caplog.clear()
    other = Trainer(cfg.replace(resize=72, interpolation="bicubic"), FEW, pretrained=False, callbacks=[]).fit()
    note, = other.metrics["notes"]
    assert note == ("images are prepared as the settings say (resize 72, interpolation bicubic); the weights of "
                    "bundled ask for resize 64, interpolation bilinear.")
    assert other.metrics["frozen"] != run.metrics["frozen"] or other.metrics["R@1"] != run.metrics["R@1"]
