"""How a run was trained: its curves and their diagnoses, its costs, and the command that repeats it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from resight.models import cost
from resight.render.charts import Series, above, line_chart
from resight.render.page import Part, render
from resight.service.look.look import diagnosis
from resight.service.report.tested import Tested
from resight.service.run.run import MODEL_FILE


def curves(tested: Tested) -> list[Part]:
    """Return the learning curves and their diagnoses; nothing for a run without a record of them."""
    if not tested.rows:
        return []
    html = render("sections/curves", charts=charts_of(tested.rows))
    return [Part("How it trained", points=diagnosis(tested.run, tested.rows, tested.dataset), html=html)]


def charts_of(rows: Sequence[dict[str, float]]) -> list[dict[str, str]]:
    """Return the charts of a training run: error, loss, learning rate; none for a fit (a single row)."""
    if len(rows) < 2:
        return []

    def series(key: str, label: str, colour: str) -> Series:
        points = [(row["epoch"], row[key]) for row in rows if key in row]
        return Series(label, [p[0] for p in points], [p[1] for p in points], colour)

    def chart(title: str, lines: list[Series], up: str, unit: str = "") -> dict[str, str]:
        legend = "yes" if len(lines) > 1 else ""
        return {
            "title": title,
            "svg": line_chart(lines, "epoch", up),
            "legend": legend,
            "above": above(lines, unit),
        }

    loss = [series("train_loss", "training", "a"), series("val_loss", "validation", "b")]
    error = [series("train_error", "training", "a"), series("val_error", "validation", "b")]
    rate = [series("lr", "learning rate", "a")]
    return [
        chart("Error", error, "error in %", " %"),
        chart("Loss", loss, "cross-entropy"),
        chart("Learning rate", rate, "learning rate"),
    ]


def made(tested: Tested) -> list[Part]:
    """Return the costs of network and training, the command that repeats it, and all settings."""
    record = tested.record
    task = record.get("task")
    recipe = {
        **({"task": task["name"]} if task else {}),
        **({f"{task['name']}.{key}": value for key, value in task["settings"].items()} if task else {}),
        **record["recipe"],
        "data": record["data"],
        "pictures": ", ".join(f"{n:,} {name}" for name, n in record["splits"].items()),
        "data fingerprint": record["data_fingerprint"],
        **{f"fit: {key}": value for key, value in record.get("fit", {}).items()},
        "kept epoch": tested.run.facts.get("best_epoch"),
        "precision used": record["precision"],
        "hardware": record["hardware"],
        **{f"version of {k}": v for k, v in record["versions"].items()},
    }
    html = render("sections/made", costs=costs(tested), command=record["command"], recipe=recipe)
    return [Part("How this run was made", html=html)]


def costs(tested: Tested) -> list[dict[str, str]]:
    """Return the costs of the network and its training, as text."""
    run, rows = tested.run, tested.rows
    facts = [
        (f"{cost.parameters(run.network):,}", "parameters"),
        (_short(cost.multiply_adds(run.network, run.preprocessing.size)), "multiply-adds per picture"),
    ]
    if rows:
        seconds = sum(row["seconds"] for row in rows)
        rate = float(np.median([row["images_per_second"] for row in rows]))
        facts += [
            (f"{seconds:,.0f} s" if seconds < 600 else f"{seconds / 60:,.1f} min", "training time"),
            (f"{rate:,.0f}", f"pictures trained per second ({tested.record['hardware']})"),
        ]
    facts.append((f"{(tested.folder / MODEL_FILE).stat().st_size / 1e6:.1f} MB", "file to deploy"))
    return [{"value": value, "label": label} for value, label in facts]


def _short(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.1f} M"


def left_out(tested: Tested, most: int = 200) -> list[Part]:
    """Return the pictures that could not be read."""
    skipped: list[Any] = tested.figures["skipped"]
    if not skipped:
        return []
    html = render("sections/left_out", skipped=skipped, most=most)
    return [Part("Pictures that were left out", html=html)]
