"""Pretrain the bundled backbone, a small vision transformer, on icons and letters painted in random colours.

    python data/build_pretraining.py && python data/pretrain.py [--minutes 150] [--stop 12000] [--cache DIR] [--out DIR]

The task is classification by normalised softmax. A drawing is recoloured on the fly: background, filled shape and line
each get a colour, so that thousands of one-coloured icons become coloured pictures. Every class also owns `PALETTES`
fixed palettes; where one of them is used, the class to find is (drawing, palette), which keeps colour in the features.
No image of the benchmark is used.
"""
import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from build_pretraining import SIDE
from safetensors.torch import save_file
from scipy.ndimage import binary_fill_holes
from torch import nn

from vptsp.pretrained import bundled_vit

PALETTES, SCALE = 4, 20.


def load(cache):
    """Icons and letters as one set: alpha, filled shape and colours (n, 64, 64[, 3]) uint8, labels, and whether the
    colours are its own."""
    icons, letters = np.load(Path(cache)/"icons.npz"), np.load(Path(cache)/"letters.npz")
    rgba = icons["rgba"]
    alpha = np.concatenate([rgba[..., 3], letters["alpha"]])
    filled = Path(cache)/"filled.npy"
    if not filled.is_file(): np.save(filled, np.stack([binary_fill_holes(a > 96) for a in alpha]))
    fill = np.load(filled)
    assert len(fill) == len(alpha), f"{filled} belongs to other images: delete it"
    rgb, ink = rgba[..., :3], rgba[..., 3:].astype(np.float32)/255
    spread = (rgb.max(-1).astype(int) - rgb.min(-1))*ink[..., 0]
    own = spread.mean((1, 2)) > 4
    label = np.concatenate([icons["label"], letters["label"] + len(icons["names"])])
    n_icons, c_icons, c = len(rgba), len(icons["names"]), len(icons["names"]) + len(letters["names"])
    return (torch.tensor(alpha), torch.tensor(fill), torch.tensor(np.ascontiguousarray(rgb)), torch.tensor(label),
            torch.tensor(np.r_[own, np.zeros(len(alpha) - n_icons, bool)]), n_icons, c_icons, c)


