"""`resight look`: options and output."""

from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json, RunName
from resight.core.text import amount

if TYPE_CHECKING:
    from resight.service.look.look import Looked

PARTS = "filters, patches, features, surface, depth, curves"


def look(
    run: RunName,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Output folder. [default: RUN/look]")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", help="Data set. [default: the run's own; if it is missing, only filters and curves]"
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", help="Layers whose units to show. [default: the last of each stage]"
        ),
    ] = None,
    units: Annotated[int, typer.Option(min=1, help="Units per layer.")] = 3,
    only: Annotated[
        str | None, typer.Option(metavar="PART,...", help=f"Parts to draw: {PARTS}. [default: all]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of t-SNE and of the surface's directions.")] = 0,
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Draw what a network learned: filters, what activates units, features, loss surface, depth, curves."""
    from resight.service.look.look import PARTS as ALL
    from resight.service.look.look import Sought
    from resight.service.look.look import look as service

    sought = Sought(
        show.names(layer, "--layer") if layer is not None else None,
        units,
        show.names(only, "--only") if only is not None else ALL,
        seed,
    )
    looked(service(run, out, data, sought, data_root, progress=show.progress), as_json=as_json)


def looked(answer: "Looked", *, as_json: bool) -> None:
    """Print what was drawn and what the curves say."""
    if as_json:
        show.document(answer)
        return
    if answer.filters:
        typer.echo(f"filters    {answer.filters.summary}")
    for layer in answer.patches:
        units = ", ".join(str(row.unit) for row in layer.units)
        typer.echo(f"patches    {layer.layer}: units {units}")
    if features := answer.features:
        typer.echo(
            f"features   {amount(features.pictures, 'picture')} of the {features.split} split, "
            f"{features.wrong} wrong"
        )
    if surface := answer.surface:
        typer.echo(
            f"surface    loss {surface.centre:.4g} at the centre, lowest {surface.least:.4g}; "
            f"{surface.points} x {surface.points} points, {amount(surface.pictures, 'picture')}, "
            f"{surface.seconds:.0f} s"
        )
    for sentence in answer.depth.words if answer.depth else ():
        typer.echo(f"depth      {sentence}")
    for sentence in answer.diagnosis:
        typer.echo(f"curves     {sentence}")
    for line in answer.left_out:
        typer.echo(f"left out   {line}", err=True)
    typer.echo(f"page       {answer.page}")
