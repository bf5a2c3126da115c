"""Maps of transformers from their attention: attention rollout and Chefer's relevance.

A^(b) = softmax(Q K' / sqrt(d)) is the attention matrix of block b, (heads, N, N), N tokens: row n holds the
share of each token in what token n becomes. It is recorded in the pass itself, wherever the network computes
it: `scaled_dot_product_attention`, `nn.MultiheadAttention`, or a softmax over square matrices.

Both methods give R (N, N), how much of each token of the picture is in each token after the last block. Read
are the rows of the tokens that the head reads: the class token, or all tokens where they are averaged.
Which these are is seen from the gradient of the score: it is zero at the rows of the others.

One attention a block, over all tokens, is assumed. Attention within windows (Swin) or with a mask is refused.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from resight.core.errors import UsageError
from resight.models.cost import evaluating
from resight.saliency.capture import Layout, layout_of
from resight.saliency.look import Look, wide

MASKED = "its attention has a mask, so its matrices are not those of the papers: use grad_cam"


def attention_rollout(look: Look) -> Tensor:
    """Return the attention rollout, (B, T, h, w), h w the grid of tokens; the same for all targets.

    Source: Abnar and Zuidema 2020, "Quantifying attention flow in transformers", section 3: R = A~^(L) ...
    A~^(1), A~ = (mean over heads of A + I) / 2, I for the residual connection. The map is the class token's
    row (see the module), without the columns of tokens that are no part of the picture.

    Raises:
        UsageError: if the network has no attention over all tokens.
    """
    seen = _attended(look, "attention_rollout")
    unit = seen.unit
    rolled = unit
    for matrix in seen.matrices:
        rolled = (wide(matrix.detach()).mean(1) + unit) / 2 @ rolled
    rows = seen.read(rolled)
    return rows[:, None].expand(-1, seen.scores.shape[1], -1, -1)


def chefer_relevance(look: Look) -> Tensor:
    """Return the relevance of each token for each target, (B, T, h, w), h w the grid of tokens, 0 or more.

    Source: Chefer, Gur and Wolf 2021, "Generic attention-model explainability for interpreting bi-modal and
    encoder-decoder transformers" (ICCV), section 3, equations 5 and 6, for self-attention: R = I, then for
    each block R = R + Abar R, Abar = mean over heads of (dy^c/dA A)^+. It is the authors' own simplification
    of their "Transformer interpretability beyond attention visualization" (CVPR 2021): there, relevance
    propagated layer by layer takes the place of A, which needs a rule for every kind of layer.

    Deviation: I is subtracted from R at the end. It does not show in the class token's row; where all tokens
    are averaged, it would add a constant.

    Raises:
        UsageError: if the network has no attention over all tokens.
    """
    seen = _attended(look, "chefer_relevance")
    maps = []
    for target in range(seen.scores.shape[1]):
        relevance = seen.unit
        for matrix, slope in zip(seen.matrices, seen.slopes(target), strict=True):
            rule = (wide(slope) * wide(matrix.detach())).clamp(min=0).mean(1)
            relevance = relevance + rule @ relevance
        maps.append(seen.read(relevance - seen.unit))
    return torch.stack(maps, 1)


@dataclass(frozen=True)
class _Attended:
    """A pass of a transformer.

    Attributes:
        matrices: of each block, (B, heads, N, N), with a graph to the scores.
        scores: (B, T).
        layout: how the tokens hold the picture.
        rows: the share of each token in what the head reads, (B, N).
    """

    matrices: list[Tensor]
    scores: Tensor
    layout: Layout
    rows: Tensor

    @property
    def unit(self) -> Tensor:
        """I, (N, N)."""
        return torch.eye(self.rows.shape[1], device=self.rows.device, dtype=self.rows.dtype)

    def slopes(self, target: int) -> list[Tensor]:
        """Return the gradient of a target's scores at each matrix."""
        return _slopes(self.scores[:, target], self.matrices)

    def read(self, table: Tensor) -> Tensor:
        """Return the map (B, h, w) of R (B, N, N)."""
        tokens = torch.einsum("bn,bnm->bm", self.rows, table)
        return tokens[:, self.layout.prefix :].unflatten(1, (self.layout.height, self.layout.width))


