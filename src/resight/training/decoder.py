"""Train a decoder to invert a frozen trunk: settings, loss, loop, figures.

Source: Giulivi, Carman and Boracchi, "Perception Visualization: Seeing Through the Eyes of a DNN", BMVC 2021;
the weights of the loss are those of the best model in the authors' released code.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.core.console import counted
from resight.core.device import autocast
from resight.core.errors import PictureError, TrainingError, UsageError
from resight.core.settings import require_choices
from resight.data.batches import Batches
from resight.metrics.accuracy import topk_wrong
from resight.metrics.auc import auc
from resight.metrics.ssim import ssim
from resight.models.cost import evaluating
from resight.models.decoder import Decoder
from resight.models.probabilities import to_probabilities
from resight.saliency.perception import Encoder, latent_residual
from resight.training.recipe import CHOICES

JUDGED_PIXELS = 2**18
"""Pixels of the pictures that are judged at once."""


@dataclass(frozen=True, kw_only=True)
class DecoderSettings:
    """All settings of decoder training, except the run and its data.

    Attributes:
        epochs: passes over the training pictures; the paper's code has 100 to 250.
        batch_size: pictures per step.
        lr: of Adam (0.9, 0.999), constant.
        rec: weight of the mean squared error of the pixels.
        dsim: weight of the distance between the features (DSIM).
        ssim: weight of 1 - SSIM.
        widest: the maximum channels of a stage; 0 for twice the trunk's.
        seed: of the order of the pictures and of the first weights.
        precision: "auto" (bf16 where the hardware multiplies it), "fp32" or "bf16".
        workers: worker processes for data sets that do not fit in memory; -1 for one per core.
        memory_gib: up to this size the decoded training set is kept in memory.
    """

    epochs: int = 20
    batch_size: int = 32
    lr: float = 1e-4
    rec: float = 0.2
    dsim: float = 0.4
    ssim: float = 0.4
    widest: int = 0
    seed: int = 0
    precision: str = "auto"
    workers: int = -1
    memory_gib: float = 2.0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the setting, its value and the range.
        """
        require_choices(self, {"precision": CHOICES["precision"]})
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be 1 or more")
        for name in ("lr", "rec", "dsim", "ssim", "widest", "seed", "memory_gib"):
            if not 0 <= getattr(self, name) < 2**63:
                raise UsageError(f"{name}={getattr(self, name)} must not be negative, and below 2**63")
        if self.rec + self.dsim + self.ssim == 0:
            raise UsageError("rec, dsim and ssim are all 0, so there is nothing to learn")


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Put a network in eval mode without gradients inside the block; all flags are restored."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with evaluating(model):
        try:
            for parameter, _ in flags:
                parameter.requires_grad = False
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad = flag


