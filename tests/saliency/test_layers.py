"""The layer that is read when none is named: the last of the trunk, in networks of many families."""

import pytest
import torch
from torch import nn

from resight import explain
from resight.core.errors import UsageError
from resight.saliency.layers import last_map_layer


def timm_model(name, **options):
    import timm

    model = timm.create_model(name, num_classes=5, **options)
    classifier = model.get_classifier()
    if isinstance(classifier, nn.Linear):
        nn.init.normal_(classifier.weight)  # some begin at zero
    return model


def torchvision_model(name, **options):
    from torchvision import models

    return getattr(models, name)(num_classes=5, **options)


TINY = {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3}
MEAN = {**TINY, "global_pool": "avg", "class_token": False}
SWIN = {"img_size": 64, "window_size": 4, "embed_dim": 24}
CONVNEXT = {"depths": (1, 1, 1, 1), "ls_init_value": 1.0}
PLAIN = {"init_weights": False, "aux_logits": True}
FAMILIES = {
    "vit": (lambda: timm_model("vit_tiny_patch16_224", **TINY), 64, "blocks.1.norm1"),
    "vit, mean": (lambda: timm_model("vit_tiny_patch16_224", **MEAN), 64, "norm"),
    "siglip": (lambda: timm_model("vit_base_patch16_siglip_224", **TINY), 64, "norm"),
    "siglip, normed": (lambda: timm_model("test_vit3", img_size=64), 64, "norm"),
    "class attention": (lambda: timm_model("cait_xxs24_224", **TINY), 64, "blocks"),
    "tokens in tokens": (lambda: timm_model("tnt_s_patch16_224"), 224, "blocks.11.norm_out"),
    "side head that runs": (lambda: timm_model("volo_d1_224", img_size=64), 64, "norm"),
    "swin": (lambda: timm_model("swin_tiny_patch4_window7_224", **SWIN), 64, "norm"),
    "mixer": (lambda: timm_model("mixer_s32_224", img_size=64), 64, "norm"),
    "convnext": (lambda: timm_model("convnext_atto", **CONVNEXT), 64, "norm_pre"),
    "poolformer": (lambda: timm_model("poolformer_s12"), 64, "stages"),
    "inception": (lambda: torchvision_model("inception_v3", **PLAIN), 128, "Mixed_7c"),
    "googlenet": (lambda: torchvision_model("googlenet", **PLAIN), 64, "inception5b"),
    "squeezenet": (lambda: torchvision_model("squeezenet1_1"), 64, "classifier.2"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_layer_of_the_trunk(name):
    build, side, layer = FAMILIES[name]
    model, images = build().eval(), torch.randn(1, 3, side, side)
    assert last_map_layer(model, images) == layer
    result = explain(model, images)
    assert result.layer == layer and result.raw.shape[-1] == result.raw.shape[-2] > 1
    assert result.raw.std() > 0


class Block(nn.Module):
    """A block as transformers' library writes it: queries, keys and values are linear layers of their own."""

    def __init__(self, width=24):
        super().__init__()
        self.layernorm_before, self.layernorm_after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.intermediate, self.out = nn.Linear(width, 48), nn.Linear(48, width)

    def forward(self, hidden_states):
        hidden_states = hidden_states + self.attention(self.layernorm_before(hidden_states))
        more = self.out(self.intermediate(self.layernorm_after(hidden_states)).relu())
        return (hidden_states + more,)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.key_norm, self.value_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x):
        weights = self.query(x) @ self.key_norm(self.key(x)).transpose(1, 2) / 5
        return weights.softmax(-1) @ self.value_norm(self.value(x))


class PoolingHead(nn.Module):
    """A learned question to all tokens, as SigLIP's."""

    def __init__(self, width=24):
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, width))
        self.to_key, self.key_norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 3, batch_first=True)

    def forward(self, *, hidden_state):
        keys = self.key_norm(self.to_key(hidden_state))
        return self.attention(self.probe.expand(len(keys), -1, -1), keys, hidden_state)[0][:, 0]


