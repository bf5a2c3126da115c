"""Where the maps of each class point: its groups of maps, as the report shows them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resight.geometry import heatmaps
from resight.render.overlay import colours, thumbnail
from resight.render.page import Part, render
from resight.service.report.cues import find_cues
from resight.service.report.pictures import SMALL_SIDE, drawn
from resight.service.report.tested import Tested

TYPICAL = 4
"""Pictures that are shown of a group of maps."""


def groups(tested: Tested) -> list[Part]:
    """Return the groups of each class's maps, those with marks first; nothing if there are too few maps."""
    if not (shown := _shown(tested)):
        return []
    return [Part("Where it looks, class by class", html=render("sections/cues", classes=shown))]


def _shown(tested: Tested) -> list[dict[str, Any]]:
    """Return the groups of each class's maps as the page shows them."""
    found = find_cues(tested.run, tested.split, tested.result)
    typical = [[c.rows[i] for i in g.members[:TYPICAL]] for c in found for g in c.groups]
    _, items = drawn(tested, [row for rows in typical for row in rows], side=SMALL_SIDE)
    shown, place = [], 0
    for entry in found:
        groups = []
        for group in entry.groups:
            size = len(group.members)
            count = min(size, TYPICAL)
            groups.append(
                {
                    "map": thumbnail(colours(_enlarged(group.mean)), SMALL_SIDE),
                    "pictures": items[place : place + count],
                    "size": size,
                    "share": group.share,
                    "wrong": group.wrong,
                    "error": 100 * group.wrong / size,
                    "rest": len(entry.rows) - size,
                    "rest_wrong": sum(g.wrong for g in entry.groups) - group.wrong,
                    "place": group.place,
                    "there": group.there,
                    "elsewhere": group.elsewhere,
                    "at_edge": group.at_edge,
                    "worse": group.worse,
                }
            )
            place += count
        shown.append(
            {
                "name": entry.name,
                "named": entry.named,
                "wrong": entry.wrong,
                "read": len(entry.rows),
                "empty": entry.empty,
                "groups": groups,
            }
        )
    return shown


def _enlarged(heat: Tensor) -> NDArray[np.float32]:
    return heatmaps.resize(heat, SMALL_SIDE, SMALL_SIDE).clamp(0, 1).numpy()
