"""The command: reads the words, calls one service function, shows the answer.

Nothing here imports torch at module level: `--help` answers at once. Results go to standard output,
progress and log lines to standard error.
"""

import os
import sys
from typing import Annotated

import typer

import resight
from resight.cli import show, streams
from resight.cli.look import look
from resight.cli.reproduce import reproduce
from resight.cli.words import Data, DataRoot, Json, Paths, Resume, RunName, Seed, Strict
from resight.core.device import keep_pages, ran_out_of_memory
from resight.core.distributed import launched, leave, lost_another
from resight.core.errors import HangingError, ResightError, UsageError
from resight.core.text import one_line

app = typer.Typer(
    name="resight",
    help="Train deep residual image classifiers on your own pictures, prove how good they are, and show "
    "what they look at.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

METHOD_NAMES = (
    "cam", "gmp_cam", "grad_cam", "grad_cam_pp", "smooth_grad_cam_pp", "sharpen_focus", "layer_cam",
    "hires_cam", "xgrad_cam", "ablation_cam", "score_cam", "augmented_grad_cam", "guided_grad_cam",
    "gradient", "rise", "occlusion", "perception_visualization",
)  # fmt: skip
"""The saliency methods, written out: their table needs torch, and `--help` must not wait for it."""


@app.command(short_help="Train, test and explain a network; writes a run folder with a report.")
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
        str, typer.Option(help="fast, fine-tune, he2015-cifar or another paper's; see README.")
    ] = "fast",
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
    """Train a network, test it and write a report."""
    from resight.service.train.train import train as service

    answer = service(
        data, model=model, recipe=recipe, epochs=epochs, seed=seed, changes=changes or (), out=out,
        resume=resume, data_root=data_root, strict=strict,
    )  # fmt: skip
    show.trained(answer, as_json=as_json)


@app.command(short_help="Test a run, or several as an ensemble.")
def test(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="One run, or several as an ensemble.")],
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    views: Annotated[str, typer.Option(help="single, flip or ten-crop.")] = "single",
    scales: Annotated[
        str, typer.Option(help="Shorter sides of whole pictures, such as 224,256,384,480,640.")
    ] = "",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures.")] = 0,
    *,
    data_root: DataRoot = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Test a run on a split; several runs are an ensemble that averages probabilities."""
    from resight.service.test.test import test as service

    answer = service(
        runs, data, split, views, show.whole_numbers(scales, "--scales"), data_root=data_root, strict=strict,
        workers=workers,
    )  # fmt: skip
    show.tested(answer, as_json=as_json)


@app.command(short_help="Name what is on pictures.")
def predict(
    run: RunName,
    paths: Paths,
    top: Annotated[int, typer.Option(min=1, help="How many classes to list.")] = 5,
    form: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    *,
    exact: Annotated[bool, typer.Option("--exact", help="float32 instead of the fastest precision.")] = False,
    as_json: Json = False,
) -> None:
    """Name what is on pictures; a broken file among them is reported and the rest answered."""
    from resight.service.test.predict import predict as service

    form = show.form("json" if as_json else form, ("table", "json", "csv"))
    raise typer.Exit(show.predicted(service(run, paths, top, exact=exact), form))


@app.command(short_help="Show where a network looks: overlays and maps.")
def explain(
    run: RunName,
    paths: Paths,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help=f"Overlays and maps by these methods, several with commas. [default: grad_cam] "
            f"One of: {', '.join(METHOD_NAMES)}.",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...|all",
            help="Instead: a comparison sheet, DIR/sheet.png, a row a picture, a column a method.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Class name, number, or topK. [default: the best class]")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Layer to read; the maps of several are fused. Names: resight summary. "
            "[default: the last map]",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change an option of the methods that have it, such as samples=1000; may be repeated.",
        ),
    ] = None,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Where overlays (PNG), maps (npy) and sheets go.")
    ] = "explained",
    *,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate",
            help="Write no pictures: measure whether the maps are to be believed, beside a random map and a "
            "spot in the middle, and whether they change when the weights are made random.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write where a network looks: an overlay (PNG) and the map (npy) of each picture."""
    layers = show.names(layer, "--layer") if layer is not None else None
    if methods is not None:
        if evaluate or method is not None:
            raise UsageError("--methods draws a sheet: leave --method and --evaluate out")
        from resight.service.explain.sheet import draw_sheets

        answer = draw_sheets(
            run, paths, show.names(methods, "--methods"), target, layers, out, changes or (),
            progress=show.progress,
        )  # fmt: skip
        show.sheets(answer, as_json=as_json)
        return
    chosen = show.names(method, "--method") if method is not None else ["grad_cam"]
    if evaluate:
        from resight.service.explain.believe import believe

        answer = believe(run, paths, chosen, target, layers, changes or (), progress=show.progress)
        show.believed(answer, as_json=as_json)
        return
    from resight.service.explain.explain import explain_paths

    rows = explain_paths(run, paths, chosen, target, layers, out, changes or ())
    raise typer.Exit(show.explained(rows, as_json=as_json))


