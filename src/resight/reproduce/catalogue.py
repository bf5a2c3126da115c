"""The experiments by name, and the function that runs one."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.data.open import open_dataset
from resight.reproduce.experiment import Experiment, Scale, Training
from resight.reproduce.laboratory import Laboratory
from resight.reproduce.record import PLACE, Record, record_of
from resight.reproduce.results import completed, file_stem, read_record, write_record
from resight.tasks.classify.task import of_labels

NAMES = (
    "degradation", "identity", "cifar10-table", "layer-responses", "gap-shift", "nin-head", "shortcuts",
    "depth-1000", "width", "cardinality", "dense", "compound-scaling", "activations", "normalization",
    "pooling", "dropout", "augmentation", "he-init", "forgetting", "imbalance", "gan-augmentation",
    "gap-gmp-cam", "bovw-vs-cnn", "imagenet-check", "localize-alpha", "labels-to-detector",
)  # fmt: skip
"""In the order of the list; each is a file in `experiments`, with underscores for hyphens."""


def experiment(name: str) -> Experiment:
    """Return an experiment by name, or from the user's file NAME.py.

    Raises:
        UsageError: if there is none (it gives the nearest names), or the file holds none.
    """
    if name.endswith(".py"):
        return _own(Path(name))
    lookup(dict.fromkeys(NAMES), name, "experiment", "All names: resight reproduce")
    return import_module(f"resight.reproduce.experiments.{name.replace('-', '_')}").EXPERIMENT


def _own(file: Path) -> Experiment:
    """Return the EXPERIMENT of a user's file."""
    called = f"resight_own_{file.stem}"
    spec = spec_from_file_location(called, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise UsageError(
            f"{file}: there is no such file; give a file, or a name that `resight reproduce` lists"
        )
    module = module_from_spec(spec)
    sys.modules[called] = module  # where Python looks for its classes
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's own code raises
        raise UsageError(f"{file}: cannot be read ({error}); copy one of resight's experiments") from error
    found = getattr(module, "EXPERIMENT", None)
    if not isinstance(found, Experiment):
        raise UsageError(f"{file}: holds no EXPERIMENT; copy one of resight's experiments")
    return found


@dataclass(frozen=True)
class Listed:
    """An experiment of the catalogue: its trainings are counted, and the data that it needs named."""

    name: str
    paper: str
    claim: str
    trainings: int
    needs: tuple[str, ...]


def catalogue() -> list[Listed]:
    """Return every experiment."""
    found = [(name, experiment(name)) for name in NAMES]
    return [Listed(name, e.paper, e.claim, len(e.trainings), e.needs) for name, e in found]


def scale_of(
    chosen: Experiment, name: str, epochs: int | None, pictures: int | None, settings: Sequence[str] = ()
) -> Scale:
    """Return the scale that the arguments give.

    Raises:
        UsageError: if there is no scale of that name, or a setting is not KEY=VALUE.
    """
    if name not in ("smoke", "full"):
        raise UsageError(f"--scale {name}: must be smoke or full")
    scale = chosen.smoke if name == "smoke" else Scale()
    if wrong := [word for word in settings if "=" not in word]:
        raise UsageError(f"--set {wrong[0]}: is not KEY=VALUE")
    if epochs is None and pictures is None and not settings:
        return scale
    return Scale(
        name="part",
        epochs=epochs or scale.epochs,
        pictures=pictures or scale.pictures,
        settings=tuple(settings),
    )


@dataclass(frozen=True)
class Reproduced:
    """What `reproduce` gives: the record, and the file that it was written to."""

    record: Record
    file: Path


def reproduce(
    name: str,
    scale: str = "smoke",
    *,
    epochs: int | None = None,
    pictures: int | None = None,
    settings: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    jobs: int = 1,
    data: Sequence[str] = (),
    data_root: str | None = None,
    only: Sequence[str] = (),
    out: str = PLACE,
    results: str = "results",
    say: Callable[[str], None] = lambda line: None,
) -> Reproduced:
    """Run an experiment, or resume it, and write its results.

    Figures of conditions that this call does not measure are kept from an older file of results of the same
    experiment, data and scale: trainings may be spread over calls and machines.

    Args:
        name: of the experiment, or the user's file, see `experiment`.
        scale: "smoke", minutes on two cores, or "full", the paper's protocol.
        epochs: replace the scale's; this, `pictures` or `settings` makes it "part" of the full protocol,
            tested on all test pictures.
        pictures: number of training pictures to keep.
        settings: key=value settings on top of the recipe and the experiment's own, for every training with a
            recipe.
        seeds: each training is run once for each.
        jobs: number of trainings at a time.
        data: the data that the experiment needs from the user, in its order.
        data_root: see `open_dataset`.
        only: conditions to train, with those that they need; the figures of others are written if their runs
            have finished already, or stand in the older file. By default all.
        out: folder of the runs; finished runs in it are not run again.
        results: folder that RESULTS/NAME-SCALE.json is written to.
        say: gets lines of progress.

    Returns:
        The record, and its file.

    Raises:
        ResightError: in one line.
    """
    chosen = experiment(name)
    todo = _needed(chosen, only)
    called, name = name, Path(name).stem.replace("_", "-")
    if len(data) < len(chosen.needs):
        times = " twice" if len(chosen.needs) == 2 else ""
        raise UsageError(f"{name} needs --data{times}: {', then '.join(chosen.needs)}")
    if jobs < 1 or not seeds:
        raise UsageError("--jobs and --seeds take 1 or more")
    for given in data:
        opened = open_dataset(given, data_root, whole=True)
        of_labels(opened).require_one(given, f"{name} needs one class per picture", UsageError)
    taken = scale_of(chosen, scale, epochs, pictures, settings)
    if taken.pictures and chosen.boxed:
        raise UsageError(f"{name} uses all pictures, since a subset would lose their boxes; omit --pictures")
    laboratory = Laboratory(chosen, taken, tuple(seeds), Path(out), say, data_root, tuple(data))
    file = Path(results) / f"{file_stem(name, data, taken)}.json"
    older = read_record(file) if file.exists() else None
    say(f"{name}, {taken.words()}: {len(todo)} trainings, {len(laboratory.seeds)} seeds")
    laboratory.train(jobs, todo)
    record = record_of(name, laboratory, called)
    record = completed(record, older, chosen) if older else record
    return Reproduced(record, write_record(record, Path(results)))


def _needed(chosen: Experiment, only: Sequence[str]) -> tuple[Training, ...]:
    """Return the trainings of the named conditions, and of those that they start from; by default all.

    Raises:
        UsageError: for an unknown condition; it lists the known ones.
    """
    known = {t.condition: t for t in chosen.trainings}
    if wrong := [name for name in only if name not in known]:
        raise UsageError(f"--only {wrong[0]}: is not a condition; the conditions are {', '.join(known)}")
    wanted = list(only or known)
    for name in wanted:  # grows while it is read
        wanted += [other.condition for other in chosen.before(known[name]) if other.condition not in wanted]
    return tuple(t for t in chosen.trainings if t.condition in wanted)
