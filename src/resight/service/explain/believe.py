"""Evaluation of a network's saliency maps: faithfulness and sanity checks."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resight.core.console import counted
from resight.core.errors import Fault, NotFiniteError, PictureError, UsageError
from resight.core.files import digest
from resight.core.registry import lookup
from resight.core.text import amount
from resight.data.files import read_file
from resight.data.given import expand
from resight.evaluate import faithfulness, sanity
from resight.evaluate.faithfulness import MEASURES, Examination
from resight.metrics.means import Verdict, bootstrap_interval, verdict
from resight.models.probabilities import rule_of
from resight.saliency.explanation import versus
from resight.saliency.methods import METHODS, explain, read_options
from resight.service.explain import perceive
from resight.service.explain.asked import Asked
from resight.service.explain.target import best_of, wanted
from resight.service.pictures import batches
from resight.service.run.folder import stop_asked
from resight.service.run.members import LETTERS, members_of
from resight.service.run.run import Run, open_run

RANDOM, CENTRE = "random map", "centre map"
ENOUGH = 20
"""Pictures below which intervals are rough."""
LEAST = 6
"""Pictures below which no verdict but "unclear" can be reached."""


@dataclass(frozen=True)
class Row:
    """A figure of a method: its mean over the pictures, and verdicts against maps that know nothing.

    Attributes:
        method: of the maps.
        measure: what is measured.
        randomized: of the sanity check, the layers with random weights; "chance" for the maps of two
            different pictures by the trained network.
        value: the mean; None without a finite value.
        interval: its 95 % interval.
        n: values.
        against_random: "yes" if the maps are better than a random one, "no" if worse, or "unclear".
        p_random: of the test of that.
        gain_random: by how much they are better.
        gain_random_interval: its 95 % interval.
        against_centre: the same for a spot in the centre.
        p_centre: the same.
        gain_centre: the same.
        gain_centre_interval: the same.
    """

    method: str
    measure: str
    randomized: str | None
    value: float | None
    interval: tuple[float, float] | None
    n: int
    against_random: str | None
    p_random: float | None
    gain_random: float | None
    gain_random_interval: tuple[float, float] | None
    against_centre: str | None
    p_centre: float | None
    gain_centre: float | None
    gain_centre_interval: tuple[float, float] | None


@dataclass(frozen=True)
class Faithful(Row):
    """A measure of faithfulness: which values are better, what hides the picture, how it is measured."""

    better: str
    baseline: str
    protocol: str


@dataclass(frozen=True)
class Sane(Row):
    """A figure of the sanity check."""

    baseline: None
    better: str | None
    protocol: str


@dataclass(frozen=True)
class Belief:
    """The answer of `believe`.

    Attributes:
        run: the RUN.
        n: pictures that were measured.
        methods: of the maps.
        target: that was asked for.
        layer: that was read.
        probabilities: the rule that the figures follow.
        share: see `believe`.
        seed: see there.
        rows: one for each method and measure, then those of the sanity check.
        warnings: in plain words.
        stopped: whether it was interrupted.
        skipped: files that cannot be read.
    """

    run: str
    n: int
    methods: list[str]
    target: str | None
    layer: str
    probabilities: str
    share: float
    seed: int
    rows: list[Faithful | Sane]
    warnings: list[str]
    stopped: bool
    skipped: list[Fault]


@dataclass
class _Evidence:
    """What is measured so far, of all maps.

    Attributes:
        run: the network.
        asked: methods, class and layers.
        options: of each method.
        share: see `believe`.
        seed: of all random choices.
        values: by map and measure.
        alike: by method and layers with random weights.
        faults: files that cannot be read.
        count: pictures that were measured.
        layer: that was read.
    """

    run: Run
    asked: Asked
    options: dict[str, dict[str, Any]]
    share: float
    seed: int
    values: dict[str, dict[str, list[Tensor]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    alike: dict[str, dict[str, list[sanity.Likeness]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    faults: list[PictureError] = field(default_factory=list)
    count: int = 0
    layer: str = ""

    def add(self, images: Tensor) -> None:
        """Measure the maps of a batch, (B, 3, S, S)."""
        model, seed = self.run.model, self.seed
        seen = explain(
            model, images, "grad_cam", wanted(self.run, images, self.asked.target), self.asked.layers
        )
        targets, self.layer = seen.targets[:, 0], seen.layer
        makers = {
            name: _maker(model, name, self.layer.split(", "), seed, own) for name, own in self.options.items()
        }
        maps = {name: maker(model, images, targets) for name, maker in makers.items()}
        numbers = range(self.count, self.count + len(images))
        cells = (seen.raw.shape[-2], seen.raw.shape[-1])
        maps[RANDOM] = faithfulness.random_maps(numbers, cells, seen.size, seed).to(images.device)
        maps[CENTRE] = faithfulness.centre_maps(len(images), seen.size).to(images.device)
        examination = Examination(model, images, targets, share=self.share, seed=seed)
        for name, shown in maps.items():
            for measure, entry in MEASURES.items():
                self.values[name][measure].append(entry.compute(examination, shown))
        for name, depths in sanity.cascade(model, images, targets, makers, seed).items():
            for depth, likeness in depths.items():
                self.alike[name][depth].append(likeness)
        self.count += len(images)

    def rows(self) -> list[Faithful | Sane]:
        """Return all figures."""
        return [*_faithful(self.values, self.seed), *_sane(self.alike, self.seed)]


def believe(
    run: str,
    paths: Sequence[str],
    asked: Asked | None = None,
    *,
    share: float = faithfulness.SHARE,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Belief:
    """Measure whether saliency maps show what a network uses.

    Each method is measured by `MEASURES` and compared with a random map and a spot in the centre, and
    its maps are compared with those of copies of the network with random weights.

    Args:
        run: a RUN.
        paths: files, folders and patterns.
        asked: methods, one class, layers and options.
        share: of the pixels that a step of deletion and insertion changes.
        seed: of all random choices.
        progress: gets a line after each batch of pictures.

    Raises:
        ResightError: in one line; PictureError if no picture can be read.
        KeyboardInterrupt: if interrupted before the first batch was measured; later what was measured is
            returned, with "stopped".
    """
    asked = asked or Asked()
    asked = replace(asked, methods=list(dict.fromkeys(asked.methods)))
    opened, options = _opened(run, asked)
    files = expand(paths)
    found = _Evidence(opened, asked, options, share, seed)
    with stop_asked() as stop:
        for batch in batches(opened, files):
            found.faults += batch.faults
            if not batch.paths:
                continue
            found.add(batch.images)
            progress(f"{found.count} of {len(files)} pictures")
            if stop.is_set():
                break
    if not found.count:
        if stop.is_set():
            raise KeyboardInterrupt
        raise found.faults[0]
    stopped = [f"stopped: measured on {found.count} of {len(files)} pictures"] if stop.is_set() else []
    rows = found.rows()
    return Belief(
        run=run,
        n=found.count,
        methods=list(asked.methods),
        target=asked.target,
        layer=found.layer,
        probabilities=rule_of(opened.model, opened.model.num_classes),
        share=share,
        seed=seed,
        rows=rows,
        warnings=[*stopped, *_learned(opened, files), *_warnings(rows, asked.methods, found.count)],
        stopped=stop.is_set(),
        skipped=[fault.row for fault in found.faults],
    )


def _opened(run: str, asked: Asked) -> tuple[Run, dict[str, dict[str, Any]]]:
    """Return the run, and the options of each method.

    Raises:
        UsageError: for an unknown method or option, or several classes.
    """
    for method in asked.methods:
        if method == perceive.METHOD:
            raise UsageError(f"{method} has no map of its own to evaluate; it uses the map of grad_cam")
        lookup(METHODS, method, "saliency method")
    options = read_options(asked.methods, asked.changes)
    opened = open_run(run)
    classes = opened.model.classes
    pair = asked.target is not None and versus(asked.target, classes, opened.model.num_classes) is not None
    if pair or best_of(asked.target, classes) > 1:
        raise UsageError(
            f"--target {asked.target}: maps are evaluated for one class per picture; give one class, or none"
        )
    return opened, options


def _learned(run: Run, files: Sequence[Path]) -> list[str]:
    """Return a line on how many of some pictures were used to train or select the run."""
    members = members_of(run.facts, run.name)
    if members is None:
        return []
    known, count = set(members.known().tolist()), 0
    for path in counted(files, "looking for learned pictures"):
        with suppress(PictureError):
            count += int(digest(read_file(path))[:LETTERS], 16) in known
    if not count:
        return []
    return [
        f"{count} of these {len(files)} pictures were used to train or select {run.name}: give its test "
        "pictures to measure on new ones"
    ]


def _maker(
    trained: nn.Module, method: str, layers: Sequence[str], seed: int, options: dict[str, Any]
) -> sanity.MapsOf:
    read = None if METHODS[method].layerless else layers

    def maps_of(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        try:
            return explain(model, images, method, targets, read, seed=seed, **options).maps
        except NotFiniteError:
            if model is trained:
                raise
            return images.new_full((len(images), *images.shape[2:]), math.nan)  # random weights overflow

    return maps_of


def _faithful(values: dict[str, dict[str, list[Tensor]]], seed: int) -> Iterator[Faithful]:
    whole = {name: {m: torch.cat(parts) for m, parts in of.items()} for name, of in values.items()}
    for measure, entry in MEASURES.items():
        for name, of in whole.items():
            verdicts = [
                None
                if name == other
                else verdict(of[measure], whole[other][measure], entry.better, seed, entry.least)
                for other in (RANDOM, CENTRE)
            ]
            figures = _figures(of[measure], entry.interval(of[measure], seed), *verdicts)
            yield Faithful(
                name,
                measure,
                None,
                *figures,
                better=entry.better,
                baseline=entry.baseline,
                protocol=entry.protocol,
            )


def _sane(alike: dict[str, dict[str, list[sanity.Likeness]]], seed: int) -> Iterator[Sane]:
    for name, depths in alike.items():
        for depth, parts in depths.items():
            for measure in ("spearman", "ssim"):
                found = torch.cat([getattr(part, measure) for part in parts])
                found = found[~found.isnan()]
                better, protocol = (
                    "low",
                    "maps of the trained network and of one with random weights (Adebayo et al.)",
                )
                if depth == "chance":
                    better, protocol = None, "maps of the trained network for two different pictures"
                figures = _figures(found, bootstrap_interval(found, seed))
                yield Sane(name, measure, depth, *figures, baseline=None, better=better, protocol=protocol)


def _figures(
    values: Tensor,
    interval: tuple[float, float] | None,
    random: Verdict | None = None,
    centre: Verdict | None = None,
) -> tuple[Any, ...]:
    """Return what a row says of its values, and of the comparison with other maps."""
    mean = float(values.mean()) if len(values) else None
    none = (None, None, None, None)
    return mean, interval, len(values), *(random or none), *(centre or none)


def _warnings(rows: Sequence[Row], methods: Sequence[str], count: int) -> Iterator[str]:
    if count < ENOUGH:
        only = f"only {amount(count, 'picture')}"
        yield f"{only}: intervals are rough, and verdicts need at least {LEAST}; give {ENOUGH} or more"
    of = {(r.method, r.measure, r.randomized): r for r in rows}
    for method in methods:
        row = of[method, "spearman", "all"]
        if row.value is None:
            yield f"{method}: random weights overflow in this network, so the sanity check is meaningless"
        elif row.interval and row.interval[0] > sanity.TOO_ALIKE:
            low, high = row.interval
            chance = of.get((method, "spearman", "chance"))
            other = ""
            if chance and chance.value is not None:
                other = f"; for its maps of two different pictures it is {chance.value:.2f}"
            yield (
                f"{method}: its maps and those of random weights have a rank correlation of "
                f"{row.value:.2f} (95 % {low:.2f} to {high:.2f}, all above {sanity.TOO_ALIKE:g}){other}"
            )
        own = {m: of[method, m, None] for m in MEASURES}
        for other, verdicts in (
            ("a random map", {m: r.against_random for m, r in own.items()}),
            ("a spot in the centre", {m: r.against_centre for m, r in own.items()}),
        ):
            worse = [measure for measure, answer in verdicts.items() if answer == "no"]
            if "yes" not in verdicts.values() and count >= LEAST:
                yield f"{method} is better than {other} in no measure"
            if worse:
                yield f"{method} is worse than {other} in {', '.join(worse)}"