@app.command(short_help="Find boxes on pictures from class labels alone, and measure them.")
def locate(
    run: RunName,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...|DATA", help="Pictures, or a data set.")],
    method: Annotated[
        str, typer.Option(help="As for explain; of several, or all, the first gives the boxes.")
    ] = "grad_cam",
    threshold: Annotated[float, typer.Option(help="Share above which a pixel belongs to the object.")] = 0.2,
    normalization: Annotated[
        str, typer.Option(help="What it is a share of: max, or minmax (from minimum to maximum).")
    ] = "max",
    boxes: Annotated[str, typer.Option(help="largest, all, peaks or tight-loose.")] = "largest",
    classes: Annotated[
        str, typer.Option(help="Boxes of which class: predicted, or true (as a data set says).")
    ] = "predicted",
    top: Annotated[int, typer.Option(min=1, help="How many predicted classes of a picture.")] = 1,
    split: Annotated[str | None, typer.Option(help="Of a data set. [default: test, or all]")] = None,
    layer: Annotated[str | None, typer.Option(help="As for explain.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for explain.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="json, coco, voc or yolo: what --out is.")] = "json",
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="File, or folder of a VOC or YOLO set. [default: located.json, located]"
        ),
    ] = None,
    draw: Annotated[
        str | None, typer.Option(metavar="DIR", help="Also write the pictures with their boxes.")
    ] = None,
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Find boxes on pictures from class labels alone; where boxes are known, measure how well."""
    from resight.localize.rule import Rule
    from resight.service.locate.locate import locate as service

    answer = service(
        run, paths, show.names(method, "--method"), Rule(threshold, normalization, boxes),
        classes=classes, top=top,
        split=split, layers=show.names(layer, "--layer") if layer is not None else None,
        changes=changes or (), form=form, out=out, draw=draw, data_root=data_root, progress=show.progress,
    )  # fmt: skip
    raise typer.Exit(show.located(answer, as_json=as_json))


@app.command("train-decoder", short_help="Train the decoder of Perception Visualization for a run.")
def train_decoder(
    run: RunName,
    data: Data = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the pictures. [default: 20; the paper's code: 100 to 250]")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="batch_size, lr, rec, dsim, ssim, widest, seed, precision, workers or memory_gib; may be "
            "repeated.",
        ),
    ] = None,
    *,
    data_root: DataRoot = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Train a decoder that turns a run's last map back into the picture; the network stays as it is."""
    from resight.service.explain.decoder import train_decoder as service

    answer = service(run, data, epochs, changes or (), data_root=data_root, strict=strict)
    show.decoded(answer, as_json=as_json)


@app.command("train-gan", short_help="Train a network that draws more pictures of each class.")
def train_gan(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for train.")],
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the pictures. [default: as many as make 5,000 steps]")
    ] = None,
    seed: Seed = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="batch_size, lr, critic_lr, beta1, noise, width, side, condition, flip, shift, ema, "
            "val_share or memory_gib; may be repeated.",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="GAN", help="Run folder. [default: runs/DATA-gan-N]")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Judge what is drawn by this run's features and answers. [default: no judge]"
        ),
    ] = None,
    *,
    resume: Resume = False,
    data_root: DataRoot = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Train a conditional GAN on the training pictures; validation and test pictures are not looked at."""
    from resight.service.gan.train import train_gan as service

    answer = service(
        data, epochs=epochs, seed=seed, changes=changes or (), out=out, features=features, resume=resume,
        data_root=data_root, strict=strict,
    )  # fmt: skip
    show.gan_trained(answer, as_json=as_json)


@app.command(short_help="Test a run again and write its report.html.")
def report(run: RunName, data: Data = None, *, data_root: DataRoot = None, as_json: Json = False) -> None:
    """Test a run again on its data and write its report.html."""
    from resight.service.report.report import report as service

    show.one("report", str(service(run, data, data_root)), as_json=as_json)


app.command(short_help="Draw what a network learned: filters, units, features, loss, curves.")(look)


@app.command(short_help="Look a data set over: faults, copies, near copies, leaks, balance.")
def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for train.")],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also draw the near copies on a page (HTML).")
    ] = None,
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Decode every picture of a data set and say what is wrong with it, and what to do.

    The exit code is 1 if there are faults, pictures in several splits or pictures in several classes.
    """
    from resight.service.data.check import check as service

    raise typer.Exit(show.checked(service(data, data_root, out), as_json=as_json))


