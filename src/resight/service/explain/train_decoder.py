"""Train the decoder of Perception Visualization for a run."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

import resight
from resight.core import documents
from resight.core import settings as words
from resight.core.console import shown_on, stderr_console
from resight.core.device import cores, describe, pick_precision
from resight.core.errors import DataError, ModelFileError, PictureError
from resight.core.figures import to_json
from resight.core.files import locked, require_place, write_json
from resight.core.preprocessing import Preprocessing
from resight.core.text import amount
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import Batches, ResidentBatches, StreamedBatches, resident_bytes
from resight.data.dataset import Dataset, fingerprint
from resight.data.marks import ClassMarks
from resight.data.open import open_dataset
from resight.data.order import Order
from resight.data.prepare import Normalize, decode_split
from resight.data.splitting import with_validation
from resight.data.stream import Readers
from resight.models.cost import parameters
from resight.models.decoder import Decoder, load_decoder, save_decoder, weights_digest
from resight.saliency.perception import Encoder
from resight.service.explain.decoder import decoder_file
from resight.service.run.data import data_of
from resight.service.run.life import Life, as_recorded, identity_of
from resight.service.run.run import RECIPE_FILE, Run, absolute, open_run
from resight.service.train.pictures import first_images, squares_of
from resight.training.checkpoints import Progress, load_state, save_state
from resight.training.cost import Pace, in_bytes
from resight.training.decoder import (
    DecoderSettings,
    feature_variance,
    fit,
    judge,
    make_optimizer,
    require_finite,
)

STATE_FOLDER = "decoder"
"""Beside it: what resuming needs."""
NOT_IDENTITY = ("epochs", "workers", "memory_gib")
"""Settings that do not change what is learned so far."""
VAL_SHARE = 0.1
"""Of the training pictures, where the run held none out."""


def train_decoder(
    run: str,
    data: str | None = None,
    epochs: int | None = None,
    changes: Sequence[str] = (),
    *,
    resume: bool = False,
    data_root: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train a decoder that inverts a run's trunk, and write it next to the model after every epoch.

    A resumed training run starts after its last complete epoch, and ends with bit-identical weights.
    The rate is constant, so adding epochs later gives the same result as from the start.

    Args:
        run: a RUN with a folder.
        data: a data set with the run's classes; by default the one that the run was trained on. Its test
            split is used once, at the end, for the figures.
        epochs: instead of the settings'.
        changes: key=value words over `DecoderSettings`.
        resume: resume the run's decoder; what is not given is taken from its record.
        data_root: see `open_dataset`.
        strict: stop at a broken picture.
        console: where progress is shown; by default standard error.

    Returns:
        The header of the file, and "decoder": the file. "validation" and, where there is a test split, "test"
        have the figures of `Judgement`.

    Raises:
        ResightError: in one line.
        KeyboardInterrupt: if interrupted; the last epoch's decoder is kept.
    """
    said = [*changes, *([] if epochs is None else [f"epochs={epochs}"])]
    chosen = words.override(DecoderSettings(), said)
    opened = open_run(run)
    path = decoder_file(opened)
    life = Life(path.parent / STATE_FOLDER, console or stderr_console(), "train-decoder", run)
    if resume:
        chosen, data, data_root = _as_recorded(life, said, data, data_root)
    encoder = Encoder(opened.model)
    dataset, notes = _pictures(opened, data, data_root)
    require_place(path)
    with locked(life.folder):
        with life.prepared():
            job = DecoderJob.prepare(opened, encoder, dataset, notes, chosen, life, strict=strict)
        job.announce()
        if resume and job.resume() and job.done:
            return job.answer(load_decoder(path)[2])
        record = {"settings": asdict(chosen), "data": data and absolute(data), "data_root": data_root}
        write_json(life.folder / RECIPE_FILE, record)
        with job.interruptible():
            job.fit()
            job.test()
    return job.answer(job.facts)


