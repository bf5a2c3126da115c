"""Attention rollout and Chefer's relevance against loops over matrices, on networks of three houses."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from resight import create_model, explain
from resight.core.errors import UsageError

SIDE, PATCH, WIDTH, HEADS = 16, 4, 8, 2
GRID = SIDE // PATCH


class Slow(nn.Module):
    """A transformer whose attention is written out, and kept: the oracle, and a network of no known house."""

    def __init__(self, pool="class", masked=False):
        super().__init__()
        self.pool, self.masked = pool, masked
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.place = nn.Parameter(torch.randn(1, GRID * GRID + (pool == "class"), WIDTH))
        self.qkv = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(3))
        self.out = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)
        self.kept = []

    def attend(self, q, k, v):
        found = (q @ k.transpose(-2, -1) / math.sqrt(WIDTH / HEADS)).softmax(-1)
        self.kept.append(found)
        return found @ v

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        if self.pool == "class":
            tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        tokens, self.kept = tokens + self.place, []
        for qkv, out in zip(self.qkv, self.out, strict=True):
            parts = [p.unflatten(2, (HEADS, -1)).transpose(1, 2) for p in qkv(tokens).chunk(3, 2)]
            tokens = tokens + out(self.attend(*parts).transpose(1, 2).flatten(2))
        tokens = self.norm(tokens)
        return self.head(tokens[:, 0] if self.pool == "class" else tokens.mean(1))


class Fused(Slow):
    """The same through torch's fused function."""

    def attend(self, q, k, v):
        mask = torch.zeros(q.shape[2], q.shape[2], dtype=q.dtype) if self.masked else None
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def made(kind, pool="class"):
    torch.manual_seed(4)
    model, images = kind(pool).double().eval(), torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    return model, images


def by_hand(model, images, target, pool):
    """Both methods as matrices of one picture at a time, in numpy."""
    rolled, relevant = [], []
    for image in images:
        logits = model(image[None])
        slopes = torch.autograd.grad(logits[0, target], model.kept)
        matrices = [m[0].detach().numpy() for m in model.kept]
        count = matrices[0].shape[-1]
        flow, relevance = np.eye(count), np.eye(count)
        for matrix, slope in zip(matrices, slopes, strict=True):
            flow = (0.5 * matrix.mean(0) + 0.5 * np.eye(count)) @ flow
            relevance = relevance + np.maximum(slope[0].numpy() * matrix, 0).mean(0) @ relevance
        relevance -= np.eye(count)
        for rows, into in ((flow, rolled), (relevance, relevant)):
            row = rows[0, 1:] if pool == "class" else rows.mean(0)
            into.append(row.reshape(GRID, GRID))
    return np.stack(rolled), np.stack(relevant)


@pytest.mark.parametrize("pool", ["class", "mean"])
@pytest.mark.parametrize("kind", [Slow, Fused])
def test_they_are_the_papers_matrices(kind, pool):
    model, images = made(kind, pool)
    slow, _ = made(Slow, pool)
    rolled, relevant = by_hand(slow, images, 3, pool)
    found = explain(model, images, "attention_rollout", 3)
    assert found.layer == "attention" and found.raw.min() >= 0
    np.testing.assert_allclose(found.raw, rolled, rtol=1e-9)
    found = explain(model, images, "chefer_relevance", 3)
    np.testing.assert_allclose(found.raw, relevant, atol=1e-9 * relevant.max())
    assert found.maps.shape == (2, SIDE, SIDE) and not model.training


def test_a_row_of_rollout_sums_to_one_with_the_class_token():
    model, images = made(Slow)
    shares = explain(model, images, "attention_rollout").raw.sum((1, 2))
    assert (shares < 1).all() and (shares > 0.2).all()
    mean = explain(*made(Slow, "mean"), "attention_rollout").raw.sum((1, 2))
    torch.testing.assert_close(mean, torch.ones(2, dtype=torch.float64))


