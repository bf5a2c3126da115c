"""`resight models`, `summary` and `compare`: options and output."""

from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli import show
from resight.cli.words import Json, settings
from resight.core.errors import UsageError
from resight.core.text import amount

if TYPE_CHECKING:
    from resight.core.networks import Summary
    from resight.core.published import Record
    from resight.service.networks.compare import Comparison
    from resight.service.networks.forms import Forms
    from resight.service.networks.gemm import Products
    from resight.service.networks.history import Chart
    from resight.service.networks.matrix import Pooling
    from resight.service.networks.models import NetworkRow


def models(
    pattern: Annotated[
        str, typer.Argument(help="Shell pattern, such as 'resnet*', or a part of names, such as lite.")
    ] = "*",
    *,
    as_json: Json = False,
) -> None:
    """List the networks with their size, cost and published error."""
    from resight.service.networks.models import list_networks

    networks(list_networks(pattern), as_json=as_json)


def summary(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|RUN", help="Network (resight models lists them), or a run.")
    ],
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the input in pixels. [default: the paper's]")
    ] = None,
    changes: Annotated[
        list[str] | None,
        settings("Set an option of the network, such as head=gap."),
    ] = None,
    *,
    gemm: Annotated[
        bool,
        typer.Option(
            "--gemm", help="Instead: each convolution as one matrix product (im2col), weights times columns."
        ),
    ] = False,
    forms: Annotated[
        bool,
        typer.Option("--forms", help="Instead: each block with groups in the three equal forms of ResNeXt."),
    ] = False,
    matrix: Annotated[
        str | None,
        typer.Option(
            "--matrix",
            metavar="FILE.png",
            help="Instead: draw global average pooling as a matrix, next to a fully connected layer.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the output, parameters, cost and receptive field of each layer, for one image."""
    if sum(map(bool, (gemm, forms, matrix))) > 1:
        raise UsageError("--gemm, --forms and --matrix show different things; give one of them")
    if forms:
        from resight.service.networks.forms import forms as three_forms

        equal_forms(three_forms(model, size, changes or ()), as_json=as_json)
        return
    if matrix:
        from resight.service.networks.matrix import draw_pooling

        pooled_as(draw_pooling(model, matrix, size, changes or ()), as_json=as_json)
        return
    if gemm:
        from resight.service.networks.gemm import gemm as products

        multiplied(products(model, size, changes or ()), as_json=as_json)
        return
    from resight.service.networks.summary import summary as service

    summarized(service(model, size, changes or ()), as_json=as_json)


def compare(
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Prefix of the figures' names, without .svg or .png: compare.svg writes "
            "compare-cost.svg, compare-cost.png, compare-parameters.svg and compare-parameters.png.",
        ),
    ] = "compare.svg",
    *,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Also measure images per second on this machine: compare-speed."),
    ] = False,
    history: Annotated[
        bool,
        typer.Option(
            "--history",
            help="Instead: the winners of ImageNet by year, their depth, and people: compare-history.",
        ),
    ] = False,
    tracks: Annotated[
        bool,
        typer.Option(
            "--tracks",
            help="Instead: the five tracks of ILSVRC and COCO 2015 (compare-tracks); with --json also "
            "tables 7 to 14 of He et al. 2015.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Plot the published ImageNet accuracy of the networks against multiply-adds and against parameters."""
    if sum((measure, history, tracks)) > 1:
        raise UsageError("--measure, --history and --tracks are different figures; give one of them")
    if history or tracks:
        from resight.service.networks.history import show_history, show_tracks

        compared(show_history(out) if history else show_tracks(out), as_json=as_json)
        return
    from resight.service.networks.compare import compare as service

    compared(service(out, measure=measure, progress=show.progress), as_json=as_json)


def networks(rows: "list[NetworkRow]", *, as_json: bool) -> None:
    """Print the table of networks."""
    if as_json:
        show.document(rows)
        return
    show.table(
        ("name", "family", "year", "parameters", "multiply-adds", "at", "published error", "paper"),
        [
            (
                r.name,
                r.family,
                r.year,
                f"{r.parameters:,}",
                f"{r.multiply_adds:,}",
                r.input_size,
                headline(r.published),
                f"{first_author(r.paper)} {r.year}",
            )
            for r in rows
        ],
    )
    if any(r.published and r.published[0].certainty == "uncertain" for r in rows):
        show.say("? uncertain: from memory or read off a curve; --json gives protocols and sources", err=True)


def headline(records: "list[Record]") -> str:
    """Return the first published figure of a network as text; an accuracy is named as one."""
    if not records:
        return "-"
    first = records[0]
    over = "above " if first.protocol.startswith("lower bound") else ""
    metric = first.metric.removeprefix(first.dataset).strip()
    doubt = "?" if first.certainty == "uncertain" else ""
    return f"{first.dataset} {metric} {over}{first.value:g} {first.unit}".rstrip() + doubt


def first_author(paper: str) -> str:
    """Return the first author's name of a reference."""
    return paper.split(",")[0].split(" and ")[0].removesuffix(" et al.")


def summarized(answer: "Summary", *, as_json: bool) -> None:
    """Print a network layer by layer, then the totals and the counting rules."""
    if as_json:
        show.document(answer)
        return
    show.table(
        ("layer", "kind", "output", "parameters", "multiply-adds", "memory", "field", "stride"),
        [
            (
                layer.name or "-",
                layer.kind,
                " x ".join(map(str, layer.output)),
                f"{layer.parameters:,}",
                f"{layer.multiply_adds:,}",
                show.in_bytes(layer.activation_bytes),
                "all" if layer.receptive_field is None else layer.receptive_field,
                "all" if layer.stride is None else layer.stride,
            )
            for layer in answer.layers
        ],
    )
    side = answer.input_size
    show.say("")
    show.say(f"{answer.name} at {side} x {side} x {answer.channels}, {amount(answer.classes, 'class')}")
    show.say(f"parameters        {answer.parameters:,}")
    show.say(f"multiply-adds     {answer.multiply_adds:,} ({2 * answer.multiply_adds:,} FLOPs)")
    show.say(f"activations       {show.in_bytes(answer.activation_bytes)} per image, forward, float32")
    show.say(f"receptive field   {answer.receptive_field} pixels at the last map")
    show.say(
        "Multiply-adds are those of convolutions and linear layers; FLOPs are twice that. "
        "Memory: the input and the outputs of convolutions, poolings, linear layers and concatenations; "
        "all other layers work in place. Field and stride are in pixels of the input."
    )


def multiplied(answer: "Products", *, as_json: bool) -> None:
    """Print the matrix products of the convolutions and how far they are from the convolutions."""
    if as_json:
        show.document(answer)
        return
    show.table(
        ("layer", "groups", "weights W", "columns X", "product W X", "multiply-adds", "difference"),
        [
            (
                row.layer,
                row.groups,
                " x ".join(f"{n:,}" for n in row.weights),
                " x ".join(f"{n:,}" for n in row.columns),
                " x ".join(f"{n:,}" for n in row.product),
                f"{row.multiply_adds:,}",
                f"{row.difference:.1e}",
            )
            for row in answer.layers
        ],
    )
    show.say(
        f"{answer.name} at {answer.input_size} x {answer.input_size}: sizes of each group "
        "for one image; difference: the largest, relative to the largest output, from torch's convolution."
    )


def equal_forms(answer: "Forms", *, as_json: bool) -> None:
    """Print how far apart the three forms of grouped blocks are."""
    if as_json:
        show.document(answer)
        return
    show.table(
        ("block", "paths", "width", "parameters", "(a) added up", "(b) joined"),
        [
            (
                row.block,
                row.paths,
                row.width,
                f"{row.parameters:,}",
                f"{row.added:.1e}",
                f"{row.joined:.1e}",
            )
            for row in answer.blocks
        ],
    )
    show.say(
        f"{answer.name} at {answer.input_size} x {answer.input_size}: the residual as paths that are added "
        "up, or joined and then expanded; difference: the largest, relative to the largest output, from (c), "
        "a convolution in groups."
    )


def pooled_as(answer: "Pooling", *, as_json: bool) -> None:
    """Print what the matrix of a pooling is."""
    if as_json:
        show.document(answer)
        return
    rows, columns = answer.matrix
    show.say(
        f"{answer.name}: global average pooling is a matrix of {rows:,} x {columns:,}: {rows:,} blocks of "
        f"{columns // rows} constants {answer.constant:.4g}, nothing to learn"
    )
    show.say(f"a fully connected layer of this size has {rows * columns:,} weights")
    show.say(f"largest difference between the product and the pooling: {answer.difference:.1e}")
    show.say(answer.figure)


def compared(answer: "Comparison | Chart", *, as_json: bool) -> None:
    """Print the paths of the figures."""
    if as_json:
        show.document(answer)
        return
    for path in answer.figures:
        show.say(path)
