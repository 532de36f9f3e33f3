"The attention that is shown is the model's own: by hand for one block, and for every kind of backbone."
import base64
import json
import re

import numpy as np
import pytest
import timm
import torch
from matplotlib.text import Text
from PIL import Image
from timm.models.vision_transformer import Block
from torch.testing import assert_close

from vptsp.analysis.attention import attention_arrays, attention_maps, attention_weights, block_prompts
from vptsp.backbone import bundled_vit
from vptsp.config import Config
from vptsp.model import build_model
from vptsp.runs import Run
from vptsp.widgets.attention import AttentionViewer

SMALL = dict(pretrained=False, num_classes=0, img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3)
NAMES = ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2",
         "vit_base_patch32_clip_224", "vit_mediumd_patch16_reg4_gap_256", "vit_base_patch16_siglip_224",
         "vit_base_patch16_xp_224", "vit_pwee_patch16_reg1_gap_256", "vit_dpwee_patch16_reg1_gap_256",
         "vit_base_patch16_18x2_224"]

def make(name):
    "One class token, two, none, register tokens, another norm or none first, a convolutional stem, normalised queries."
    if name == "bundled": return bundled_vit()
    if name == "normed queries and keys":
        return timm.create_model("vit_tiny_patch16_224", qk_norm=True, scale_attn_norm=True, **SMALL)
    if name == "vit_tiny_r_s16_p8_224":
        return timm.create_model(name, pretrained=False, num_classes=0, img_size=64, depth=2, embed_dim=48, num_heads=3)
    return timm.create_model(name, **SMALL)

def family(vit, **changes):
    "A model with prompts, its weights larger than at their start so that attention is uneven, and two images."
    torch.manual_seed(0)
    side = vit.patch_embed.img_size[0]
    cfg = Config.load("cub200_small", batch_size=4, embed_dim=8, num_prompts=5, num_class_prompts=2,
                      prompt_block_step=1, image_size=side, resize=side,
                      pool="token" if vit.has_class_token else "avg", **changes)
    model = build_model(cfg, 4, backbone=vit)
    for p in model.parameters(): p.data.mul_(1.5)
    return model, torch.randn(2, 3, *vit.patch_embed.img_size)

def test_weights_of_a_block_by_hand():
    torch.manual_seed(0)
    block = Block(12, 2, qkv_bias=True, qk_norm=True, init_values=.1).eval()
    x, prompts = torch.randn(1, 5, 12), torch.randn(3, 12)
    with torch.no_grad():
        w, out = attention_weights(block, x, prompts)
        z = block.norm1(torch.cat([prompts, x[0]]))                       # 8 positions: 3 prompts, 5 tokens
        q, k, v = block.attn.qkv(z).chunk(3, dim=1)
        mixed = torch.zeros(8, 12)
        for head in range(2):
            at = slice(6*head, 6*head + 6)
            for i in range(8):
                query = block.attn.q_norm(q[i, at])
                scores = torch.stack([query @ block.attn.k_norm(k[j, at])/6**.5 for j in range(8)])
                share = scores.exp()/scores.exp().sum()
                assert_close(w[0, head, i], share)
                mixed[i, at] = sum(share[j]*v[j, at] for j in range(8))
        x1 = x[0] + block.ls1(block.attn.proj(mixed[3:]))
        assert_close(out[0], x1 + block.ls2(block.mlp(block.norm2(x1))))  # and these weights make the block's output

@pytest.mark.parametrize("name", [*NAMES, "normed queries and keys", "vit_tiny_r_s16_p8_224", "bundled"])
def test_every_backbone(name):
    vit = make(name)
    model, images = family(vit)
    for which in ("shared", "none", 3):
        maps, x = attention_maps(model, images, which), model.backbone.tokens(images)
        prompts = block_prompts(model, which)
        for m, block, p in zip(maps, vit.blocks, prompts):
            for w in (m.tokens, m.prompts): assert_close(w.sum(-1), torch.ones(w.shape[:-1]))
            with torch.no_grad(): assert_close(attention_weights(block, x, p)[1], m.out, atol=1e-5, rtol=1e-4)
            x = m.out
        final, prefix = vit.norm(x), vit.num_prefix_tokens
        pooled = final[:, :model.backbone.num_pooled]
        if model.cfg.pool == "avg": pooled = final[:, prefix:].mean(1, keepdim=True)
        with torch.no_grad():
            assert_close(vit.fc_norm(pooled), model.backbone(images, prompts), atol=1e-5, rtol=1e-4)
    arrays = attention_arrays(model, images, [0])
    n = arrays["grid"][0]*arrays["grid"][1]
    for p in arrays["passes"].values():
        assert np.allclose(p["shares"].sum(-1), 1, atol=1e-5)
        assert p["reads"].shape[-1] == n and p["takes"][0].shape == p["looks"][0].shape

