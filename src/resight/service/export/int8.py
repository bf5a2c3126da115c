"""An export in 8 bits: calibrated on validation pictures, kept if its loss on test pictures is small."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.console import counted
from resight.core.errors import PictureError, ResightError, UsageError
from resight.core.figures import to_json
from resight.export.deployed import Answer, Onnx
from resight.export.int8 import Quantizer, most_sensitive
from resight.export.writing import onnx_of, with_document
from resight.service.export.agreement import Compared, Int8, Trial, trial_of
from resight.service.run.run import Run
from resight.tasks.classify.task import of_network

CALIBRATION, TRIED = 200, 48
"""Pictures that give the ranges, and those among them that layers are compared on."""
TIMED = 20
"""Pictures whose answers are timed, float and int8 in turns."""


@dataclass(frozen=True)
class Sample:
    """Decoded pictures, what the float network says of them, and their classes."""

    pictures: Sequence[NDArray[np.uint8]]
    answers: Sequence[Answer]
    labels: NDArray[np.int64]


def in_8_bits(
    run: Run, content: bytes, document: dict[str, Any], loss: float, data: str | None, data_root: str | None
) -> tuple[bytes, Int8]:
    """Return an .onnx file in 8 bits, and what it costs.

    Args:
        run: the run behind it.
        content: the float file.
        document: of the file.
        loss: most points of error that it may cost on the test pictures.
        data: labelled pictures; by default the run's own.
        data_root: see `open_dataset`.

    Raises:
        UsageError: if there are no labelled pictures, each of one class.
        ResightError: if it costs more than `loss`, with any layers that stay float.
    """
    calibration, tested = _trials(run, data, data_root)
    model, opened = onnx_of(content), Onnx(run.name, content)
    known = _sample(opened, calibration)
    quantizer = Quantizer(model, known.pictures)
    floating = _split(quantizer, known, loss, lambda m: Onnx(run.name, with_document(m, document)))
    small = quantizer.model_with(floating)
    content = with_document(small, document)
    found = Onnx(run.name, content)
    sample = _sample(opened, tested)
    compared = compare(found, sample)
    if compared.loss > loss:
        raise ResightError(
            f"{run.name}: in 8 bits its error rises by {compared.loss:.2f} points "
            f"({compared.float_error:.2f} to {compared.int8_error:.2f} % of {compared.n} pictures), although "
            f"{len(floating)} of {len(quantizer.layers)} layers stay float; --loss allows {loss:g}; nothing "
            "was written"
        )
    figures = Int8(
        compared=compared,
        speed=_speed(opened, found, sample.pictures),
        layers=len(quantizer.layers),
        floating=floating,
        calibrated_on=calibration.words,
        tested_on=tested.words,
    )
    document["export"] |= {"int8": to_json(figures)}
    return with_document(small, document), figures


def compare(network: Onnx, sample: Sample) -> Compared:
    """Compare an 8-bit network with what the float one said of the same pictures."""
    found = [_answer(network, picture) for picture in sample.pictures]
    said = np.array([a.probabilities.argmax() for a in found])
    wanted = np.array([a.probabilities.argmax() for a in sample.answers])
    maps = None
    if found and found[0].maps is not None:
        alike = [_alike(own, other) for own, other in zip(found, sample.answers, strict=True)]
        maps = float(np.median(alike)), float(min(alike))
    before, after = (100 * float((numbers != sample.labels).mean()) for numbers in (wanted, said))
    same = 100 * float((said == wanted).mean())
    return Compared(len(found), before, after, after - before, same, maps)


def _split(
    quantizer: Quantizer,
    known: Sample,
    loss: float,
    as_network: Callable[[Any], Onnx],
) -> list[str]:
    """Return the layers that stay float: as few of the most sensitive as keep the loss on known pictures."""
    if compare(as_network(quantizer.model_with()), known).loss <= loss / 2:
        return []
    places = np.unique(np.linspace(0, len(known.pictures) - 1, TRIED).astype(int))
    few = Sample(
        [known.pictures[i] for i in places], [known.answers[i] for i in places], known.labels[places]
    )
    order = most_sensitive(quantizer, lambda model: _harm(as_network(model), few))
    count = 1
    while count < len(order) // 2:
        if compare(as_network(quantizer.model_with(order[:count])), known).loss <= loss / 2:
            return order[:count]
        count *= 2
    return order[: len(order) // 2]


def _harm(network: Onnx, sample: Sample) -> float:
    """Return the mean Kullback-Leibler divergence of an 8-bit network's answers from the float one's."""
    total = 0.0
    for picture, wanted in zip(sample.pictures, sample.answers, strict=True):
        said = _answer(network, picture).probabilities.clip(min=1e-9)
        true = wanted.probabilities.clip(min=1e-9)
        total += float((true * np.log(true / said)).sum())
    return total / len(sample.pictures)


def _trials(run: Run, data: str | None, data_root: str | None) -> tuple[Trial, Trial]:
    """Return the pictures that give the ranges, and others that the loss is measured on."""
    if not data and not run.facts.get("data"):
        raise UsageError("--int8 needs labelled pictures to calibrate and to measure the loss; give --data")
    why = "--int8 measures the error of one class per picture"
    of_network(run.model).require_one(run.name, why, UsageError)
    tested = trial_of(run, data, data_root, most=None)
    calibration = trial_of(run, data, data_root, split="val", most=CALIBRATION)
    if tested.labels is None:
        raise UsageError(f"--int8 needs labelled pictures, but there are only {tested.words}; give --data")
    if calibration.split != tested.split:
        return calibration, tested
    step = max(2, len(tested) // CALIBRATION)
    numbers = list(tested.numbers)
    rest = [n for place, n in enumerate(numbers) if place % step]
    first, of = numbers[::step][:CALIBRATION], f"pictures of {tested.split}, which has no validation pictures"
    return (
        replace(tested, numbers=first, words=f"{len(first)} {of}"),
        replace(tested, numbers=rest, words=f"the other {len(rest)} pictures of {tested.split}"),
    )


def _sample(network: Onnx, trial: Trial) -> Sample:
    pictures, answers, labels = [], [], []
    assert trial.labels is not None  # `_trials` asked for labelled pictures
    for number in counted(trial.numbers, "reading pictures", len(trial)):
        label = int(trial.labels[number])
        try:
            picture = np.asarray(trial.read(number))
        except PictureError:
            continue
        if label >= 0:
            pictures.append(picture)
            answers.append(_answer(network, picture))
            labels.append(label)
    return Sample(pictures, answers, np.array(labels))


def _answer(network: Onnx, picture: NDArray[np.uint8]) -> Answer:
    return network.outputs_of(picture[None])[0]


def _alike(found: Answer, wanted: Answer) -> float:
    """Return the correlation of the maps of the float network's best class; 0 where one is flat."""
    best = int(wanted.probabilities.argmax())
    pair = []
    for answer in (found, wanted):
        assert answer.maps is not None and answer.map_classes is not None  # both files hold maps
        place = np.flatnonzero(answer.map_classes == best)
        if not len(place):
            return 0.0
        pair.append(answer.maps[place[0]].ravel())
    if min(values.std() for values in pair) < 1e-12:
        return 0.0
    return float(np.corrcoef(*pair)[0, 1])


def _speed(before: Onnx, after: Onnx, pictures: Sequence[NDArray[np.uint8]]) -> float:
    """Return how many times as many pictures a second the 8-bit network answers, one at a time, in turns."""
    ratios = []
    for picture in pictures[:TIMED]:
        seconds = []
        for network in (before, after):
            _answer(network, picture)
            started = time.perf_counter()
            _answer(network, picture)
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[0] / seconds[1])
    return float(np.median(ratios))
