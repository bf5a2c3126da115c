"""Write a run of a task with a head of its own as one file, compared with torch first."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import resight
from resight.core.console import counted
from resight.core.errors import ModelFileError, PictureError, ResightError, UsageError
from resight.core.figures import to_json
from resight.core.files import replacing, require_place
from resight.evaluate.asked import Asked
from resight.export.answers import answer_of
from resight.export.deployed import FORMAT, Onnx
from resight.export.graph import INPUT
from resight.export.solved import EXPORTED, Solved, solved
from resight.export.writing import axes_of, to_onnx, with_document
from resight.models.activations import SOFTMAX, said_of
from resight.service.export.agreement import Exported, Rounding, Trial
from resight.service.run.run import Run
from resight.tasks.detect.task import Detect
from resight.tasks.localize.task import Localize
from resight.tasks.task import SolverTask

PROBABILITY, PLACE, EMBEDDING = 1e-5, 0.01, 1e-4
"""Largest differences: of a probability or score, of a point or a box's edge in pixels, of an embedding."""
MASK = 0.01
"""Largest share of the pixels of all masks on which they may differ: a probability just at 0.5 is rounded."""
ROUNDED = 0.02
"""Share of pictures on which other objects may be found: where two boxes overlap by just as much as
suppression allows, rounding decides."""


def export_solved(run: Run, task: SolverTask, place: Path, trial: Trial) -> dict[str, Any]:
    """Export a run of a task.

    Args:
        run: the run.
        task: of it.
        place: the .onnx file to write.
        trial: the pictures to compare on.

    Returns:
        The JSON of `resight export`.

    Raises:
        ResightError: in one line; then no file was written.
    """
    require_place(place)
    network = solved(run.network, run.preprocessing, task, run.temperature)  # type: ignore[arg-type]
    document = document_of(run, task, network)
    model = to_onnx(network, run.name)
    opened = Onnx(run.name, with_document(model, document))
    agreement = compared(run, task, opened, trial)
    document["export"] |= {"agreement": to_json(agreement.shown), "compared_on": trial.words}
    content = with_document(model, document)
    with replacing(place) as temporary:
        temporary.write_bytes(content)
    batch = "batch" if network.together else "1"
    answer = Exported(
        file=place,
        inputs={INPUT: f"uint8 ({batch}, height, width, 3), RGB"},
        outputs=document["export"]["outputs"],
        agreement=agreement.shown,
        compared_on=trial.words,
        reduced_decoding=None,
        int8=None,
        bytes=len(content),
        notes=[f"left out: {line}" for line in agreement.unreadable],
    )
    return to_json(answer)


def require_plain(
    run: Run, task: SolverTask, form: str, maps: str, *, picture_maps: bool, int8: bool
) -> None:
    """Refuse what is of classification alone, and what cannot be exported of a task.

    Raises:
        UsageError: for an option.
        ModelFileError: for the run.
    """
    named = {
        "--int8": int8, f"--format {form}": form != "onnx", f"--maps {maps}": maps not in ("all", "none"),
        "--picture-maps": picture_maps,
    }  # fmt: skip
    if wrong := [option for option, given in named.items() if given]:
        raise UsageError(f"{wrong[0]} is for classifiers; leave it out with --task {task.name}")
    if task.name not in EXPORTED:
        raise ModelFileError(
            f"{run.name}: cannot be exported: --task {task.name} has no exported form; those of "
            f"{', '.join(EXPORTED)} have one"
        )
    if setting := _not_in_a_graph(task):
        raise ModelFileError(
            f"{run.name}: cannot be exported: {task.name}.{setting} is not part of the exported graph; train "
            "without it"
        )


def _not_in_a_graph(task: SolverTask) -> str:
    """Return the setting of a task that the exported graph does not compute; "" if it computes all."""
    if isinstance(task, Detect):
        own = {"refine=true": task.refine, "context=true": task.context, "scales": bool(task.scales)}
    elif isinstance(task, Localize):
        own = {"head=rpn": task.head == "rpn"}
    else:
        own = {}
    return next((setting for setting, given in own.items() if given), "")


def document_of(run: Run, task: SolverTask, network: Solved) -> dict[str, Any]:
    """Return what the file says of itself: all that the run's own file says, and what its outputs are."""
    solver, extra = run.network, {}
    if task.name == "verify":
        extra = {"fitted": solver.get_buffer("head.fitted").tolist()}
    batch = "batch" if network.together else "1"
    return {
        **({} if solver.origin is None else {"weights": solver.origin.header()}),
        **run.facts,
        "architecture": solver.name,
        "classes": list(solver.classes),
        "about": getattr(solver, "about", {}),
        **said_of(SOFTMAX),
        "preprocessing": run.preprocessing.to_dict(),
        "temperature": run.temperature,
        "export": {
            "format": FORMAT,
            "run": Path(run.name).name,
            "task": task.name,
            "input": {INPUT: [batch, "height", "width", "3"]},
            "outputs": axes_of(network),
            "probabilities": "softmax" if task.name == "localize" else "none",
            "map": None,
            **extra,
            "versions": {
                "resight": resight.__version__, "torch": torch.__version__,
                "python": platform.python_version(),
            },
        },
    }  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """What is compared of an answer.

    Attributes:
        answer: what must be the same: a class, a shape, or the classes of all objects.
        numbers: what may differ by rounding, by kind: "probability", "place" in pixels, "embedding".
        masks: of the objects, (D, H, W) bool; None where no masks are learned.
    """

    answer: Any
    numbers: dict[str, NDArray[Any]]
    masks: NDArray[np.bool_] | None = None


