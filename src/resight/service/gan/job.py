"""One training run of a GAN: prepared, run epoch by epoch, its results written."""

import copy
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resight.core.device import describe
from resight.core.errors import PictureError
from resight.core.files import replacing
from resight.core.text import amount
from resight.data.dataset import Dataset
from resight.models.cost import parameters
from resight.models.gan import save_gan
from resight.render.grid import draw_grid
from resight.service.gan.synthetic import GAN_FILE, OpenGan, ready
from resight.service.run.life import Life, identity_of
from resight.training.checkpoints import Progress, load_state, save_state
from resight.training.cost import Pace, in_bytes
from resight.training.ema import AveragedWeights
from resight.training.gan import Adversaries, GanSettings, Reals, draw_noise
from resight.training.gan_loop import fit, make_optimizer
from resight.training.journal import write_csv

NOT_IDENTITY = ("epochs", "memory_gib")
"""Settings that do not change what is learned so far; a run may be resumed with others."""
COLUMNS, ROWS = 10, 20
"""Pictures of a class on a grid of samples, and most classes on it."""


@dataclass
class GanJob:
    """One prepared training run of a GAN.

    Attributes:
        dataset: with a validation split, which is not used.
        settings: with epochs and side settled.
        life: of the job, with the folder of the run.
        squares: the training pictures, (N, S, S, C) uint8; C is 1 if all are grey.
        labels: their classes, (N,).
        learned: fingerprint of the training split.
        faults: pictures that were left out.
        pair: both networks, on their device.
        facts: the header of the file, except the networks.
    """

    dataset: Dataset
    settings: GanSettings
    life: Life
    squares: Tensor
    labels: Tensor
    learned: str
    faults: list[PictureError]
    pair: Adversaries
    facts: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.life.folder

    def announce(self) -> None:
        """Name the pictures that are left out, and say what is about to be done."""
        pair, chosen, count = self.pair, self.settings, len(self.labels)
        steps = max(1, count // chosen.batch_size)
        held = 4 * parameters(pair) * 4 + self.squares.numel()  # weights, gradients, Adam's two moments
        colours = "grey" if self.squares.shape[3] == 1 else "RGB"
        self.life.leave_out(self.faults)
        self.life.announce(
            (
                f"{self.dataset.name}: trains on {amount(count, 'training picture')} of "
                f"{amount(len(self.dataset.classes), 'class')}, {colours}",
                f"GAN of {chosen.side} x {chosen.side}: generator {parameters(pair.generator):,}, critic "
                f"{parameters(pair.critic):,} parameters, {amount(chosen.epochs, 'epoch')} of {steps} x "
                f"{min(chosen.batch_size, count)}, {chosen.epochs * steps:,} steps in all, on "
                f"{describe(next(pair.parameters()).device)}; run folder {self.folder}",
                f"memory: about {in_bytes(held)} for weights, their moments, pictures, and the activations "
                "of a step",
            )
        )

    def fit(self, stop: threading.Event, *, resume: bool) -> tuple[dict[str, Tensor], Progress]:
        """Train to the last epoch; returns the generator's weights that are kept, and the history.

        Raises:
            Stopped: if asked to stop; the state is saved.
        """
        chosen, pair = self.settings, self.pair
        device = next(pair.parameters()).device
        flips = chosen.flip == "on" or (chosen.flip == "auto" and self.dataset.mirrors)
        reals = Reals(self.squares, self.labels, chosen, device, flips=flips)
        optimizer = make_optimizer(pair, chosen)
        averages = AveragedWeights(pair.generator, chosen.ema) if chosen.ema else None
        identity = {"settings": identity_of(chosen, NOT_IDENTITY), "data": self.learned}
        progress = load_state(self.folder, pair, optimizer, averages, identity) if resume else None
        if progress:
            self.life.resuming(progress.epoch, progress.step)
        progress = progress or Progress()
        progress.leave_out(self.faults)
        state = averages.state if averages else pair.generator.state_dict()
        left = (chosen.epochs - progress.epoch) * reals.steps - progress.step
        pace = Pace(self.life.say, left, min(chosen.batch_size, len(self.labels)))
        fit(
            pair, reals, chosen, optimizer, averages, progress,
            end_epoch=lambda: self.end_epoch(state, progress),
            save=lambda: save_state(self.folder, pair, optimizer, averages, progress, identity),
            stop=stop.is_set,
            after_step=pace,
        )  # fmt: skip
        return state, progress

    def end_epoch(self, state: dict[str, Tensor], progress: Progress) -> None:
        """Write the results of an epoch: the generator, its figures and a grid of samples."""
        row = progress.history[-1]
        write_csv(self.folder / "metrics.csv", progress.history, list(row))
        self.write(state, progress)
        epoch = int(row["epoch"])
        sheet = draw_grid(*self.samples(state))
        with replacing(self.folder / "samples" / f"epoch-{epoch:03d}.png") as temporary:
            sheet.save(temporary, "PNG")
        self.life.say(
            f"epoch {epoch:3d}/{self.settings.epochs}  critic {row['critic_loss']:.3f}  generator "
            f"{row['generator_loss']:.3f}  judged "
            f"real: {row['real_taken_for_real']:.0f} % of the real, {row['drawn_taken_for_real']:.0f}% of "
            f"the drawn  {row['images_per_second']:,.0f} images/s"
        )

    def write(self, state: dict[str, Tensor], progress: Progress, **more: Any) -> None:
        """Write the generator's file."""
        facts = {**self.facts, "epochs": len(progress.history), "left_out": progress.faults, **more}
        save_gan(self.folder / GAN_FILE, self.pair.generator, state, self.dataset.classes, facts)

    def opened(self, state: dict[str, Tensor]) -> OpenGan:
        """Return the generator with given weights, in eval mode."""
        generator = copy.deepcopy(self.pair.generator)
        generator.load_state_dict(state)
        classes = self.dataset.classes
        return ready(str(self.folder), generator.eval(), classes, self.facts, classes)

    def samples(self, state: dict[str, Tensor]) -> tuple[list[str], np.ndarray]:
        """Draw a row of pictures for each class, of the same noise in every epoch."""
        gan, count = self.opened(state), len(self.dataset.classes)
        shown = np.unique(np.linspace(0, count - 1, min(count, ROWS)).astype(np.int64))
        noise = draw_noise(self.settings.seed, 0, len(shown) * COLUMNS, gan.noise, "gan/samples")
        drawn = gan.generated(torch.from_numpy(np.repeat(shown, COLUMNS)), noise).cpu().numpy()
        return [self.dataset.classes[c] for c in shown], drawn.reshape(-1, COLUMNS, *drawn.shape[1:])
