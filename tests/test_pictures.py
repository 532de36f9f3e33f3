"Pictures as instruments, scanners and archives write them: their scale, their notes, their bounds."
import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, TiffImagePlugin

import vptsp.data
import vptsp.images
import vptsp.opening
from vptsp.config import Config
from vptsp.embedding import embed_images
from vptsp.files import DataError
from vptsp.images import ImageSet
from vptsp.model import build_model
from vptsp.opening import FORMATS, MAX_RATIO, open_image
from vptsp.readers import from_folder
from vptsp.training import Trainer

X = np.kron(np.random.default_rng(0).random((8, 8)), np.ones((4, 4)))   # 0 to 1
EIGHT = np.asarray(Image.fromarray((X*255).astype(np.uint8)).convert("RGB")).astype(int)


def stored(array, path, **options):
    "The path of an array that was saved as an image."
    Image.fromarray(array).save(path, **options)
    return path


def levels(source, **words): return np.asarray(open_image(source, **words)).astype(int)


def as_eight_bits(source, **words):
    "Whether a picture comes out as its 8-bit form does, by no more than rounding."
    return np.abs(levels(source, **words) - EIGHT).max() <= 1


def tiff(x, bits, sample_format, photometric=1):
    "A TIFF of kinds that Pillow reads and does not write."
    tags = [(256, x.shape[1]), (257, x.shape[0]), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1),
            (278, x.shape[0]), (279, x.nbytes), (339, sample_format)]
    start = 8 + 2 + 12*len(tags) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in tags]
    return io.BytesIO(b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + x.tobytes())


# ---- scale

def test_the_full_range_of_a_format_is_white(tmp_path):
    assert as_eight_bits(stored((X*65535).astype(np.uint16), tmp_path/"16.png"))
    assert as_eight_bits(stored((X*65535).astype(np.uint16), tmp_path/"16.tif"))
    assert as_eight_bits(stored((X*65535).astype(">u2"), tmp_path/"big endian.tif"))
    assert as_eight_bits(stored((X*(2**31 - 1)).astype(np.int32), tmp_path/"32.tif"))
    assert as_eight_bits(tiff((X*(2**32 - 1)).astype(np.uint32), 32, 1))
    assert as_eight_bits(tiff((X*32767).astype(np.int16), 16, 2))