class Transformer(nn.Module):
    def __init__(self, pooled):
        super().__init__()
        self.embed = nn.Conv2d(3, 24, 8, 8)
        self.cls = None if pooled else nn.Parameter(torch.randn(1, 1, 24))
        self.layer = nn.ModuleList([Block(), Block(), Block()])
        self.head = PoolingHead() if pooled else None
        self.classifier = nn.Linear(24, 5)

    def forward(self, x):
        hidden = self.embed(x).flatten(2).transpose(1, 2)
        if self.cls is not None:
            hidden = torch.cat([self.cls.expand(len(x), -1, -1), hidden], 1)
        for layer in self.layer:
            (hidden,) = layer(hidden)
        return self.classifier(hidden[:, 0] if self.head is None else self.head(hidden_state=hidden))


def test_queries_keys_and_values_are_no_layers_of_the_trunk():
    images = torch.randn(1, 3, 32, 32)
    assert last_map_layer(Transformer(pooled=False), images) == "layer.2.layernorm_before"
    found = last_map_layer(Transformer(pooled=True), images)
    assert found == "layer.2.layernorm_after"  # its blocks return tuples: the last that is a tensor


def test_pictures_that_are_not_square_have_maps_of_their_proportions():
    images = torch.randn(1, 3, 32, 56)
    found = explain(Transformer(pooled=True), images)
    assert found.layer == "layer.2.layernorm_after" and found.raw.shape == (1, 4, 7)
    narrow = torch.randn(1, 3, 96, 320)
    result = explain(torchvision_model("inception_v3", init_weights=False).eval(), narrow)
    assert result.layer == "Mixed_7c" and result.raw.shape == (1, 1, 8)  # unpadded convolutions take a border


class Pool2d(nn.Module):
    """CLIP's: the map as tokens, their mean in front, which asks the others."""

    def __init__(self, width):
        super().__init__()
        self.k_proj, self.v_proj, self.norm = (
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        x = self.norm(torch.cat([x.mean(1, keepdim=True), x], 1))
        return ((x[:, :1] @ self.k_proj(x).transpose(1, 2)).softmax(-1) @ self.v_proj(x))[:, 0]


class Sides(nn.Module):
    """A side head that runs after the trunk, and of which the answer knows nothing."""

    def __init__(self, pool):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 12, 3, 2, 1))
        self.pool, self.fc = pool, nn.Linear(12, 5)
        self.aux = nn.Sequential(nn.Conv2d(12, 5, 1))

    def forward(self, x):
        maps = self.body(x)
        logits = self.fc(self.pool(maps))
        self.side = self.aux(maps).mean((2, 3))
        return logits


@pytest.mark.parametrize("pool", [Pool2d(12), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())])
def test_neither_a_side_head_nor_attention_pooling_is_taken(pool):
    result = explain(Sides(pool).eval(), torch.randn(2, 3, 32, 32))
    assert result.layer == "body" and result.raw.shape == (2, 8, 8) and result.raw.std() > 0


def test_what_the_network_returns_is_no_layer_of_the_trunk():
    """A segmentation network: at its own answer the gradient of a mean is the same everywhere."""
    model = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 1)).eval()
    result = explain(model, torch.randn(1, 3, 32, 32), target=lambda maps: maps[:, 1].mean((1, 2)))
    assert result.layer == "1"


def test_an_untouched_head_is_named_as_the_cause():
    """torchvision's ViT begins with a head of zeros: no gradient reaches anything."""
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    with pytest.raises(UsageError, match=r"gradient of the logits is zero .*head's weights are zero"):
        explain(model, torch.randn(1, 3, 32, 32))
    nn.init.normal_(model.heads.head.weight)
    assert explain(model, torch.randn(1, 3, 32, 32)).raw.std() > 0


def test_a_picture_normalized_in_place_stays_as_it_is():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(self.body(x.sub_(0.5)).mean((2, 3)))

    images = torch.rand(1, 3, 16, 16)
    assert last_map_layer(InPlace(), images.clone()) == "body"
    kept = images.clone()
    last_map_layer(InPlace(), images)
    assert torch.equal(kept, images)