@dataclass
class DecoderJob:
    """One training of a decoder, prepared; `prepare` makes it.

    Attributes:
        run: the network that is inverted.
        life: of the job; its folder has what resuming needs.
        settings: of the training.
        dataset: with a validation split by the run's classes.
        encoder: the trunk.
        decoder: what learns, on the run's device.
        optimizer: of it.
        batches: pictures in [0, 1].
        validation: squares (N, S, S, 3) and labels (N,).
        precision: of the products.
        identity: what a resumed job must share.
        facts: the header of the file, so far.
        progress: the finished epochs.
        left_out: pictures that cannot be read, by name.
        residuals: of the validation pictures, sorted.
    """

    run: Run
    life: Life
    settings: DecoderSettings
    dataset: Dataset
    encoder: Encoder
    decoder: Decoder
    optimizer: torch.optim.Optimizer
    batches: Batches
    validation: tuple[Tensor, Tensor]
    precision: torch.dtype
    identity: dict[str, Any]
    facts: dict[str, Any]
    progress: Progress = field(default_factory=Progress)
    left_out: dict[str, PictureError] = field(default_factory=dict)
    residuals: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def prepare(
        cls,
        run: Run,
        encoder: Encoder,
        dataset: Dataset,
        notes: list[str],
        chosen: DecoderSettings,
        life: Life,
        *,
        strict: bool,
    ) -> "DecoderJob":
        """Read the pictures and make the decoder.

        Raises:
            ResightError: in one line.
        """
        card, device = run.preprocessing, run.device
        batches, faults = _batches(dataset, card, chosen, device, strict=strict)
        validation = squares_of(dataset, "val", card, faults, strict=strict)
        if validation is None:
            raise DataError(f"{dataset.name}: no validation picture can be read; give other data with --data")
        decoder = _decoder(encoder, first_images(dataset, card, Normalize(card, device)), chosen)
        decoder = decoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        digest = weights_digest(run.model)
        job = cls(
            run, life, chosen, dataset, encoder, decoder, make_optimizer(decoder, chosen), batches,
            validation, pick_precision(chosen.precision, device),
            identity={
                "settings": identity_of(chosen, NOT_IDENTITY),
                "network": digest,
                "data": fingerprint(dataset.train),
            },
            facts={
                "network": digest,
                "settings": asdict(chosen),
                "data": dataset.name,
                "notes": notes,
                "resight": resight.__version__,
            },
        )  # fmt: skip
        job.leave_out(faults)
        return job

    @property
    def path(self) -> Path:
        """The file of the decoder."""
        return decoder_file(self.run)

    @property
    def done(self) -> bool:
        """Whether all epochs are trained already."""
        return self.progress.epoch >= self.settings.epochs and self.path.is_file()

    def leave_out(self, faults: Sequence[PictureError]) -> None:
        """Name pictures that cannot be read, each once."""
        self.life.leave_out(fault for fault in faults if fault.name not in self.left_out)
        self.left_out.update((fault.name, fault) for fault in faults)

    def announce(self) -> None:
        """Say in two lines what is about to be done."""
        chosen, decoder, steps = self.settings, self.decoder, self.batches.order.steps
        pictures, size = len(self.validation[1]), self.run.preprocessing.size
        channels, side = decoder.options["channels"], decoder.options["side"]
        precision, machine = str(self.precision).removeprefix("torch."), describe(self.run.device)
        self.life.announce(
            (
                f"{self.dataset.name}: {len(self.dataset.train):,} train, {pictures:,} val pictures"
                + "".join(f"; {note}" for note in self.facts["notes"]),
                f"decoder of {self.run.model.name}, {channels} x {side} x {side} to 3 x {size} x {size}, "
                f"{parameters(decoder):,} parameters, {amount(chosen.epochs, 'epoch')} of {steps} x "
                f"{chosen.batch_size}, {chosen.epochs * steps:,} steps in all, about "
                f"{in_bytes(16 * parameters(decoder))} of memory for weights and their moments, "
                f"{precision} on {machine}; file {self.path}",
            )
        )

    def resume(self) -> bool:
        """Load the state of the last finished epoch; return whether there is one."""
        before = load_state(self.life.folder, self.decoder, self.optimizer, None, self.identity)
        if before:
            self.progress = before
            self.life.say(f"resuming {self.path} at epoch {before.epoch + 1}")
        return before is not None

    def fit(self) -> None:
        """Train to the last epoch."""
        chosen, order = self.settings, self.batches.order
        pace = Pace(self.life.say, (chosen.epochs - self.progress.epoch) * order.steps, order.size)
        with shown_on(self.life.console):
            fit(
                self.encoder, self.decoder, self.batches, chosen, self.precision, lambda *_: pace(),
                self.end_epoch, optimizer=self.optimizer, begin=self.progress.epoch,
            )  # fmt: skip

    def end_epoch(self, epoch: int, loss: float, seconds: float, more: list[PictureError]) -> None:
        """Judge the epoch's decoder and write it with its state."""
        self.leave_out(more)
        judged = judge(self.encoder, self.decoder, *self.validation)
        require_finite("the reconstruction", float(judged.dsim.mean()), epoch, self.settings)
        figures = judged.figures()
        self.facts.update(epochs=epoch, loss=loss, validation=to_json(figures))
        self.facts["skipped"] = to_json([fault.row for fault in self.left_out.values()])
        self.residuals = judged.residuals.sort().values
        self.write()
        self.progress.next_epoch()
        save_state(self.life.folder, self.decoder, self.optimizer, None, self.progress, self.identity)
        area = "-" if figures.auc is None else f"{figures.auc:.3f}"
        self.life.say(
            f"epoch {epoch:3d}/{self.settings.epochs}  loss {loss:.4f}  val PSNR {figures.psnr:.2f} dB  "
            f"SSIM {figures.ssim:.3f}  DSIM {figures.dsim:.3f}  AUC {area}  {seconds:.0f} s"
        )

    def test(self) -> None:
        """Judge the decoder on the test split, where there is one."""
        if test := squares_of(self.dataset, "test", self.run.preprocessing, [], strict=False):
            self.facts["test"] = to_json(judge(self.encoder, self.decoder, *test).figures())
            self.write()

    def write(self) -> None:
        """Write the decoder's file."""
        save_decoder(self.path, self.decoder, self.residuals, self.facts)

    def answer(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON of `resight train-decoder`."""
        return {"run": self.life.name, "decoder": str(self.path), **facts}

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Say what is on disk where the user interrupts."""
        try:
            yield
        except KeyboardInterrupt:
            epoch = self.progress.epoch
            state = f"{self.path} is of epoch {epoch}" if epoch else "nothing was written"
            self.life.stopped(state, resumes=bool(epoch))
            raise


def _decoder(encoder: Encoder, images: Tensor, chosen: DecoderSettings) -> Decoder:
    """Return a new decoder for a trunk, with the variance of its features of some images (N, 3, S, S)."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(chosen.seed)
        side, channels = _map_of(encoder, images[:1])
        decoder = Decoder(channels, side, images.shape[-1], chosen.widest)
    decoder.variance.copy_(feature_variance(encoder, images))
    return decoder


def _as_recorded(
    life: Life, said: Sequence[str], data: str | None, data_root: str | None
) -> tuple[DecoderSettings, str | None, str | None]:
    """Return settings, data and data root of a resumed decoder, with the user's settings.

    Raises:
        ModelFileError: if there is none, or settings differ; these are named.
    """
    where = life.folder / RECIPE_FILE
    if not where.is_file():
        name = life.name
        raise ModelFileError(
            f"{name}: has no decoder to resume; train one with: resight train-decoder {shlex.quote(name)}"
        )
    shape = {"settings": {str: object}, "data": (str, None), "data_root": (str, None)}
    record = documents.read(where.read_bytes(), shape, str(where), ModelFileError)
    chosen = as_recorded(
        record["settings"], DecoderSettings, said, NOT_IDENTITY, life.folder, f"{where}:"
    )  # fmt: skip
    return chosen, data or record["data"], data_root or record["data_root"]


def _pictures(run: Run, data: str | None, data_root: str | None) -> tuple[Dataset, list[str]]:
    """Return the data set with a validation split by the run's classes, and notes about it."""
    given, notes = data_of(run, data, data_root), []
    dataset = given.dataset
    if data and not given.own:
        dataset = open_dataset(data, data_root).with_levels(run.preprocessing.levels)
        notes.append("if the network was trained on some of these validation pictures, their AUC is too high")
    elif "val" not in dataset.splits:
        notes.append("the network was also trained on the validation pictures, so their AUC is too high")
    dataset = with_validation(dataset, VAL_SHARE)
    for name in ("train", "val"):
        if name not in dataset.splits:
            raise DataError(f"{dataset.name}: has no {name} pictures, or too few to hold some out")
    judging = {k: v.relabelled(run.model.classes) for k, v in dataset.splits.items() if k in ("val", "test")}
    return replace(dataset, splits={**dataset.splits, **judging}), notes


def _batches(
    dataset: Dataset, card: Preprocessing, chosen: DecoderSettings, device: torch.device, *, strict: bool
) -> tuple[Batches, list[PictureError]]:
    """Return batches of pictures in [0, 1] as the network sees them before normalization, not augmented."""
    plain = replace(card, mean=(0.0,) * 3, std=(1.0,) * 3, pixel_mean=(), contrast=0.0, whitening=None)
    normalize = Normalize(plain, device)
    pipeline = Pipeline()
    if resident_bytes(dataset.train, card, pipeline) <= chosen.memory_gib * 2**30:
        train, squares, faults = decode_split(dataset.train, card, strict=strict)
        if not squares:
            raise DataError(f"{dataset.name}: no training picture can be read; the first: {faults[0]}")
        pixels = torch.from_numpy(np.stack(squares)).to(device)
        marks = ClassMarks.of_split(train).to(device)
        order = Order(len(train), chosen.batch_size, chosen.seed)
        return ResidentBatches(pixels, marks, normalize, pipeline, order), faults
    readers = Readers(cores() if chosen.workers < 0 else chosen.workers)
    order = Order(len(dataset.train), chosen.batch_size, chosen.seed, dataset.train.blocks())
    batches = StreamedBatches(dataset.train, None, plain, normalize, pipeline, order, readers, strict=strict)
    return batches, []


def _map_of(encoder: Encoder, image: Tensor) -> tuple[int, int]:
    """Return side and channels of the trunk's map of an image (1, 3, S, S)."""
    with torch.no_grad():
        features = encoder.model.forward_features(image)
    return features.shape[-1], features.shape[1]