def objective(
    encoder: Encoder,
    decoder: Decoder,
    pictures: Tensor,
    settings: DecoderSettings,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Return rec * MSE + dsim * DSIM + ssim * (1 - SSIM), the mean over a batch.

    Deviations: DSIM is divided by the variance of the features, so that its weight means the same for every
    trunk; SSIM is averaged over the channels, not summed.

    Args:
        encoder: E.
        decoder: G, with the variance of E's features.
        pictures: (B, 3, S, S) in [0, 1].
        settings: the weights.
        precision: of the networks' products; the loss itself is in float32.
    """
    with autocast(pictures.device, precision):
        with torch.no_grad():
            features = encoder(pictures)
        made = decoder(features)
        again = encoder(made) if settings.dsim else features
    loss = settings.rec * (made - pictures).square().mean()
    if settings.dsim:
        loss = loss + settings.dsim * dsim(features, again, decoder).mean()
    if settings.ssim:
        loss = loss + settings.ssim * (1 - ssim(made, pictures).mean())
    return loss


def dsim(features: Tensor, again: Tensor, decoder: Decoder) -> Tensor:
    """Return the mean of (E(G(E(x))) - E(x))^2 over the variance of all training features, of each image."""
    return (again.float() - features.float()).square().flatten(1).mean(1) / decoder.variance


def feature_variance(encoder: Encoder, images: Tensor) -> Tensor:
    """Return the variance of a trunk's features over pictures and positions, averaged over channels.

    Args:
        encoder: E.
        images: normalized, (N, 3, S, S).
    """
    share = max(1, JUDGED_PIXELS // images.shape[-1] ** 2)
    with torch.no_grad(), evaluating(encoder.model):
        features = torch.cat([encoder.model.forward_features(part).float() for part in images.split(share)])
    return features.transpose(0, 1).flatten(1).var(1, correction=0).mean().clamp(min=1e-12)


def make_optimizer(decoder: Decoder, settings: DecoderSettings) -> torch.optim.Optimizer:
    """Return Adam at its constant rate."""
    return torch.optim.Adam(decoder.parameters(), settings.lr, betas=(0.9, 0.999))


def fit(
    encoder: Encoder,
    decoder: Decoder,
    batches: Batches,
    settings: DecoderSettings,
    precision: torch.dtype,
    end_step: Callable[[int, int], None],
    end_epoch: Callable[[int, float, float, list[PictureError]], None],
    *,
    optimizer: torch.optim.Optimizer | None = None,
    begin: int = 0,
) -> None:
    """Train a decoder; the trunk stays as it is.

    Args:
        encoder: E.
        decoder: G, with the variance of E's features.
        batches: of pictures in [0, 1]; their labels are ignored.
        settings: the settings.
        precision: of the products.
        end_step: called with the epoch (from 1) and the steps done in it.
        end_epoch: called with the epoch (from 1), its mean loss, its seconds, and the pictures left out.
        optimizer: of a resumed training run; by default a new one, see `make_optimizer`.
        begin: the finished epochs.

    Raises:
        TrainingError: when the loss is not a number.
    """
    device = encoder.mean.device
    optimizer = optimizer or make_optimizer(decoder, settings)
    with frozen(encoder.model):
        for epoch in range(begin, settings.epochs):
            decoder.train()
            started, total, faults = time.perf_counter(), torch.zeros((), device=device), []
            what = f"epoch {epoch + 1}/{settings.epochs}, steps"
            for step, batch in enumerate(counted(batches.epoch(epoch), what, batches.order.steps), start=1):
                loss = objective(encoder, decoder, batch.images, settings, precision)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()
                faults += batch.faults
                end_step(epoch + 1, step)
            mean = float(total) / batches.order.steps
            require_finite("the loss", mean, epoch + 1, settings)
            decoder.eval()
            end_epoch(epoch + 1, mean, time.perf_counter() - started, faults)


def require_finite(what: str, value: float, epoch: int, settings: DecoderSettings) -> None:
    """Stop a diverged training run.

    Raises:
        TrainingError: if the value is not a finite number.
    """
    if not math.isfinite(value):
        raise TrainingError(
            f"{what} became {value} in epoch {epoch}, at learning rate {settings.lr:.4g}. Likely cure: start "
            f"again with --set lr={settings.lr / 3:.2g}, or --set precision=fp32 if it was bf16"
        )


@dataclass(frozen=True)
class DecoderFigures:
    """The figures of a decoder.

    Attributes:
        n: pictures.
        wrong: wrong answers of the network among them.
        psnr: mean, in decibels.
        ssim: mean.
        dsim: mean, see `dsim`.
        auc: share of (wrong, right) pairs in which the wrong answer has the larger residual; None with fewer
            than two of a kind.
        auc_interval: its 95 % interval.
        auc_doubt: the same share for 1 - the largest probability.
    """

    n: int
    wrong: int
    psnr: float
    ssim: float
    dsim: float
    auc: float | None
    auc_interval: tuple[float, float] | None
    auc_doubt: float | None


@dataclass(frozen=True)
class Judgement:
    """How well a decoder inverts a trunk on pictures it was not trained on, one number per picture.

    Attributes:
        psnr: in decibels, (N,).
        ssim: (N,).
        dsim: see `dsim`, (N,).
        residuals: see `latent_residual`, (N,).
        wrong: whether the network's answer is wrong, (N,) bool.
        doubts: 1 - the largest probability, (N,).
    """

    psnr: Tensor
    ssim: Tensor
    dsim: Tensor
    residuals: Tensor
    wrong: Tensor
    doubts: Tensor

    def figures(self) -> DecoderFigures:
        """Return means, and how well the residual separates wrong from right answers."""
        areas = [auc(scores[self.wrong], scores[~self.wrong]) for scores in (self.residuals, self.doubts)]
        return DecoderFigures(
            n=len(self.wrong),
            wrong=int(self.wrong.sum()),
            psnr=float(self.psnr.mean()),
            ssim=float(self.ssim.mean()),
            dsim=float(self.dsim.mean()),
            auc=areas[0] and areas[0][0],
            auc_interval=areas[0] and areas[0][1:],
            auc_doubt=areas[1] and areas[1][0],
        )


@torch.no_grad()
def judge(encoder: Encoder, decoder: Decoder, squares: Tensor, labels: Tensor) -> Judgement:
    """Evaluate a decoder on pictures with known classes, in float32.

    Args:
        encoder: E.
        decoder: G.
        squares: (N, S, S, 3) uint8.
        labels: (N,), by the network's classes.
    """
    device, model = encoder.mean.device, encoder.model
    columns: list[list[Tensor]] = [[], [], [], [], [], []]
    share = max(8, JUDGED_PIXELS // squares.shape[1] ** 2)
    with evaluating(model), evaluating(decoder):
        for part, truth in zip(squares.split(share), labels.split(share), strict=True):
            pictures = part.to(device).permute(0, 3, 1, 2).float() / 255
            features = encoder(pictures)
            logits = model.forward_head(features)
            made = decoder(features)
            again = encoder(made)
            error = (made - pictures).square().flatten(1).mean(1).clamp(min=1e-10)
            row = (
                -10 * error.log10(),
                ssim(made, pictures),
                dsim(features, again, decoder),
                latent_residual(features, again),
                topk_wrong(logits, truth.to(device), 1),
                1 - to_probabilities(logits, model.probabilities).amax(1),
            )
            for column, value in zip(columns, row, strict=True):
                column.append(value.cpu())
    return Judgement(*(torch.cat(column) for column in columns))
