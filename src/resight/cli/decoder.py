"""`resight train-decoder`: options and output."""

from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import Data, DataRoot, Json, Resume, RunName, Strict, settings


def train_decoder(
    run: RunName,
    data: Data = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the training pictures. [default: 20; the paper's code: 100 to 250]"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        settings(
            "batch_size, lr, rec, dsim, ssim, widest, seed, precision, workers or memory_gib; may be "
            "repeated.",
        ),
    ] = None,
    *,
    resume: Resume = False,
    data_root: DataRoot = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Train a decoder that reconstructs the picture from a run's last map; the network is not changed."""
    from resight.service.explain.train_decoder import train_decoder as service

    answer = service(run, data, epochs, changes or (), resume=resume, data_root=data_root, strict=strict)
    decoded(answer, as_json=as_json)


def decoded(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print how well a decoder inverts its network, and how well its residual detects wrong answers."""
    if as_json:
        show.document(answer)
        return
    show.say(f"decoder    {answer['decoder']}, epoch {answer['epochs']} of {answer['settings']['epochs']}")
    for name in ("validation", "test"):
        if (figures := answer.get(name)) is None:
            continue
        area = "-, too few wrong or correct answers"
        if figures["auc"] is not None:
            low, high = figures["auc_interval"]
            area = f"{figures['auc']:.3f} (95 % interval {low:.3f} to {high:.3f})"
            area += f"; of 1 - softmax {figures['auc_doubt']:.3f}"
        show.say(
            f"{name:11}PSNR {figures['psnr']:.2f} dB, SSIM {figures['ssim']:.3f}, "
            f"DSIM {figures['dsim']:.3f}, n = {figures['n']:,}"
        )
        show.say(f"{'':11}AUC of the residual for wrong answers: {area}")
    for note in answer["notes"]:
        show.say(f"note: {note}", err=True)
