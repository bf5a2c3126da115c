"""`resight predict`: options and output."""

import csv
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import Json, Paths, RunName, Votes
from resight.core.errors import UsageError


def predict(
    run: RunName,
    paths: Paths,
    top: Annotated[
        int | None, typer.Option(min=1, help="Number of classes to list. [default: 5; csv: 1]")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="Output: table, json or csv.")] = "table",
    at_least: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Mark answers below this probability as unsure; with localize.head=rpn, boxes below this "
            "score as nothing found. A photo of something else can still get a sure answer.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write label maps as PNG to this folder (--task segment)."),
    ] = None,
    votes: Votes = None,
    *,
    exact: Annotated[bool, typer.Option("--exact", help="Use float32, not the fastest precision.")] = False,
    as_json: Json = False,
) -> None:
    """Predict what pictures show: classes, or the answers of the run's task.

    Files that cannot be read are reported and skipped.
    """
    from resight.export.deployed import is_onnx

    form = show.form("json" if as_json else form, ("table", "json", "csv"))
    if form == "csv" and votes is not None:
        raise UsageError("--votes: csv has no column for the spread; use --format json")
    top = top or (1 if form == "csv" else 5)
    if is_onnx(run) and out is None and votes is None:  # without torch, which takes seconds to load
        from resight.service.deployed.predict import predict as deployed

        rows = deployed(run, paths, top, at_least=at_least)
    else:
        from resight.service.test.predict import predict as service

        rows = service(run, paths, top, at_least=at_least, exact=exact, out=out, votes=votes)
    code = predicted(rows, form, top, unsure=at_least is not None)
    if at_least is not None:
        from resight.service.test.accepted import accepted_in_words

        show.say(f"note: {accepted_in_words(run, at_least)}", err=True)
    raise typer.Exit(code)


def predicted(rows: Iterable[dict[str, Any]], form: str, top: int = 1, *, unsure: bool = False) -> int:
    """Print predictions; return the exit code, 1 if no picture could be read.

    Args:
        rows: from the service.
        form: "table", "json" or "csv".
        top: number of classes with columns in csv.
        unsure: whether csv has the column `unsure`.
    """
    answered = 0
    faults = 0
    collected = []
    writer = csv.writer(sys.stdout, lineterminator="\n")
    head = ["path", "label", "probability", "error", *(["unsure"] if unsure else [])]
    head += [f"{what}_{place}" for place in range(2, top + 1) for what in ("label", "probability")]
    for row in rows:
        answered += "error" not in row
        faults += "error" in row
        if form == "json":
            collected.append(row)
        elif form == "csv" and "said" in row:
            raise UsageError("--format csv has columns of classes; for this run use --json")
        elif form == "csv":
            if answered + faults == 1:
                writer.writerow(head)
            writer.writerow(
                (
                    row["path"],
                    ";".join(row["labels"]) if "labels" in row else row.get("label", ""),
                    row.get("probability", ""),
                    row.get("error", ""),
                    *((str(row.get("unsure", "")).lower(),) if unsure else ()),
                    *(value for pair in row.get("top", ())[1:top] for value in pair),
                )
            )
        elif "said" in row:
            show.say(f"{row['path']}  {row['said']}")
        elif "error" in row:
            show.say(f"{row['path']}: {row['error']}", err=True)
        else:
            best = ", ".join(f"{label} {100 * p:.1f} %" for label, p in row["top"])
            spread = f"; votes differ by {100 * row['spread']:.1f} points" if "spread" in row else ""
            show.say(f"{row['path']}  {'unsure: ' if row.get('unsure') else ''}{best}{spread}")
    if form == "json":
        show.document(collected)
    if faults:
        show.say(f"{faults} of {answered + faults} files could not be read", err=True)
    return 0 if answered else 1
