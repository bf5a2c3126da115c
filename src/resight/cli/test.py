"""`resight test` and `resight report`: options and output."""

from typing import Annotated, Any, ClassVar

import typer

from resight.cli import show
from resight.cli.words import Data, DataRoot, Json, RunName, Strict, Votes
from resight.core.text import amount


def test(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="One run, or several for an ensemble.")],
    data: Data = None,
    split: Annotated[str, typer.Option(help="Split to test: train, val or test.")] = "test",
    views: Annotated[str, typer.Option(help="Views per picture: single, flip or ten-crop.")] = "single",
    scales: Annotated[
        str, typer.Option(help="Test whole pictures at these shorter sides, such as 224,256,384,480,640.")
    ] = "",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures.")] = 0,
    votes: Votes = None,
    *,
    data_root: DataRoot = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Test a run on a split. Several runs form an ensemble that averages their probabilities."""
    from resight.service.test.test import test as service

    answer = service(
        runs, data, split, views, show.whole_numbers(scales, "--scales"), data_root=data_root, strict=strict,
        workers=workers, votes=votes,
    )  # fmt: skip
    tested(answer, as_json=as_json)


def report(run: RunName, data: Data = None, *, data_root: DataRoot = None, as_json: Json = False) -> None:
    """Test a run again on its data and write its report.html."""
    from resight.service.report.report import report as service

    show.one("report", str(service(run, data, data_root)), as_json=as_json)


class OfOne:
    """What is printed of a test of one class per picture."""

    error: ClassVar[str] = "top-1 error"
    columns: ClassVar[tuple[str, ...]] = ()

    def first(self, answer: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the rows before the error: none."""
        del answer
        return []

    def means(self, answer: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the row of the means over the classes."""
        means = " ".join(f"{answer['macro'][key]:.4f}" for key in ("precision", "recall", "f1"))
        return [("macro precision, recall, F1", means)]

    def rank(self, figures: dict[str, Any]) -> float:
        """Return what the classes are sorted by, the worst least."""
        return -figures["error"]

    def cells(self, figures: dict[str, Any]) -> tuple[str, ...]:
        """Return the cells of a class below `columns`."""
        del figures
        return ()


class OfAny(OfOne):
    """What is printed of a test of any number of classes per picture."""

    error: ClassVar[str] = "one-error"
    columns: ClassVar[tuple[str, ...]] = ("AP %",)

    def first(self, answer: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the rows of the mean average precision and of all answers together."""
        if answer["map"] is None:
            return []
        low, high = answer["map_interval"]
        return [
            ("mean average precision", f"{answer['map']:.2f} %"),
            ("95 % interval", f"{low:.2f} to {high:.2f} %"),
            ("F1, micro", f"{answer['f1_micro'] or 0:.3f}"),
            ("F1, macro", f"{answer['f1_macro'] or 0:.3f}"),
            ("subset error", f"{answer['subset_error']:.2f} %"),
        ]

    def means(self, answer: dict[str, Any]) -> list[tuple[str, str]]:
        """Return nothing: the means stand before the error."""
        del answer
        return []

    def rank(self, figures: dict[str, Any]) -> float:
        """Return the average precision."""
        return figures["average_precision"]

    def cells(self, figures: dict[str, Any]) -> tuple[str, ...]:
        """Return the average precision."""
        return (f"{figures['average_precision']:.1f}",)


KINDS = {False: OfOne(), True: OfAny()}
"""By the answer's "multi_label"."""


def tested(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print the test figures."""
    if as_json:
        show.document({key: value for key, value in answer.items() if key != "tables"})
        return
    if "task" in answer:
        _solved(answer)
        return
    low, high = answer["top1_interval"]
    protocol = answer["views"] + (f" at {answer['scales']}" if answer["scales"] else "")
    kind = KINDS[answer["multi_label"]]
    rows = [
        *kind.first(answer),
        (kind.error, f"{answer['top1_error']:.2f} %"),
        ("95 % interval", f"{low:.2f} to {high:.2f} %"),
        ("top-5 error", "-" if answer["top5_error"] is None else f"{answer['top5_error']:.2f} %"),
        *kind.means(answer),
        ("calibration error", f"{100 * answer['ece']:.2f} %"),
        ("pictures", f"{answer['n']:,}"),
        ("views", protocol),
    ]
    if found := answer.get("votes"):
        means = " / ".join(
            "-" if (value := found[key]) is None else f"{100 * value:.2f}"
            for key in ("spread", "spread_right", "spread_wrong")
        )
        rows.append((f"spread of {found['n']} votes: all / right / wrong, points", means))
    rows += [*_of_folds(answer), *_learned(answer)]
    show.table((f"{answer['data']} {answer['split']}", ""), rows)
    _by_class(answer["per_class"], kind)
    _notes(answer)


def _by_class(figures: dict[str, dict[str, Any]], kind: OfOne) -> None:
    """Print the figures of the worst classes."""
    worst = sorted(((n, c) for n, c in figures.items() if c["n"]), key=lambda item: kind.rank(item[1]))
    show.table(
        ("class", "pictures", "error %", "precision", "recall", *kind.columns),
        [
            (
                name,
                c["n"],
                f"{c['error']:.1f}",
                "-" if c["precision"] is None else f"{c['precision']:.3f}",
                f"{c['recall']:.3f}",
                *kind.cells(c),
            )
            for name, c in worst[:20]
        ],
    )
    if len(worst) > 20:
        show.say(f"and {len(worst) - 20} better classes; --json lists all")


def _solved(answer: dict[str, Any]) -> None:
    """Print the figures of a task with a head of its own."""
    show.say(f"{answer['data']} {answer['split']}, {amount(answer['n'], 'picture')}: {answer['said']}")
    for table in answer["tables"]:
        show.say(table["title"])
        show.table(table["header"], table["rows"][:20])
        if len(table["rows"]) > 20:
            show.say(f"and {len(table['rows']) - 20} more; --json lists all")
    _notes(answer)


def _notes(answer: dict[str, Any]) -> None:
    """Print what is to be known of a test, and the pictures that were left out."""
    for note in answer["notes"]:
        show.say(f"note: {note}", err=True)
    for fault in answer["skipped"]:
        show.say(f"left out: {fault['path']}: {fault['fault']}; {fault['cure']}", err=True)


def _of_folds(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows about folds, if the figure comes from folds."""
    if "protocol" not in answer:
        return []
    errors = answer["folds"]["errors"]
    return [("protocol", answer["protocol"]), ("single folds", f"{min(errors):.2f} to {max(errors):.2f} %")]


def _learned(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows about test pictures that the run was trained on, if there are any."""
    if not answer["trained_on"]:
        return []
    rows = [("seen in training", f"{answer['trained_on']:,}")]
    if others := answer["others"]:
        low, high = others["top1_interval"]
        rows.append(("error on the others", f"{others['top1_error']:.2f} % ({low:.2f} to {high:.2f})"))
    return rows
