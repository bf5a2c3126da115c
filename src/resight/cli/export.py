"""`resight export`: options and output."""

from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import Data, DataRoot, Json, RunName
from resight.core.errors import UsageError


def export(
    run: RunName,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The file to write; for page also a folder. [default: RUN.onnx, RUN.pt2 or RUN.html]",
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="onnx, torch-export or page.")] = "onnx",
    maps: Annotated[
        str, typer.Option(help="Class activation maps in the file: all, none, or the number of best classes.")
    ] = "all",
    data: Data = None,
    *,
    picture_maps: Annotated[
        bool, typer.Option("--picture-maps", help="Also give the best class's map at the picture's size.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="8-bit weights and activations, if the error rises by at most --loss."),
    ] = False,
    loss: Annotated[
        float,
        typer.Option(min=0, metavar="POINTS", help="Percentage points by which --int8 may raise the error."),
    ] = 0.5,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="For page: folder of the npm package onnxruntime-web. [default: downloaded once by npm]",
        ),
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Write a run as one file with preprocessing and maps inside, compared with torch on test pictures.

    Runs of the tasks verify, localize, pose and detect are exported too: docs/export.md.
    """
    from resight.service.export.export import export as service

    if form == "page":
        from resight.web.page import export_page

        if picture_maps:
            raise UsageError("--format page places its maps itself; leave --picture-maps out")
        answer = export_page(
            run, out, maps, runtime, int8=int8, loss=loss, data=data, data_root=data_root
        )  # fmt: skip
    elif runtime is not None:
        raise UsageError(f"--runtime is for --format page, not for {form}")
    else:
        answer = service(
            run, out, form, maps, picture_maps=picture_maps, int8=int8, loss=loss, data=data,
            data_root=data_root,
        )  # fmt: skip
    exported(answer, as_json=as_json)


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
    ]
    units = {"place": " pixels"}
    kinds = found["largest"] if "largest" in found else {"probability": found["largest_difference"]}
    rows += [
        (
            f"largest difference of {'an' if kind[0] == 'e' else 'a'} {kind}",
            f"{value:.1e}{units.get(kind, '')}",
        )
        for kind, value in kinds.items()
    ]
    if found.get("map_difference") is not None:
        rows.append(("largest difference of a map", f"{found['map_difference']:.1e} of its range"))
    if found.get("mask_difference") is not None:
        rows.append(("difference of the masks", f"{100 * found['mask_difference']:.2g} % of their pixels"))
    if reduced is not None:
        rows.append(
            (
                "with JPEGs scaled while decoding",
                f"same answer {reduced['same_answer']:,} of {reduced['n']:,}, a probability differs by up to "
                f"{reduced['largest_difference']:.1e}",
            )
        )
    rows += _of_int8(answer["int8"]) if answer["int8"] else []
    show.table(("exported", ""), rows)
    for note in answer["notes"]:
        show.say(f"note: {note}", err=True)


def _of_int8(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows about 8 bits."""
    rows = [
        ("8 bits, error", f"{found['int8_error']:.2f} % (float {found['float_error']:.2f} %)"),
        ("measured on", found["tested_on"]),
        ("same answer as float", f"{found['agreement']:.2f} %"),
        ("speed, one picture", f"{found['speed']:.2f} times float"),
        ("layers that stay float", f"{len(found['floating'])} of {found['layers']}"),
        ("calibrated on", found["calibrated_on"]),
    ]
    if found["map_correlation"]:
        median, lowest = found["map_correlation"]
        rows.append(("correlation of the maps", f"{median:.3f} (median), {lowest:.3f} (lowest)"))
    return rows