def _slopes(score: Tensor, at: list[Tensor]) -> list[Tensor]:
    if not score.requires_grad:
        raise UsageError("the target has no gradient: give a score that can be differentiated")
    found = torch.autograd.grad(score.sum(), at, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(own) if slope is None else slope for own, slope in zip(at, found, strict=True)]


def _attended(look: Look, method: str) -> _Attended:
    """Run a network once and record its attention.

    Raises:
        UsageError: if it has none, or none over all tokens, or the scores do not depend on it.
    """
    with torch.enable_grad(), evaluating(look.model), Recorder(method) as recorder:
        scores = look.question.scores(look.model(look.images))
    matrices = recorder.matrices
    if not matrices:
        raise UsageError(
            f"{method} reads the attention of a transformer, and none was met in this network: use grad_cam"
        )
    shape, size = matrices[0].shape, (look.images.shape[2], look.images.shape[3])
    layout = layout_of(torch.empty(1, shape[-1], 1), size)
    if layout is None or shape[0] != len(look.images) or any(m.shape[-1] != shape[-1] for m in matrices):
        raise UsageError(
            f"{method} needs attention between all tokens of the picture in every block, and this network "
            "attends within windows or changes its tokens: use grad_cam"
        )
    slope = wide(_slopes(scores[:, 0], matrices[-1:])[0])
    reads = slope.abs().amax((1, 3)).gt(0).to(slope.dtype)  # (B, N)
    if not reads.any(1).all():
        raise UsageError(f"{method}: the target does not depend on the last attention of this network")
    return _Attended(matrices, scores, layout, reads / reads.sum(1, keepdim=True))


class Recorder(TorchFunctionMode):
    """Record the matrices of self-attention inside the context, of the calling thread; the network is kept.

    Args:
        method: named in errors.

    Raises:
        UsageError: for self-attention with a mask.
    """

    SOFTMAX: tuple[Callable[..., Any], ...] = (F.softmax, torch.softmax, Tensor.softmax)

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method
        self.matrices: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._fused(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            given = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs).arguments
            return self._module(given) if given["key"] is given["query"] else func(*args, **kwargs)
        found = func(*args, **kwargs)
        if func not in self.SOFTMAX or found.ndim != 4 or found.shape[2] != found.shape[3]:
            return found
        along = kwargs.get("dim", args[1] if len(args) > 1 else None)
        return self._kept(found) if along in (-1, 3) else found

    def _kept(self, matrix: Tensor) -> Tensor:
        matrix = matrix if matrix.requires_grad else matrix.detach().requires_grad_()
        self.matrices.append(matrix)
        return matrix

    def _fused(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, **more: Any,
    ) -> Tensor:  # fmt: skip
        if query.ndim != 4 or query.shape[2] != key.shape[2]:  # pooling by attention: no block of the trunk
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **more
            )
        if attn_mask is not None or is_causal or more.get("enable_gqa"):
            raise UsageError(f"{self.method}: {MASKED}")
        factor = query.shape[3] ** -0.5 if scale is None else scale
        return self._kept((query * factor @ key.transpose(2, 3)).softmax(3)) @ value

    def _module(self, given: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Compute the self-attention of `nn.MultiheadAttention`, whose own path keeps no matrix."""
        unusual = ("attn_mask", "key_padding_mask", "bias_k", "bias_v", "static_k", "static_v")
        flags = ("use_separate_proj_weight", "add_zero_attn")
        if any(given.get(name) is not None for name in unusual) or any(given.get(name) for name in flags):
            raise UsageError(f"{self.method}: {MASKED}")
        parts = F.linear(given["query"], given["in_proj_weight"], given["in_proj_bias"]).chunk(3, -1)
        query, key, value = (p.unflatten(-1, (given["num_heads"], -1)).permute(1, 2, 0, 3) for p in parts)
        mixed = self._fused(query, key, value).permute(2, 0, 1, 3).flatten(2)
        answer = F.linear(mixed, given["out_proj_weight"], given["out_proj_bias"])
        shown = self.matrices[-1] if given.get("need_weights", True) else None
        if shown is not None and given.get("average_attn_weights", True):
            shown = shown.mean(1)
        return answer, shown
