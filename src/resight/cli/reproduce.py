"""`resight reproduce`: options and output."""

from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json, settings
from resight.core.errors import UsageError

if TYPE_CHECKING:
    from resight.reproduce.catalogue import Listed, Reproduced


def reproduce(
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="[EXPERIMENT]", help="Name, or a file of your own. [default: list all experiments]"
        ),
    ] = "",
    scale: Annotated[
        str,
        typer.Option(help="full: the paper's protocol; smoke: the same code, small scale, in minutes."),
    ] = "smoke",
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs. [default: those of the scale]")] = None,
    pictures: Annotated[int | None, typer.Option(min=10, help="Number of training pictures to use.")] = None,
    changes: Annotated[
        list[str] | None,
        settings("Change a setting of every recipe; may be repeated."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Trainings per condition, with seeds 0, 1, ...")
    ] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings to run in parallel.")] = 1,
    only: Annotated[
        str,
        typer.Option(
            metavar="CONDITION,...", help="Conditions to train, such as plain-20,plain-56. [default: all]"
        ),
    ] = "",
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Data set, if the experiment needs one; may be repeated."),
    ] = None,
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="Folder for the runs; finished runs are reused.")
    ] = "runs/reproduce",
    results: Annotated[
        str, typer.Option(metavar="FOLDER", help="Folder for the figures (JSON).")
    ] = "results",
    page: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Only write a Markdown page of all results and published figures."),
    ] = None,
    plan: Annotated[
        str,
        typer.Option(
            metavar="gpu",
            help="Run the measurements planned for half an hour of a GPU; without a GPU, print the plan.",
        ),
    ] = "",
    part: Annotated[
        int | None, typer.Option(min=1, help="With --plan: run only this part (nine minutes at most).")
    ] = None,
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Repeat a published experiment; print its figures and ours, with interval, command and cost."""
    if page:
        from resight.reproduce.page import write_page

        show.one("page", str(write_page(page, results)), as_json=as_json)
        return
    if plan or part is not None:
        planned(plan, part, data_root, results, as_json=as_json)
        return
    from resight.reproduce.catalogue import catalogue
    from resight.reproduce.catalogue import reproduce as service

    if not experiment:
        listed(catalogue(), as_json=as_json)
        return
    answer = service(
        experiment, scale, epochs=epochs, pictures=pictures, settings=changes or (), seeds=range(seeds),
        jobs=jobs, only=show.names(only, "--only") if only else (), data=data or (),
        data_root=data_root, out=out, results=results, say=show.progress,
    )  # fmt: skip
    reproduced(answer, as_json=as_json)
    if answer.record.failed:
        raise typer.Exit(1)


def planned(name: str, part: int | None, data_root: str | None, results: str, *, as_json: bool) -> None:
    """Run a part of the plan for a GPU, or print the plan where there is none."""
    from resight.core.device import pick_device
    from resight.reproduce.plan import FOLDER, PARTS, run
    from resight.reproduce.plan import listed as lines

    if name != "gpu":
        raise UsageError(f"--plan {name}: the plan is called gpu" if name else "--part needs --plan gpu")
    if part is None and pick_device().type != "cuda":
        if as_json:
            show.document(PARTS)
            return
        for line in lines(data_root):
            typer.echo(line)
        return
    outcomes = run(part, data_root, results, show.progress)
    if as_json:
        show.document(outcomes)
    else:
        show.table(("step", "status", "seconds"), [(o.step, o.status, f"{o.seconds:.0f}") for o in outcomes])
        typer.echo(f"figures {results}/{FOLDER}")
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def listed(rows: "list[Listed]", *, as_json: bool) -> None:
    """Print the experiments."""
    if as_json:
        show.document(rows)
        return
    for row in rows:
        needs = "".join(f"; needs --data, {need}" for need in row.needs)
        typer.echo(f"{row.name:17} {row.claim}")
        typer.echo(f"{'':17} {row.paper}; {row.trainings} trainings{needs}")


def reproduced(answer: "Reproduced", *, as_json: bool) -> None:
    """Print our figures, the published figures, and whether the claim holds."""
    record = answer.record
    if as_json:
        show.document(record.rows)
        return
    rows = []
    for row in record.rows:
        low, high = row.interval or (None, None)
        certainty = f" ({row.certainty})" if row.certainty not in (None, "verified") else ""
        rows.append(
            (
                row.name,
                "" if row.published is None else f"{row.published:g}{certainty}",
                "" if row.measured is None else f"{row.measured:.4g} {row.unit}",
                "" if low is None else f"{low:.4g} to {high:.4g}",
            )
        )
    show.table((record.experiment, "published", "measured", "95 % interval"), rows)
    typer.echo(
        f"{record.protocol}; {record.seconds:,.0f} s of training"
        f"{' on ' if record.hardware else ''}{record.hardware}"
    )
    typer.echo(f"claim: {record.claim}: {record.outcome.words} here")
    for part in record.parts:
        typer.echo(f"  {part.claim}: {part.outcome.words}")
    if record.caveat:
        typer.echo(f"but {record.caveat}")
    for condition, why in record.failed.items():
        typer.echo(f"failed: {condition}: {why}", err=True)
    typer.echo(f"figures {answer.file}")
