from functools import partial
import torch
from torch import nn
from timm.layers import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem
def bundled_vit(**kw):
    stem = ConvStem(depth=3, channels=(64, 128, 192), kernel_size=(4, 3, 3), stride=(4, 2, 2), padding=(0, 1, 1), act_layer=nn.GELU)
    return VisionTransformer(img_size=64, patch_size=1, embed_dim=192, depth=6, num_heads=6, num_classes=0, embed_layer=partial(HybridEmbed, backbone=stem, proj=False), **kw)
