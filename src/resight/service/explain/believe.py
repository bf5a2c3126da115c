"""Evaluation of a network's saliency maps: faithfulness and sanity checks."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resight.core.console import counted
from resight.core.errors import NotFiniteError, PictureError, UsageError
from resight.core.files import digest
from resight.core.registry import lookup
from resight.data.files import read_file
from resight.data.given import expand
from resight.evaluate import faithfulness, sanity
from resight.evaluate.faithfulness import MEASURES, Examination, Verdict
from resight.models.probabilities import rule_of
from resight.saliency.methods import METHODS, explain, read_options
from resight.service.explain import perceive
from resight.service.explain.target import best_of, wanted
from resight.service.pictures import batches
from resight.service.run.folder import stop_asked
from resight.service.run.members import LETTERS, members_of
from resight.service.run.run import Run, open_run

RANDOM, CENTRE = "random map", "centre map"
RIVALS = {"random": RANDOM, "centre": CENTRE}
ENOUGH = 20
"""Pictures below which intervals are rough."""
LEAST = 6
"""Pictures below which no verdict but "unclear" can be reached."""


def believe(
    run: str,
    paths: Sequence[str],
    methods: Sequence[str] = ("grad_cam",),
    target: str | None = None,
    layers: Sequence[str] | None = None,
    changes: Sequence[str] = (),
    *,
    share: float = faithfulness.SHARE,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure whether saliency maps show what a network uses.

    Each method is measured by `MEASURES` and compared with a random map and a spot in the centre, and
    its maps are compared with those of copies of the network with random weights.

    Args:
        run: a RUN.
        paths: files, folders and patterns.
        methods: names in `METHODS`.
        target: a class name or number; by default the best class of each picture.
        layers: whose maps are read and fused; by default the last one with a spatial map.
        changes: `key=value` words, options of the methods; each method takes those that it has.
        share: of the pixels that a step of deletion and insertion changes.
        seed: of all random choices.
        progress: gets a line after each batch of pictures.

    Returns:
        The document of `resight explain --evaluate --json`: "rows", one for each method and measure with
        mean, 95 % interval and verdicts ("gain_...": by how much a map is better, with its interval); those
        of the sanity check list in "randomized" the layers with random weights ("chance": the maps of two
        different pictures by the trained network). "warnings", in plain words. "probabilities": the rule
        that the figures follow.

    Raises:
        ResightError: in one line; PictureError if no picture can be read.
        KeyboardInterrupt: if interrupted before the first batch was measured; later what was measured is
            returned, with "stopped".
    """
    methods = list(dict.fromkeys(methods))
    for method in methods:
        if method == perceive.METHOD:
            raise UsageError(f"{method} has no map of its own to evaluate; it uses the map of grad_cam")
        lookup(METHODS, method, "saliency method")
    options = read_options(methods, changes)
    opened = open_run(run)
    if best_of(target, opened.model.classes) > 1:
        raise UsageError(
            f"--target {target}: maps are evaluated for one class per picture; give one class, or none"
        )
    files = expand(paths)
    values: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    alike: dict[str, dict[str, list[sanity.Likeness]]] = defaultdict(lambda: defaultdict(list))
    faults: list[PictureError] = []
    count, read = 0, ""
    with stop_asked() as stop:
        for batch in batches(opened, files):
            images = batch.images
            faults += batch.faults
            if not batch.paths:
                continue
            seen = explain(opened.model, images, "grad_cam", wanted(opened, images, target), layers)
            targets, read = seen.targets[:, 0], seen.layer
            makers = {
                name: _maker(opened.model, name, read.split(", "), seed, options[name]) for name in methods
            }
            maps = {name: maker(opened.model, images, targets) for name, maker in makers.items()}
            numbers = range(count, count + len(images))
            cells = (seen.raw.shape[-2], seen.raw.shape[-1])
            maps[RANDOM] = faithfulness.random_maps(numbers, cells, seen.size, seed).to(images.device)
            maps[CENTRE] = faithfulness.centre_maps(len(images), seen.size).to(images.device)
            examination = Examination(opened.model, images, targets, share=share, seed=seed)
            for name, shown in maps.items():
                for measure, entry in MEASURES.items():
                    values[name][measure].append(entry.compute(examination, shown))
            for name, depths in sanity.cascade(opened.model, images, targets, makers, seed).items():
                for depth, likeness in depths.items():
                    alike[name][depth].append(likeness)
            count += len(images)
            progress(f"{count} of {len(files)} pictures")
            if stop.is_set():
                break
    if not count and stop.is_set():
        raise KeyboardInterrupt
    if not count:
        raise faults[0]
    warnings = [f"stopped: measured on {count} of {len(files)} pictures"] if stop.is_set() else []
    rows = _faithful(values, seed) + _sane(alike, seed)
    warnings += [*_learned(opened, files), *_warnings(rows, methods, count)]
    return {
        "run": run,
        "n": count,
        "methods": methods,
        "target": target,
        "layer": read,
        "probabilities": rule_of(opened.model, opened.model.num_classes),
        "share": share,
        "seed": seed,
        "rows": rows,
        "warnings": warnings,
        "stopped": stop.is_set(),
        "skipped": [{"path": f.name, "fault": f.fault, "cure": f.cure} for f in faults],
    }


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


