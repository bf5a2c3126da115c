"""What a network learned, as the report shows it: small, and fast enough for every training run."""

from collections.abc import Callable

from resight.core.errors import ResightError
from resight.data.dataset import Dataset
from resight.render.embedding import interactive
from resight.render.page import Part, data_uri
from resight.render.patches import draw_units
from resight.service.look.data import searched_split
from resight.service.look.features import find_cloud, read_cloud
from resight.service.look.units import explained, find_units, stage_ends
from resight.service.report.tested import Tested
from resight.service.run.run import Run

LAYERS, UNITS, EACH, SEARCHED, EMBEDDED, STEPS = 3, 1, 6, 300, 400, 500
"""Layers, units of each, pictures of each unit; pictures searched for them; pictures of the cloud, and
its steps."""


def learned(tested: Tested) -> list[Part]:
    """Return the test pictures by their features, and what drives a unit of each of the last stages.

    A part that cannot be drawn is left out: `resight look` reports why, and draws more.
    """
    return [part for draw in (_cloud, _units) for part in _drawn(draw, tested.run, tested.dataset)]


def _drawn(draw: Callable[[Run, Dataset], Part | None], run: Run, dataset: Dataset) -> list[Part]:
    try:
        part = draw(run, dataset)
    except ResightError:
        return []
    return [part] if part else []


def _units(run: Run, dataset: Dataset) -> Part | None:
    layers = stage_ends(run.model, run.preprocessing.size)[-LAYERS:]
    found = find_units(run, searched_split(dataset), layers, UNITS, SEARCHED, EACH)
    units = [unit for rows in found.units.values() for unit in rows]
    words = " ".join([*explained(found), "resight look draws more of them, and the loss surface."])
    if not units:
        return None
    image = data_uri(draw_units(units, f"{run.model.name}: a unit of each of the last stages"), photo=True)
    return Part("What activates its units", words, images=[(image, "patches that activate units")])


def _cloud(run: Run, dataset: Dataset) -> Part:
    cloud = find_cloud(run, dataset.split("test"), EMBEDDED, 0, STEPS)
    return Part(
        "How it sees the pictures",
        "Each mark is a test picture. Nearby pictures look similar to the network; rings mark wrong answers. "
        f"{read_cloud(cloud, 'test')}",
        html=interactive(cloud),
    )
