"""An exported file compared with torch on the same pictures, before it is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resight.core.console import counted
from resight.core.errors import DataError, PictureError, ResightError
from resight.core.figures import Inline
from resight.data.prepare import Normalize, fit
from resight.export.deployed import Answer
from resight.export.graph import ClosedForm
from resight.models.probabilities import to_probabilities
from resight.saliency.capture import logits_of
from resight.saliency.methods import explain
from resight.service.run.data import data_of
from resight.service.run.run import Run

MOST = 200
"""Test pictures that are compared, evenly spaced over the split."""
PROBABILITY, MAP = 1e-5, 1e-4
"""Largest differences: of a probability, and of a map as a share of its range."""
FLAT = 0.02
"""Smallest range of a map, as a share of the largest range of the picture's maps."""
SIZES = ((64, 48), (48, 64), (320, 240), (300, 300), (240, 500), (500, 375))
"""Width and height of the made pictures that stand in where a run has no test pictures."""

Read = Callable[..., Image.Image]


@dataclass(frozen=True)
class Trial:
    """The pictures that an exported file is tried on.

    Attributes:
        read: gives a picture by its number, with `at_least` as `decode` takes it.
        numbers: of the pictures.
        labels: class numbers, -1 where unknown; (N, classes) of multi-label pictures; None of made ones.
        words: what they are.
        split: data set and split in words; "" of made ones.
        encoded: whether they come from files, so that reduced decoding matters.
    """

    read: Read
    numbers: Sequence[int]
    labels: NDArray[Any] | None
    words: str
    encoded: bool
    split: str = ""

    def __len__(self) -> int:
        return len(self.numbers)


def trial_of(
    run: Run, data: str | None, data_root: str | None, split: str = "test", most: int | None = MOST
) -> Trial:
    """Return pictures to try an export of a run on: the run's own, of `data`, or made ones without either."""
    if not data and not run.facts.get("data"):
        return _made("the run states no data")
    try:
        dataset = data_of(run, data, data_root).dataset
    except DataError as error:
        if data:
            raise
        return _made(str(error))
    name = split if split in dataset.splits else list(dataset.splits)[-1]
    part = dataset.split(name)
    if not run.task.open_set:
        part = part.relabelled(run.network.classes)
    count = len(part) if most is None else min(most, len(part))
    numbers = np.unique(np.linspace(0, len(part) - 1, count).astype(int)).tolist()
    words = f"{len(numbers)} of {len(part)} {name} pictures of {dataset.name}"
    encoded = part.encoded(0) is not None
    return Trial(part.decode, numbers, part.labels, words, encoded, f"{dataset.name} {name}")


