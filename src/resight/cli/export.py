"""`resight export`: options and output."""

from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import Data, DataRoot, Json, RunName


def export(
    run: RunName,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="The file to write. [default: RUN.onnx or RUN.pt2]")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="onnx or torch-export.")] = "onnx",
    maps: Annotated[
        str, typer.Option(help="Classes whose maps the file gives: all, none, or the number of best ones.")
    ] = "all",
    data: Data = None,
    *,
    picture_maps: Annotated[
        bool, typer.Option("--picture-maps", help="Also give the best class's map at the picture's size.")
    ] = False,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Write a run as one file with its preprocessing and its maps, compared with torch on test pictures."""
    from resight.service.export.export import export as service

    exported(
        service(run, out, form, maps, picture_maps=picture_maps, data=data, data_root=data_root),
        as_json=as_json,
    )


def exported(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print what was written and how it compares with torch."""
    if as_json:
        show.document(answer)
        return
    found, reduced = answer["agreement"], answer["reduced_decoding"]
    rows = [
        ("file", f"{answer['file']}, {show.in_bytes(answer['bytes'])}"),
        *((f"input {name}", what) for name, what in answer["inputs"].items()),
        *((f"output {name}", ", ".join(axes)) for name, axes in answer["outputs"].items()),
        ("compared with torch on", answer["compared_on"]),
        ("same answer", f"{found['same_answer']:,} of {found['n']:,}"),
        ("largest difference of a probability", f"{found['largest_difference']:.1e}"),
    ]
    if found["map_difference"] is not None:
        rows.append(("largest difference of a map", f"{found['map_difference']:.1e} of its range"))
    if reduced is not None:
        rows.append(
            (
                "with JPEGs scaled while decoding",
                f"same answer {reduced['same_answer']:,} of {reduced['n']:,}, a probability differs by up to "
                f"{reduced['largest_difference']:.1e}",
            )
        )
    show.table(("exported", ""), rows)
    for note in answer["notes"]:
        show.say(f"note: {note}", err=True)
