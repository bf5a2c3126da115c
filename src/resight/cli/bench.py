"""`resight bench`: options and output."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json
from resight.core.errors import UsageError

if TYPE_CHECKING:
    from resight.bench.photos.photos import Measured
    from resight.bench.rows import Row


def bench(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]",
            help="load (small pictures, then photos), train, train50, predict, explain (Grad-CAM), "
            "explain-pp (Grad-CAM++), explain-all (maps of every class), explain-smooth, "
            "explain-ablation, explain-score (minutes per step: use --rounds 1), detect and segment (a "
            "training step), detect-test and segment-test (a test picture), limit and limit50 (training "
            "compared with its convolutions alone), "
            "export (torch compared with onnxruntime, float and 8 bits), serve (50 clients at once compared "
            "with predict), scale (1, 2 and 4 processes compared with the cost model) or photos (accuracy "
            "for equal CPU seconds). "
            "[default: the first five]",
        ),
    ] = "",
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATA]...", help="photos: data sets. [default: four from the data root]"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Duration of each measurement block; photos: CPU seconds per training. [default: 2; 60]",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Blocks per candidate; candidates alternate.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="photos: trainings per candidate and data set.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="photos: threads per training.")] = 1,
    only: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="photos: resight, fastai, timm, resight-scratch, torchvision-scratch. [default: all]",
        ),
    ] = "",
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="photos: results file, one row per training. Trainings that already have a row are skipped.",
        ),
    ] = "bench-photos.jsonl",
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Measure images per second and compare them with a plain torchvision loop in the same run.

    The explain benchmarks compare with pytorch-grad-cam, torch-cam and captum; they also report peak memory
    and whether the maps agree. `photos` compares test errors with fastai, a timm loop and, from scratch, a
    torchvision loop. All of these need pip install 'resight[bench]'.
    """
    if name == "photos":
        from resight.bench.photos.photos import Contest, bench_photos

        chosen = {"data": tuple(data)} if data else {}
        contest = Contest(
            **chosen, seconds=seconds or 60.0, seeds=seeds, threads=threads, out=out, data_root=data_root,
            only=tuple(show.names(only, "--only")) if only else (),
        )  # fmt: skip
        photos(bench_photos(contest, show.progress), as_json=as_json)
        return
    if data:
        raise UsageError(f"bench {name} takes no data set; only bench photos does")
    from resight.bench.bench import bench as service

    benched(service(name, seconds or 2.0, rounds), as_json=as_json)


def photos(answer: "Measured", *, as_json: bool) -> None:
    """Print the test errors, and the difference from each peer with its interval."""
    if as_json:
        show.document(answer)
        return
    show.table(
        ("set", "candidate", "test error %", "lowest", "highest", "pictures", "seeds", "CPU s", "epochs"),
        [
            (
                f.set, f.candidate, *(f"{v:.2f}" for v in (f.error, f.lowest, f.highest)), f.n,
                f.seeds, f"{f.cpu_seconds:.1f}", f"{f.epochs:.2f}",
            )
            for f in answer.figures
        ],
    )  # fmt: skip
    show.say("")
    show.table(
        ("set", "candidate", "compared with", "difference, points", "95 % interval", "seeds"),
        [
            (
                c.set, c.candidate, c.to, f"{c.difference:+.2f}",
                f"{c.interval[0]:+.2f} to {c.interval[1]:+.2f}", c.seeds,
            )
            for c in answer.comparisons
        ],
    )  # fmt: skip
    for settings in {f.candidate: f.settings for f in answer.figures}.values():
        show.say(settings)


def benched(rows: "list[Row]", *, as_json: bool) -> None:
    """Print the medians and their ratios to the named candidate of the same run."""
    if as_json:
        show.document(rows)
        return
    columns: dict[str, Callable[[Row], str]] = {
        "bench": lambda r: r.bench,
        "candidate": lambda r: r.candidate,
        "median": lambda r: _figure(r.rates.median, ",.4g"),
        "unit": lambda r: r.unit,
        "lowest": lambda r: _figure(r.rates.lowest, ",.4g"),
        "highest": lambda r: _figure(r.rates.highest, ",.4g"),
        "ratio": lambda r: _figure(r.rates.ratio, ".2f"),
        "to": lambda r: r.to,
    }
    if any(r.maps for r in rows):
        columns |= {
            "peak MB": lambda r: _figure(r.maps and r.maps.memory_mb, ",.0f"),
            "to forward": lambda r: _figure(r.maps and r.maps.memory_ratio, ".2f"),
            "maps differ by": lambda r: _figure(r.maps and r.maps.difference, ".1e"),
            "layout": lambda r: r.maps.layout if r.maps else "-",
        }
    if any(r.memory for r in rows):
        columns |= {
            "peak MB": lambda r: _figure(r.memory and r.memory.memory_mb, ",.0f"),
            "peak ratio": lambda r: _figure(r.memory and r.memory.memory_to, ".2f"),
        }
    if any(r.deployed for r in rows):
        columns |= {
            "first answer, s": lambda r: _figure(r.deployed and r.deployed.first_answer_seconds, ".2f"),
            "peak MB": lambda r: _figure(r.deployed and r.deployed.peak_mb, ",.0f"),
        }
    if any(r.served for r in rows):
        columns |= {
            "clients": lambda r: str(r.served.clients) if r.served else "-",
            "errors": lambda r: str(r.served.errors) if r.served else "-",
            "p50, ms": lambda r: _figure(r.served and r.served.p50_ms, ",.0f"),
            "p99, ms": lambda r: _figure(r.served and r.served.p99_ms, ",.0f"),
        }
    show.table(columns, [[cell(r) for cell in columns.values()] for r in rows])
    for r in rows:
        if r.note:
            show.say(f"{r.bench}, {r.candidate}: {r.note}")
        if r.maps and r.maps.spearman is not None:
            show.say(f"{r.bench}, {r.candidate}: rank correlation {r.maps.spearman:.3f} with all passes")


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
