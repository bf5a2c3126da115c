"""What a training starts from: the word `weights=` settled before the first step, and recorded."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resight.core.device import pick_device
from resight.core.distributed import world
from resight.core.errors import ModelFileError, UsageError
from resight.models.available import ORDER, Say, allowed_places, find_official
from resight.models.installed import WHEELS
from resight.models.origin import Origin
from resight.models.weights import OFFICIAL, of_zoo
from resight.service.run.run import RECIPE_FILE
from resight.training.checkpoints import FILE as CHECKPOINT

AUTO, NONE = "auto", "none"
CANDIDATES = {False: ("efficientnet_lite0", "resnet18"), True: ("resnet50", "efficientnet_lite0")}
"""Networks for photos where nobody names one, best first; without and with a GPU."""


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        asked: the word that was asked for.
        word: the setting `weights` of the recipe; "" from scratch.
        network: that the weights are of, where the word decides it; "" where the recipe chooses.
        looked: where `auto` looked, and what it found, a line each.
        origin: of the weights, as the run that is resumed has it on record; None for a new run.
    """

    asked: str = NONE
    word: str = ""
    network: str = ""
    looked: tuple[str, ...] = ()
    origin: Origin | None = None

    def record(self, origin: Origin | None) -> dict[str, Any]:
        """Return what recipe.json says under `weights`.

        Args:
            origin: of the weights that were loaded; None from scratch.
        """
        order = {"order": ORDER} if self.asked == AUTO else {}
        return {
            "asked": self.asked,
            **order,
            "looked": list(self.looked),
            **(origin.to_dict() if origin else {"source": NONE}),
        }

    def lines(self, origin: Origin | None) -> list[str]:
        """Return what the console says of it."""
        if origin is None:
            return [self._cost()] if self.asked == AUTO else []
        found = f"; auto takes the first of: {ORDER}" if self.asked == AUTO else ""
        return [f"weights: {origin}{found}"]

    def _cost(self) -> str:
        tried = "; ".join(self.looked) or "none were found when the run began"
        return (
            f"weights: none ({tried}). Training from scratch: on few photos expect several times the error; "
            'pip install "resight[photos]" installs weights'
        )


def settle(asked: str, model: str, networks: tuple[str, ...], before: Mapping[str, Any], say: Say) -> Start:
    """Settle what a training starts from.

    Args:
        asked: the word `weights=`.
        model: the network that the user named; "" for none.
        networks: from which to choose where nobody named one; empty where the recipe chooses.
        before: recipe.json of the run that is resumed; empty for a new run. What it has on record is taken,
            not what could be had now.
        say: is told what is about to be downloaded.

    Raises:
        UsageError: for an unknown version of official weights.
        ModelFileError: if the record is damaged.
    """
    asked = asked or NONE
    if before.get("recipe") and (start := _as_recorded(asked, model, before, chosen=bool(networks))):
        return start
    if asked == NONE:
        return Start()
    if asked.startswith("zoo:"):
        network, word = of_zoo(asked)
        return Start(asked, word, model or network)
    if asked == AUTO:
        names = (model,) if model else networks
        return world().from_main(lambda: _first_found(names, say))
    return Start(asked, asked, model or _network_for(asked, networks))


def _first_found(names: tuple[str, ...], say: Say) -> Start:
    """Return a start from the first network of some for which weights can be had."""
    places, looked = allowed_places(), list[str]()
    for name in names:
        word, lines = find_official(name, places, say)
        looked += lines
        if word:
            return Start(AUTO, word, name, tuple(looked))
    return Start(AUTO, looked=tuple(looked))


def _network_for(word: str, networks: tuple[str, ...]) -> str:
    """Return the network of official weights where nobody named one; "" where the recipe chooses."""
    if not networks or word not in OFFICIAL:
        return ""
    return next(name for name in (*WHEELS, *networks) if (name in WHEELS) == (word == "installed"))


def _as_recorded(asked: str, model: str, before: Mapping[str, Any], *, chosen: bool) -> Start | None:
    """Return the start of the run that is resumed; None if other weights are asked for now."""
    settings, record = before["recipe"], before.get("weights") or {}
    word = str(settings.get("weights", ""))
    zoo = asked.startswith("zoo:")
    meant = of_zoo(asked)[1] if zoo else "" if asked == NONE else asked
    if meant not in (AUTO, word):
        return None
    origin = Origin.from_dict(record, RECIPE_FILE) if record.get("sha256") else None
    decided = word and (chosen or zoo or asked == AUTO)
    network = model or (str(settings.get("model", "")) if decided else "")
    return Start(str(record.get("asked", asked)), word, network, tuple(record.get("looked", ())), origin)


def networks_for_photos() -> tuple[str, ...]:
    """Return the networks among which photos choose on this hardware, best first."""
    return CANDIDATES[pick_device().type != "cpu"]


def at_hand(start: Start, run: Path) -> Origin | None:
    """Return the origin on record of official weights that a checkpoint holds, else None."""
    return start.origin if start.word in OFFICIAL and (run / CHECKPOINT).is_file() else None


def require_recorded(found: Origin | None, start: Start, run: Path) -> None:
    """Refuse weights that are not those that a run began with, as long as no checkpoint holds these.

    Raises:
        ModelFileError: naming the file and its SHA-256.
    """
    began = start.origin
    if not (began and found) or found.sha256 == began.sha256 or (run / CHECKPOINT).is_file():
        return
    raise ModelFileError(
        f"{found.file or found.source}: has the SHA-256 {found.sha256}, but {run} started from "
        f"{began.sha256} ({began.source}); put that file back, or start again with another --out"
    )


@contextmanager
def naming_the_file(start: Start) -> Iterator[None]:
    """Say which file a run began with where its weights cannot be had any more.

    Raises:
        ModelFileError: in place of another error about weights.
    """
    try:
        yield
    except (ModelFileError, UsageError) as error:
        if start.origin is None:
            raise
        began = start.origin
        raise ModelFileError(
            f"{error}; the run started from {began.file or began.source}, SHA-256 {began.sha256}"
        ) from error
