"""Pictures of what a network learned: filters, what drives units, features, the loss, the curves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from resight.core.errors import ResightError, UsageError
from resight.core.files import require_place, write_text
from resight.core.registry import suggestion
from resight.data.dataset import Dataset
from resight.models.classifier import Classifier
from resight.models.families.classic import Pipeline
from resight.render.depth import draw_depth
from resight.render.embedding import draw_cloud, interactive
from resight.render.landscape import draw_curves, draw_surface
from resight.render.page import Part, data_uri, render_page
from resight.render.patches import draw_units
from resight.service.look.data import is_grey, searched_split
from resight.service.look.depth import DepthFigures, find_depth
from resight.service.look.features import find_cloud, find_surface, read_cloud, read_surface
from resight.service.look.filters import FilterFigures, look_at_filters
from resight.service.look.units import LayerFigures, explained, find_units
from resight.service.pictures import write_png
from resight.service.run.data import dataset_of
from resight.service.run.run import Run, open_run, read_recipe_file
from resight.tasks.classify.task import of_network
from resight.training.diagnosis import diagnose
from resight.training.guessing import guessing_errors
from resight.training.journal import read_csv

PARTS = ("filters", "patches", "features", "surface", "depth", "curves")
WITHOUT_DATA = ("filters", "curves")
PAGE = "look.html"
UNITS, SEARCHED, EMBEDDED = 3, 2000, 2000
"""Units of a layer; pictures that are searched for them; pictures of the cloud."""


@dataclass(frozen=True)
class CloudFigures:
    """The cloud of pictures: their split and number, how many are wrong, and the seed of t-SNE."""

    split: str
    pictures: int
    wrong: int
    seed: int


@dataclass(frozen=True)
class SurfaceFigures:
    """The loss around the network.

    Attributes:
        split: whose loss.
        pictures: that it is a mean of.
        points: along each axis.
        centre: the network's own loss.
        least: the lowest loss of the surface.
        seconds: that it took.
        seed: of the directions.
    """

    split: str
    pictures: int
    points: int
    centre: float
    least: float
    seconds: float
    seed: int


@dataclass(frozen=True)
class Looked:
    """The answer of `look`: what was written, and the figures of each part that was drawn.

    Attributes:
        run: the RUN.
        out: the folder.
        page: its page.
        images: its pictures.
        filters: of the first layer.
        patches: units, layer by layer.
        features: of the cloud.
        surface: of the loss.
        depth: of gradients and units by depth.
        diagnosis: of the curves, in sentences.
        left_out: parts that could not be drawn, and why.
    """

    run: str
    out: str
    page: str
    images: list[str]
    filters: FilterFigures | None
    patches: list[LayerFigures]
    features: CloudFigures | None
    surface: SurfaceFigures | None
    depth: DepthFigures | None
    diagnosis: list[str]
    left_out: list[str]


@dataclass(frozen=True)
class Sought:
    """What is to be drawn.

    Attributes:
        layers: whose units are shown; by default the last of each stage.
        units: of each layer.
        only: some of `PARTS`.
        seed: of t-SNE and of the directions of the surface.
    """

    layers: Sequence[str] | None = None
    units: int = UNITS
    only: Sequence[str] = PARTS
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown parts.

        Raises:
            UsageError: naming the first.
        """
        if wrong := [name for name in self.only if name not in PARTS]:
            raise UsageError(
                f"--only {wrong[0]!r}: must be one of {', '.join(PARTS)}; {suggestion(wrong[0], PARTS)}"
            )

    @property
    def from_pictures(self) -> list[str]:
        """The parts that need pictures."""
        return [name for name in self.only if name not in WITHOUT_DATA]


