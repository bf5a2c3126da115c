"""Score-CAM: a channel's weight is the network's score when only its region is shown. No gradient.

Source: Wang et al. 2020, "Score-CAM: score-weighted visual explanations for convolutional neural networks",
algorithm 1: H^k = norm(up(A^k)), C_k = f^c(x H^k) - f^c(x_b), x_b = 0, alpha = softmax_k(C), L = ReLU(sum_k
alpha_k A^k).

Zero means zero after normalization: the mean colour. The masked pictures do not depend on the class, so all
classes are scored in one sweep. A channel that is the same everywhere has no region; skipping it is exact.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from resight.core.console import counted
from resight.core.errors import UsageError
from resight.geometry import heatmaps
from resight.saliency.grad_cam import combine
from resight.saliency.look import Look

WEIGHTINGS = ("softmax_logit", "probability", "increase")
AT_ONCE = 8 * 224 * 224
"""Pixels per pass that keep a CPU busy."""


def score_cam(
    look: Look,
    weighting: str = "softmax_logit",
    reduced: int = 0,
    batch: int = 0,
    precision: str = "fp32",
) -> Tensor:
    """Return sum_k alpha_k A^k before its ReLU, (B, T, h, w).

    Args:
        look: the pass.
        weighting: "softmax_logit": the softmax over channels of the increase of the logit (algorithm 1);
            "probability": the probability itself (the authors' released code); "increase": the increase of
            the probability (the paper's definition 3, its first version).
        reduced: if not 0, score only this many channels (two or more), those whose regions differ most, and
            predict the others' scores from the similarity of their regions. The error of such a prediction,
            measured by leaving out each scored channel, is in the facts as `score_error`, in standard
            deviations.
        batch: pictures a pass, which bounds the memory; 0 means 32, and on a CPU down to 8 for large
            pictures, where larger batches are no faster.
        precision: "fp32", or "bf16" for the passes.

    Raises:
        UsageError: for an unknown weighting, or `reduced=1`.
    """
    if weighting not in WEIGHTINGS:
        raise UsageError(f"weighting {weighting!r}: must be one of {', '.join(WEIGHTINGS)}")
    if reduced == 1:
        raise UsageError("reduced=1: one channel cannot stand for the others; give 2 or more, or 0 for all")
    probable = weighting != "softmax_logit" and look.question.function is None
    maps = look.activation
    batch = batch or pictures_at_once(look.images)
    rows, errors, forwards = [], [], 0
    for image, own in enumerate(counted(maps, "Score-CAM, pictures")):
        live = (own.amax((1, 2)) > own.amin((1, 2))).nonzero()[:, 0]
        chosen = _spread(own[live], reduced) if 0 < reduced < len(live) else None
        shown = live if chosen is None else live[chosen]
        scores = torch.cat(
            [
                maps.new_empty(0, look.scores.shape[1]),
                *look.answer(_masked(look, image, shown, batch), probability=probable, precision=precision),
            ]
        )
        forwards += len(shown)
        if chosen is not None:
            scores, error = _predict(_regions(own[live]), chosen, scores)
            errors.append(error)
        rows.append(_weights(scores, live, len(own), weighting, _baseline(look, image, probable)))
    look.facts["passes"] = forwards
    if errors:
        look.facts["score_error"] = sum(errors) / len(errors)
    return combine(torch.stack(rows)[..., None, None], maps)


def pictures_at_once(images: Tensor) -> int:
    """Return how many pictures a pass takes by default; see `score_cam`."""
    enough = AT_ONCE // (images.shape[2] * images.shape[3])
    return 32 if images.device.type != "cpu" else min(32, max(8, enough))


def _masked(look: Look, image: int, channels: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one image, masked by the regions of channels, a batch at a time."""
    height, width = look.images.shape[2:]
    for part in channels.split(batch):
        region = heatmaps.normalize(heatmaps.resize(look.activation[image, part], height, width))
        yield (
            look.images[image] * region[:, None].to(look.images.dtype),
            torch.full((len(part),), image, device=look.images.device),
        )


def _baseline(look: Look, image: int, probable: bool) -> Tensor:
    blank = torch.zeros_like(look.images[image : image + 1])
    owner = torch.tensor([image], device=blank.device)
    return next(iter(look.answer([(blank, owner)], probability=probable)))[0]


def _weights(scores: Tensor, live: Tensor, channels: int, weighting: str, baseline: Tensor) -> Tensor:
    """Return alpha (T, K) from the scores (live, T)."""
    weights = scores.new_zeros(scores.shape[1], channels)
    if weighting == "softmax_logit":
        weights[:, live] = (scores - baseline).softmax(0).T
    elif weighting == "probability":
        weights[:, live] = scores.T
    else:
        weights[:, live] = (scores - baseline).T
    return weights


def _regions(maps: Tensor) -> Tensor:
    """Return the regions of maps (K, h, w) as centred rows (K, h w)."""
    rows = heatmaps.normalize(maps).flatten(1)
    return rows - rows.mean(0)


def _spread(maps: Tensor, count: int) -> Tensor:
    """Choose channels whose regions differ most: each next one is farthest from those chosen."""
    rows = _regions(maps)
    chosen = [int(rows.norm(dim=1).argmax())]
    distance = (rows - rows[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (rows - rows[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen, device=maps.device)


def _predict(rows: Tensor, chosen: Tensor, scores: Tensor) -> tuple[Tensor, float]:
    """Predict all channels' scores from the chosen ones' by kernel ridge regression on their regions.

    Returns:
        Scores (K, T), the chosen ones as measured; and the root mean square error of leave-one-out
        predictions over the standard deviation of the scores.
    """
    own, chosen = scores, chosen.cpu()
    rows, scores = rows.cpu(), scores.cpu()  # in float64, which not every device has
    rows, known = rows.double(), rows[chosen].double()
    scale = torch.cdist(known, known).median().clamp(min=1e-6)
    mean, spread = scores.mean(0), scores.std(0).clamp(min=1e-12)
    wanted = ((scores - mean) / spread).double()
    best: tuple[float, Tensor] | None = None
    for width in (0.5, 1.0, 2.0, 4.0):
        inner = torch.exp(-((torch.cdist(known, known) / (width * scale)) ** 2) / 2)
        for ridge in (1e-3, 1e-2, 1e-1):
            inverse = torch.linalg.inv(inner + ridge * torch.eye(len(known)))
            left = (inverse @ wanted) / inverse.diagonal()[:, None]  # errors of leaving each one out
            error = float(left.square().mean().sqrt())
            if best is None or error < best[0]:
                outer = torch.exp(-((torch.cdist(rows, known) / (width * scale)) ** 2) / 2)
                best = error, outer @ inverse @ wanted
    assert best is not None
    predicted = best[1].to(scores.dtype) * spread + mean
    predicted[chosen] = scores
    return predicted.to(own.device), best[0]
