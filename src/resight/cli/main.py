"""The command: parses the options, calls one service function, prints the result.

Nothing here imports torch at module level, so `--help` answers at once. Results go to standard output,
progress and log lines to standard error.
"""

import os
import sys
from typing import Annotated

import typer

import resight
from resight.cli import streams
from resight.cli.bench import bench
from resight.cli.data import augment, check, pack
from resight.cli.decoder import train_decoder
from resight.cli.explain import explain
from resight.cli.export import export
from resight.cli.gan import train_gan
from resight.cli.locate import locate
from resight.cli.look import look
from resight.cli.networks import compare, models, summary
from resight.cli.predict import predict
from resight.cli.reproduce import reproduce
from resight.cli.serve import serve
from resight.cli.similar import similar
from resight.cli.test import report, test
from resight.cli.train import train
from resight.core.console import show_on, stderr_console
from resight.core.device import keep_pages, ran_out_of_memory
from resight.core.distributed import launched, leave, lost_another
from resight.core.errors import HangingError, ResightError, UsageError
from resight.core.text import one_line

app = typer.Typer(
    name="resight",
    help="Train image networks on your own pictures, test them, and show what they look at.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(short_help="Train and test a network; write a run folder with a report.")(train)
app.command(short_help="Test a run, or several runs as an ensemble.")(test)
app.command(short_help="Predict what pictures show.")(predict)
app.command(short_help="Show where a network looks: overlays and maps.")(explain)
app.command(short_help="Find boxes with a network trained on class labels only, and measure them.")(locate)
app.command(short_help="Write a run as one file that runs without Resight.")(export)
app.command(short_help="Serve a run over HTTP: an API, a page to try pictures on, a desk to correct boxes.")(
    serve
)
app.command("train-decoder", short_help="Train a run's decoder for the method Perception Visualization.")(
    train_decoder
)
app.command("train-gan", short_help="Train a GAN that generates pictures of each class.")(train_gan)
app.command(short_help="Test a run again and write its report.html.")(report)
app.command(short_help="Find the pictures of a data set that are nearest to given ones.")(similar)
app.command(short_help="Draw what a network learned: filters, units, features, loss surface, curves.")(look)
app.command(short_help="Check a data set: faults, copies, near copies, leaks, class balance.")(check)
app.command(short_help="Pack a data set into tar shards for fast reading.")(pack)
app.command(short_help="Draw the effect of augmentation; without an argument, list the operations.")(augment)
app.command(short_help="List networks.")(models)
app.command(short_help="Show a network layer by layer.")(summary)
app.command(short_help="Plot the published accuracy of the networks against their cost and size.")(compare)
app.command(short_help="Repeat a published experiment and compare the figures.")(reproduce)
app.command(short_help="Measure speed compared with plain torchvision and other libraries.")(bench)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(resight.__version__)
        raise typer.Exit


SHARED = ("train", "test", "predict", "explain")
"""Commands that can run in several processes."""


@app.callback()
def main(
    context: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            callback=lambda v: _version(wanted=v),
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Set up the console and check the launcher."""
    del version
    show_on(stderr_console(quiet=os.environ.get("RANK", "0") != "0"))
    if launched() and context.invoked_subcommand not in SHARED:
        raise UsageError(f"{context.invoked_subcommand} runs in one process; start it without torchrun")


def run() -> None:
    """Run the command and exit: 0 done, 1 the work failed, 2 invalid command line, 130 interrupted.

    If a launcher started several processes, only the first one prints results.
    """
    keep_pages()
    streams.prepare()
    rank, errors = int(os.environ.get("RANK", "0")) if launched() else 0, sys.stderr
    if rank:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end
    try:
        code = _answered()
        sys.stdout.flush()
    except ResightError as error:
        # An invalid command line is invalid in every process.
        if not rank or not isinstance(error, UsageError):
            typer.echo(f"resight{f' (process {rank})' if rank else ''}: {one_line(str(error))}", errors)
        if isinstance(error, HangingError):
            errors.flush()
            os._exit(error.exit_code)  # a normal exit would wait for the process that hangs
        code = error.exit_code
    except BrokenPipeError:  # the reader of our output closed the pipe
        code = 1
    finally:
        sys.stderr = errors
        leave()
    sys.exit(code)


def _answered() -> int:
    """Run the command and return its exit code.

    Raises:
        ResightError: also if the operating system refuses a name, a path or memory.
    """
    try:
        app(standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        typer.echo("resight: interrupted", err=True)
        return 130
    except (RuntimeError, MemoryError) as error:
        if not (line := _told(error)):
            raise
        raise ResightError(line) from error
    except OSError as error:
        if error.filename is None:
            raise
        where = os.fsdecode(error.filename)
        raise ResightError(
            f"{where}: cannot be used ({error.strerror}); check its name and permissions"
        ) from error
    return 0


def _told(error: RuntimeError | MemoryError) -> str:
    """Return one line for an error of torch that means too little memory or a lost process; else nothing."""
    fault = (str(error) or "no memory").splitlines()[0][:200]
    if ran_out_of_memory(error):
        return f"out of memory ({fault}); use smaller pictures, or set CUDA_VISIBLE_DEVICES= to use the CPU"
    if lost_another(error):
        return f"another process of this command ended or does not answer ({fault}); start it again"
    return ""
