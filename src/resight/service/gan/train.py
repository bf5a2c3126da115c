"""Train a conditional GAN on the training pictures of a data set, to draw more of them."""

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
from resight.core import settings as words
from resight.core.console import stderr_console
from resight.core.device import pick_device
from resight.core.distributed import launched
from resight.core.errors import DataError, ModelFileError, PictureError, UsageError
from resight.core.figures import to_json
from resight.core.files import write_json
from resight.core.preprocessing import Preprocessing
from resight.data.dataset import Dataset, fingerprint
from resight.data.levels import settled
from resight.data.open import open_as_it_is, require_fit
from resight.data.prepare import decode_split, typical_side
from resight.data.splitting import with_test_split, with_validation
from resight.models.gan import Critic, Generator, side_for
from resight.service.gan.job import NOT_IDENTITY, GanJob
from resight.service.gan.synthetic import GAN_FILE, GanScore, require_judge, score
from resight.service.run.data import split_as
from resight.service.run.folder import resume_line, run_folder
from resight.service.run.life import Life, as_recorded
from resight.service.run.run import RECIPE_FILE, Run, absolute, open_run, read_recipe_file
from resight.service.train.pictures import require_every_class
from resight.tasks.classify.task import of_labels
from resight.training.checkpoints import Progress
from resight.training.gan import LEAST_EPOCHS, STEPS, Adversaries, GanSettings


@dataclass(frozen=True)
class GanAnswer:
    """What a GAN's training left.

    Attributes:
        run: the folder.
        gan: its file.
        samples: the last grid.
        data: name of the data set.
        settings: of the training.
        last: the last epoch's row of metrics.csv.
        score: by a network's features; None without one.
        left_out: pictures that cannot be read.
    """

    run: str
    gan: str
    samples: str
    data: str
    settings: GanSettings
    last: dict[str, float]
    score: GanScore | None
    left_out: list[dict[str, str]]


