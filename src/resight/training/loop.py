"""The training loop: forward, loss, backward, step; everything else is passed in."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.core import seeds
from resight.core.device import autocast
from resight.core.errors import TrainingError
from resight.data.batches import Batches
from resight.models.classifier import Classifier
from resight.training.checkpoints import Progress
from resight.training.ema import AveragedWeights
from resight.training.recipe import Recipe
from resight.training.schedules import learning_rate


@dataclass
class Actions:
    """What happens around the steps.

    Attributes:
        begin_epoch: called with (epoch, steps done); returns what to call now and then with
            (steps done, images a second, loss).
        end_epoch: called with the weights to judge, after each epoch.
        save: called to write the full state.
        stop: whether the training is asked to stop.
        save_seconds: time between two saves inside an epoch.
    """

    begin_epoch: Callable[[int, int], Callable[[int, float, float], None]]
    end_epoch: Callable[[dict[str, Tensor], float], None]
    save: Callable[[], None]
    stop: Callable[[], bool]
    save_seconds: float = 300.0


class Stopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """The training was asked to stop and has saved its state."""


def make_optimizer(model: Classifier, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer; each group's rate is the schedule's times its `factor`.

    Parameters share a group if the network wants the same rate and decay of them (`Classifier.learning`)
    and they are on the same side of the last layer.
    """
    fresh = (*model.last_layers(), *(["regressor"] if model.guided_layer else []))
    head = {id(p) for name in fresh for p in model.get_submodule(name).parameters()}
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate, decay = model.learning(name)
        rate *= 1.0 if id(parameter) in head else recipe.trunk_lr
        members.setdefault((rate, decay), []).append(parameter)
    groups = [
        {"params": parameters, "factor": rate, "weight_decay": decay * recipe.weight_decay}
        for (rate, decay), parameters in members.items()
    ]
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=recipe.lr, alpha=0.9, momentum=recipe.momentum)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.optimizer == "nesterov" and recipe.momentum > 0,
        fused=next(model.parameters()).device.type in ("cpu", "cuda"),
    )


def fit(
    model: Classifier,
    objective: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]],
    batches: Batches,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    averages: AveragedWeights | None,
    progress: Progress,
    precision: torch.dtype,
    actions: Actions,
) -> None:
    """Train until the recipe's last epoch, from where `progress` stands.

    Args:
        model: the network, whose weights are saved and averaged.
        objective: (images, labels, share done) to loss and logits.
        batches: the training pictures.
        recipe: the settings.
        optimizer: see `make_optimizer`.
        averages: of the weights, or None.
        progress: is kept up to date.
        precision: of the products.
        actions: what happens around the steps.

    Raises:
        Stopped: when `actions.stop` says so, after saving.
        TrainingError: when the loss is not a number.
    """
    device = next(model.parameters()).device
    steps = recipe.epochs * batches.steps
    while progress.epoch < recipe.epochs:
        model.train()
        after_step = actions.begin_epoch(progress.epoch, progress.step)
        started, before, saved = time.perf_counter(), progress.seconds, time.perf_counter()
        exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        totals = torch.zeros(2, dtype=exact, device=device)  # loss, wrong
        rate = 0.0
        for batch in batches.epoch(progress.epoch, progress.step):
            step = progress.epoch * batches.steps + progress.step
            rate = learning_rate(recipe, step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            torch.manual_seed(seeds.torch_seed(recipe.seed, step))

            with autocast(device, precision):
                loss, logits = objective(batch.images, batch.labels, step / steps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.constrain()
            if averages:
                averages.update(model, step)

            with torch.no_grad():
                totals[0] += loss
                totals[1] += (logits.argmax(1) != batch.labels).sum()
            progress.step += 1
            progress.seen += len(batch.labels)
            progress.leave_out(batch.faults)
            now = time.perf_counter()
            progress.seconds = before + now - started
            # Reading the loss stalls a GPU, so there it is looked at now and then.
            if device.type == "cpu" or progress.step % 50 == 0 or progress.step == batches.steps:
                require_finite(loss.item(), progress, rate)
                after_step(progress.step, progress.seen / progress.seconds, loss.item())
            if actions.stop() or now - saved > actions.save_seconds:
                _settle(progress, totals)
                require_finite(progress.loss_sum, progress, rate)  # what is saved must be good
                actions.save()
                saved = time.perf_counter()
                if actions.stop():
                    raise Stopped
        _settle(progress, totals)
        require_finite(progress.loss_sum, progress, rate)
        actions.end_epoch(averages.state if averages else model.state_dict(), rate)
        progress.next_epoch()
        actions.save()


def _settle(progress: Progress, totals: Tensor) -> None:
    """Move the totals on the device into the progress."""
    loss, wrong = totals.tolist()
    progress.loss_sum += loss
    progress.wrong += int(wrong)
    totals.zero_()


def require_finite(loss: float, progress: Progress, rate: float) -> None:
    """Stop a training whose loss is not a number.

    Raises:
        TrainingError: with epoch, step, learning rate and the likely cure.
    """
    if math.isfinite(loss):
        return
    raise TrainingError(
        f"the loss became {loss} in epoch {progress.epoch + 1}, step {progress.step}, at learning rate "
        f"{rate:.4g}; the last good state is kept. Likely cure: start anew with --set lr={rate / 3:.2g}, or "
        "--set precision=fp32 if it was bf16"
    )
