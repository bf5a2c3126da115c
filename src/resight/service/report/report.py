"""The report of a run: gathers the figures, the telling pictures and their maps, and writes the page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core.console import counted
from resight.core.errors import ModelFileError
from resight.core.files import write_text
from resight.data.dataset import Dataset, Split
from resight.data.prepare import Normalize, fit
from resight.evaluate.classify import TestResult
from resight.geometry import heatmaps
from resight.models import cost
from resight.render.learned import render_parts
from resight.render.overlay import colours, overlay, thumbnail
from resight.render.report import render_report
from resight.saliency.methods import METHODS, explain
from resight.service.report.cues import METHOD, find_cues
from resight.service.report.learned import learned
from resight.service.report.risk import unsure
from resight.service.run.data import data_of
from resight.service.run.run import MODEL_FILE, REPORT_FILE, Run, open_run, read_recipe_file
from resight.service.test.folds import has_folds, judge_folds, note_of
from resight.service.test.test import seen_before, test_split
from resight.training.journal import read_csv

MISTAKES, RIGHT, RIGHT_EACH = 24, 40, 2
SIDE, SMALL_SIDE = 160, 96
TYPICAL = 4
"""Pictures that are shown of a group of maps."""


def report(run: str, data: str | None = None, data_root: str | None = None) -> Path:
    """Test a run again on its data and write its report.

    Returns:
        The page's path.

    Raises:
        ResightError: in one line.
    """
    opened = open_run(run)
    if opened.folder is None:
        raise ModelFileError(f"{run}: a report needs the run's folder, which holds its curves")
    given = data_of(opened, data, data_root)
    if given.own and has_folds(opened) and "test" not in given.dataset.splits:
        pooled = judge_folds(opened, data, data_root)
        splits = {**given.dataset.splits, "test": pooled.split}
        given = replace(given, dataset=replace(given.dataset, splits=splits))
        result, figures = pooled.result, pooled.figures
        seen = [note_of(figures), *pooled.notes]
    else:
        result = test_split([opened], given.dataset)
        figures = result.figures()
        _, seen = seen_before([opened], given, "test", result, figures)
    figures["skipped"] = [*opened.facts.get("left_out", []), *figures["skipped"]]
    noted = replace(given.dataset, notes=(*given.dataset.notes, *seen))
    return write_report(opened, noted, result, figures, own=given.own)


def write_report(
    run: Run, dataset: Dataset, result: TestResult, figures: dict[str, Any], *, own: bool
) -> Path:
    """Write the report of a run from a finished test; see `report`.

    Args:
        run: what was tested.
        dataset: on what.
        result: what came out.
        figures: of the result.
        own: whether the data set is what the run was trained on.
    """
    assert run.folder is not None  # both callers have one
    record = read_recipe_file(run.folder, whole=True)
    notes = list(dict.fromkeys([*dataset.notes, *(sorted(record["notes"]) if own else [])]))
    curves = run.folder / "metrics.csv"
    rows = read_csv(curves) if curves.exists() else []
    split = dataset.split("test").relabelled(run.model.classes)
    mistakes, right = _telling(result)
    layer, wrong_ones = _pictures(run, split, result, mistakes, truth=True)
    layer_of_right, right_ones = _pictures(run, split, result, right)
    content = {
        "title": f"Resight report: {dataset.name}, {run.model.name}",
        "figures": figures,
        "leaks": record["leaks"] if own and "protocol" not in figures else None,
        "rows": rows,
        "learned": render_parts(unsure(result)) + learned(run, dataset, rows),
        "mistakes": wrong_ones,
        "right": right_ones,
        "each": len(result.classes) <= RIGHT,
        "cues": _cues(run, split, result),
        "method": METHODS[METHOD].title,
        "layer": layer or layer_of_right,
        "temperature": run.temperature,
        "costs": _costs(run, rows, record),
        "command": record["command"],
        "recipe": {
            **record["recipe"],
            "data": record["data"],
            "pictures": ", ".join(f"{n:,} {name}" for name, n in record["splits"].items()),
            "data fingerprint": record["data_fingerprint"],
            **{f"fit: {key}": value for key, value in record.get("fit", {}).items()},
            "kept epoch": run.facts.get("best_epoch"),
            "precision used": record["precision"],
            "hardware": record["hardware"],
            **{f"version of {k}": v for k, v in record["versions"].items()},
        },
        "notes": [f"About the data: {note}." for note in notes],
    }
    path = run.folder / REPORT_FILE
    write_text(path, render_report(content))
    return path


def _telling(result: TestResult) -> tuple[list[int], list[int]]:
    """Return rows of the result: the most confident errors, and some sure right answers of each class."""
    confidence, predicted = result.probabilities.max(1)
    wrong = result.wrong()
    order = confidence.argsort(descending=True)
    mistakes = [int(i) for i in order if wrong[i]][:MISTAKES]
    each = max(1, min(RIGHT_EACH, RIGHT // max(len(result.classes), 1)))
    right: list[int] = []
    for number in range(len(result.classes)):
        # Evenly spaced by confidence, not the surest: these shall be typical.
        own = [int(i) for i in order if not wrong[i] and predicted[i] == number]
        right += [own[int(q)] for q in np.linspace(0, len(own) - 1, each + 2)[1:-1]] if own else []
    return mistakes, right[:RIGHT]


def _pictures(
    run: Run, split: Split, result: TestResult, rows: list[int], *, truth: bool = False, side: int = SIDE
) -> tuple[str, list[dict[str, Any]]]:
    """Return the layer read, and of each row the picture and its maps as data URIs.

    The first map is of the predicted class; with `truth` a second one, out of the same pass, of the true one.
    """
    card, items, layer = run.preprocessing, [], ""
    normalize = Normalize(card, run.device)
    for start in counted(range(0, len(rows), 16), "drawing the report's maps", len(rows), 16):
        part = rows[start : start + 16]
        indices = [int(result.indices[row]) for row in part]
        squares = [fit(split.decode(i, at_least=card.resize), card) for i in indices]
        images = normalize(torch.from_numpy(np.stack(squares)).to(run.device))
        targets = named = result.probabilities[part].argmax(1, keepdim=True)
        if truth:
            true = result.truth()[part][:, None]
            targets = torch.cat([named, torch.where(true < 0, named, true)], 1)
        explanation = explain(run.model, images, METHOD, targets)
        layer = explanation.layer
        for row, index, square, heats, asked in zip(
            part, indices, squares, explanation.maps.cpu().numpy(), targets.tolist(), strict=True
        ):
            maps = [
                {
                    "map": thumbnail(overlay(square, heat), side),
                    "label": result.classes[number],
                    "probability": float(result.probabilities[row, number]),
                    "empty": not heat.any(),
                }
                for heat, number in zip(heats, asked, strict=True)
            ]
            items.append(
                {
                    "picture": thumbnail(square, side),
                    "maps": maps,
                    "css": "tiny" if card.size <= 64 else "",
                    "name": Path(split.picture_name(index)).name,
                    "classes": split.class_names(index),
                }
            )
    return layer, items


def _cues(run: Run, split: Split, result: TestResult) -> list[dict[str, Any]]:
    """Return the groups of each class's maps as the page shows them."""
    found = find_cues(run, split, result)
    typical = [[c.rows[i] for i in g.members[:TYPICAL]] for c in found for g in c.groups]
    _, items = _pictures(run, split, result, [row for rows in typical for row in rows], side=SMALL_SIDE)
    shown, place = [], 0
    for entry in found:
        groups = []
        for group in entry.groups:
            size = len(group.members)
            count = min(size, TYPICAL)
            groups.append(
                {
                    "map": thumbnail(colours(_enlarged(group.mean)), SMALL_SIDE),
                    "pictures": items[place : place + count],
                    "size": size,
                    "share": group.share,
                    "wrong": group.wrong,
                    "error": 100 * group.wrong / size,
                    "rest": len(entry.rows) - size,
                    "rest_wrong": sum(g.wrong for g in entry.groups) - group.wrong,
                    "place": group.place,
                    "there": group.there,
                    "elsewhere": group.elsewhere,
                    "at_edge": group.at_edge,
                    "worse": group.worse,
                }
            )
            place += count
        shown.append(
            {
                "name": entry.name,
                "named": entry.named,
                "wrong": entry.wrong,
                "read": len(entry.rows),
                "empty": entry.empty,
                "groups": groups,
            }
        )
    return shown


def _enlarged(heat: Tensor) -> NDArray[np.float32]:
    return heatmaps.resize(heat, SMALL_SIDE, SMALL_SIDE).clamp(0, 1).numpy()


def _short(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.1f} M"


def _costs(run: Run, rows: list[dict[str, float]], record: dict[str, Any]) -> list[dict[str, str]]:
    """Return what the network and its training cost, in words."""
    facts = [
        (f"{cost.parameters(run.model):,}", "parameters"),
        (_short(cost.multiply_adds(run.model, run.preprocessing.size)), "multiply-adds a picture"),
    ]
    if rows:
        seconds = sum(row["seconds"] for row in rows)
        rate = float(np.median([row["images_per_second"] for row in rows]))
        facts += [
            (f"{seconds:,.0f} s" if seconds < 600 else f"{seconds / 60:,.1f} min", "training time"),
            (f"{rate:,.0f}", f"pictures trained a second ({record['hardware']})"),
        ]
    if run.folder:
        facts.append((f"{(run.folder / MODEL_FILE).stat().st_size / 1e6:.1f} MB", "file to deploy"))
    return [{"value": value, "label": label} for value, label in facts]
