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
from resight.service.look.depth import find_depth
from resight.service.look.features import find_cloud, find_surface, read_cloud, read_surface
from resight.service.look.filters import look_at_filters
from resight.service.look.units import explained, find_units
from resight.service.pictures import write_png
from resight.service.run.data import dataset_of
from resight.service.run.run import Run, open_run, read_recipe_file
from resight.tasks.classify.task import of as task_of
from resight.training.diagnosis import diagnose
from resight.training.guessing import guessing_errors
from resight.training.journal import read_csv

PARTS = ("filters", "patches", "features", "surface", "depth", "curves")
WITHOUT_DATA = ("filters", "curves")
PAGE = "look.html"
UNITS, SEARCHED, EMBEDDED = 3, 2000, 2000
"""Units of a layer; pictures that are searched for them; pictures of the cloud."""


@dataclass
class _Look:
    """A running `look`.

    Attributes:
        run: the network.
        out: where pictures go.
        dataset: the pictures; None if there are none.
        progress: gets a line for each part.
        answer: the JSON.
        parts: of the page.
    """

    run: Run
    out: Path
    dataset: Dataset | None
    progress: Callable[[str], None]
    answer: dict[str, Any]
    parts: list[Part] = field(default_factory=list)

    def save(self, name: str, image: Image.Image) -> str:
        """Write a picture and note it."""
        path = self.out / f"{name}.png"
        write_png(path, image)
        self.answer["images"].append(str(path))
        self.progress(f"{name}: {path}")
        return str(path)

    def split(self, name: str) -> Any:
        """Return a split of the data set; its only one if it has none of that name."""
        assert self.dataset is not None  # parts that need pictures are left out without
        return self.dataset.splits.get(name) or next(iter(self.dataset.splits.values()))


