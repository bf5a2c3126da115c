"""`resight locate`: options and output."""

from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json, RunName


def locate(
    run: RunName,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...|DATA", help="Pictures, or a data set.")],
    method: Annotated[
        str, typer.Option(help="As for explain; with several methods, or all, the first one gives the boxes.")
    ] = "grad_cam",
    threshold: Annotated[float, typer.Option(help="A pixel above this share belongs to the object.")] = 0.2,
    normalization: Annotated[
        str,
        typer.Option(help="The threshold is a share of max, or of the range minmax (minimum to maximum)."),
    ] = "max",
    boxes: Annotated[str, typer.Option(help="largest, all, peaks or tight-loose.")] = "largest",
    classes: Annotated[
        str, typer.Option(help="Draw boxes for the predicted class, or for the true one (from a data set).")
    ] = "predicted",
    top: Annotated[int, typer.Option(min=1, help="Number of predicted classes per picture.")] = 1,
    split: Annotated[str | None, typer.Option(help="Split of the data set. [default: test, or all]")] = None,
    layer: Annotated[str | None, typer.Option(help="As for explain.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for explain.")
    ] = None,
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

    answer = service(
        run, paths, show.names(method, "--method"), Rule(threshold, normalization, boxes),
        classes=classes, top=top,
        split=split, layers=show.names(layer, "--layer") if layer is not None else None,
        changes=changes or (), form=form, out=out, draw=draw, data_root=data_root, progress=show.progress,
    )  # fmt: skip
    raise typer.Exit(located(answer, as_json=as_json))


def located(answer: dict[str, Any], *, as_json: bool) -> int:
    """Print the boxes, or their figures if true boxes are known; return the exit code, 1 without pictures."""
    if as_json:
        from resight.service.locate.locate import document as of

        show.document(of(answer))
    elif answer["metrics"]:
        show.table(
            ("method", "GT-known %", "top-1 %", "top-5 %", "five boxes %", "MaxBoxAcc", "at", "V2", "PxAP",
             "pointing", "energy"),
            [
                (
                    name,
                    *(show.error(f, k) for k in ("gt_known", "top1", "top5", "five_boxes")),
                    f"{f['max_box_acc']:.1f}",
                    f"{f['max_box_acc_threshold']:.2f}",
                    *(f"{f[k]:.1f}" for k in ("max_box_acc_v2", "pixel_average_precision", "pointing_game",
                                              "energy_pointing_game")),
                )
                for name, f in answer["metrics"].items()
            ],
        )  # fmt: skip
        n = next(iter(answer["metrics"].values()))["n"]
        show.say(
            f"{answer['how']}; n = {n}. Columns with a % are errors with 95 % intervals, the others are "
            "accuracies in percent. MaxBoxAcc (at its best threshold), V2 and PxAP use maps scaled from "
            "minimum to maximum"
        )
        for line in paired_lines(answer["metrics"]):
            show.say(line)
    else:
        for box in answer["boxes"]:
            place = " ".join(f"{v:g}" for v in box["box"])
            true = " (true class)" if box["class_is"] == "true" else ""
            show.say(f"{box['path']}  {box['label']}{true} {100 * box['score']:.1f} %  {place}")
        show.say(f"{answer['how']}; x y width height in pixels", err=True)
    for where in ("out", "drawn"):
        if answer[where]:
            show.say(f"{'written' if where == 'out' else where}   {answer[where]}", err=True)
    for name, why in answer["left_out"].items():
        show.say(f"left out: {name}: {why}", err=True)
    for fault in answer["errors"]:
        show.say(f"{fault['path']}: {fault['error']}", err=True)
    for note in answer["notes"]:
        show.say(f"note: {note}", err=True)
    return 0 if answer["pictures"] else 1


def paired_lines(metrics: dict[str, Any]) -> list[str]:
    """Return how each method compares with the spot in the middle on the same pictures."""
    return [
        f"{name} compared with a spot in the middle, GT-known: finds {found['only_this']} that the spot "
        f"misses, misses {found['only_other']} that it finds (p = {found['p']:.2g}, McNemar's exact test)"
        for name, figures in metrics.items()
        if (found := figures.get("paired", {}).get("gt_known"))
    ]