@dataclass
class _Look:
    """A running `look`.

    Attributes:
        run: the network.
        out: where pictures go.
        sought: what is to be drawn.
        progress: gets a line for each part.
        dataset: the pictures; None if there are none.
        images: that are written.
        left_out: parts that could not be drawn, and why.
        parts: of the page.
    """

    run: Run
    out: Path
    sought: Sought
    progress: Callable[[str], None]
    dataset: Dataset | None = None
    images: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def save(self, name: str, image: Image.Image) -> str:
        """Write a picture and note it."""
        path = self.out / f"{name}.png"
        write_png(path, image)
        self.images.append(str(path))
        self.progress(f"{name}: {path}")
        return str(path)

    def split(self, name: str) -> Any:
        """Return a split of the data set; its only one if it has none of that name."""
        assert self.dataset is not None  # parts that need pictures are left out without
        return self.dataset.splits.get(name) or next(iter(self.dataset.splits.values()))

    def open_data(self, data: str | None, data_root: str | None) -> None:
        """Open the pictures, if a part needs them or the run has some.

        Raises:
            ResightError: if there are none, and nothing can be drawn without, or they were named.
        """
        missing = self.sought.from_pictures
        if not missing and not self.run.folder:
            return
        try:
            self.dataset = dataset_of(self.run, data, data_root)
        except ResightError as error:
            if data or len(missing) == len(self.sought.only):
                raise
            if missing:
                self.left_out.append(f"{', '.join(missing)}: no pictures: {error}")

    def draw(self) -> dict[str, Any]:
        """Draw the parts that are sought; return the figures of each that can be drawn."""
        found = {}
        for name in PARTS:
            if name not in self.sought.only or (name in self.sought.from_pictures and self.dataset is None):
                continue
            try:
                found[name] = DRAW[name](self)
            except ResightError as error:
                if self.sought.layers and name == "patches" and isinstance(error, UsageError):
                    raise
                self.left_out.append(f"{name}: {error}")
        return found