def test_unfused_with_adapters_and_a_bank():
    "The same with the fused function switched off, in training mode, with adapters, and a bank whose rows stay."
    vit = timm.create_model("vit_tiny_patch16_224", **SMALL)
    model, images = family(vit, adapter="parallel", adapter_num_blocks=1, bank=True)
    model.train()
    model.class_prompts(torch.tensor([1, 2]))
    classes, rows = model.class_prompts.classes.clone(), model.class_prompts.rows["0"].detach().clone()
    fused = attention_maps(model, images, 3)
    assert torch.equal(model.class_prompts.classes, classes) and model.training
    assert_close(model.class_prompts.rows["0"].detach(), rows)
    for b in model.backbone.vit.blocks: b.attn.fused_attn = False
    for a, b in zip(fused, attention_maps(model, images, 3)):
        assert_close(a.tokens, b.tokens)
        assert_close(a.out, b.out)
    model.eval()
    with torch.no_grad():
        features = model.backbone.vit.norm(fused[-1].out)[:, :1]
        assert_close(features, model.backbone(images, block_prompts(model, 3)), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="class 4 is none of the 4"): attention_maps(model, images, 4)

def test_arrays_by_hand():
    "Each number of the arrays is a weight of the maps."
    model, images = family(make("bundled"))
    arrays, m = attention_arrays(model, images)["passes"]["shared prompts"], attention_maps(model, images)[2]
    p = m.prompts.shape[2]
    for head in range(4):
        row = m.tokens[1, head, 0].tolist()
        assert arrays["to"][2][1, head].tolist() == row[:p] and arrays["reads"][2, 1, head].tolist() == row[p + 1:]
        shares = torch.tensor([sum(row[:p]), row[p], sum(row[p + 1:])])
        assert_close(torch.tensor(arrays["shares"][2, 1, head]), shares)
        evenness = -sum(v*np.log(v) for v in row)/np.log(len(row))
        assert_close(float(arrays["entropy"][2, 1, head]), evenness, atol=1e-5, rtol=1e-5)
        for j in range(p):
            for i in range(16):
                assert arrays["takes"][2][1, head, j, i] == m.tokens[1, head, 1 + i, j].item()
                assert arrays["looks"][2][1, head, j, i] == m.prompts[1, head, j, p + 1 + i].item()

def viewer_of(**images):
    model, _ = family(make("bundled"))
    model.classes = ["a", "b", "c", "d"]
    return AttentionViewer(model, images, classes=[0, "b"])

def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8))

def from_bytes(viewer, image, prompt):
    "The browser's arithmetic: what patches take from a prompt."
    about, n = viewer._about, viewer.map().size
    rows, exact = about["maps"]
    place = about["passes"][viewer.prompts]
    p = place["prompts"][viewer.block]
    top = np.frombuffer(viewer._maps, np.float32, rows)
    maps = np.frombuffer(viewer._maps, np.uint8, offset=4*(rows + exact*n)).reshape(-1, n)
    row = place["blocks"][viewer.block] + (image*about["heads"] + viewer.head)*2*p + prompt
    return (maps[row]*top[row]/255).reshape(about["grid"])

def test_bytes_of_the_viewer():
    "A number that the browser shows is off by less than 1/500 of its map's largest."
    viewer = viewer_of(one=picture(0), two=picture(1))
    for name, place in viewer._about["passes"].items():
        for block, prompts in enumerate(place["prompts"]):
            for head in range(4):
                for prompt in range(prompts):
                    viewer.prompts, viewer.block, viewer.head, viewer.prompt = name, block, head, prompt
                    true = viewer.map(1, "takes")
                    assert np.abs(from_bytes(viewer, 1, prompt) - true).max() <= true.max()/500