def test_sixteen_bits_are_as_before(tmp_path):
    x = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert (levels(stored(x, tmp_path/"all.png"))[..., 0] == x//256).all()


def test_what_a_format_says_of_its_scale_is_followed(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = 4095                                                  # MaxSampleValue
    assert as_eight_bits(stored((X*4095).astype(np.uint16), tmp_path/"said.tif", tiffinfo=tags))
    grey = (X*4095).astype(">u2")
    (tmp_path/"12.pgm").write_bytes(b"P5\n32 32\n4095\n" + grey.tobytes())
    (tmp_path/"12.ppm").write_bytes(b"P6\n32 32\n4095\n" + np.repeat(grey[..., None], 3, 2).tobytes())
    assert as_eight_bits(tmp_path/"12.pgm") and as_eight_bits(tmp_path/"12.ppm")
    zero_is_white = tiff((65535 - (X*65535).astype(np.uint16)).astype(np.uint16), 16, 1, photometric=0)
    assert as_eight_bits(zero_is_white)


@pytest.mark.parametrize("white, kind, name", [
    (255, np.uint16, "8 in 16.png"), (1023, np.uint16, "10 in 16.tif"), (4095, np.uint16, "12 in 16.png"),
    (255, np.int32, "8 in 32.tif"), (65535, np.int32, "16 in 32.tif"), (1000, np.float32, "thousands.tif"),
    (5, np.float32, "light.tif"), (.01, np.float32, "dark.tif")])
def test_an_unknown_scale_is_refused_until_it_is_said(tmp_path, white, kind, name):
    path = stored((X*white).astype(kind), tmp_path/name)
    with pytest.raises(DataError, match=f"{name}.*full_scale="): open_image(path)
    assert as_eight_bits(path, full_scale=white)


def test_the_sentence_names_the_word_that_does(tmp_path):
    path = stored((X*4095).astype(np.uint16), tmp_path/"12.png")
    with pytest.raises(DataError, match="65,535 is white by its format: .* by the setting full_scale=4095, in Python"):
        open_image(path)
    assert levels(path, full_scale=65535).max() == 15                 # if that is what it is
    with pytest.raises(DataError, match="outside 0 to 255.* full_scale=4095"): open_image(path, full_scale=255)
    for wrong in (0, -1, float("nan"), (3, 2)):
        with pytest.raises(DataError, match="cannot be scaled by full_scale"): open_image(path, full_scale=wrong)


def test_a_few_stray_pixels_do_not_hide_the_scale(tmp_path):
    rng = np.random.default_rng(0)
    for name, white, share in (("one.png", 4095, 0), ("marks.png", 300, .005), ("eight.png", 255, .002)):
        x = (np.kron(rng.random((20, 20)), np.ones((5, 5)))*white).astype(np.uint16)
        x[rng.random(x.shape) < share] = 65535
        x[3, 4] = 65535
        path = stored(x, tmp_path/name)
        with pytest.raises(DataError, match=f"{name}.* a few stray pixels.* full_scale="): open_image(path)
        assert levels(path, full_scale=white).max() == 255
        with pytest.raises(DataError, match="full_scale="): open_image(stored(x.astype(np.int32), tmp_path/"32.tif"))
    x = (np.kron(rng.random((20, 20)), np.ones((5, 5)))*16383).astype(np.uint16)
    x[3, 4] = 65535
    with pytest.warns(UserWarning, match="less than a quarter"): open_image(stored(x, tmp_path/"14.png"))


@pytest.mark.parametrize("stray", [None, 0, 65535])
def test_an_offset_does_not_make_one_grey(tmp_path, stray):
    x = (X*500 + 30000).astype(np.uint16)
    if stray is not None: x[4, 4] = stray
    path = stored(x, tmp_path/"offset.png")
    with pytest.raises(DataError, match=r"of one grey.*full_scale=\(300\d\d, 30[45]\d\d\)"): open_image(path)
    assert levels(path, full_scale=(30000, 30500)).max() >= 254
    with pytest.raises(DataError, match="of one grey"): open_image(Image.fromarray((.45 + X/100).astype(np.float32)))
    with pytest.warns(UserWarning, match="nearly one grey"):
        open_image(stored((X*2000 + 30000).astype(np.uint16), tmp_path/"low contrast.png"))


def test_flat_pictures_are_taken(tmp_path):
    paper = (65535 - X*800).astype(np.uint16)
    with pytest.warns(UserWarning, match="nearly one grey"): levels(stored(paper, tmp_path/"paper.png"))
    noise = (X*40).astype(np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (np.full((9, 9), 30000, np.uint16), noise + 30000, (noise//40*5000 + 30000)[:1]):
            assert np.array_equal(levels(stored(x.astype(np.uint16), tmp_path/"flat.png"))[..., 0], x//256)
        assert np.ptp(levels(Image.fromarray((.5 + noise/1e9).astype(np.float32)))) == 0
        assert as_eight_bits(Image.fromarray((X*65535).astype(np.uint16)))


def test_sparse_pictures_are_no_dark_ones(tmp_path):
    rng = np.random.default_rng(0)
    lines, noise = np.zeros((100, 100), np.uint16), rng.integers(0, 20, (100, 100)).astype(np.uint16)
    lines[50, :60] = noise[50, :60] = 65535
    stars = rng.integers(0, 1000, (100, 100)).astype(np.uint16)
    stars.flat[::200] = rng.integers(5000, 65535, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, x in (("lines.png", lines), ("noise.png", noise)):
            assert np.array_equal(levels(stored(x, tmp_path/name))[..., 0], x//256)
    with pytest.warns(UserWarning, match="come out dark"):
        assert np.array_equal(levels(stored(stars, tmp_path/"stars.png"))[..., 0], stars//256)


def test_values_below_zero_need_black_and_white():
    scan = (X*4000 - 1000).astype(np.int16)
    with pytest.raises(DataError, match=r"full_scale=\(-\d+, \d+\)"): open_image(tiff(scan, 16, 2))
    assert as_eight_bits(tiff(scan, 16, 2), full_scale=(-1000, 3000))


def test_floats(tmp_path):
    def stored_floats(x): return stored(x.astype(np.float32), tmp_path/"f.tif")
    assert as_eight_bits(stored_floats(X)) and as_eight_bits(stored_floats(X*255))
    assert as_eight_bits(stored_floats(np.where(X > .99, 1.05, X - .001)))         # a little over both ends
    assert as_eight_bits(Image.fromarray(X.astype(np.float32)))                    # in memory
    with pytest.raises(DataError, match=r"full_scale=\(-"): open_image(stored_floats(2*X - 1))
    for hole in (np.nan, np.inf):
        with pytest.raises(DataError, match="are no numbers"): open_image(stored_floats(np.where(X > .9, hole, X)))


@pytest.mark.parametrize("high, word", [(.02, ".02"), (.0199, ".02"), (.0123, ".013"), (.005, ".005"), (1e-7, "1e-07")])
def test_dark_floats_are_told_what_they_reach(high, word):
    x = (X/X.max()*high).astype(np.float32)
    with pytest.raises(DataError, match=f"full_scale=0?{word},"): open_image(Image.fromarray(x))
    assert levels(Image.fromarray(x), full_scale=float(word)).max() >= 240


def test_a_dead_pixel_among_floats():
    for white in (1, 255, 300):
        x = np.pad(X*white, 20, mode="edge").astype(np.float32)
        x[3, 3] = 10_000
        picture = Image.fromarray(x)
        if white == 300:
            with pytest.raises(DataError, match="full_scale=1023"): open_image(picture)
        else:
            assert np.array_equal(levels(picture), levels(picture, full_scale=white))


def test_signed_bytes():
    assert np.abs(levels(tiff((X*127).astype(np.int8), 8, 2)) - EIGHT).max() <= 3
    plain = (X*255).astype(np.uint8)
    assert np.array_equal(levels(tiff(plain, 8, 1))[..., 0], plain)
    scan = (X*200 - 100).astype(np.int8)
    with pytest.raises(DataError, match=r"full_scale=\(-\d+, \d+\)"): open_image(tiff(scan, 8, 2))
    assert np.abs(levels(tiff(scan, 8, 2), full_scale=(-100, 100)) - EIGHT).max() <= 3


def test_a_dim_picture_is_taken_with_a_warning(tmp_path):
    path = stored((X*16383).astype(np.uint16), tmp_path/"14.png")
    with pytest.warns(UserWarning, match="full_scale=16383"): assert levels(path).max() == 63
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_eight_bits(path, full_scale=16383)
        assert levels(stored(np.full((9, 9), 300, np.uint16), tmp_path/"one value.png")).max() == 1


def deep_tiff(x):
    "A TIFF of 16 bits a channel, which Pillow does not write."
    n, at = x.shape[2], 8 + 2 + 12*10 + 4
    tags = [(256, x.shape[1]), (257, x.shape[0]), (258, at), (259, 1), (262, 2), (273, at + 4*n), (277, n),
            (278, x.shape[0]), (279, x.nbytes), (339, at + 2*n)]
    entries = [struct.pack("<HHII", tag, 3 if tag in (258, 339) else 4, n if tag in (258, 339) else 1, value)
               for tag, value in tags]
    shorts = struct.pack(f"<{2*n}H", *[16]*n, *[1]*n)
    return io.BytesIO(b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + shorts + x.tobytes())


def deep_png(x):
    "A PNG of 16 bits a channel, which Pillow does not write."
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in x)
    header = struct.pack(">IIBBBBB", x.shape[1], x.shape[0], 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunks)


def test_colours_of_sixteen_bits():
    colours = np.repeat(X[..., None], 3, 2)
    assert as_eight_bits(deep_png((colours*65535).astype(np.uint16)))
    with pytest.raises(DataError, match="16 bits a channel and uses only the lower ones"):
        open_image(deep_png((colours*4095).astype(np.uint16)))
    assert levels(deep_png((colours*0).astype(np.uint16))).max() == 0


@pytest.mark.parametrize("kind", [deep_png, deep_tiff])
def test_colours_of_sixteen_bits_that_hold_eight(tmp_path, kind):
    colours = np.repeat(X[..., None], 3, 2)
    assert as_eight_bits(kind((colours*65535).astype(np.uint16)))
    for low in (0, 256):                                              # all one value once they are cut to 8 bits
        path = tmp_path/f"{low}.image"
        path.write_bytes(kind((colours*255 + low).astype(np.uint16)).getvalue())
        for source in (path, io.BytesIO(path.read_bytes())):
            with pytest.raises(DataError, match="16 bits a channel and uses only the lower ones"): open_image(source)
    with pytest.warns(UserWarning, match="nearly one colour"): levels(kind((colours*500 + 30000).astype(np.uint16)))
    for black in (0, 200): assert levels(kind(np.full((9, 9, 3), black, np.uint16))).max() == 0
    assert levels(Image.new("RGB", (9, 9))).max() == 0


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "HSV"])
def test_eight_bits_are_what_pillow_makes_of_them(mode):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)).convert(mode)
    wanted = image.convert("RGBA").convert("RGB") if mode == "LA" else image.convert("RGB")
    assert (levels(image) == np.asarray(wanted)).all()


def test_lab_and_premultiplied_alpha():
    image = Image.new("RGB", (8, 8), (200, 30, 60))
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    inks = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    assert np.abs(levels(inks) - (200, 30, 60)).max() <= 2
    assert (levels(image.convert("RGBA").convert("RGBa")) == (200, 30, 60)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_white_does_not_swallow_a_picture(tmp_path, mode):
    shape, white = Image.fromarray((X*255).astype(np.uint8)), Image.new(mode[:-1], (32, 32), "white")
    drawing = white.convert(mode)
    drawing.putalpha(shape)
    drawing.save(tmp_path/"drawing.png")
    with pytest.raises(DataError, match="g.png' is all of one colour on white"): open_image(tmp_path/"drawing.png")
    photo = shape.convert(mode)
    photo.putalpha(Image.new("L", (32, 32), 0))
    with pytest.warns(UserWarning, match="transparent throughout"): assert (levels(photo) == EIGHT).all()
    photo.putalpha(Image.fromarray((X > .5).astype(np.uint8)))       # 0 and 1 where 0 and 255 are meant
    with pytest.raises(DataError, match="of one colour on white"): open_image(photo)


def test_transparency_as_before():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (rng.integers(0, 256, (16, 16, 4)), np.full((16, 16, 4), (255, 0, 0, 0)),
                  np.full((16, 16, 4), 255), np.full((16, 16, 4), (255, 255, 255, 9)), [[[0, 0, 0, 0], [0]*3 + [255]]]):
            image = Image.fromarray(np.array(x, np.uint8))
            white = Image.new("RGBA", image.size, "white")
            assert np.array_equal(levels(image), np.asarray(Image.alpha_composite(white, image).convert("RGB")))


def test_a_set_is_opened_as_it_is_told_to(tmp_path):
    path = stored((X*4095).astype(np.uint16), tmp_path/"12.png")
    images = ImageSet([path], [0], ["a"])
    with pytest.raises(DataError, match="full_scale"): images.open(0)
    told = images.opened(full_scale=4095)
    for some in (told, told.subset([0]), told.of_classes([0]), told.with_transform(None)):
        assert np.array_equal(np.asarray(some.open(0)), levels(path, full_scale=4095))
    assert images.full_scale is None


def test_colour_profiles_are_followed_where_asked(tmp_path):
    image = Image.new("RGB", (8, 8), (200, 30, 60))
    lab_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()     # of other colours
    srgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("srgb", srgb_profile), ("other", lab_profile), ("broken", b"no profile")):
        image.save(tmp_path/f"{name}.png", icc_profile=profile)
        assert np.abs(levels(tmp_path/f"{name}.png", srgb=True) - (200, 30, 60)).max() <= 1
    swapped = tmp_path/"swapped.png"
    image.save(swapped, icc_profile=red_and_green_swapped(srgb_profile))
    assert (levels(swapped) == (200, 30, 60)).all()                    # by default as before
    red, green, _ = levels(swapped, srgb=True)[0, 0]
    assert green > 150 > 60 > red


def red_and_green_swapped(profile):
    "An sRGB profile whose first channel is green."
    return profile.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG", "MPO"])
def test_further_frames_are_warned_of(tmp_path, kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    path, alone = tmp_path/"frames", tmp_path/"alone"
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    frames[0].save(alone, "JPEG" if kind == "MPO" else kind)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        first = levels(path)
    assert [str(one.message).startswith("of images of several frames") for one in said
            if one.category is UserWarning] == [True]*(kind != "MPO")
    assert np.abs(first - (255, 0, 0)).max() <= 4
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert np.abs(levels(alone) - first).max() <= 4


# ---- notes

def test_a_broken_note_does_not_refuse_a_picture():
    plain = io.BytesIO()
    Image.new("RGB", (40, 20), "teal").save(plain, "JPEG")
    plain = plain.getvalue()
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    upright = 0
    for seed in range(200):
        rng, note = np.random.default_rng(seed), bytearray(exif.tobytes())
        for k in rng.integers(6, len(note), 3): note[k] = rng.integers(0, 256)
        whole = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(note) + 2) + bytes(note) + plain[2:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                           # Pillow's on the note
            upright += open_image(io.BytesIO(whole)).size == (20, 40)
    assert 0 < upright < 200


def test_a_broken_profile_or_note_of_a_png(tmp_path):
    noise, exif = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8), Image.Exif()
    exif[274] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    whole = stored(noise, tmp_path/"whole.png", exif=exif, icc_profile=profile).read_bytes()
    wanted = levels(tmp_path/"whole.png")
    assert wanted.shape == (40, 20, 3)
    at, end = whole.index(b"iCCP"), whole.index(b"IDAT")
    damaged = whole[:at + 20] + bytes(30) + whole[at + 50:]
    for words in ({}, {"srgb": True}): assert np.array_equal(levels(io.BytesIO(damaged), **words), wanted)
    (tmp_path/"cut.png").write_bytes(damaged[:end + 500])
    with pytest.raises(DataError, match="cannot be decoded"): open_image(tmp_path/"cut.png")


def test_a_note_that_raises(monkeypatch):
    def broken(self): raise struct.error("unpack requires a buffer of 2 bytes")
    monkeypatch.setattr(Image.Image, "getexif", broken)
    assert open_image(Image.new("RGB", (4, 3))).size == (4, 3)


# ---- bounds

def test_slivers_and_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    Image.new("L", (60_000, 1)).save(tmp_path/"sliver.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path/"bomb.png")
    monkeypatch.setattr(Image.Image, "load", None)                    # nothing decodes
    with pytest.raises(DataError, match="60,000 x 1 pixels, 60,000 times as long as wide; up to 200"):
        open_image(tmp_path/"sliver.png")
    with pytest.raises(DataError, match="more than 178,956,970 pixels"): open_image(tmp_path/"bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)              # whatever another library says
    with pytest.raises(DataError, match="more than the 178,956,970"): open_image(tmp_path/"bomb.png")


def test_narrow_pictures_within_the_bound_are_seen(tmp_path):
    narrow = Image.new("RGB", (MAX_RATIO, 1), "red")
    images = ImageSet([narrow, narrow.rotate(90, expand=True), Image.new("RGB", (30, 20), "red")], [0]*3, ["a"])
    for small in images.thumbnails(range(3), 64):
        assert small.shape == (64, 64, 3) and (small == (255, 0, 0)).all(-1).sum() >= 64
    assert images.thumbnails([]).shape == (0, 64, 64, 3)


def test_programs_are_not_started(tmp_path):
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path/"page.png").write_bytes(page)
    with pytest.raises(DataError, match="page.png' cannot be decoded .it is of no image format"):
        open_image(tmp_path/"page.png")
    assert not {"EPS", "WMF", "FITS", "PDF", "MPEG", "HDF5", "GRIB", "BUFR"} & set(FORMATS)
    assert {"JPEG", "PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "BMP", "GIF"} <= set(FORMATS)


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path/"pipe.png")
    with pytest.raises(DataError, match="is no file"): open_image(tmp_path/"pipe.png")
    with pytest.raises(DataError, match="is a folder"): open_image(tmp_path)
    for thing in (None, 3, np.zeros((4, 4, 3), np.uint8)):
        with pytest.raises(DataError, match="a path, an open file or a PIL image is needed"): open_image(thing)
    with pytest.raises(DataError, match="0 x 4 pixels"): open_image(Image.new("RGB", (0, 4)))


def test_cut_files_stay_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "a.gif"):
        path = stored(noise, tmp_path/name)
        path.write_bytes(path.read_bytes()[:-len(path.read_bytes())//2])
        with pytest.raises(DataError, match="cannot be decoded"): open_image(path)


def test_labels_are_whole_numbers():
    for labels in ([0, .6], np.array([0, .6]), ["0", "1"], [0, float("nan")], [0, None]):
        with pytest.raises(DataError): ImageSet(["a", "b"], labels, ["x", "y"])
    for labels in ([0., 1.], np.array([0, 1], np.uint16), [[0], [1]], [np.int8(0), True]):
        assert ImageSet(["a", "b"], np.array(labels), ["x", "y"]).labels.tolist() == [0, 1]


def test_the_module_is_found_by_its_old_name():
    assert vptsp.images.open_image is vptsp.data.open_image is vptsp.opening.open_image


# ---- from the settings to an embedding

def test_the_settings_say_what_is_white(tmp_path):
    for c in range(4):
        (tmp_path/f"{c}").mkdir()
        for i in range(3):
            x = np.kron(np.random.default_rng(10*c + i).random((8, 8)), np.ones((9, 9)))
            stored((x*4095).astype(np.uint16), tmp_path/f"{c}"/f"{i}.png")
    data = from_folder(tmp_path)
    cfg = Config.load("emoji").as_method("frozen").replace(workers=0)
    with pytest.raises(DataError, match="full_scale=4095"): embed_images(build_model(cfg, 2), data.query)
    told = build_model(cfg.replace(full_scale=4095), 2)
    assert torch.equal(embed_images(told, data.query), embed_images(build_model(cfg, 2), data.query.opened(4095)))
    assert told.fingerprint() != build_model(cfg, 2).fingerprint()
    assert Trainer(cfg.replace(full_scale=4095), data, out=tmp_path/"run").data.train.open(0).getextrema()[0][1] > 200
