"""`resight similar`: options and output."""

from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json, RunName


def similar(
    run: RunName,
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURES...", help="Files, folders or patterns; or DATA again, for all its pictures."
        ),
    ],
    among: Annotated[
        str, typer.Option("--among", metavar="DATA", help="Where to look: as for train, all splits together.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of pictures to list.")] = 5,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write an HTML page that shows the pictures.")
    ] = None,
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Find the pictures of a data set that are nearest to given ones, by the features of a network.

    zoo:NAME=FILE takes third-party weights. Where classes are known, the mean average precision is given.
    """
    from resight.service.similar.similar import similar as service

    raise typer.Exit(found(service(run, pictures, among, top, out, data_root), as_json=as_json))


def found(rows: list[dict[str, Any]], *, as_json: bool) -> int:
    """Print the nearest pictures; return the exit code, 1 if no picture could be read."""
    *pictures, summary = rows
    code = int(all("error" in row for row in pictures))
    if as_json:
        show.document(rows)
        return code
    table = []
    for row in pictures:
        if "error" in row:
            show.say(f"{row['path']}: {row['error']}", err=True)
            continue
        for number, near in enumerate(row["near"]):
            copy = "near copy" if near["near_copy"] else ""
            name = "" if number else row["path"]
            table.append((name, near["path"], near["label"] or "-", f"{near['distance']:.4f}", copy))
    show.table(("picture", "nearest", "class", "distance", ""), table)
    if "map" in summary:
        low, high = summary["map_interval"]
        show.say(
            f"mean average precision {summary['map']:.3f} ({low:.3f} to {high:.3f}) over "
            f"{summary['map_queries']:,} pictures; a random order gives {summary['map_of_guessing']:.3f}"
        )
    for line in (*summary["notes"], *(f"{s['path']}: {s['fault']}; {s['cure']}" for s in summary["skipped"])):
        show.say(f"note      {line}", err=True)
    if summary["page"]:
        show.say(f"page      {summary['page']}")
    return code
