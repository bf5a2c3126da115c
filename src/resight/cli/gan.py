"""`resight train-gan`: options and output."""

from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json, Resume, Seed, Strict, settings

if TYPE_CHECKING:
    from resight.service.gan.train import GanAnswer


def train_gan(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA", help="As for train. With --resume: GAN, and DATA only if it moved."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training pictures; a larger number continues a finished run. [default: "
            "5,000 steps]"
        ),
    ] = None,
    seed: Seed = None,
    changes: Annotated[
        list[str] | None,
        settings(
            "batch_size, lr, critic_lr, beta1, noise, width, side, condition, flip, shift, ema, "
            "val_share or memory_gib; may be repeated.",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="GAN", help="Run folder. [default: runs/DATA-gan-N]")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Score the generated pictures with this run's network. [default: no score]"
        ),
    ] = None,
    *,
    resume: Resume = False,
    data_root: DataRoot = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Train a conditional GAN on the training pictures; validation and test pictures are not used."""
    from resight.service.gan.train import train_gan as service
    from resight.service.run.folder import named

    data, run = named(places or (), out, "train-gan", resume=resume)
    own = {"epochs": epochs, "seed": seed}
    words = [*(changes or ()), *(f"{key}={value}" for key, value in own.items() if value is not None)]
    answer = service(
        data, changes=words, out=out, features=features, resume=run or resume, data_root=data_root,
        strict=strict,
    )  # fmt: skip
    gan_trained(answer, as_json=as_json)


def gan_trained(answer: "GanAnswer", *, as_json: bool) -> None:
    """Print the paths of a GAN and its last samples, and its score."""
    if as_json:
        show.document(answer)
        return
    show.say(f"gan      {answer.gan}, epoch {int(answer.last['epoch'])}")
    show.say(f"samples  {answer.samples}")
    if score := answer.score:
        show.say(
            f"score    Frechet distance {score.frechet:.4g} in {score.features}'s features, n = "
            f"{score.n:,}; {score.frechet_floor:.4g} between equally many real pictures (not "
            "comparable with published FID)"
        )
        show.say(
            f"         {score.features} assigns the intended class to {score.right:.1f} % of the "
            f"generated pictures, and the true class to {score.right_real:.1f} % of the real ones"
        )
