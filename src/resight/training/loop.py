"""The training loop: forward, loss, backward, step; everything else is passed in."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resight.core import seeds
from resight.core.device import autocast
from resight.core.distributed import world
from resight.core.errors import TrainingError
from resight.data.batches import Batch, Batches
from resight.models.classifier import Classifier
from resight.training.checkpoints import Progress
from resight.training.ema import AveragedWeights
from resight.training.recipe import Recipe
from resight.training.schedules import learning_rate

LEAST_PART = 2
"""Batch normalization needs two pictures."""
JUDGE_SECONDS = 30.0
"""An epoch that began longer ago is saved before it is judged: a cluster gives so long to end."""


@dataclass
class Actions:
    """What happens around the steps.

    Attributes:
        begin_epoch: called with (epoch, steps done); returns what to call now and then with
            (steps done, images a second, loss).
        end_epoch: called with the weights to judge, after each epoch.
        save: called to write the full state.
        stop: whether the training is asked to stop.
        say: called with a line for the user.
        save_seconds: time between two saves inside an epoch.
    """

    begin_epoch: Callable[[int, int], Callable[[int, float, float], None]]
    end_epoch: Callable[[dict[str, Tensor], float], None]
    save: Callable[[], None]
    stop: Callable[[], bool]
    say: Callable[[str], None]
    save_seconds: float = 300.0


class Stopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """The training was asked to stop and has saved its state."""


def make_optimizer(model: Classifier, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer; each group's rate is the schedule's times its `factor`.

    Parameters share a group if the network wants the same rate and decay of them (`Classifier.learning`)
    and the recipe does (`trunk_lr`).
    """
    stage = trunk_depths(model)
    members: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate, decay = model.learning(name)
        if name in stage:
            first, *divisor = recipe.trunk_lr
            rate *= first / (divisor[0] ** stage[name] if divisor else 1)
        # What begins to learn later has a group of its own: a group's momenta begin together.
        later = bool(recipe.head_first) and name in stage
        members.setdefault((rate, decay, later), []).append(parameter)
    groups = [
        {"params": parameters, "factor": rate, "weight_decay": decay * recipe.weight_decay}
        for (rate, decay, _), parameters in members.items()
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


def trunk_depths(model: Classifier) -> dict[str, int]:
    """Return the parameters below the layers that give logits, each with its distance from the last stage.

    What is in no stage (hidden layers of the head, side heads) counts as the last stage.
    """
    fresh = (*model.last_layers(), *(["regressor"] if model.guided_layer else []))
    head = {id(p) for name in fresh for p in model.get_submodule(name).parameters()}
    stages = list(model.stages.values())
    depth = {id(p): len(stages) - 1 - n for n, stage in enumerate(stages) for p in stage.parameters()}
    return {name: depth.get(id(p), 0) for name, p in model.named_parameters() if id(p) not in head}


def head_epochs(recipe: Recipe) -> int:
    """Return in how many epochs, the first ones, the head learns alone: all but one at most."""
    return min(math.ceil(recipe.head_first * recipe.epochs), recipe.epochs - 1)


def set_mode(model: Classifier, recipe: Recipe, epoch: int) -> None:
    """Put the network into the mode of an epoch: training, with what is held fixed held fixed.

    While the head learns alone, the trunk is in eval mode and has no gradients.
    """
    model.train()
    alone = epoch < head_epochs(recipe) or not recipe.trunk_lr[0]
    trunk = trunk_depths(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not (alone and name in trunk)
    if alone:
        for stage in model.stages.values():
            stage.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and (alone or model.frozen_norm):
            module.eval()


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
        objective: (images, targets, share done) to loss and logits; `DistributedDataParallel` around it where
            several processes share the steps.
        batches: the training pictures of this process.
        recipe: the settings.
        optimizer: see `make_optimizer`.
        averages: of the weights, or None.
        progress: is kept up to date.
        precision: of the products.
        actions: what happens around the steps.

    Raises:
        Stopped: when `actions.stop` says so in any process, after saving.
        TrainingError: when the loss is not a number, or memory runs out and nothing is left to halve.
    """
    device, among = next(model.parameters()).device, world()
    steps = recipe.epochs * batches.order.steps
    run_step = Step(model, objective, optimizer, batches.order.share, precision)
    while progress.epoch < recipe.epochs:
        set_mode(model, recipe, progress.epoch)
        after_step = actions.begin_epoch(progress.epoch, progress.step)
        started, before, saved = time.perf_counter(), progress.seconds, time.perf_counter()
        exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        totals = torch.zeros(3, dtype=exact, device=device)  # loss, wrong, seen
        rate = 0.0
        for batch in batches.epoch(progress.epoch, progress.step):
            step = progress.epoch * batches.order.steps + progress.step
            rate = learning_rate(recipe, step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            found = run_step(batch, step, step / steps, recipe.seed, progress, actions.say)
            optimizer.step()
            model.constrain()
            if averages:
                averages.update(model, step)

            totals[:2] += found
            totals[2] += len(batch.labels)
            progress.step += 1
            progress.leave_out(batch.faults)
            now = time.perf_counter()
            progress.seconds = before + now - started
            # Reading the loss stalls a GPU, so there it is looked at now and then.
            looked = device.type == "cpu" or progress.step % 50 == 0 or progress.step == batches.order.steps
            loss = found[0].item() if looked else 0.0
            wishes = (actions.stop(), now - saved > actions.save_seconds, not math.isfinite(loss))
            stop, save, broken = among.greatest(wishes)
            if broken:
                require_finite(math.nan if math.isfinite(loss) else loss, progress, rate)
            if looked:
                seen = (progress.seen + totals[2].item() * among.processes) / progress.seconds
                after_step(progress.step, seen, loss)
            if stop or save:
                _settle(progress, totals)
                require_finite(progress.loss_sum, progress, rate)  # what is saved must be good
                actions.save()
                saved = time.perf_counter()
                if stop:
                    raise Stopped
        _settle(progress, totals)
        require_finite(progress.loss_sum, progress, rate)
        if time.perf_counter() - saved > JUDGE_SECONDS:
            actions.save()  # whoever is killed while the epoch is judged goes on from here
        actions.end_epoch(averages.state if averages else model.state_dict(), rate)
        progress.next_epoch()
        actions.save()


@dataclass
class Step:
    """Forward and backward of one step, in as many parts as memory asks for.

    Attributes:
        model: the network.
        objective: see `fit`.
        optimizer: whose gradients are filled.
        share: pictures of a full step of this process; the loss is the sum over them divided by it, so that
            parts and processes add up, and a picture that was left out counts nothing.
        precision: of the products.
    """

    model: Classifier
    objective: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    optimizer: torch.optim.Optimizer
    share: int
    precision: torch.dtype

    def __call__(
        self, batch: Batch, step: int, done: float, seed: int, progress: Progress, say: Callable[[str], None]
    ) -> Tensor:
        """Fill the gradients; returns this process's mean loss and how many answers were wrong, (2,).

        Args:
            batch: its pictures.
            step: from 0, of the whole training.
            done: share of the training that is done.
            seed: of the run.
            progress: how many parts are taken; more from now on, if memory ran out.
            say: tells the user of that.

        Raises:
            TrainingError: if memory ran out and nothing is left to halve.
        """
        buffers = list(self.model.buffers())
        before = [buffer.clone() for buffer in buffers]  # statistics move in the forward pass
        while True:
            try:
                return self._try(batch, step, done, seed, progress.parts)
            except RuntimeError as error:
                if not ran_out_of_memory(error):
                    raise
                fault = str(error).splitlines()[0][:200]
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            self.optimizer.zero_grad()
            # Other processes wait inside the step, so one alone cannot take it again.
            if world().processes > 1 or self.share // (2 * progress.parts) < LEAST_PART:
                raise TrainingError(
                    f"out of memory in epoch {progress.epoch + 1}, step {progress.step + 1} ({fault}); the "
                    f"last good state is kept. Go on with --resume --set parts={2 * progress.parts}, or "
                    "start anew with a smaller batch_size or image_size"
                )
            progress.parts *= 2
            say(
                f"out of memory: from here on a step is computed in {progress.parts} parts of "
                f"{-(-self.share // progress.parts)} pictures; batch normalization sees one part at a time"
            )

    def _try(self, batch: Batch, step: int, done: float, seed: int, parts: int) -> Tensor:
        device = batch.images.device
        self.optimizer.zero_grad()
        found = torch.zeros(2, device=device)
        length = -(-self.share // parts)
        starts = range(0, max(len(batch.labels), 1), length)
        for number, start in enumerate(starts):
            images, labels, targets = (
                tensor[start : start + length] for tensor in (batch.images, batch.labels, batch.targets)
            )
            torch.manual_seed(seeds.torch_seed(seed, step, world().rank * parts + number))
            with _together(self.objective, last=start == starts[-1]):
                with autocast(device, self.precision):
                    loss, logits = self.objective(images, targets, done)
                loss = loss * (len(labels) / self.share)
                loss.backward()
            with torch.no_grad():
                found[0] += loss
                found[1] += wrong_answers(logits, labels)
        return found


def wrong_answers(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many pictures are not named right: of several labels, those that have any wrong."""
    if labels.dim() == 2:
        return ((logits > 0) != (labels > 0.5)).any(1).sum()
    return (logits.argmax(1) != labels).sum()


def _together(objective: Any, *, last: bool) -> AbstractContextManager:
    """Processes exchange gradients in the last part of a step only."""
    return nullcontext() if last or not hasattr(objective, "no_sync") else objective.no_sync()


def ran_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error of torch says that there was no memory left, on any device."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _settle(progress: Progress, totals: Tensor) -> None:
    """Move the totals of all processes into the progress, and with them the pictures that were left out."""
    loss, wrong, seen = world().sum(totals).tolist()
    progress.loss_sum += loss / world().processes
    progress.wrong += int(wrong)
    progress.seen += int(seen)
    for faults in world().all_of(progress.faults):
        progress.take_note(faults)
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
