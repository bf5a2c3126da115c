"""`resight serve`: options."""

from typing import Annotated

import typer

from resight.cli import show
from resight.cli.words import DataRoot, RunName
from resight.core.errors import UsageError


def serve(
    run: RunName,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Pictures or a data set to draw and correct boxes on."),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="RUN", help="Another run to compare with; may be repeated."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any except loopback needs --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free one.")] = 8000,
    token: Annotated[
        str,
        typer.Option(
            envvar="RESIGHT_TOKEN",
            show_envvar=False,
            help="Token that requests must send. [default: $RESIGHT_TOKEN]",
        ),
    ] = "",
    name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A DNS name of this server; may be repeated.")
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="A site whose pages may send requests, such as https://example.org; may be repeated.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder for corrected boxes. [default: DATA's name with -boxes]"),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data set to label, or all.")] = "all",
    form: Annotated[str, typer.Option("--format", help="Format of corrected boxes: coco or voc.")] = "coco",
    megabytes: Annotated[
        float, typer.Option("--max-mb", min=0.001, max=1000, help="Largest picture file, in MB.")
    ] = 32,
    megapixels: Annotated[
        float,
        typer.Option("--max-megapixels", min=0.001, max=100, help="Largest picture, in million pixels."),
    ] = 50,
    queue: Annotated[
        int, typer.Option(min=1, max=10_000, help="Requests waiting or in progress; more are refused.")
    ] = 64,
    *,
    data_root: DataRoot = None,
) -> None:
    """Serve a run over HTTP: an API, a page to try pictures on, and a desk to correct boxes.

    Ctrl-C ends the server.
    """
    try:
        from resight.web.app import Limits
        from resight.web.serve import Address, Labelling
        from resight.web.serve import serve as service
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("starlette", "uvicorn", "h11"):
            raise UsageError(
                f'serve needs {error.name}; install it with: pip install "resight[serve]"'
            ) from error
        raise
    if form != "coco" and data is None:
        raise UsageError(
            "--format says how corrected boxes are saved; give the pictures too: resight serve RUN DATA"
        )
    service(
        [run, *(others or ())], Labelling(data, out, split, data_root, form) if data else None,
        Address(host, port, token, tuple(name or ()), tuple(cors or ())),
        Limits(round(megabytes * 1e6), round(megapixels * 1e6), queue),
        say=show.say,
    )  # fmt: skip