def look(
    run: str,
    out: str | None = None,
    data: str | None = None,
    layers: Sequence[str] | None = None,
    units: int = UNITS,
    only: Sequence[str] = PARTS,
    seed: int = 0,
    data_root: str | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Draw what a network learned: a PNG for each part, and a page with all of them.

    Args:
        run: a RUN.
        out: the folder to write to; by default RUN/look, or "look" if the run is not a folder.
        data: a data set; by default the run's own. Without it only filters and curves are drawn.
        layers: whose units are shown; by default the last of each stage.
        units: of each layer.
        only: some of `PARTS`.
        seed: of t-SNE and of the directions of the surface.
        data_root: see `open_dataset`.
        progress: gets a line for each picture that is written.

    Returns:
        The JSON of `resight look`: "run", "out", "page", "images", "filters", "patches", "features",
        "surface", "depth", "diagnosis", "left_out".

    Raises:
        ResightError: in one line; also if nothing requested can be drawn.
    """
    if wrong := [name for name in only if name not in PARTS]:
        raise UsageError(
            f"--only {wrong[0]!r}: must be one of {', '.join(PARTS)}; {suggestion(wrong[0], PARTS)}"
        )
    opened = open_run(run)
    place = Path(out) if out else (opened.folder / "look" if opened.folder else Path("look"))
    require_place(place / PAGE)
    answer: dict[str, Any] = {
        "run": run, "out": str(place), "page": str(place / PAGE), "images": [], "filters": None,
        "patches": [],
        "features": None, "surface": None, "depth": None, "diagnosis": [], "left_out": [],
    }  # fmt: skip
    work = _Look(opened, place, None, progress, answer)
    missing = [name for name in only if name not in WITHOUT_DATA]
    if missing or opened.folder:
        try:
            work.dataset = dataset_of(opened, data, data_root)
        except ResightError as error:
            if data or len(missing) == len(only):
                raise
            if missing:
                answer["left_out"].append(f"{', '.join(missing)}: no pictures: {error}")
    draw = {
        "filters": _filters, "patches": lambda w: _patches(w, layers, units),
        "features": lambda w: _features(w, seed),
        "surface": lambda w: _surface(w, seed), "depth": _depth, "curves": _curves,
    }  # fmt: skip
    for name in PARTS:
        if name not in only or (name in missing and work.dataset is None):
            continue
        try:
            draw[name](work)
        except UsageError as error:
            if layers and name == "patches":
                raise
            answer["left_out"].append(f"{name}: {error}")
        except ResightError as error:
            answer["left_out"].append(f"{name}: {error}")
    if not work.parts:
        raise UsageError("; ".join(answer["left_out"]) or "no part was requested")
    title = f"{opened.model.name}: what it learned ({opened.name})"
    write_text(
        place / PAGE, render_page(title, work.parts, [f"Left out: {line}." for line in answer["left_out"]])
    )
    return answer


def _filters(work: _Look) -> None:
    found = look_at_filters(work.run, grey=work.dataset is not None and is_grey(work.dataset))
    if found is None:
        raise UsageError("the network has no convolution")
    work.save("filters", found.image)
    work.answer["filters"] = found.facts
    work.parts.append(Part("What the first layer looks for", images=[(data_uri(found.image), found.summary)]))


def _patches(work: _Look, layers: Sequence[str] | None, units: int) -> None:
    assert work.dataset is not None  # as in `split`
    found = find_units(work.run, searched_split(work.dataset), layers, units, SEARCHED)
    words, images = explained(found), []
    for layer, rows in found.units.items():
        if not rows:
            work.answer["left_out"].append(f"patches of {layer}: none of its units is ever active")
            continue
        title = f"{work.run.model.name}, layer {layer}: a unit sees {found.sees(layer)}"
        work.save(f"patches-{layer.replace('.', '-')}", draw_units(rows, title, words))
        images.append((data_uri(draw_units(rows, title), photo=True), title))
    if not images:
        raise UsageError("no unit of these layers is ever active")
    work.answer["patches"] = found.facts
    work.parts.append(Part("What drives units", " ".join(words), images=images))


def _features(work: _Look, seed: int) -> None:
    split = work.split("test")
    cloud = find_cloud(work.run, split, EMBEDDED, seed)
    words = read_cloud(cloud, split.name)
    title = f"{work.run.model.name}: {len(cloud.names):,} pictures by their features"
    work.save("features", draw_cloud(cloud, title, [words]))
    work.answer["features"] = {
        "split": split.name, "pictures": len(cloud.names), "wrong": sum(cloud.wrong()), "seed": seed,
    }  # fmt: skip
    work.parts.append(
        Part("How it sees the pictures", f"{words} Rings mark wrong answers.", html=interactive(cloud))
    )


def _surface(work: _Look, seed: int) -> None:
    if isinstance(work.run.model, Pipeline):
        raise UsageError("only the support vector machine minimizes a loss, and that loss has one minimum")
    split = work.split("train")
    surface, seconds = find_surface(work.run, split, seed)
    words = read_surface(surface, split.name)
    image = draw_surface(surface.axis, surface.losses, f"{work.run.model.name}: the loss around it", words)
    work.save("surface", image)
    work.answer["surface"] = {
        "split": split.name, "pictures": surface.pictures, "points": len(surface.axis),
        "centre": surface.centre,
        "least": float(surface.losses.min()), "seconds": round(seconds, 1), "seed": seed,
    }  # fmt: skip
    work.parts.append(Part("The loss around it", images=[(data_uri(image), words)]))


def _depth(work: _Look) -> None:
    found = find_depth(work.run, work.split("train"))
    title = f"{work.run.model.name}: gradients and units by depth"
    dead = [100 * row.dead / max(row.units, 1) for row in found.units]
    image = draw_depth([row.relative for row in found.gradients], dead, [g.share for g in found.gates], title)
    work.save("depth", image)
    work.answer["depth"] = found.facts()
    words = f"Over {found.pictures:,} pictures of the {found.split} split, in eval mode"
    work.parts.append(Part("What depth does", points=found.words(), images=[(data_uri(image), words)]))


def _curves(work: _Look) -> None:
    if work.run.folder is None or not (path := work.run.folder / "metrics.csv").exists():
        raise UsageError("the run has no metrics.csv, the record of its training")
    rows = read_csv(path)
    if not rows:
        raise UsageError(f"{path} is empty")
    words = diagnosis(work.run, rows, work.dataset)
    title = f"{work.run.model.name}: how it trained"
    work.save("curves", draw_curves(rows, title, words))
    work.answer["diagnosis"] = words
    image = data_uri(draw_curves(rows, title))
    work.parts.append(Part("How it trained", points=words, images=[(image, "learning curves")]))


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
    return task_of(model).guess(model.num_classes)