def train_gan(
    data: str | None = None,
    *,
    changes: Sequence[str] = (),
    out: str | None = None,
    features: str | None = None,
    resume: bool | str | Path = False,
    data_root: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> GanAnswer:
    """Train a conditional GAN on the training split of a data set.

    It is the split that `train` uses with the same val_share=: pictures held out for validation and
    test are never seen.

    Args:
        data: what `open_dataset` takes; None for that of the resumed run.
        changes: key=value words over `GanSettings`. More epochs than a finished run has extend it, as if
            requested from the start: the rates are constant.
        out: the run folder; by default runs/DATA-gan-N.
        features: a RUN with the same classes that evaluates the generated pictures at the end, see
            `synthetic.score`.
        resume: a run to resume, by its folder; or True for that in `out`, or the latest one of this data.
            What is not given is taken from its recipe.json.
        data_root: see `open_dataset`.
        strict: stop at a broken picture.
        console: where progress is shown; by default standard error.

    Raises:
        ResightError: in one line.
        KeyboardInterrupt: after saving, if interrupted.
    """
    if launched():
        raise UsageError("train-gan runs in one process; start it without torchrun")
    console = console or stderr_console()
    run = (str(resume) if not isinstance(resume, bool) else None) or out
    record = _record_of(Path(run)) if run and resume else {}
    data, data_root = data or record.get("data"), data_root or record.get("data_root")
    features = features or record.get("features")
    if not data:
        raise UsageError("give the data set, or the run to resume")
    chosen = words.override(GanSettings(), changes)
    raw, dataset = _opened(data, data_root, run if data == record.get("data") else None)
    judge = open_run(features) if features else None
    if judge:
        require_judge(judge, dataset.classes)
    folder, old = run_folder(run, data, "gan", resume=bool(resume))
    life = Life(folder, console, "train-gan")
    with life.held():
        if old:
            record = _record_of(folder)
            chosen = as_recorded(
                record["settings"], GanSettings, changes, NOT_IDENTITY, folder, f"{folder}: its {RECIPE_FILE}"
            )
            before = split_as(raw, record.get("data_fingerprint", ""), chosen.val_share)
            dataset = settled(with_test_split(replace(raw, by_rank=before.by_rank))) if before else dataset
        with life.prepared():
            job = _prepare(dataset, chosen, life, data, data_root, strict=strict)
        job.announce()
        command = _command(data, data_root, job.settings)
        more = {"features": features, "left_out": len(job.faults)}
        write_json(folder / RECIPE_FILE, {"command": command, **job.facts, **more})
        with life.stoppable() as stop:
            state, progress = job.fit(stop, resume=old)
        return _finish(job, state, progress, judge)


def _record_of(folder: Path) -> dict[str, Any]:
    """Return recipe.json of a GAN.

    Raises:
        ModelFileError: if it is missing, or that of another kind of training.
    """
    record = read_recipe_file(folder)
    if not isinstance(record.get("settings"), dict) or "data" not in record:
        other = f"; resume it with: {resume_line(folder)}" if "recipe" in record else ""
        raise ModelFileError(f"{folder}: its {RECIPE_FILE} is not the recipe of a GAN{other}")
    return record


def _opened(data: str, data_root: str | None, run: str | None) -> tuple[Dataset, Dataset]:
    """Open a data set, as it is and with a test split; of a run, an error says how to give a new location."""
    try:
        raw = open_as_it_is(data, data_root)
    except DataError as error:
        if run is None:
            raise
        raise DataError(
            f"{error}; if the data set moved, give its new location: resight train-gan DATA --resume {run}"
        ) from error
    require_fit(raw)
    dataset = settled(with_test_split(raw))
    of_labels(dataset).require_one(data, "a GAN draws pictures of one class", UsageError)
    if "train" not in raw.splits:
        raise DataError(f"{data}: has no training pictures")
    return raw, dataset


def _prepare(
    dataset: Dataset, chosen: GanSettings, life: Life, data: str, data_root: str | None, *, strict: bool
) -> GanJob:
    """Read the training pictures and make the networks."""
    dataset, device = with_validation(dataset, chosen.val_share), pick_device()
    learned = fingerprint(dataset.train)
    side = chosen.side or side_for(typical_side(dataset.train))
    squares, labels, faults = _read(dataset, chosen, side, strict=strict)
    steps = max(1, len(labels) // chosen.batch_size)
    chosen = replace(chosen, side=side, epochs=chosen.epochs or max(LEAST_EPOCHS, -(-STEPS // steps)))
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(chosen.seed)
        count, channels = len(dataset.classes), squares.shape[3]
        pair = Adversaries(
            Generator(count, side, chosen.noise, 2 * chosen.width, channels),
            Critic(count, side, chosen.width, channels),
        ).to(device)
    facts = {
        "settings": asdict(chosen),
        "data": absolute(data),
        "data_root": data_root and absolute(data_root),
        "data_fingerprint": learned,
        "pictures": len(labels),
        "notes": list(dataset.notes),
        "resight": resight.__version__,
    }
    return GanJob(dataset, chosen, life, squares, labels, learned, faults, pair, facts)


def _read(
    dataset: Dataset, chosen: GanSettings, side: int, *, strict: bool
) -> tuple[Tensor, Tensor, list[PictureError]]:
    """Return the training pictures as squares (N, S, S, C), C = 1 if all are grey; labels; and faults."""
    needed = len(dataset.train) * side * side * 3 / 2**30
    if needed > chosen.memory_gib:
        raise UsageError(
            f"{len(dataset.train):,} pictures of {side} x {side} take {needed:.2g} GiB: set memory_gib= "
            "higher, or a smaller side="
        )
    part, found, faults = decode_split(dataset.train, Preprocessing(size=side, resize=side), strict=strict)
    require_every_class(dataset, part)
    squares = np.stack(found)
    if (squares == squares[..., :1]).all():
        squares = squares[..., :1]
    return torch.from_numpy(np.ascontiguousarray(squares)), torch.from_numpy(part.labels), faults


def _finish(job: GanJob, state: dict[str, Tensor], progress: Progress, judge: Run | None) -> GanAnswer:
    """Score the generator if there is a judge, and return the answer."""
    figures = None
    if judge:
        figures = score(job.opened(state), judge, job.squares, job.labels, job.settings.seed)
        job.write(state, progress, score=to_json(figures))
    return GanAnswer(
        run=str(job.folder),
        gan=str(job.folder / GAN_FILE),
        samples=str(job.folder / "samples" / f"epoch-{len(progress.history):03d}.png"),
        data=job.dataset.name,
        settings=job.settings,
        last=progress.history[-1],
        score=figures,
        left_out=progress.faults,
    )


def _command(data: str, data_root: str | None, chosen: GanSettings) -> str:
    """Return the exact command of a run."""
    said = ["resight", "train-gan", data, *(["--data-root", data_root] if data_root else [])]
    return shlex.join([*said, *words.as_words(chosen)])
