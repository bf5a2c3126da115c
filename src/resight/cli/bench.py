"""`resight bench`: words and answers."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import Json


def bench(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]",
            help="load (of small pictures, then of photos), train, train50, predict, explain (Grad-CAM), "
            "explain-pp (Grad-CAM++), explain-all (maps of every class), explain-smooth, "
            "explain-ablation, explain-score (minutes a step: use --rounds 1) or scale (1, 2 and 4 processes "
            "beside the cost model). [default: the first five]",
        ),
    ] = "",
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for each block of measurement.")] = 2.0,
    rounds: Annotated[int, typer.Option(min=1, help="Blocks of each candidate, interleaved.")] = 5,
    *,
    as_json: Json = False,
) -> None:
    """Measure images a second beside a plain torchvision loop, interleaved in one run.

    The benchmarks of maps measure beside pytorch-grad-cam, torch-cam and captum, with peak memory and whether
    the maps agree; they need pip install 'resight[bench]'.
    """
    from resight.bench.bench import bench as service

    benched(service(name, seconds, rounds), as_json=as_json)


def benched(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print measurements: medians, and ratios to the named candidate of the same run."""
    if as_json:
        show.document(rows)
        return
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "bench": lambda r: r["bench"],
        "candidate": lambda r: r["candidate"],
        "median": lambda r: _figure(r["median"], ",.4g"),
        "unit": lambda r: r["unit"],
        "lowest": lambda r: _figure(r["lowest"], ",.4g"),
        "highest": lambda r: _figure(r["highest"], ",.4g"),
        "ratio": lambda r: _figure(r["ratio"], ".2f"),
        "to": lambda r: r["to"],
    }
    if any("memory_mb" in r for r in rows):
        columns |= {
            "peak MB": lambda r: _figure(r.get("memory_mb"), ",.0f"),
            "to forward": lambda r: _figure(r.get("memory_ratio"), ".2f"),
            "maps differ by": lambda r: _figure(r.get("difference"), ".1e"),
            "layout": lambda r: r.get("layout", "-"),
        }
    show.table(columns, [[cell(r) for cell in columns.values()] for r in rows])
    for r in rows:
        if r["note"]:
            show.say(f"{r['bench']}, {r['candidate']}: {r['note']}")
        if "spearman" in r:
            show.say(f"{r['bench']}, {r['candidate']}: rank correlation {r['spearman']:.3f} with all passes")


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