def _made(why: str) -> Trial:
    """Return made pictures, for a run whose own are not there."""
    noise = np.random.default_rng(0)
    made = [Image.fromarray(noise.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in SIZES]
    words = f"{len(made)} pictures of noise, because {why}"
    return Trial(lambda i, at_least=None: made[i], range(len(made)), None, words, encoded=False)


def map_difference(wanted: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the largest difference between a picture's maps (N, h, w), as a share of each map's range.

    A map that is flat compared with the picture's others, such as that of a class of which nothing is seen,
    is nothing but rounding. Its range counts as `FLAT` of the largest one.
    """
    span = wanted.max((1, 2)) - wanted.min((1, 2))
    span = span.clip(min=max(FLAT * float(span.max()), 1e-12))
    return float((np.abs(wanted - found).max((1, 2)) / span).max())


@dataclass
class Agreement:
    """How an exported file compares with torch.

    Attributes:
        n: pictures.
        same_answer: on how many the best class is the same.
        largest_difference: of a probability.
        map_difference: largest of a map, as a share of its range; None without maps.
    """

    n: int = 0
    same_answer: int = 0
    largest_difference: float = 0.0
    map_difference: float | None = None
    unreadable: list[str] = field(default_factory=list)

    def add(self, reference: Answer, found: Answer) -> None:
        """Count one picture."""
        self.n += 1
        self.same_answer += int(reference.probabilities.argmax() == found.probabilities.argmax())
        apart = float(np.abs(reference.probabilities - found.probabilities).max())
        self.largest_difference = max(self.largest_difference, apart)
        if reference.maps is not None and found.maps is not None and found.map_classes is not None:
            wanted = reference.maps[found.map_classes]
            self.map_difference = max(self.map_difference or 0.0, map_difference(wanted, found.maps))

    @property
    def shown(self) -> "Difference":
        """The differences, without the pictures that could not be read."""
        return Difference(self.n, self.same_answer, self.largest_difference, self.map_difference)


@dataclass(frozen=True)
class Difference:
    """How an exported file differs from torch, as JSON has it; see `Agreement`."""

    n: int
    same_answer: int
    largest_difference: float
    map_difference: float | None


@dataclass(frozen=True)
class Decoding:
    """What reduced decoding changes: of n pictures, how many keep their class, and a probability at most."""

    n: int
    same_answer: int
    largest_difference: float


@dataclass(frozen=True)
class Compared:
    """An 8-bit network compared with its float one on the same pictures; errors in percent.

    Attributes:
        n: pictures.
        float_error: of the float network.
        int8_error: of the 8-bit one.
        loss: what the 8 bits cost, in points of error.
        agreement: on how many pictures both name the same class, in percent.
        map_correlation: (median, lowest) over the pictures, of the best class's maps; None without maps.
    """

    n: int
    float_error: float
    int8_error: float
    loss: float
    agreement: float
    map_correlation: tuple[float, float] | None


@dataclass(frozen=True)
class Int8:
    """What 8 bits cost.

    Attributes:
        compared: with float, on labelled pictures.
        speed: how many times as fast as float, one picture at a time.
        layers: number of convolutions and products.
        floating: names of those that stay float.
        calibrated_on: the pictures that gave the ranges, in words.
        tested_on: the labelled pictures, in words.
    """

    compared: Inline[Compared]
    speed: float
    layers: int
    floating: Sequence[str]
    calibrated_on: str
    tested_on: str


@dataclass(frozen=True)
class Rounding:
    """How an exported file of a task with a head of its own differs from torch, as JSON has it.

    Attributes:
        n: pictures.
        same_answer: on how many class, or number and classes of the objects, are the same.
        largest: difference of each kind: "probability", "place" in pixels, "embedding".
        mask_difference: share of the pixels of all masks on which they differ; None without masks.
    """

    n: int
    same_answer: int
    largest: dict[str, float]
    mask_difference: float | None


@dataclass(frozen=True)
class Exported:
    """What `resight export` says.

    Attributes:
        file: what was written.
        inputs: names and forms.
        outputs: names and axes.
        agreement: with torch.
        compared_on: the pictures, in words.
        reduced_decoding: what it changes; None where nothing was decoded.
        int8: what 8 bits cost; None for a float file.
        bytes: of the file.
        notes: what to know of it.
    """

    file: Path
    inputs: Mapping[str, str]
    outputs: Mapping[str, Any]
    agreement: Difference | Rounding
    compared_on: str
    reduced_decoding: Decoding | None
    int8: Int8 | None
    bytes: int
    notes: Sequence[str]


def compared(
    run: Run, form: ClosedForm | None, answer: Callable[[Image.Image], Answer], trial: Trial
) -> Agreement:
    """Compare an exported file with torch, from the same pixels.

    Args:
        run: the run behind it.
        form: of its maps; None without maps.
        answer: what the file says of a picture.
        trial: the pictures, decoded whole.

    Raises:
        ResightError: if one picture's answer, probability or map differs by more than rounding.
    """
    found = Agreement()
    for number in counted(trial.numbers, "comparing with torch", len(trial)):
        try:
            picture = trial.read(number)
        except PictureError as error:
            found.unreadable.append(str(error))
            continue
        found.add(by_torch(run, form, picture), answer(picture))
    if not found.n:
        raise ResightError(f"{run.name}: none of its pictures can be read, so the export was not compared")
    apart = found.map_difference or 0.0
    if not found.largest_difference <= PROBABILITY or not apart <= MAP:
        raise ResightError(
            f"{run.name}: the exported network differs from torch: a probability by "
            f"{found.largest_difference:.1e} ({PROBABILITY:g} is allowed), a map by {apart:.1e} of its range "
            f"({MAP:g} is allowed), on {found.n} pictures; nothing was written"
        )
    return found


def by_torch(run: Run, form: ClosedForm | None, picture: Image.Image) -> Answer:
    """Return what torch says of a decoded picture, by the code that test and explain use."""
    card = run.preprocessing
    pixels = torch.from_numpy(np.array(fit(picture, card)))[None]
    images = Normalize(card, run.device)(pixels.to(run.device))
    with torch.inference_mode():
        logits = logits_of(run.model(images))
    assert logits is not None  # the network was tried before
    scaled = logits.double().cpu() / run.temperature
    likely = to_probabilities(scaled, run.model.probabilities)[0].numpy()
    if form is None:
        return Answer(likely)
    raw = explain(run.model, images, form.method, "all", form.layer).raw
    return Answer(likely, None, raw[0].float().cpu().numpy(), np.arange(len(likely), dtype=np.int64))


def by_reduced_decoding(answer: Callable[[Image.Image], Answer], trial: Trial, side: int) -> Decoding:
    """Return what scaling JPEGs inside libjpeg changes.

    Args:
        answer: what the file says of a picture.
        trial: the pictures.
        side: shorter side that the network resizes to.
    """
    found = Agreement()
    for number in counted(trial.numbers, "comparing decoders", len(trial)):
        try:
            whole, reduced = trial.read(number), trial.read(number, at_least=side)
        except PictureError:
            continue
        if whole.size == reduced.size:
            found.n, found.same_answer = found.n + 1, found.same_answer + 1
            continue
        found.add(Answer(answer(whole).probabilities), Answer(answer(reduced).probabilities))
    return Decoding(found.n, found.same_answer, found.largest_difference)
