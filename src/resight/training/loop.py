"""The training loop: forward, loss, backward, step; everything else is passed in."""

import math
import time
from collections.abc import Callable
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
    """

    begin_epoch: Callable[[int, int], Callable[[int, float, float], None]]
    end_epoch: Callable[[dict[str, Tensor], float], None]
    save: Callable[[], None]
    stop: Callable[[], bool]
    say: Callable[[str], None]
    save_seconds: float = SAVE_SECONDS


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
    device, among = next(model.parameters()).device, world()
    before_cycle = progress.begun * batches.order.steps
    steps = recipe.epochs * batches.order.steps - before_cycle
    run_step = Step(model, objective, optimizer, batches.order.share, precision)
    while progress.epoch < recipe.epochs:
        # A training that is continued has trained its head already.
        set_mode(model, recipe, recipe.epochs - 1 if progress.begun else progress.epoch)
        if isinstance(objective, Shared):
            objective.require_averaged()
        after_step = actions.begin_epoch(progress.epoch, progress.step)
        started, before, saved = time.perf_counter(), progress.seconds, time.perf_counter()
        exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        # Loss, the objective's sums, pictures seen.
        totals = torch.zeros(2 + len(progress.sums), dtype=exact, device=device)
        rate = 0.0
        for batch in batches.epoch(progress.epoch, progress.step):
            step = progress.epoch * batches.order.steps + progress.step
            rate = learning_rate(recipe, step - before_cycle, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            done = 1.0 if progress.begun else step / steps  # hints and side heads have had their time
            found = run_step(batch, step, done, recipe.seed, progress, actions.say)
            optimizer.step()
            model.constrain()
            if averages:
                averages.update(model, step)

            totals[:-1] += found
            totals[-1] += len(batch.marks)
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
                seen = (progress.seen + totals[-1].item() * among.processes) / progress.seconds
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
            actions.save()  # whoever is killed while the epoch is judged resumes from here
        actions.end_epoch(averages.state if averages else model.state_dict(), rate)
        progress.next_epoch()
        actions.save()


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
