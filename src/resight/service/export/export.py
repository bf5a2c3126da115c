"""Write a run as one file: preprocessing, network, temperature and map, compared with torch first."""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import resight
from resight.core.errors import DataError, ModelFileError, UsageError
from resight.core.figures import to_json
from resight.core.files import replacing, require_place
from resight.export.deployed import FORMAT, Answer, Onnx
from resight.export.graph import ALL, INPUT, ClosedForm, Deployed, closed_form
from resight.export.network import OnnxNetwork
from resight.export.writing import (
    axes_of,
    program_bytes,
    program_of,
    to_onnx,
    to_program,
    with_document,
)
from resight.localize.rule import Rule
from resight.models.classifier import Classifier
from resight.models.zoo import NETWORKS
from resight.saliency.methods import METHODS
from resight.service.export.agreement import (
    Agreement,
    Decoding,
    Exported,
    Trial,
    by_reduced_decoding,
    compared,
    trial_of,
)
from resight.service.export.int8 import in_8_bits
from resight.service.export.solved import export_solved, require_plain
from resight.service.run.run import Run, open_any
from resight.tasks.classify.task import of_network
from resight.tasks.task import SolverTask

LOSS = 0.5
"""Points of error that 8 bits may cost by default."""
ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2"}
"""Formats, and how their files end."""


def export(
    run: str,
    out: str | None = None,
    form: str = "onnx",
    maps: str = "all",
    *,
    picture_maps: bool = False,
    int8: bool = False,
    loss: float = LOSS,
    data: str | None = None,
    data_root: str | None = None,
) -> dict[str, Any]:
    """Export a run.

    Args:
        run: a RUN.
        out: the file to write; by default the run's name with the format's ending.
        form: "onnx" or "torch-export".
        maps: whose maps of a picture the file gives, where the head has a closed form: "all" classes', those
            of the best K ("5"), or "none".
        int8: write the network in 8 bits, see `resight.service.export.int8`.
        loss: most points of error that the 8 bits may cost.
        picture_maps: also give the map of the best class at the picture's own size.
        data: pictures to compare on; by default the run's own.
        data_root: see `open_dataset`.

    Returns:
        The JSON of `resight export`.

    Raises:
        ResightError: in one line; then no file was written.
    """
    if form not in ENDINGS:
        raise UsageError(f"--format {form!r}: must be one of {', '.join(ENDINGS)}")
    if int8 and form != "onnx":
        raise UsageError(f"--int8 writes an .onnx file; leave --format {form} out")
    wanted = _maps(maps)
    opened = open_any(run)
    if isinstance(opened.task, SolverTask):
        require_plain(opened, opened.task, form, maps, picture_maps=picture_maps, int8=int8)
        place = _place(opened, out, form)
        return export_solved(opened, opened.task, place, trial_of(opened, data, data_root))
    _require_exportable(opened)
    place = _place(opened, out, form)
    require_place(place)
    found = closed_form(opened.model, _noise(opened)) if wanted is not None else None
    network = Deployed(
        opened.model, opened.preprocessing, opened.temperature, opened.model.probabilities, found,
        min(wanted or ALL, len(opened.model.classes)), picture_maps=picture_maps,
    ).eval()  # fmt: skip
    trial = trial_of(opened, data, data_root)
    document = _document(opened, network, found)
    write = _write_onnx if form == "onnx" else _write_program
    written, small = write(opened, network, found, trial, document), None
    content = written.content
    if int8:
        content, small = in_8_bits(opened, content, document, loss, data, data_root)
    with replacing(place) as temporary:
        temporary.write_bytes(content)
    answer = Exported(
        file=place,
        inputs={INPUT: "uint8 (batch, height, width, 3), RGB"},
        outputs=document["export"]["outputs"],
        agreement=written.agreement.shown,
        compared_on=trial.words,
        reduced_decoding=written.reduced,
        int8=small,
        bytes=len(content),
        notes=_notes(network, wanted) + [f"left out: {line}" for line in written.agreement.unreadable],
    )
    return to_json(answer)


@dataclass(frozen=True)
class Written:
    """A file that was compared with torch.

    Attributes:
        content: its bytes.
        agreement: how it compares.
        reduced: what reduced decoding changes; None where nothing was decoded.
    """

    content: bytes
    agreement: Agreement
    reduced: Decoding | None


def _write_onnx(
    run: Run, network: Deployed, form: ClosedForm | None, trial: Trial, document: dict[str, Any]
) -> Written:
    """Return an .onnx file, compared with torch."""
    model = to_onnx(network, run.name)
    opened = Onnx(run.name, with_document(model, document))
    return _finished(
        run, form, trial, document, lambda p: opened.answer([p])[0], lambda d: with_document(model, d)
    )