class Painter:
    "Random pictures of the drawings, with the class and the palette (or -1) that each shows."
    def __init__(self, cache, icon_share, gen):
        self.alpha, self.fill, self.rgb, self.label, self.own, self.n_icons, self.c_icons, self.c = load(cache)
        self.gen, self.icon_share = gen, icon_share
        order = torch.argsort(self.label, stable=True)
        count = torch.bincount(self.label, minlength=self.c)
        self.order, self.count, self.start = order, count, F.pad(count.cumsum(0), (1, 0))[:-1]
        # (class, palette, background/shape/line, rgb)
        self.palettes = torch.rand(self.c, PALETTES, 3, 3, generator=gen)
        self.palettes[:, :, 0] = 1.  # on white, as the benchmark is

    def rand(self, *s): return torch.rand(*s, generator=self.gen)

    def pick(self, b):
        n = int((self.rand(b) < self.icon_share).sum())
        icons = torch.randint(0, self.c_icons, (n,), generator=self.gen)
        letters = torch.randint(self.c_icons, self.c, (b - n,), generator=self.gen)
        drawn = torch.cat([icons, letters])
        return self.order[self.start[drawn] + (self.rand(b)*self.count[drawn]).long()]

    def warp(self, b, strength):
        "Sampling grid (b, 64, 64, 2): scale, rotation, shear, shift, and a smooth displacement."
        def r(*shape): return .5 + (self.rand(*shape) - .5)*strength
        angle, scale, squeeze = (r(b) - .5)*.5, .75 + .45*r(b), 1 + (r(b) - .5)*.3
        shear, shift = (r(b) - .5)*.3, (r(b, 2) - .5)*.3
        c, s = angle.cos()*scale, angle.sin()*scale
        first = torch.stack([c*squeeze, -s + shear, shift[:, 0]], 1)
        second = torch.stack([s, c/squeeze, shift[:, 1]], 1)
        theta = torch.stack([first, second], 1)
        bend = F.interpolate((r(b, 2, 5, 5) - .5)*.18, size=(SIDE, SIDE), mode="bicubic", align_corners=True)
        return F.affine_grid(theta, (b, 1, SIDE, SIDE), align_corners=False) + bend.permute(0, 2, 3, 1)

    def gradient(self, colour):
        "(b, 3) -> (b, 3, 64, 64): the colour, running into a neighbour of it along a random direction."
        b = len(colour)
        other = (colour + (self.rand(b, 3) - .5)*.5*self.rand(b, 1)).clamp(0, 1)
        d = self.rand(b, 2) - .5
        d = d/d.norm(dim=1, keepdim=True).clamp(min=1e-3)
        line = torch.linspace(-.7, .7, SIDE)
        t = .5 + d[:, 0, None, None]*line[None, :, None] + d[:, 1, None, None]*line[None, None, :]
        t = t.clamp(0, 1)[:, None]
        return colour[..., None, None]*(1 - t) + other[..., None, None]*t

    def layers(self, i, strength):
        """Line and shape (b, 1, 64, 64) and own colours (b, 3, 64, 64) of the drawings `i`, bent;
        which of them keep their own colours, and their palettes."""
        b, own = len(i), self.own[i].clone()
        with_palette = self.rand(b) < .5*strength
        palette = torch.where(with_palette, torch.randint(0, PALETTES, (b,), generator=self.gen), -1)
        own &= self.rand(b) < .7
        palette[own] = -1
        grid = self.warp(b, strength)
        line, shape = (layer[i, None].float() for layer in (self.alpha, self.fill))
        line = self.strokes(line/255)
        colours = torch.zeros(b, 3, SIDE, SIDE)
        if own.any(): colours[own] = self.rgb[i[own].clamp(max=self.n_icons - 1)].permute(0, 3, 1, 2).float()/255
        layers = torch.cat([line, shape, colours], 1)
        warped = F.grid_sample(layers, grid, align_corners=False, padding_mode="zeros").clamp(0, 1)
        return warped[:, :1], warped[:, 1:2], warped[:, 2:], own, palette

    def strokes(self, line):
        "Bolder, thinner, or as drawn."
        k = self.rand(len(line))[:, None, None, None]
        bold, thin = F.max_pool2d(line, 3, 1, 1), -F.max_pool2d(-line, 3, 1, 1)
        return torch.where(k < .25, bold, torch.where(k > .88, .5*thin + .5*line, line))

    def colours(self, label, palette, strength):
        "Background, shape and line (b, 3, rgb)."
        b = len(label)
        colour = self.rand(b, 3, 3)
        easy = self.rand(b) >= strength
        colour[easy] = torch.tensor([1., 1., 0.])[None, :, None]
        white = self.rand(b) < .6
        colour[white, 0] = 1.
        same = self.rand(b) < .35  # the shape left as the background: a line drawing
        colour[same, 1] = colour[same, 0]
        dark = self.rand(b) < .4
        colour[dark, 2] = colour[dark, 2]*.3
        has = palette >= 0
        noise = .12*torch.randn(int(has.sum()), 3, 3, generator=self.gen)
        colour[has] = (self.palettes[label[has], palette[has]] + noise).clamp(0, 1)
        faint = (colour[:, 2] - colour[:, 1]).abs().mean(1) < .18  # a line must be seen on its ground
        ground, line = colour[faint, 1].mean(1, keepdim=True), colour[faint, 2]
        colour[faint, 2] = torch.where(ground > .5, line*.25, 1 - line*.25)
        return colour

    def hide(self, picture, background):
        "Cover a patch of some pictures, in place."
        b = len(picture)
        hidden = self.rand(b) < .25
        if not hidden.any(): return
        y, x = (self.rand(2, b)*48).long()
        side = 8 + (self.rand(b)*12).long()
        for j in hidden.nonzero()[:, 0].tolist():
            picture[j, :, y[j]:y[j] + side[j], x[j]:x[j] + side[j]] = background[j][:, None, None]

    def batch(self, b, strength=1.):
        """`b` pictures (b, 3, 64, 64) in [-1, 1], labels and palettes.
        `strength` from 0 to 1: how far they are from black on white."""
        i = self.pick(b)
        label = self.label[i]
        line, shape, own_colours, own, palette = self.layers(i, strength)
        colour = self.colours(label, palette, strength)
        background, own = colour[:, 0], own[:, None, None, None]
        picture = self.gradient(background)
        picture = picture*(1 - shape) + self.gradient(colour[:, 1])*shape
        ink = torch.where(own, own_colours, self.gradient(colour[:, 2]))
        picture = torch.where(own, background[..., None, None].expand_as(picture), picture)
        picture = picture*(1 - line) + ink*line
        soft = self.rand(b) < .2
        picture[soft] = F.avg_pool2d(F.pad(picture[soft], (1, 1, 1, 1), mode="replicate"), 3, 1)
        self.hide(picture, background)
        picture = picture + .02*torch.randn(picture.shape, generator=self.gen)
        return (picture - .5)/.5, label, palette