def test_targets_differ_in_relevance_and_agree_in_rollout():
    model, images = made(Fused)
    for method, same in (("attention_rollout", True), ("chefer_relevance", False)):
        every = explain(model, images, method, "all").raw
        assert every.shape == (2, 5, GRID, GRID)
        torch.testing.assert_close(every[:, 2], explain(model, images, method, 2).raw)
        assert torch.equal(every[:, 0], every[:, 2]) == same


def block_of_timm():
    import timm

    return timm.create_model(
        "vit_tiny_patch16_224", num_classes=5, img_size=32, depth=2, embed_dim=24, num_heads=3
    )


def block_of_torchvision():
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 16, 2, 3, 24, 32, num_classes=5)


def attention_of(module, tokens):
    """Return softmax(q k' / sqrt(d)) of a layer of timm or torchvision from its weights, (B, heads, N, N)."""
    weight, bias = (
        (module.qkv.weight, module.qkv.bias)
        if hasattr(module, "qkv")
        else (module.in_proj_weight, module.in_proj_bias)
    )
    q, k, _ = (tokens @ weight.T + bias).chunk(3, 2)
    q, k = (part.unflatten(2, (3, -1)).transpose(1, 2) for part in (q, k))
    return (q @ k.transpose(2, 3) / math.sqrt(8)).softmax(-1)


@pytest.mark.parametrize("build", [block_of_timm, block_of_torchvision])
@pytest.mark.parametrize("fused", [True, False])
def test_the_attention_of_timm_and_torchvision_is_recorded(build, fused):
    torch.manual_seed(1)
    model, images = build().eval(), torch.randn(2, 3, 32, 32)
    layers = [m for m in model.modules() if type(m).__name__ in ("Attention", "MultiheadAttention")]
    for layer in layers:
        layer.fused_attn = fused
    inputs = []
    handles = [m.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for m in layers]
    with torch.no_grad():
        expected = model(images)
    for handle in handles:
        handle.remove()
    rolled = torch.eye(5)
    for layer, tokens in zip(layers, inputs, strict=True):
        rolled = (attention_of(layer, tokens).mean(1) + torch.eye(5)) / 2 @ rolled
    head = model.head if hasattr(model, "head") else model.heads.head
    with torch.no_grad():
        head.weight.normal_()
        expected = model(images)
    found = explain(model, images, "attention_rollout", 1)
    torch.testing.assert_close(found.raw, rolled[:, 0, 1:].unflatten(1, (2, 2)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.scores, expected[:, 1], atol=1e-5, rtol=1e-4)
    other = explain(model, images, "chefer_relevance", 1)
    assert other.raw.shape == (2, 2, 2) and other.raw.min() >= 0 and other.raw.max() > 0


def test_a_frozen_network_has_the_same_relevance():
    model, images = made(Fused)
    expected = explain(model, images, "chefer_relevance", 1).raw
    for own in model.parameters():
        own.requires_grad = False
    torch.testing.assert_close(explain(model, images, "chefer_relevance", 1).raw, expected)


def windows():
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], 16, [1, 2], [2, 2], [2, 2], num_classes=5)


class Spread(nn.Module):
    """A softmax over the channels of a square map is no attention."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(nn.functional.softmax(self.body(x), dim=1).mean((2, 3)))


@pytest.mark.parametrize("method", ["attention_rollout", "chefer_relevance"])
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: create_model("resnet20", 5), "none was met in this network: use grad_cam"),
        (Spread, "none was met in this network"),
        (windows, "attends within windows or changes its tokens"),
        (lambda: Fused(masked=True), "its attention has a mask"),
    ],
)
def test_networks_without_such_attention_are_refused(method, build, message):
    side = SIDE if build.__name__ == "<lambda>" else 32
    with pytest.raises(UsageError, match=f"{method}.*{message}"):
        explain(build().eval(), torch.randn(1, 3, side, side), method)


def test_no_layer_can_be_named():
    with pytest.raises(UsageError, match="works on the attention of all blocks, not on a layer"):
        explain(*made(Fused), "attention_rollout", layer="norm")
