"""The training loop of a conditional GAN: first the critic, then the generator.

Source: the optimizer is that of Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep
Convolutional Generative Adversarial Networks", 2015, section 4; the critic's own rate is the two time-scale
rule of Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, 2017.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from resight.core.console import counted
from resight.core.errors import TrainingError
from resight.training.checkpoints import SAVE_SECONDS, Progress
from resight.training.ema import AveragedWeights
from resight.training.gan import (
    Adversaries,
    GanSettings,
    Reals,
    draw_noise,
    draw_offsets,
    loss_of_critic,
    loss_of_generator,
    shifted,
    verdict,
)
from resight.training.loop import Stopped


def make_optimizer(pair: Adversaries, settings: GanSettings) -> torch.optim.Optimizer:
    """Return one Adam for both: a step changes only the parameters that have a gradient."""
    groups = [
        {"params": pair.generator.parameters(), "lr": settings.lr},
        {"params": pair.critic.parameters(), "lr": settings.critic_lr},
    ]
    return torch.optim.Adam(groups, betas=(settings.beta1, 0.999))


def one_step(
    pair: Adversaries,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    settings: GanSettings,
    step: int,
) -> None:
    """Train the critic, then the generator, on one batch; both see the same generated pictures.

    Generated pictures have the classes of the real ones, so that rare classes stay rare.

    Args:
        pair: both networks, whose sums continue.
        optimizer: see `make_optimizer`.
        images: real, (B, C, S, S) in [-1, 1].
        labels: (B,).
        settings: noise, shift and seed.
        step: counted from the start of the training.
    """
    noise = draw_noise(settings.seed, step, len(images), settings.noise).to(images.device)
    drawn = pair.generator(noise, labels)
    judged = drawn
    if most := round(settings.shift * images.shape[-1]):
        images, judged = (
            shifted(part, draw_offsets(settings.seed, step, len(part), most, name), most)
            for part, name in ((images, "gan/real"), (drawn, "gan/drawn"))
        )
    real, fake = pair.critic(images), pair.critic(judged.detach())
    critic_loss = loss_of_critic(real, fake, labels, settings.condition)
    optimizer.zero_grad()
    critic_loss.backward()
    optimizer.step()

    pair.critic.requires_grad_(requires_grad=False)
    generator_loss = loss_of_generator(pair.critic(judged), labels, settings.condition)
    optimizer.zero_grad()
    generator_loss.backward()
    optimizer.step()
    pair.critic.requires_grad_(requires_grad=True)
    with torch.no_grad():
        wrong = (real[1].argmax(1) != labels).sum()
        believed = ((verdict(part, labels, settings.condition) > 0).sum() for part in (real, fake))
        pair.sums += torch.stack([critic_loss, generator_loss, wrong, *believed])


def fit(
    pair: Adversaries,
    reals: Reals,
    settings: GanSettings,
    optimizer: torch.optim.Optimizer,
    averages: AveragedWeights | None,
    progress: Progress,
    end_epoch: Callable[[], None],
    save: Callable[[], None],
    stop: Callable[[], bool],
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Train from `progress` to the last epoch.

    Args:
        pair: both networks.
        reals: the real pictures.
        settings: the settings.
        optimizer: see `make_optimizer`.
        averages: of the generator's weights, or None.
        progress: is kept up to date; each epoch adds its row to the history.
        end_epoch: called after each epoch.
        save: called to write the full state.
        stop: returns whether training should stop.
        after_step: called after each step.

    Raises:
        Stopped: when `stop` says so, after saving.
        TrainingError: when a loss is not a number.
    """
    pair.train()
    while progress.epoch < settings.epochs:
        started, before, saved = time.perf_counter(), progress.seconds, time.monotonic()
        what, left = f"epoch {progress.epoch + 1}/{settings.epochs}, steps", reals.steps - progress.step
        for images, labels in counted(reals.epoch(progress.epoch, progress.step), what, left):
            step = progress.epoch * reals.steps + progress.step
            one_step(pair, optimizer, images, labels, settings, step)
            if averages:
                averages.update(pair.generator, step)
            progress.step += 1
            progress.seen += len(labels)
            progress.seconds = before + time.perf_counter() - started
            after_step()
            stopping = stop()
            if stopping or time.monotonic() - saved > SAVE_SECONDS:
                require_finite(pair, progress, settings)  # what is saved must be good
                save()
                saved = time.monotonic()
            if stopping:
                raise Stopped
        require_finite(pair, progress, settings)
        progress.history.append(row_of(pair, progress, reals.steps, settings.condition))
        end_epoch()
        progress.next_epoch()
        pair.sums.zero_()
        save()


def row_of(pair: Adversaries, progress: Progress, steps: int, condition: str) -> dict[str, float]:
    """Return an epoch's figures: mean losses, and shares in percent; a projection names no classes."""
    losses = [value / max(progress.step, 1) for value in pair.sums[:2].tolist()]
    wrong, real, drawn = (100 * value / max(progress.seen, 1) for value in pair.sums[2:].tolist())
    row = {
        "epoch": progress.epoch + 1,
        "step": (progress.epoch + 1) * steps,
        "critic_loss": losses[0],
        "generator_loss": losses[1],
        "real_taken_for_real": real,
        "drawn_taken_for_real": drawn,
        "seconds": progress.seconds,
        "images_per_second": progress.seen / max(progress.seconds, 1e-9),
    }
    return row | {"class_error": wrong} if condition == "acgan" else row


def require_finite(pair: Adversaries, progress: Progress, settings: GanSettings) -> None:
    """Stop a training that has diverged.

    Raises:
        TrainingError: if a loss is not a finite number.
    """
    loss = float(pair.sums[:2].sum())
    if math.isfinite(loss):
        return
    raise TrainingError(
        f"a loss became {loss} in epoch {progress.epoch + 1}, step {progress.step}, at learning rate "
        f"{settings.lr:.4g}; the last good state is kept. Likely cure: start again with --set "
        f"lr={settings.lr / 3:.2g} --set critic_lr={settings.critic_lr / 3:.2g}"
    )
