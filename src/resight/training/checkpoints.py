"""The full state of a training, saved whole or not at all, without pickle."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resight.core import documents, settings
from resight.core.distributed import world
from resight.core.documents import Whole, Within
from resight.core.errors import ModelFileError, PictureError
from resight.core.figures import to_json
from resight.models.modelfile import load_header, load_tensors, save_tensors
from resight.tasks.tasks import renewed
from resight.training.ema import AveragedWeights
from resight.training.sharding import like, whole

FILE = Path("last") / "state.safetensors"
STATE = {
    "identity": {str: object},
    "progress": {
        "epoch": Whole(0, 10**9),
        "step": Whole(0, 10**12),
        "loss_sum": float,
        "sums": {str: float},
        "seen": Whole(0),
        "seconds": Within(0),
        "best_epoch": Whole(0, 10**9),
        "best": (float, None),
        "history": [{str: object}],
        "faults": [{"path": str, "fault": str, "cure": str}],
        "parts?": Whole(1, 65_536),
        "begun?": Whole(0, 10**9),
    },
}
"""Of the document beside the tensors."""
SAVE_SECONDS = 300.0
"""Time between two saves inside an epoch."""


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        epoch: the epoch under way, from 0.
        step: its steps done.
        loss_sum: sum of the losses of these steps.
        sums: what the task counts over the pictures of these steps, by name.
        seen: training pictures of these steps.
        seconds: spent on the epoch so far.
        best_epoch: the epoch (from 1) whose weights are kept; 0 for none yet.
        best: the best figure so far of those that weights are chosen by; None without one.
        history: a row an epoch, as metrics.csv shows them.
        faults: pictures that were left out, as {"path", "fault", "cure"}.
        parts: how many parts a step is computed in, see `resight.training.machine`.
        begun: the epoch, from 0, with which the cycle of the schedule under way began: 0, or where a finished
            training was continued.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    seen: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    faults: list[dict[str, str]] = field(default_factory=list)
    parts: int = 1
    begun: int = 0

    def leave_out(self, faults: Sequence[PictureError]) -> None:
        """Take note of pictures that were left out, each once, however often it is met."""
        self.take_note([to_json(fault.row) for fault in faults])

    def take_note(self, faults: Sequence[dict[str, str]]) -> None:
        """Take note of faults, each once, whichever process met it."""
        known = {fault["path"] for fault in self.faults}
        for fault in faults:
            if fault["path"] not in known:
                known.add(fault["path"])
                self.faults.append(fault)

    def next_epoch(self) -> None:
        """Turn to the next epoch: nothing of it is done."""
        self.epoch += 1
        self.step = self.seen = 0
        self.sums = dict.fromkeys(self.sums, 0.0)
        self.loss_sum = self.seconds = 0.0


def save_state(
    run: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: AveragedWeights | None,
    progress: Progress,
    identity: dict[str, Any],
) -> None:
    """Write everything that resuming needs into the run's `last/`: every process calls it, one writes.

    Args:
        run: the run folder.
        model: its weights and statistics.
        optimizer: its momenta.
        averages: the averaged weights, if any.
        progress: where the training stands.
        identity: what must be the same for a resumed run (recipe, data fingerprint).
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    if averages:
        tensors |= {f"ema.{k}": v for k, v in averages.state.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{key}.{name}"] = value
    tensors = whole(tensors)
    if world().is_main:
        save_tensors(run / FILE, tensors, {"identity": identity, "progress": dataclasses.asdict(progress)})


def load_state(
    run: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: AveragedWeights | None,
    identity: dict[str, Any],
    counts: Sequence[str] = (),
    begun: int = 0,
) -> Progress | None:
    """Load what `save_state` wrote; None if nothing was saved yet.

    Args:
        run: the run folder.
        model: takes the weights and statistics.
        optimizer: takes the momenta.
        averages: take the averaged weights, if there are any.
        identity: what must be the same.
        counts: the names of the sums that the training keeps.
        begun: epochs of the cycles before the one that is resumed; a state may be the end of these.

    Raises:
        ModelFileError: if the state is of another recipe, task or data, or cannot be read.
    """
    if not (run / FILE).is_file():
        return None
    tensors, document = load_tensors(run / FILE)
    progress = _progress_of(document, run / FILE, counts)
    stored = renewed(document["identity"])
    if begun and (progress.epoch, progress.step) == (begun, 0) and isinstance(stored.get("recipe"), dict):
        stored = {**stored, "recipe": {**stored["recipe"], "epochs": identity["recipe"]["epochs"]}}
    require_same(run, stored, identity)
    progress.begun = begun

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    state, parameters = model.state_dict(), dict(model.named_parameters())
    momenta = {word.partition(".")[::2]: v for word, v in part("optimizer.").items()}
    _require_fit(part("model."), state, run / FILE, every=True)
    _require_fit(part("ema."), averages.state if averages else {}, run / FILE)
    for (_, name), value in momenta.items():  # a counter of steps is one number
        stands = {name: value} if value.ndim else {name: parameters.get(name, value[None])}
        _require_fit(stands, parameters, run / FILE)
    model.load_state_dict({k: like(v, state[k]) for k, v in part("model.").items()})
    if averages:
        for name, value in part("ema.").items():
            averages.state[name].copy_(like(value, averages.state[name]))
    for (key, name), stored in momenta.items():
        parameter = parameters[name]
        if stored.shape == parameter.shape:
            # The layout in memory must be the parameter's own: sums then run in the same order.
            buffer = torch.empty_like(parameter, memory_format=torch.preserve_format)
            stored = buffer.copy_(like(stored, parameter))
        optimizer.state[parameter][key] = stored
    return progress


def stands_at(run: Path) -> Progress | None:
    """Return where a training stands; None if nothing was saved yet.

    Raises:
        ModelFileError: if the state is damaged.
    """
    if not (run / FILE).is_file():
        return None
    return _progress_of(load_header(run / FILE), run / FILE, None)


def require_same(run: Path, stored: dict[str, Any], identity: dict[str, Any]) -> None:
    """Refuse a state of other settings, which are named, or of other data.

    Raises:
        ModelFileError: for the first kind that differs.
    """
    for key, value in identity.items():
        if (before := stored.get(key)) == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            differ = ", ".join(settings.differences(before, value))
            raise ModelFileError(
                f"{run}: was trained with other settings: {differ}; leave these options out to resume it, or "
                "train from scratch with another --out"
            )
        raise ModelFileError(
            f"{run}: was trained with other {key}; give the {key} it was trained with, or train from "
            "scratch with another --out"
        )


def _renewed(document: dict[str, Any]) -> None:
    """Give the state of an older Resight, which counted wrong answers only, its present form."""
    values = document.get("progress")
    if not isinstance(values, dict) or not {"wrong", "best_error"} <= values.keys() or "sums" in values:
        return
    values["sums"] = {"wrong": values.pop("wrong")}
    error = values.pop("best_error")
    values["best"] = error if values.get("best_epoch") else None


def _progress_of(document: dict[str, Any], path: Path, counts: Sequence[str] | None) -> Progress:
    """Return the progress of a state; with `counts`, these sums and no others."""
    _renewed(document)
    documents.require(document, STATE, f"{path}: is damaged", ModelFileError)
    values = document["progress"]
    known = {f.name for f in dataclasses.fields(Progress)}
    unknown = [key for key in values if key not in known]
    names = [*values["sums"]] if counts is None else counts
    if missing := [name for name in names if name not in values["sums"]]:
        raise ModelFileError(f"{path}: is damaged, or of another task (it does not count {missing[0]})")
    values["sums"] = {name: float(values["sums"][name]) for name in names}
    for row in values["history"]:
        unknown += [key for key, value in row.items() if not isinstance(value, int | float | None)]
    if unknown:
        raise ModelFileError(f"{path}: is damaged, or of a newer Resight ({unknown[0][:80]})")
    return Progress(**values)


def _require_fit(
    found: Mapping[str, torch.Tensor],
    wanted: Mapping[str, torch.Tensor],
    path: Path,
    *,
    every: bool = False,
) -> None:
    """Refuse tensors that are not those of the network.

    Raises:
        ModelFileError: naming the first one.
    """
    wrong = [
        k
        for k, v in found.items()
        if k not in wanted
        or (v.shape, v.is_floating_point()) != (wanted[k].shape, wanted[k].is_floating_point())
    ]
    wrong += [k for k in wanted if k not in found] if every else []
    if wrong:
        raise ModelFileError(
            f"{path}: is damaged, or of another network ({wrong[0][:80]}); start again with another --out"
        )