@app.command(short_help="Pack a data set into tar shards that are read fast.")
def pack(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for train.")],
    shards: Annotated[
        int, typer.Option(min=1, help="Shards of the largest split; the others have as large ones.")
    ],
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Reduce larger pictures to this shorter side. [default: bytes as they are]"),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="A new folder. [default: DATA-packed]")
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of reduced pictures, as JPEG.")] = 90,
    *,
    uncompressed: Annotated[
        bool,
        typer.Option(
            "--uncompressed",
            help="Write all as PPM: read fastest, 3 bytes a pixel (262 kB each at --size 256).",
        ),
    ] = False,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Pack a data set into WebDataset tar shards, shuffled once, with an index for reading in any order."""
    from resight.service.data.pack import pack as service

    show.packed(
        service(data, shards, size, out, quality, data_root, uncompressed=uncompressed), as_json=as_json
    )


@app.command(short_help="Draw what augmentation does to pictures; without a picture, list the operations.")
def augment(
    where: Annotated[
        str | None, typer.Argument(metavar="[IMAGE|DATA]", help="A picture, or a data set as for train.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="augment (as a recipe has it, such as rotation:15,mixup:0.2; by default every operation), "
            "seed or image_size; may be repeated.",
        ),
    ] = None,
    out: Annotated[str, typer.Option(metavar="FILE", help="The picture (PNG).")] = "augment.png",
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Draw every operation on a picture at five strengths, or what `--set augment=` makes of a data set."""
    from resight.service.data.gallery import gallery, list_operations

    if where is None:
        show.operations(list_operations(), as_json=as_json)
        return
    show.gallery(gallery(where, out, changes or (), data_root), as_json=as_json)


@app.command(short_help="List networks.")
def models(
    pattern: Annotated[str, typer.Argument(help="Shell pattern, such as 'resnet*'.")] = "*",
    *,
    as_json: Json = False,
) -> None:
    """List networks with their size, their cost and what is published of them."""
    from resight.service.networks.models import list_networks

    show.networks(list_networks(pattern), as_json=as_json)


@app.command(short_help="Show a network layer by layer.")
def summary(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Network, see: resight models.")],
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the input in pixels. [default: the paper's]")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the network, such as head=gap."),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what each layer of a network gives, holds, costs and sees, for one image."""
    from resight.service.networks.summary import summary as service

    show.summarized(service(model, size, changes or ()), as_json=as_json)


@app.command(short_help="Draw published accuracy against cost and size of the networks.")
def compare(
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="What the figures' names begin with, ending .svg or .png dropped: compare.svg gives "
            "compare-cost.svg, compare-cost.png, compare-parameters.svg and compare-parameters.png.",
        ),
    ] = "compare.svg",
    *,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Also measure each network's images a second here: compare-speed."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw the published ImageNet accuracy of the networks against multiply-adds and against parameters."""
    from resight.service.networks.compare import compare as service

    show.compared(service(out, measure=measure, progress=show.progress), as_json=as_json)


app.command(short_help="Run a published experiment again, beside the published figures.")(reproduce)


@app.command(short_help="Measure speed beside plain torchvision and other libraries in the same run.")
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

    show.benched(service(name, seconds, rounds), as_json=as_json)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(resight.__version__)
        raise typer.Exit


SHARED = ("train", "test", "predict", "explain")
"""Commands that several processes can share."""


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
    """Set up what every command shares."""
    del version
    if launched() and context.invoked_subcommand not in SHARED:
        raise UsageError(f"{context.invoked_subcommand} runs in one process; start it without torchrun")


def run() -> None:
    """Run the command and exit: 0 done, 1 the work failed, 2 invalid command line, 130 interrupted.

    Where a launcher started several processes, the first one alone shows answers.
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
            os._exit(error.exit_code)  # whoever hangs would be waited for
        code = error.exit_code
    except BrokenPipeError:  # the reader of our output went away
        code = 1
    finally:
        sys.stderr = errors
        leave()
    sys.exit(code)


def _answered() -> int:
    """Run the command and return its exit code.

    Raises:
        ResightError: also for what the operating system refuses: a name, a place, memory.
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
    """Return in one line what torch says of a machine that has too little memory, or lost a process."""
    fault = (str(error) or "no memory").splitlines()[0][:200]
    if ran_out_of_memory(error):
        return f"out of memory ({fault}); take smaller pictures, or set CUDA_VISIBLE_DEVICES= to use the CPU"
    if lost_another(error):
        return f"another process of this command ended or does not answer ({fault}); start it again"
    return ""