def _write_program(
    run: Run, network: Deployed, form: ClosedForm | None, trial: Trial, document: dict[str, Any]
) -> Written:
    """Return the same for a .pt2 file."""
    program = to_program(network, run.name)
    outputs_of = program_of(program_bytes(program, document), network)

    def answer(picture: Image.Image) -> Answer:
        found = outputs_of(np.asarray(picture))
        likely = found["probabilities"][0].astype(np.float64)
        if "maps" not in found:
            return Answer(likely)
        every = np.arange(len(likely), dtype=np.int64)[None]
        return Answer(likely, None, found["maps"][0], found.get("map_classes", every)[0])

    return _finished(run, form, trial, document, answer, lambda d: program_bytes(program, d))


def _finished(
    run: Run,
    form: ClosedForm | None,
    trial: Trial,
    document: dict[str, Any],
    answer: Callable[[Image.Image], Answer],
    packed: Callable[[dict[str, Any]], bytes],
) -> Written:
    """Compare a file with torch, and write into its document what was found."""
    agreement = compared(run, form, answer, trial)
    reduced = by_reduced_decoding(answer, trial, run.preprocessing.resize) if trial.encoded else None
    document["export"] |= {
        "agreement": to_json(agreement.shown),
        "compared_on": trial.words,
        "reduced_decoding": to_json(reduced),
    }
    return Written(packed(document), agreement, reduced)


def _document(run: Run, network: Deployed, form: ClosedForm | None) -> dict[str, Any]:
    """Return what the file says of itself: all that the run's own file says, and what its outputs are."""
    card, model = run.preprocessing, run.model
    origin = getattr(model, "origin", None)
    return {
        **({} if origin is None else {"weights": origin.header()}),
        **run.facts,
        "architecture": model.name,
        "classes": list(model.classes),
        **of_network(model).said(),
        "preprocessing": card.to_dict(),
        "temperature": run.temperature,
        "export": {
            "format": FORMAT,
            "run": Path(run.name).name,
            "task": "classify",
            "input": {INPUT: ["batch", "height", "width", "3"]},
            "outputs": axes_of(network),
            "probabilities": model.probabilities,
            "tables": [*(["pixel_mean"] if card.pixel_mean else []),
                       *(["whitening"] if card.whitening is not None else [])],
            "map": form and {
                "method": form.method,
                "layer": form.layer,
                "rectified": METHODS[form.method].rectified,
                "relu": form.rectified,
                "pooling": form.pooling,
                "cells": list(form.cells),
                "of": "all" if network.maps == ALL else network.maps,
            },
            "boxes": {**asdict(Rule()), "words": Rule().words},
            "versions": {
                "resight": resight.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        },
    }  # fmt: skip


def _require_exportable(run: Run) -> None:
    """Refuse what no exporter takes, by the reason.

    Raises:
        ModelFileError: naming it.
    """
    if not run.model.classes:
        raise DataError(f"{run.name}: does not know its class names; an exported file must name its classes")
    if isinstance(run.model, OnnxNetwork):
        raise ModelFileError(f"{run.name}: is an .onnx file already; export the run that it was made of")
    row = NETWORKS.get(run.model.name) if isinstance(run.model, Classifier) else None
    if row is not None and row.family == "classic":
        raise ModelFileError(
            f"{run.name}: cannot be exported: the descriptors of {run.model.name} are computed by OpenCV or "
            "scikit-image, outside torch; export a network"
        )


def _noise(run: Run) -> torch.Tensor:
    """Return images to recognize the head by, (2, 3, S, S), which reach every class."""
    side = run.preprocessing.size
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(run.device)


def _maps(word: str) -> int | None:
    """Return how many classes' maps are given: `ALL`, a number, or None for no maps."""
    if word == "all":
        return ALL
    if word == "none":
        return None
    if word.isdecimal() and int(word) > 0:
        return int(word)
    raise UsageError(f"--maps {word!r}: must be all, none, or a number of classes such as 5")


def _place(run: Run, out: str | None, form: str) -> Path:
    ending = ENDINGS[form]
    if out is None:
        name = Path(run.name).name.removesuffix(".safetensors").replace(":", "-").replace("/", "-")
        return Path(f"{name or 'model'}{ending}")
    if Path(out).is_dir():
        raise UsageError(f"--out {out!r} is a folder; give a file")
    if Path(out).suffix != ending:
        raise UsageError(f"--out {out!r}: a file of --format {form} ends in {ending}")
    return Path(out)


def _notes(network: Deployed, wanted: int | None) -> list[str]:
    if wanted is None or network.form is not None:
        return []
    return ["the head is not pooling and one linear layer, so the file holds no maps"]
