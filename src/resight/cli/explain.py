"""`resight explain`: options and output."""

from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli import show
from resight.cli.words import Json, Paths, RunName, settings
from resight.core.errors import UsageError
from resight.core.text import amount

if TYPE_CHECKING:
    from resight.service.explain.asked import Explained
    from resight.service.explain.believe import Belief
    from resight.service.explain.sheet import Sheets
    from resight.service.pictures import Unread

METHOD_NAMES = (
    "cam", "gmp_cam", "grad_cam", "grad_cam_pp", "smooth_grad_cam_pp", "sharpen_focus", "layer_cam",
    "hires_cam", "xgrad_cam", "ablation_cam", "score_cam", "augmented_grad_cam", "eigen_cam",
    "eigen_grad_cam", "finer_cam", "guided_grad_cam",
    "gradient", "rise", "occlusion", "integrated_gradients", "smooth_grad", "attention_rollout",
    "chefer_relevance", "perception_visualization",
)  # fmt: skip
"""The saliency methods, listed here because their table imports torch, which would delay `--help`."""


def explain(
    run: RunName,
    paths: Paths,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help=f"Saliency methods, separated by commas. [default: grad_cam] "
            f"Choices: {', '.join(METHOD_NAMES)}.",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...|all",
            help="Draw a comparison sheet instead (DIR/sheet.png): a row per picture, a column per method.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Class to explain: name, number, topK, or A-B (why A and not B). Other tasks: box:left, "
            "joint:NAME, similarity:PATH. [default: the predicted class]"
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Layer to explain; maps of several layers are fused. `resight summary` lists the names. "
            "[default: the last layer with a map]",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        settings(
            "Set an option of the methods that have it, such as samples=1000; may be repeated.",
        ),
    ] = None,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Folder for overlays (PNG), maps (npy) and sheets.")
    ] = "explained",
    *,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate",
            help="Instead of writing maps, measure how reliable they are: faithfulness compared with a "
            "random map and a spot in the middle, and whether the maps change with random weights.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show where a network looks: write an overlay (PNG) and the map (npy) for each picture."""
    from resight.export.deployed import is_onnx
    from resight.service.explain.asked import Asked

    layers = show.names(layer, "--layer") if layer is not None else None
    if methods is not None:
        if evaluate or method is not None:
            raise UsageError("--methods draws a sheet: leave --method and --evaluate out")
        from resight.service.explain.sheet import draw_sheets

        asked = Asked(show.names(methods, "--methods"), target, layers, changes or ())
        answer = draw_sheets(run, paths, asked, out, progress=show.progress)
        sheets(answer, as_json=as_json)
        return
    chosen = show.names(method, "--method") if method is not None else ["grad_cam"]
    asked = Asked(chosen, target, layers, changes or ())
    if evaluate:
        from resight.service.explain.believe import believe

        answer = believe(run, paths, asked, progress=show.progress)
        believed(answer, as_json=as_json)
        if answer.stopped:
            raise typer.Exit(130)
        return
    if is_onnx(run) and layers is None and (method is None or chosen in (["cam"], ["gmp_cam"])):
        from resight.service.deployed.explain import explain as own_maps  # without torch

        rows = own_maps(run, paths, target, out, None if method is None else chosen)
        raise typer.Exit(explained(rows, as_json=as_json))
    from resight.service.explain.explain import explain_paths

    rows = explain_paths(run, paths, asked, out)
    raise typer.Exit(explained(rows, as_json=as_json))


def explained(rows: "list[Explained | Unread]", *, as_json: bool) -> int:
    """Print the paths of the overlays; return the exit code, 1 if no picture could be read."""
    from resight.service.pictures import Unread

    good = [row for row in rows if not isinstance(row, Unread)]
    if as_json:
        show.document(rows)
        return 0 if good else 1
    for row in rows:
        if isinstance(row, Unread):
            show.say(f"{row.path}: {row.error}", err=True)
            continue
        how = f"{row.method} at {row.layer}"
        if row.residual is not None:
            how += f"  residual {row.residual:.3f} (percentile {row.residual_percentile:.0f})"
        if row.against:
            how += f"  compared with {', '.join(row.against)}"
        show.say(f"{row.image}  {row.target}  score {row.score:.2f}  {how}")
    return 0 if good else 1


def sheets(answer: "Sheets", *, as_json: bool) -> None:
    """Print the paths of the comparison sheets."""
    if as_json:
        show.document(answer)
        return
    for sheet in answer.sheets:
        show.say(f"{sheet.image}  {amount(len(sheet.rows), 'row')}, {amount(len(sheet.methods), 'method')}")
    for fault in answer.skipped:
        show.say(f"left out: {fault.path}: {fault.fault}; {fault.cure}", err=True)


def believed(answer: "Belief", *, as_json: bool) -> None:
    """Print the evaluation of saliency maps: one row per figure, best first, then the warnings."""
    if as_json:
        show.document(answer)
        return
    faithful = [r for r in answer.rows if r.randomized is None]
    lines = []
    for measure in dict.fromkeys(r.measure for r in faithful):
        of = [r for r in faithful if r.measure == measure]
        of.sort(key=lambda r: r.value or 0.0, reverse=of[0].better == "high")
        digits = 1 if "percent" in of[0].protocol else 3
        for r in of:
            low, high = r.interval or (r.value, r.value)
            lines.append(
                (
                    f"{measure.replace('_', ' ')}, {r.better} is better" if r is of[0] else "",
                    r.method,
                    f"{r.value:.{digits}f}",
                    f"{low:.{digits}f} to {high:.{digits}f}" if r.interval else "-",
                    r.against_random or "-",
                    r.against_centre or "-",
                )
            )
    show.table(("measure", "map", "mean", "95 % interval", "better than random", "than centre"), lines)
    sane = [r for r in answer.rows if r.measure == "spearman"]
    depths = dict.fromkeys(r.randomized or "" for r in sane)
    cells = {(r.method, r.randomized): r.value for r in sane}
    show.say("")
    show.table(
        ("|rank correlation|, random:", *("(other picture)" if d == "chance" else d for d in depths)),
        [
            (m, *("-" if (v := cells.get((m, d))) is None else f"{v:.2f}" for d in depths))
            for m in answer.methods
        ],
    )
    show.say(f"{amount(answer.n, 'picture')}; layer {answer.layer}; protocols and p values with --json")
    for warning in answer.warnings:
        show.say(f"warning: {warning}", err=True)
    for fault in answer.skipped:
        show.say(f"left out: {fault.path}: {fault.fault}; {fault.cure}", err=True)