def build_optimizer(model, head, lr):
    decay = [p for p in model.parameters() if p.ndim > 1] + [head]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW([dict(params=decay, weight_decay=.05), dict(params=others, weight_decay=0.)], lr=lr)


def set_lr(optimizer, lr, step, t):
    "A warm-up of 500 steps, and a cosine over the minutes, of which the share `t` has passed."
    for group in optimizer.param_groups:
        group["lr"] = lr*min(1, (step + 1)/500)*(.5 + .5*math.cos(math.pi*t)) + 1e-6


def main(a):
    torch.manual_seed(a.seed)
    gen = torch.Generator().manual_seed(a.seed)
    paint = Painter(a.cache, a.icon_share, gen)
    model = bundled_vit(drop_path_rate=a.drop_path).to(memory_format=torch.channels_last)
    head = nn.Parameter(torch.randn(paint.c*PALETTES, model.num_features)*.02)
    optimizer = build_optimizer(model, head, a.lr)
    budget, start, step, images, log, strength, skill = a.minutes*60, time.time(), 0, 0, [], 0., 0.
    while (t := (time.time() - start)/budget) < 1 and step != a.stop:
        set_lr(optimizer, a.lr, step, t)
        x, y, palette = paint.batch(a.batch, strength)
        z = F.normalize(model(x.to(memory_format=torch.channels_last)), dim=1)
        logp = (SCALE*z @ F.normalize(head, dim=1).T).log_softmax(1).view(len(y), paint.c, PALETTES)
        logp = logp[torch.arange(len(y)), y]
        skill = .98*skill + .02*(logp.logsumexp(1) > math.log(.5)).float().mean().item()
        if skill > a.skill: strength = min(1., strength + a.ramp)  # harder pictures once the easy ones are known
        with_palette = logp.gather(1, palette.clamp(min=0)[:, None])[:, 0]
        loss = -torch.where(palette >= 0, with_palette, logp.logsumexp(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.)
        optimizer.step()
        step += 1
        images += a.batch
        if step % 100 == 0:
            line = dict(step=step, minutes=round((time.time() - start)/60, 2), loss=round(loss.item(), 3))
            log.append(line | dict(skill=round(skill, 3), strength=round(strength, 3)))
            print(json.dumps(log[-1]), flush=True)
            if step % 1000 == 0: save(model, a, log, images, paint)
    save(model, a, log, images, paint)


def save(model, a, log, images, paint):
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}, out/"model.part")
    (out/"model.part").replace(out/"model.safetensors")
    about = dict(args=vars(a), images_seen=images, classes=paint.c, icons=paint.c_icons, palettes=PALETTES)
    (out/"pretraining.json").write_text(json.dumps(about | dict(log=log[::10] + log[-1:]), indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default="data/.cache")
    parser.add_argument("--out", default="data/backbone")
    parser.add_argument("--minutes", type=float, default=150., help="over which the learning rate falls to zero")
    parser.add_argument("--stop", type=int, default=12000, help="step after which to end before that; 0: don't")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--icon-share", type=float, default=.85)
    parser.add_argument("--drop-path", type=float, default=.0)
    parser.add_argument("--ramp", type=float, default=7e-4)
    parser.add_argument("--skill", type=float, default=.35)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
