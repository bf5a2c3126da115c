"""Options and arguments that several commands share."""

from typing import Annotated, Any

import typer

Task = Annotated[
    str,
    typer.Option(help="The task, as for train; it decides which pictures are used, and as what."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DataRoot = Annotated[
    str | None,
    typer.Option("--data-root", help="Folder of the built-in data sets. [default: $RESIGHT_DATA]"),
]
Data = Annotated[str | None, typer.Option("--data", help="Data set. [default: the run's own]")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at an unreadable picture instead of skipping it.")
]
Seed = Annotated[int | None, typer.Option(help="Random seed. [default: 0]")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume a run: --resume RUN needs no other option.")]
RUN_HELP = (
    "Run folder, model.safetensors, .onnx file, zoo:NAME, timm:NAME, torchvision:NAME, or FILE.py:FUNCTION "
    "(this runs the file's code)."
)
RunName = Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)]
Votes = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Run the network N times with dropout on. The mean is the answer; the spread says how unsure "
        "the network is.",
    ),
]
Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Picture files, folders or patterns.")]


def settings(help: str) -> Any:
    """Return the option `--set KEY=VALUE`, which may be repeated."""
    return typer.Option("--set", metavar="KEY=VALUE", help=help)
