"""Loading of tensors into a network: each is checked; the trunk must fit, the head is loaded if it fits."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from resight.core.errors import ModelFileError
from resight.core.preprocessing import Preprocessing
from resight.models.classifier import Classifier
from resight.models.initialization import shapes_only
from resight.models.origin import NOT_STATED, Origin, file_digest, tensors_digest
from resight.models.solver import Solver

Module = TypeVar("Module", bound=nn.Module)

HEADS = frozenset(
    (
        *("fc", "fc4", "fc5", "fc6", "fc7", "fc8", "f6", "f7", "f8", "c5", "cccp6", "cccp8", "h3", "h17"),
        *("output", "classifier", "classif", "last_linear", "linear", "head", "heads", "pre_logits"),
        *("svm", "scaling", "reduce", "kernel", "pooling", "regressor"),
        *("aux1", "aux2", "AuxLogits", "companion1", "companion2", "companion3"),
    )
)
"""First parts of the names of layers after the trunk, ours and third-party: a file may hold some that a
network lacks."""


@dataclass(frozen=True)
class Card:
    """Weights and the facts that come with them.

    Attributes:
        state: names to tensors.
        classes: names in the order of the logits; empty if unknown.
        preprocessing: the one that they were tested with; None if unknown.
        source: where they come from.
        licence: of the weights; "" if it is not stated.
        file: path that they were read from; None if unknown.
    """

    state: dict[str, Tensor]
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    source: str
    licence: str = ""
    file: Path | None = None

    def origin(self) -> Origin:
        """Return what is recorded about the weights."""
        known = self.file is not None and self.file.is_file()
        sha256 = file_digest(self.file) if self.file and known else tensors_digest(self.state)
        file = str(self.file.resolve()) if self.file and known else ""
        return Origin(self.source, self.licence or NOT_STATED, sha256, file, self.preprocessing)


def load_card(model: Classifier | Solver, card: Card, *, any_head: bool = False) -> None:
    """Load a card's tensors and facts into a network.

    Heads that are used in training only may be absent on either side.

    Args:
        model: the network; a classifier's last layer is replaced if the weights have another number of
            classes.
        card: what is loaded; its dtypes are converted to the network's.
        any_head: load only the trunk if the head has other layers. Then the head is unchanged, its classes
            have no names, and `weights_note` says so.

    Raises:
        ModelFileError: if names, shapes or kinds differ, or a value is not finite.
    """
    if isinstance(model, Classifier):
        first = next(k for k in model.state_dict() if k.startswith(f"{model.classifier_name}."))
        logits, own = card.state.get(first), model.state_dict()[first]
        if logits is not None and len(logits) != len(own) and logits.shape[1:] == own.shape[1:]:
            model.reset_classifier(len(logits))
    wanted = model.state_dict()
    state, fresh = fitting(model, wanted, card, any_head=any_head)
    usable = {k: _usable(k, v, wanted[k], card.source) for k, v in state.items() if k in wanted}
    model.load_state_dict({k: usable.get(k, v) for k, v in wanted.items()})
    model.classes = () if fresh else card.classes
    model.preprocessing = card.preprocessing
    if fresh and isinstance(model, Classifier):
        model.weights_note = (
            f"{card.source}: the trunk is loaded; its head has other layers, so {', '.join(fresh)} "
            f"{'is' if len(fresh) == 1 else 'are'} newly initialized"
        )


def fitting(
    model: Classifier | Solver, wanted: dict[str, Tensor], card: Card, *, any_head: bool = False
) -> tuple[dict[str, Tensor], list[str]]:
    """Return a card's tensors that the network uses, and the layers of its head that get none.

    Args:
        model: the network.
        wanted: its names and tensors; their shapes are read.
        card: what is loaded.
        any_head: see `load_card`.

    Raises:
        ModelFileError: if they do not fit.
    """
    state = {k: v for k, v in card.state.items() if not k.startswith("preprocessing.")}
    beside = tuple(f"{name}." for name in model.training_only())
    missing = [
        k
        for k in wanted
        if k not in state and not k.endswith("num_batches_tracked") and not k.startswith(beside)
    ]
    unknown = [k for k in state if k not in wanted and not k.startswith(beside)]
    shapes = [k for k in state if k in wanted and state[k].shape != wanted[k].shape]
    fresh: list[str] = []
    if any_head and isinstance(model, Classifier) and (missing or unknown or shapes):
        trunk = tuple(f"{name}." for names in model.trunk_layers() for name in names)
        roots = {name.partition(".")[0] for name in trunk}
        foreign = [k for k in unknown if k.partition(".")[0] in HEADS - roots]
        misfits = [k for k in (*missing, *shapes) if not k.startswith(trunk)]
        if misfits or foreign:
            # The head is loaded as a whole: half of another head is useless.
            fresh = sorted({_layer(k) for k in wanted if not k.startswith((*trunk, *beside))})
            fresh += sorted({_layer(k) for k in misfits if k.startswith(beside)})
            state = {k: v for k, v in state.items() if k.startswith(trunk) or k in unknown}
            state |= {k: v for k, v in card.state.items() if k.startswith(beside) and k not in misfits}
            missing, unknown, shapes = (
                [k for k in names if k not in misfits and k not in foreign]
                for names in (missing, unknown, shapes)
            )
    if missing or unknown or shapes:
        raise ModelFileError(
            f"{card.source}: these weights do not fit {model.name or 'this network'}: "
            f"{_listed(missing, unknown, shapes)}; name the network that they belong to"
        )
    return state, fresh


def _listed(missing: list[str], unknown: list[str], shapes: list[str]) -> str:
    kinds = ((missing, "missing"), (unknown, "unknown"), (shapes, "of another shape"))
    return ", ".join(f"{len(names)} {word} ({_few(names)})" for names, word in kinds if names)


def _few(names: Iterable[str]) -> str:
    names = [name[:80] for name in names]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _usable(name: str, value: Tensor, wanted: Tensor, source: str) -> Tensor:
    """Return a tensor in the network's dtype.

    Raises:
        ModelFileError: if it is of another kind, or holds a value that no training produces.
    """
    plain = value.layout == torch.strided and not value.is_quantized and value.device.type != "meta"
    whole = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    kinds = (value.is_floating_point(), whole)
    if not plain or kinds != (wanted.is_floating_point(), not wanted.is_floating_point()):
        found, needed = (str(t.dtype).removeprefix("torch.") for t in (value, wanted))
        raise ModelFileError(
            f"{source}: {name} is {'' if plain else 'not a plain tensor, '}of type {found}, not {needed}"
            "; save the state_dict of a float network"
        )
    value = value.to(wanted.dtype)
    if value.is_floating_point() and not value.isfinite().all():
        raise ModelFileError(
            f"{source}: {name} holds NaN or infinity; use weights saved before they diverged"
        )
    if name.endswith("running_var") and (value < 0).any():
        raise ModelFileError(f"{source}: {name} is a variance below 0; use an undamaged file")
    return value


def load_whole(build: Callable[[], Module], state: dict[str, Tensor], source: str) -> Module:
    """Build a module of our own and load its tensors, which must match it exactly.

    Args:
        build: makes the module; it is called on the meta device first, so that a file cannot ask for more
            memory than it holds.
        state: names to tensors.
        source: the file, for the message.

    Raises:
        ModelFileError: if names, shapes or kinds differ, or a value is not finite.
    """
    try:
        with shapes_only():
            outline = build().state_dict()
        missing, unknown = [k for k in outline if k not in state], [k for k in state if k not in outline]
        shapes = [k for k in outline if k in state and state[k].shape != outline[k].shape]
        if missing or unknown or shapes:
            raise ModelFileError(f"{source}: is damaged: {_listed(missing, unknown, shapes)}; train it again")
        module = build()
    except (TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = (str(error).splitlines() or ["no memory"])[0].rstrip(":")[:200]
        raise ModelFileError(f"{source}: is damaged ({reason}); train it again") from error
    module.load_state_dict({k: _usable(k, state[k], v, source) for k, v in module.state_dict().items()})
    return module