def test_maps_add_up():
    viewer = viewer_of(one=picture(0))
    viewer.prompts, viewer.block = "shared prompts", 1
    whole, total = viewer.map(show="takes"), 0
    for prompt in range(viewer._about["passes"]["shared prompts"]["prompts"][1]):
        viewer.prompt = prompt
        total = total + viewer.map(show="takes")
    assert np.allclose(whole, total, atol=1e-6)
    with pytest.raises(ValueError, match="class 'dragon' is no training class"):
        AttentionViewer(family(make("bundled"))[0], picture(0), classes=["dragon"])

def test_saved_page_holds_names_as_text(tmp_path):
    name = "</script><img src=x onerror=alert(1)> $x_{"
    viewer = viewer_of(**{name: picture(0)})
    viewer.show, viewer.prompt = "looks", 2
    page = viewer.save(tmp_path/"viewer.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2 and "<img src=x" not in page
    assert not re.search(r'(src|href)="(?!data:)|https?://|@import|fetch', page)
    state = json.loads(re.search(r'id="state">(.*?)</script>', page, re.S)[1])
    assert base64.b64decode(state["_maps"]["bytes"]) == viewer._maps and state["show"] == "looks"
    assert state["_about"]["images"][0]["name"] == name

def test_what_a_cell_keeps():
    viewer = viewer_of(one=picture(0), two=picture(1))
    data, about = viewer._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert about["image/png"]["alt"] == data["text/plain"] == viewer.alt

def test_a_viewer_opens_where_most_can_be_seen():
    viewer = viewer_of(one=picture(0), two=picture(1))
    assert len(viewer.payload["passes"]["shared prompts"]["reads"]) == 6 and viewer.block >= 4
    best, reads = (-1, None), viewer.payload["passes"][viewer.prompts]["reads"]
    for block in (4, 5):
        for head in range(4):
            found = np.mean([slow_structure(reads[block, i, head].reshape(4, 4)) for i in (0, 1)])
            best = max(best, (found, (block, head)))
    assert (viewer.block, viewer.head) == best[1]
    assert f"block {viewer.block}, head {viewer.head}" in viewer.alt

def slow_structure(m):
    "Correlation of each patch with the ones below and to the right."
    mean, sums = m.mean(), []
    for i in range(4):
        for j in range(4):
            if i < 3: sums.append((m[i, j] - mean)*(m[i + 1, j] - mean))
            if j < 3: sums.append((m[i, j] - mean)*(m[i, j + 1] - mean))
    return np.mean(sums)/m.var()

def test_a_viewer_takes_a_run():
    model, _ = family(make("bundled"))
    model.classes = None
    run = Run(model.cfg, model, {}, [])
    of_run, of_model = AttentionViewer(run, picture(0)), AttentionViewer(model, picture(0))
    assert of_run._maps == of_model._maps and (of_run.block, of_run.head) == (of_model.block, of_model.head)

def test_what_rollout_shows_has_no_head():
    viewer = viewer_of(one=picture(0))
    viewer.show, viewer.block, viewer.head = "rollout", 1, 2
    mean = viewer.payload["passes"][viewer.prompts]["shares"][1, 0].mean(0)
    assert np.allclose(list(viewer.shares().values()), mean) and "mean of heads" in viewer.alt

def test_words_stay_in_the_picture():
    viewer = viewer_of(**{"a name that is a good deal longer than its picture is high": picture(0), "b": picture(1)})
    figure = viewer._figure()
    figure.draw_without_rendering()
    labels = [ax.yaxis.label.get_window_extent() for ax in figure.axes if ax.get_ylabel() and "%" in ax.get_ylabel()]
    assert len(labels) == 2 and not labels[0].overlaps(labels[1])
    boxes = [text.get_window_extent() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    width, height = figure.bbox.width, figure.bbox.height
    assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= width and b.y1 <= height for b in boxes)

def test_a_model_without_prompts_has_fewer_views():
    model = build_model(Config.load("emoji", semantic_proxies="none", num_prompts=0), 2)
    viewer = AttentionViewer(model, picture(0))
    assert list(viewer._about["shows"]) == ["without", "rollout"]
    assert viewer.static().data[:4] == b"\x89PNG"
    assert "prompts and" not in viewer.alt