@dataclass
class Agreement:
    """How an exported file of a task compares with torch.

    Attributes:
        n: pictures.
        same_answer: on how many class, or number and classes of the objects, are the same.
        largest: difference of each kind: "probability", "place" in pixels, "embedding".
        masked: pixels that a mask of either covers, over all objects; None where no masks are learned.
        moved: those of them that only one covers.
        unreadable: faults of pictures that could not be read.
    """

    n: int = 0
    same_answer: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    masked: int | None = None
    moved: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, wanted: Parts, found: Parts) -> None:
        """Count one picture: what torch says of it, and the file."""
        self.n += 1
        if not np.array_equal(wanted.answer, found.answer):
            return
        self.same_answer += 1
        for kind, numbers in wanted.numbers.items():
            apart = float(np.abs(numbers - found.numbers[kind]).max()) if numbers.size else 0.0
            self.largest[kind] = max(self.largest.get(kind, 0.0), apart)
        if wanted.masks is not None and found.masks is not None:
            self.masked = (self.masked or 0) + int((wanted.masks | found.masks).sum())
            self.moved += int((wanted.masks ^ found.masks).sum())

    @property
    def mask_difference(self) -> float | None:
        """The share of the pixels of all masks on which they differ; None where no masks are learned."""
        return None if self.masked is None else self.moved / max(1, self.masked)

    @property
    def good(self) -> bool:
        """Whether all differences are those of rounding."""
        allowed = {"probability": PROBABILITY, "place": PLACE, "embedding": EMBEDDING}
        near = all(value <= allowed[kind] for kind, value in self.largest.items())
        near = near and (self.mask_difference or 0.0) <= MASK
        return near and self.n - self.same_answer <= ROUNDED * self.n

    @property
    def shown(self) -> Rounding:
        """The differences, without the pictures that could not be read."""
        return Rounding(self.n, self.same_answer, dict(sorted(self.largest.items())), self.mask_difference)

    @property
    def words(self) -> str:
        """The differences in words."""
        units = {"probability": "a probability by {:.1e}", "place": "a place by {:.1e} pixels",
                 "embedding": "an embedding by {:.1e}"}  # fmt: skip
        apart = ", ".join(units[kind].format(value) for kind, value in sorted(self.largest.items()))
        if self.mask_difference is not None:
            apart += f", masks on {100 * self.mask_difference:.2g} % of their pixels"
        return f"{apart or 'nothing compared'}; same answer on {self.same_answer} of {self.n} pictures"


def compared(run: Run, task: SolverTask, opened: Onnx, trial: Trial) -> Agreement:
    """Compare an exported file with torch, from the same pixels.

    Args:
        run: the run behind it.
        task: of the run.
        opened: the file.
        trial: the pictures, decoded whole.

    Raises:
        ResightError: if they differ by more than rounding.
    """
    found, wanted = Agreement(), dict[int, Any]()
    pictures = list(_read(trial, found))
    asked = Asked(
        run.network, run.preprocessing, torch.float32, lambda i: pictures[i], range(len(pictures)), 0,
        run.temperature,
    )  # fmt: skip
    wanted = dict(task.answers(asked))
    for number, picture in enumerate(counted(pictures, "comparing with torch", len(pictures))):
        (values,) = opened.outputs_alone([picture])
        said = answer_of(opened, values, picture.size)
        found.add(parts_of(task, wanted[number]), parts_of(task, said))
    if not found.n:
        raise ResightError(f"{run.name}: none of its pictures can be read, so the export was not compared")
    if not found.good:
        raise ResightError(
            f"{run.name}: the exported network differs from torch: {found.words}; allowed are a probability "
            f"by {PROBABILITY:g}, a place by {PLACE:g} pixels, an embedding by {EMBEDDING:g}, masks on "
            f"{100 * MASK:g} % of their pixels, and other objects on {100 * ROUNDED:g} % of the pictures; "
            "nothing was written"
        )
    return found


def _read(trial: Trial, found: Agreement) -> Iterator[Image.Image]:
    for number in trial.numbers:
        try:
            yield trial.read(number)
        except PictureError as error:
            found.unreadable.append(str(error))


def parts_of(task: SolverTask, answer: Any) -> Parts:
    """Return an answer as what is compared."""
    if task.name == "verify":
        return Parts(answer.embedding.shape, {"embedding": answer.embedding})
    if task.name == "localize":
        return Parts(answer.label, {"place": answer.each, "probability": np.array([answer.probability])})
    if task.name == "pose":
        place, spread = np.array(answer.stages[-1]), np.array(answer.spread)
        likely = spread.mean(-1) if spread.size else spread
        return Parts(answer.joints, {"place": place, "probability": likely})
    order = np.lexsort((answer.boxes[:, 0], -answer.scores.round(4), answer.labels))
    numbers = {"place": answer.boxes[order], "probability": answer.scores[order]}
    masks = None if answer.masks is None else np.asarray(answer.drawn(), bool)[order]
    return Parts(answer.labels[order], numbers, masks)