def look(
    run: str,
    out: str | None = None,
    data: str | None = None,
    sought: Sought | None = None,
    data_root: str | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Looked:
    """Draw what a network learned: a PNG for each part, and a page with all of them.

    Args:
        run: a RUN.
        out: the folder to write to; by default RUN/look, or "look" if the run is not a folder.
        data: a data set; by default the run's own. Without it only filters and curves are drawn.
        sought: what is to be drawn; by default all.
        data_root: see `open_dataset`.
        progress: gets a line for each picture that is written.

    Raises:
        ResightError: in one line; also if nothing requested can be drawn.
    """
    sought = sought or Sought()
    opened = open_run(run)
    place = Path(out) if out else (opened.folder / "look" if opened.folder else Path("look"))
    require_place(place / PAGE)
    work = _Look(opened, place, sought, progress)
    work.open_data(data, data_root)
    found = work.draw()
    if not work.parts:
        raise UsageError("; ".join(work.left_out) or "no part was requested")
    title = f"{opened.model.name}: what it learned ({opened.name})"
    left_out = [f"Left out: {line}." for line in work.left_out]
    write_text(place / PAGE, render_page(title, work.parts, left_out))
    return Looked(
        run=run,
        out=str(place),
        page=str(place / PAGE),
        images=work.images,
        filters=found.get("filters"),
        patches=found.get("patches", []),
        features=found.get("features"),
        surface=found.get("surface"),
        depth=found.get("depth"),
        diagnosis=found.get("curves", []),
        left_out=work.left_out,
    )


def _filters(work: _Look) -> FilterFigures:
    found = look_at_filters(work.run, grey=work.dataset is not None and is_grey(work.dataset))
    if found is None:
        raise UsageError("the network has no convolution")
    work.save("filters", found.image)
    shown = [(data_uri(found.image), found.figures.summary)]
    work.parts.append(Part("What the first layer looks for", images=shown))
    return found.figures


def _patches(work: _Look) -> list[LayerFigures]:
    assert work.dataset is not None  # as in `split`
    sought = work.sought
    found = find_units(work.run, searched_split(work.dataset), sought.layers, sought.units, SEARCHED)
    words, images = explained(found), []
    for layer, rows in found.units.items():
        if not rows:
            work.left_out.append(f"patches of {layer}: none of its units is ever active")
            continue
        title = f"{work.run.model.name}, layer {layer}: a unit sees {found.sees(layer)}"
        work.save(f"patches-{layer.replace('.', '-')}", draw_units(rows, title, words))
        images.append((data_uri(draw_units(rows, title), photo=True), title))
    if not images:
        raise UsageError("no unit of these layers is ever active")
    work.parts.append(Part("What drives units", " ".join(words), images=images))
    return found.figures


def _features(work: _Look) -> CloudFigures:
    split, seed = work.split("test"), work.sought.seed
    cloud = find_cloud(work.run, split, EMBEDDED, seed)
    words = read_cloud(cloud, split.name)
    title = f"{work.run.model.name}: {len(cloud.names):,} pictures by their features"
    work.save("features", draw_cloud(cloud, title, [words]))
    work.parts.append(
        Part("How it sees the pictures", f"{words} Rings mark wrong answers.", html=interactive(cloud))
    )
    return CloudFigures(split.name, len(cloud.names), sum(cloud.wrong()), seed)


def _surface(work: _Look) -> SurfaceFigures:
    if isinstance(work.run.model, Pipeline):
        raise UsageError("only the support vector machine minimizes a loss, and that loss has one minimum")
    split, seed = work.split("train"), work.sought.seed
    surface, seconds = find_surface(work.run, split, seed)
    words = read_surface(surface, split.name)
    image = draw_surface(surface.axis, surface.losses, f"{work.run.model.name}: the loss around it", words)
    work.save("surface", image)
    work.parts.append(Part("The loss around it", images=[(data_uri(image), words)]))
    return SurfaceFigures(
        split.name,
        surface.pictures,
        len(surface.axis),
        surface.centre,
        float(surface.losses.min()),
        round(seconds, 1),
        seed,
    )


def _depth(work: _Look) -> DepthFigures:
    found = find_depth(work.run, work.split("train"))
    title = f"{work.run.model.name}: gradients and units by depth"
    dead = [100 * row.dead / max(row.units, 1) for row in found.units]
    image = draw_depth([row.relative for row in found.gradients], dead, [g.share for g in found.gates], title)
    work.save("depth", image)
    words = f"Over {found.pictures:,} pictures of the {found.split} split, in eval mode"
    work.parts.append(Part("What depth does", points=found.words(), images=[(data_uri(image), words)]))
    return found.figures()


def _curves(work: _Look) -> list[str]:
    if work.run.folder is None or not (path := work.run.folder / "metrics.csv").exists():
        raise UsageError("the run has no metrics.csv, the record of its training")
    rows = read_csv(path)
    if not rows:
        raise UsageError(f"{path} is empty")
    words = diagnosis(work.run, rows, work.dataset)
    title = f"{work.run.model.name}: how it trained"
    work.save("curves", draw_curves(rows, title, words))
    image = data_uri(draw_curves(rows, title))
    work.parts.append(Part("How it trained", points=words, images=[(image, "learning curves")]))
    return words


DRAW: dict[str, Callable[[_Look], Any]] = {
    "filters": _filters,
    "patches": _patches,
    "features": _features,
    "surface": _surface,
    "depth": _depth,
    "curves": _curves,
}
"""What draws each part, and returns its figures."""


def diagnosis(run: Run, rows: Sequence[dict[str, float]], dataset: Dataset | None) -> list[str]:
    """Return the diagnoses of a run's learning curves, see `diagnose`.

    Args:
        run: the run, with its folder.
        rows: of its metrics.csv.
        dataset: its training data; without it all classes count as equally frequent.
    """
    assert run.folder is not None  # it has curves
    record = read_recipe_file(run.folder, whole=True)
    chance, val_chance = (100 * (1 - 1 / run.model.num_classes),) * 2
    if dataset and "train" in dataset.splits:
        chance, val_chance = guessing_errors(dataset, record["recipe"].get("balance", "none"))
    splits, cost = record["splits"], _guessing(run.model, record)
    return diagnose(rows, chance, splits.get("val", 0), cost, val_chance, splits.get("train", 0))


def _guessing(model: Classifier, record: dict[str, Any]) -> float | None:
    """Return the training loss of equal scores for every class; None if the loss has other parts."""
    recipe = record["recipe"]
    extra = model.sharpen or model.old_tasks or recipe.get("teacher") or recipe.get("balance") == "loss"
    if extra or type(model).loss is not Classifier.loss:
        return None
    return of_network(model).guess(model.num_classes)
