"""The training loop: forward, loss, backward, step; everything else is passed in."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resight.core.distributed import world
from resight.core.errors import TrainingError
from resight.data.batches import Batches
from resight.models.classifier import Classifier
from resight.models.solver import Solver
from resight.training.checkpoints import SAVE_SECONDS, Progress
from resight.training.ema import AveragedWeights
from resight.training.optimizer import set_mode
from resight.training.parallel import Shared
from resight.training.recipe import Recipe
from resight.training.schedules import learning_rate
from resight.training.step import Step

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
        errors: called before each epoch for the validation errors so far, by which a plateau is known.
    """

    begin_epoch: Callable[[int, int], Callable[[int, float, float], None]]
    end_epoch: Callable[[dict[str, Tensor], float], None]
    save: Callable[[], None]
    stop: Callable[[], bool]
    say: Callable[[str], None]
    save_seconds: float = SAVE_SECONDS
    errors: Callable[[], Sequence[float]] = tuple


class Stopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """The training was asked to stop and has saved its state."""


def fit(
    model: Classifier | Solver,
    objective: Callable[[Tensor, Any, float], tuple[Tensor, Tensor]],
    batches: Batches,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    averages: AveragedWeights | None,
    progress: Progress,
    precision: torch.dtype,
    actions: Actions,
) -> None:
    """Train until the recipe's last epoch, from where `progress` stands.

    The learning rate follows one cycle of the schedule, over the epochs from `progress.begun` on.

    Args:
        model: the network, whose weights are saved and averaged.
        objective: (images, marks, share done) to the loss, a mean over the pictures, and what is summed over
            them, as many numbers as `progress.sums` has; `DistributedDataParallel` around it where several
            processes share the steps.
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
    run_step = Step(model, objective, optimizer, batches.order.share, precision)
    run = _Epochs(model, batches, recipe, optimizer, averages, progress, run_step, actions)
    while progress.epoch < recipe.epochs:
        # A training that is continued has trained its head already.
        set_mode(model, recipe, recipe.epochs - 1 if progress.begun else progress.epoch)
        if isinstance(objective, Shared):
            objective.require_averaged()
        rate = run.one()
        if time.perf_counter() - run.saved > JUDGE_SECONDS:
            actions.save()  # whoever is killed while the epoch is judged resumes from here
        actions.end_epoch(averages.state if averages else model.state_dict(), rate)
        progress.next_epoch()
        actions.save()


@dataclass
class _Epochs:
    """What the steps of an epoch share; the attributes are those of `fit`.

    Attributes:
        saved: when the state was last written, or the epoch began.
    """

    model: Classifier | Solver
    batches: Batches
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    averages: AveragedWeights | None
    progress: Progress
    run_step: Step
    actions: Actions
    saved: float = 0.0

    def one(self) -> float:
        """Take the steps that are left of the epoch; returns the last learning rate."""
        progress, order, device = self.progress, self.batches.order, next(self.model.parameters()).device
        begun = progress.begun * order.steps
        steps, errors = self.recipe.epochs * order.steps - begun, self.actions.errors()
        after_step = self.actions.begin_epoch(progress.epoch, progress.step)
        before, started = progress.seconds, time.perf_counter()
        self.saved = started
        exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        # Loss, the objective's sums, pictures seen.
        totals = torch.zeros(2 + len(progress.sums), dtype=exact, device=device)
        rate = 0.0
        for batch in self.batches.epoch(progress.epoch, progress.step):
            step = progress.epoch * order.steps + progress.step
            rate = learning_rate(self.recipe, step - begun, steps, errors)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            done = 1.0 if progress.begun else step / steps  # hints and side heads have had their time
            found = self.run_step(batch, step, done, self.recipe.seed, progress, self.actions.say)
            self.optimizer.step()
            self.model.constrain()
            if self.averages:
                self.averages.update(self.model, step)
            totals[:-1] += found
            totals[-1] += len(batch.marks)
            progress.step += 1
            progress.leave_out(batch.faults)
            progress.seconds = before + time.perf_counter() - started
            # Reading the loss stalls a GPU, so there it is looked at now and then.
            looked = device.type == "cpu" or progress.step % 50 == 0 or progress.step == order.steps
            loss = found[0].item() if looked else 0.0
            stop, save = self.wished(loss, rate)
            if looked:
                seen = (progress.seen + totals[-1].item() * world().processes) / progress.seconds
                after_step(progress.step, seen, loss)
            if stop or save:
                self.save(totals, rate)
            if stop:
                raise Stopped
        _settle(progress, totals)
        require_finite(progress.loss_sum, progress, rate)
        return rate

    def wished(self, loss: float, rate: float) -> tuple[float, float]:
        """Return whether any process is asked to stop, and whether it is time to save.

        Raises:
            TrainingError: if the loss of any process is not a number.
        """
        late = time.perf_counter() - self.saved > self.actions.save_seconds
        stop, save, broken = world().greatest((self.actions.stop(), late, not math.isfinite(loss)))
        if broken:
            require_finite(math.nan if math.isfinite(loss) else loss, self.progress, rate)
        return stop, save

    def save(self, totals: Tensor, rate: float) -> None:
        """Write the state inside an epoch, if it is good."""
        _settle(self.progress, totals)
        require_finite(self.progress.loss_sum, self.progress, rate)
        self.actions.save()
        self.saved = time.perf_counter()


def _settle(progress: Progress, totals: Tensor) -> None:
    """Move the totals of all processes into the progress, and with them the pictures that were left out."""
    loss, *sums, seen = world().sum(totals).tolist()
    progress.loss_sum += loss / world().processes
    for name, value in zip(progress.sums, sums, strict=True):
        progress.sums[name] += value
    progress.seen += int(seen)
    progress.take_note(world().gathered(progress.faults))
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
        f"{rate:.4g}; the last good state is kept. Likely cure: train from scratch with --set "
        f"lr={rate / 3:.2g}, or --set precision=fp32 if it was bf16"
    )
