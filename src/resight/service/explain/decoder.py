"""Train the decoder of Perception Visualization for a run, and open it again."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from resight.core.errors import DataError, ModelFileError, PictureError, UsageError
from resight.core.files import require_place, write_json
from resight.core.preprocessing import Preprocessing
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
from resight.service.run.data import data_of
from resight.service.run.folder import resume_line
from resight.service.run.run import RECIPE_FILE, Run, absolute, open_run
from resight.service.train.pictures import first_images, squares_of
from resight.training.checkpoints import Progress, load_state, require_same, save_state
from resight.training.cost import Pace, in_bytes
from resight.training.decoder import (
    DecoderSettings,
    feature_variance,
    fit,
    judge,
    make_optimizer,
    require_finite,
)

DECODER_FILE = "decoder.safetensors"
STATE_FOLDER = "decoder"
"""Beside it: what resuming needs."""
NOT_IDENTITY = ("epochs", "workers", "memory_gib")
"""Settings that do not change what is learned so far."""
VAL_SHARE = 0.1
"""Of the training pictures, where the run held none out."""


@dataclass(frozen=True)
class OpenDecoder:
    """A decoder, ready to use.

    Attributes:
        decoder: in eval mode, on the run's device.
        residuals: of its validation pictures, sorted, (N,).
        facts: the header of its file.
    """

    decoder: Decoder
    residuals: Tensor
    facts: dict[str, Any]

    def percentile(self, residual: float) -> float:
        """Return the share of validation pictures with a residual at most this one, in percent."""
        place = torch.searchsorted(self.residuals, torch.tensor(residual), right=True)
        return 100 * int(place) / max(len(self.residuals), 1)


def decoder_file(run: Run) -> Path:
    """Return where a run's decoder is kept: next to its model.

    Raises:
        UsageError: for a network of the zoo, which has no folder.
    """
    if run.name.startswith("zoo:"):
        raise UsageError(f"{run.name}: has no folder to keep a decoder in; train a run from it first")
    return (run.folder or Path(run.name).parent) / DECODER_FILE


def open_decoder(run: Run) -> OpenDecoder:
    """Open the decoder of a run.

    Raises:
        ModelFileError: if there is none, it is damaged, or it was trained for other weights.
        UsageError: as `decoder_file` and `Encoder`.
    """
    Encoder(run.model)
    path = decoder_file(run)
    if not path.is_file():
        raise ModelFileError(f"{run.name}: has no decoder; train one with: resight train-decoder {run.name}")
    decoder, residuals, facts = load_decoder(path)
    if facts.get("network") != weights_digest(run.model):
        raise ModelFileError(
            f"{path}: was trained for other weights than {run.name} has now; train it again with: "
            f"resight train-decoder {run.name}"
        )
    decoder = decoder.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return OpenDecoder(decoder, residuals, facts)


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
    console = console or stderr_console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    said = [*changes, *([] if epochs is None else [f"epochs={epochs}"])]
    chosen = words.override(DecoderSettings(), said)
    opened = open_run(run)
    path = decoder_file(opened)
    folder = path.parent / STATE_FOLDER
    if resume:
        chosen, data, data_root = _as_recorded(folder, said, data, data_root, run)
    encoder, card, device = Encoder(opened.model), opened.preprocessing, opened.device
    dataset, notes = _pictures(opened, data, data_root)
    require_place(path)
    batches, faults = _batches(dataset, card, chosen, device, strict=strict)
    validation = squares_of(dataset, "val", card, faults, strict=strict)
    if validation is None:
        raise DataError(f"{dataset.name}: no validation picture can be read; give other data with --data")
    images = first_images(dataset, card, Normalize(card, device))
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(chosen.seed)
        side, channels = _map_of(encoder, images[:1])
        decoder = Decoder(channels, side, card.size, chosen.widest)
    decoder.variance.copy_(feature_variance(encoder, images))
    decoder = decoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = pick_precision(chosen.precision, device)
    for fault in faults:
        say(f"left out: {fault}")
    for line in (
        f"{dataset.name}: {len(dataset.train):,} train, {len(validation[1]):,} val pictures"
        + "".join(f"; {note}" for note in notes),
        f"decoder of {opened.model.name}, {channels} x {side} x {side} to 3 x {card.size} x {card.size}, "
        f"{parameters(decoder):,} parameters, {chosen.epochs} epochs of {batches.order.steps} x "
        f"{chosen.batch_size}, {chosen.epochs * batches.order.steps:,} steps in all, about "
        f"{in_bytes(16 * parameters(decoder))} of memory for weights and their moments, "
        f"{str(precision).removeprefix('torch.')} on {describe(device)}; file {path}",
    ):
        say(line)
    digest, optimizer = weights_digest(opened.model), make_optimizer(decoder, chosen)
    kept = {k: v for k, v in asdict(chosen).items() if k not in NOT_IDENTITY}
    identity = {"settings": kept, "network": digest, "data": fingerprint(dataset.train)}
    before = load_state(folder, decoder, optimizer, None, identity) if resume else None
    progress = before or Progress()
    if before:
        say(f"resuming {path} at epoch {before.epoch + 1}")
        if before.epoch >= chosen.epochs and path.is_file():
            return {"run": run, "decoder": str(path), **load_decoder(path)[2]}
    record = {"settings": asdict(chosen), "data": data and absolute(data), "data_root": data_root}
    write_json(folder / RECIPE_FILE, record)
    facts: dict[str, Any] = {
        "network": digest,
        "settings": asdict(chosen),
        "data": dataset.name,
        "notes": notes,
        "resight": resight.__version__,
    }
    left_out = {fault.name: fault for fault in faults}
    residuals = torch.empty(0)

    def end_epoch(epoch: int, loss: float, seconds: float, more: list[PictureError]) -> None:
        nonlocal residuals
        for fault in more:
            if fault.name not in left_out:
                say(f"left out: {fault}")
        left_out.update((fault.name, fault) for fault in more)
        judged = judge(encoder, decoder, *validation)
        require_finite("the reconstruction", float(judged.dsim.mean()), epoch, chosen)
        facts.update(epochs=epoch, loss=loss, validation=judged.figures())
        facts["skipped"] = [{"path": f.name, "fault": f.fault, "cure": f.cure} for f in left_out.values()]
        residuals = judged.residuals.sort().values
        save_decoder(path, decoder, residuals, facts)
        progress.next_epoch()
        save_state(folder, decoder, optimizer, None, progress, identity)
        figures = facts["validation"]
        area = "-" if figures["auc"] is None else f"{figures['auc']:.3f}"
        say(
            f"epoch {epoch:3d}/{chosen.epochs}  loss {loss:.4f}  val PSNR {figures['psnr']:.2f} dB  "
            f"SSIM {figures['ssim']:.3f}  DSIM {figures['dsim']:.3f}  AUC {area}  {seconds:.0f} s"
        )

    pace = Pace(say, (chosen.epochs - progress.epoch) * batches.order.steps, batches.order.size)
    try:
        with shown_on(console):
            fit(
                encoder, decoder, batches, chosen, precision, lambda *_: pace(), end_epoch,
                optimizer=optimizer, begin=progress.epoch,
            )  # fmt: skip
        if test := squares_of(dataset, "test", card, [], strict=False):
            facts["test"] = judge(encoder, decoder, *test).figures()
            save_decoder(path, decoder, residuals, facts)
    except KeyboardInterrupt:
        done = f"{path} is of epoch {progress.epoch}" if progress.epoch else "nothing was written"
        cure = f"; resume with: {resume_line(run, 'train-decoder')}" if progress.epoch else ""
        say(f"stopped; {done}{cure}")
        raise
    return {"run": run, "decoder": str(path), **facts}


def _as_recorded(
    folder: Path, said: Sequence[str], data: str | None, data_root: str | None, run: str
) -> tuple[DecoderSettings, str | None, str | None]:
    """Return settings, data and data root of a resumed decoder, with the user's settings.

    Raises:
        ModelFileError: if there is none, or settings differ; these are named.
    """
    if not (folder / RECIPE_FILE).is_file():
        raise ModelFileError(
            f"{run}: has no decoder to resume; train one with: resight train-decoder {shlex.quote(run)}"
        )
    shape = {"settings": {str: object}, "data": (str, None), "data_root": (str, None)}
    where = folder / RECIPE_FILE
    record = documents.read(where.read_bytes(), shape, str(where), ModelFileError)
    try:
        before = words.from_dict(DecoderSettings, record["settings"])
    except UsageError as error:
        raise ModelFileError(f"{where}: is damaged, or of a newer Resight ({error})") from error
    after = words.override(before, said)
    old, new = (
        {k: v for k, v in asdict(chosen).items() if k not in NOT_IDENTITY} for chosen in (before, after)
    )
    require_same(folder, {"settings": old}, {"settings": new})
    return after, data or record["data"], data_root or record["data_root"]


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
