"""`resight locate`: options and output."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json, RunName, settings

if TYPE_CHECKING:
    from resight.evaluate.localization import LocalizationFigures
    from resight.service.locate.answer import Located


def locate(
    run: RunName,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...|DATA", help="Pictures, or a data set.")],
    method: Annotated[
        str, typer.Option(help="As for explain, or all; with several methods, the first one gives the boxes.")
    ] = "grad_cam",
    threshold: Annotated[
        float, typer.Option(help="Pixels above this share belong to the object; see --normalization.")
    ] = 0.2,
    normalization: Annotated[
        str,
        typer.Option(
            help="What --threshold is a share of: max (the maximum) or minmax (minimum to maximum)."
        ),
    ] = "max",
    boxes: Annotated[
        str, typer.Option(help="Parts of the map that get a box: largest, all, peaks or tight-loose.")
    ] = "largest",
    classes: Annotated[
        str, typer.Option(help="Draw boxes for the predicted class, or for the true one (from a data set).")
    ] = "predicted",
    top: Annotated[int, typer.Option(min=1, help="Number of predicted classes per picture.")] = 1,
    split: Annotated[str | None, typer.Option(help="Split of the data set. [default: test, or all]")] = None,
    layer: Annotated[str | None, typer.Option(help="As for explain.")] = None,
    changes: Annotated[list[str] | None, settings("As for explain.")] = None,
    form: Annotated[str, typer.Option("--format", help="Format of --out: json, coco, voc or yolo.")] = "json",
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Output file; for voc and yolo a folder. [default: located.json, located]"
        ),
    ] = None,
    draw: Annotated[
        str | None, typer.Option(metavar="DIR", help="Also draw the boxes on the pictures, into this folder.")
    ] = None,
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Find boxes with a network trained on class labels only; measure them where true boxes are known."""
    from resight.localize.rule import Rule
    from resight.service.locate.locate import locate as service
    from resight.service.locate.search import Wish

    wish = Wish(
        methods=show.names(method, "--method"),
        rule=Rule(threshold, normalization, boxes),
        classes=classes,
        top=top,
        split=split,
        layers=show.names(layer, "--layer") if layer is not None else None,
        changes=changes or (),
        form=form,
        out=out,
        draw=draw,
        data_root=data_root,
    )
    answer = service(run, paths, wish, show.progress)
    raise typer.Exit(located(answer, as_json=as_json))


def located(answer: "Located", *, as_json: bool) -> int:
    """Print the boxes, or their figures if true boxes are known; return the exit code, 1 without pictures."""
    if as_json:
        show.document(answer.document())
    elif answer.metrics:
        _measured(answer)
    else:
        for found in answer.boxes:
            box = found.box
            place = " ".join(f"{v:g}" for v in box.box)
            true = " (true class)" if box.class_is == "true" else ""
            show.say(f"{found.path}  {box.label}{true} {100 * box.score:.1f} %  {place}")
        show.say(f"{answer.how}; x y width height in pixels", err=True)
    for word, where in (("written", answer.out), ("drawn", answer.drawn)):
        if where:
            show.say(f"{word}   {where}", err=True)
    for name, why in answer.left_out.items():
        show.say(f"left out: {name}: {why}", err=True)
    for fault in answer.errors:
        show.say(f"{fault.path}: {fault.error}", err=True)
    for note in answer.notes:
        show.say(f"note: {note}", err=True)
    return 0 if answer.pictures else 1


def _measured(answer: "Located") -> None:
    """Print the figures of each method."""
    show.table(
        ("method", "GT-known %", "top-1 %", "top-5 %", "five boxes %", "MaxBoxAcc", "at", "V2", "PxAP",
         "pointing", "energy"),
        [
            (
                name,
                show.error(f.gt_known_error, f.gt_known_interval),
                show.error(f.top1_error, f.top1_interval),
                show.error(f.top5_error, f.top5_interval),
                show.error(f.five_boxes_error, f.five_boxes_interval),
                f"{f.max_box_acc:.1f}",
                f"{f.max_box_acc_threshold:.2f}",
                f"{f.max_box_acc_v2:.1f}",
                f"{f.pixel_average_precision:.1f}",
                f"{f.pointing_game:.1f}",
                f"{f.energy_pointing_game:.1f}",
            )
            for name, f in answer.metrics.items()
        ],
    )  # fmt: skip
    n = next(iter(answer.metrics.values())).n
    show.say(
        f"{answer.how}; n = {n}. Columns with a % are errors with 95 % intervals, the others are "
        "accuracies in percent. MaxBoxAcc (at its best threshold), V2 and PxAP use maps scaled from "
        "minimum to maximum"
    )
    for line in paired_lines(answer.metrics):
        show.say(line)


def paired_lines(metrics: "Mapping[str, LocalizationFigures]") -> list[str]:
    """Return how each method compares with the spot in the middle on the same pictures."""
    return [
        f"{name} compared with a spot in the middle, GT-known: finds {found.only_this} that the spot "
        f"misses, misses {found.only_other} that it finds (p = {found.p:.2g}, McNemar's exact test)"
        for name, figures in metrics.items()
        if figures.paired and (found := figures.paired.gt_known)
    ]
