"""The report page: one file, no request to anywhere."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from resight.render.charts import Series, line_chart, reliability_chart


def render_report(content: dict[str, Any]) -> str:
    """Return the page as HTML.

    Args:
        content: what the template names: title, figures, leaks, rows (of metrics.csv), mistakes, right, each,
            cues, method, layer, temperature, costs, recipe, command, notes, and learned, a part in HTML.
    """
    environment = Environment(
        loader=PackageLoader("resight", "render"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda value: "-" if value is None else f"{100 * value:.1f} %"
    environment.filters["share"] = share
    environment.filters["error"] = lambda value: "-" if value is None else f"{value:.2f} %"
    page = environment.get_template("report.html.jinja")
    figures = content["figures"]
    made = page.render(
        **content,
        curves=curves(content["rows"]),
        reliability=reliability_chart(figures["reliability"]),
        shades=shades(figures["confusion"] or []),
        pairs=confused_pairs(figures["confusion"] or [], figures["classes"]),
    )
    return made.encode("utf-8", "replace").decode()  # names of files need not be text


def share(value: float) -> str:
    """Return a probability in whole percent; one near 0 or 1 is not rounded to it."""
    if 0 < value < 0.01:
        return "< 1 %"
    if 0.99 < value < 1:
        return "> 99 %"
    return f"{100 * value:.0f} %"


def curves(rows: list[dict[str, float]]) -> list[dict[str, str]]:
    """Return the charts of a training: loss, error, learning rate; none of a fit, which has a single row."""

    def series(key: str, label: str, colour: str) -> Series:
        points = [(row["epoch"], row[key]) for row in rows if key in row]
        return Series(label, [p[0] for p in points], [p[1] for p in points], colour)

    if len(rows) < 2:
        return []
    loss = [series("train_loss", "training", "a"), series("val_loss", "validation", "b")]
    error = [series("train_error", "training", "a"), series("val_error", "validation", "b")]
    return [
        {"title": "Error", "svg": line_chart(error, "epoch", "error in %"), "legend": "yes"},
        {"title": "Loss", "svg": line_chart(loss, "epoch", "cross-entropy"), "legend": "yes"},
        {
            "title": "Learning rate",
            "svg": line_chart([series("lr", "learning rate", "a")], "epoch", "learning rate"),
            "legend": "",
        },
    ]


def shades(matrix: list[list[int]]) -> list[list[float]]:
    """Return how dark each count is drawn, in [0, 1]: the root of its share, so that few show too."""
    return [[(count / max(sum(row), 1)) ** 0.5 for count in row] for row in matrix]


def confused_pairs(matrix: list[list[int]], classes: list[str], most: int = 12) -> list[dict[str, Any]]:
    """Return the most frequent confusions, commonest first."""
    pairs = [
        {
            "true": classes[t],
            "predicted": classes[p],
            "count": count,
            "share": count / max(sum(row), 1),
        }
        for t, row in enumerate(matrix)
        for p, count in enumerate(row)
        if t != p and count
    ]
    return sorted(pairs, key=lambda pair: -pair["count"])[:most]