def _faithful(values: dict[str, dict[str, list[Tensor]]], seed: int) -> list[dict[str, Any]]:
    whole = {name: {m: torch.cat(parts) for m, parts in of.items()} for name, of in values.items()}
    rows = []
    for measure, entry in MEASURES.items():
        for name, of in whole.items():
            row = _row(name, measure, None, of[measure], entry.interval(of[measure], seed))
            for word, other in RIVALS.items():
                found = None
                if name != other:
                    found = faithfulness.verdict(
                        of[measure], whole[other][measure], entry.better, seed, entry.least
                    )
                row |= _against(word, found)
            rows.append(
                row | {"better": entry.better, "baseline": entry.baseline, "protocol": entry.protocol}
            )
    return rows


def _sane(alike: dict[str, dict[str, list[sanity.Likeness]]], seed: int) -> list[dict[str, Any]]:
    rows = []
    for name, depths in alike.items():
        for depth, parts in depths.items():
            for measure in ("spearman", "ssim"):
                found = torch.cat([getattr(part, measure) for part in parts])
                found = found[~found.isnan()]
                row = _row(name, measure, depth, found, faithfulness.bootstrap_interval(found, seed))
                row |= _against("random", None) | _against("centre", None) | {"baseline": None}
                protocol = "maps of the trained network and of one with random weights (Adebayo et al.)"
                if depth == "chance":
                    protocol = "maps of the trained network for two different pictures"
                rows.append(row | {"better": None if depth == "chance" else "low", "protocol": protocol})
    return rows


def _against(word: str, found: Verdict | None) -> dict[str, Any]:
    """Return a row's part on the comparison with another map."""
    answer, p, gain, interval = found or (None, None, None, None)
    return {
        f"against_{word}": answer,
        f"p_{word}": p,
        f"gain_{word}": gain,
        f"gain_{word}_interval": list(interval) if interval else None,
    }


def _row(
    method: str, measure: str, depth: str | None, values: Tensor, interval: tuple[float, float] | None
) -> dict[str, Any]:
    return {
        "method": method,
        "measure": measure,
        "randomized": depth,
        "value": float(values.mean()) if len(values) else None,
        "interval": list(interval) if interval else None,
        "n": len(values),
    }


def _warnings(rows: list[dict[str, Any]], methods: Sequence[str], count: int) -> Iterator[str]:
    if count < ENOUGH:
        only = f"only {count} picture{'s' * (count > 1)}"
        yield f"{only}: intervals are rough, and verdicts need at least {LEAST}; give {ENOUGH} or more"
    of = {(r["method"], r["measure"], r["randomized"]): r for r in rows}
    for method in methods:
        row = of[method, "spearman", "all"]
        if row["value"] is None:
            yield f"{method}: random weights overflow in this network, so the sanity check is meaningless"
        elif row["interval"] and row["interval"][0] > sanity.TOO_ALIKE:
            low, high = row["interval"]
            chance = of.get((method, "spearman", "chance"), {"value": None})["value"]
            other = "" if chance is None else f"; for its maps of two different pictures it is {chance:.2f}"
            yield (
                f"{method}: its maps and those of random weights have a rank correlation of "
                f"{row['value']:.2f} (95 % {low:.2f} to {high:.2f}, all above {sanity.TOO_ALIKE:g}){other}"
            )
        for word, other in (("random", "a random map"), ("centre", "a spot in the centre")):
            verdicts = {m: of[method, m, None][f"against_{word}"] for m in MEASURES}
            worse = [measure for measure, answer in verdicts.items() if answer == "no"]
            if "yes" not in verdicts.values() and count >= LEAST:
                yield f"{method} is better than {other} in no measure"
            if worse:
                yield f"{method} is worse than {other} in {', '.join(worse)}"
