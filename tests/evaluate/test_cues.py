"""Spurious cues: a planted corner is marked, a centred class and alike groups are not."""

import pytest
import torch

from resight.evaluate.clusters import clusters_of_maps, distinct_clusters
from resight.evaluate.cues import find_groups, place_of_peak, small

ROWS, COLUMNS = torch.arange(24.0)[:, None], torch.arange(24.0)


def spot(y, x):
    return torch.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / 20)


def spots(*places):
    """Maps of a spot each, off its place by a pixel or two."""
    generator = torch.Generator().manual_seed(len(places))
    off = torch.rand(len(places), 2, generator=generator) * 2 - 1
    return torch.stack([spot(y + a, x + b) for (y, x), (a, b) in zip(places, off.tolist(), strict=True)])


def right(count):
    return torch.zeros(count, dtype=torch.bool)


CORNER, MIDDLE = (2, 21), (12, 12)


def test_a_group_that_looks_into_one_corner_is_marked_and_comes_first():
    marked = spots(*[MIDDLE] * 14, *[CORNER] * 6)
    maps = {"cow": marked, "horse": spots(*[MIDDLE] * 20)}
    found = find_groups(maps, {"cow": right(20), "horse": right(20)})
    first, second = found["cow"]
    assert first.at_edge and not first.worse and first.place == "upper right corner"
    assert sorted(first.members) == list(range(14, 20)) and first.share == pytest.approx(0.3)
    assert first.there == 1 and first.elsewhere == 0
    assert first.mean[:6, 18:].mean() > 5 * first.mean[8:16, 8:16].mean()
    assert not second.at_edge and second.place == "middle" and len(second.members) == 14
    assert [group.marks for group in found["horse"]] == [0]


def test_a_corner_that_all_classes_look_into_is_no_mark():
    maps = {name: spots(*[CORNER] * 12) for name in ("cow", "horse")}
    found = find_groups(maps, {name: right(12) for name in maps})
    assert not any(group.at_edge for groups in found.values() for group in groups)
    assert found["cow"][0].elsewhere == 1


def test_without_another_class_no_edge_is_marked():
    assert not find_groups({"cow": spots(*[CORNER] * 12)}, {"cow": right(12)})["cow"][0].at_edge


def test_coarse_maps_and_few_members_get_no_mark_for_edges():
    maps = {"cow": spots(*[CORNER] * 12), "horse": spots(*[MIDDLE] * 12)}
    wrong = {name: right(12) for name in maps}
    assert find_groups(maps, wrong)["cow"][0].at_edge
    assert not find_groups(maps, wrong, edges=False)["cow"][0].at_edge
    few = {"cow": spots(*[CORNER] * 4), "horse": spots(*[MIDDLE] * 12)}
    assert not find_groups(few, {"cow": right(4), "horse": right(12)})["cow"][0].at_edge


def test_a_group_that_is_wrong_more_often_is_marked():
    maps = {"cow": spots(*[MIDDLE] * 30, *[(12, 3)] * 10)}
    wrong = torch.zeros(40, dtype=torch.bool)
    wrong[[3, *range(30, 38)]] = True
    first, second = find_groups(maps, {"cow": wrong})["cow"]
    assert first.worse and first.wrong == 8 and len(first.members) == 10
    assert not second.worse and second.wrong == 1 and second.elsewhere is None
    slightly = torch.zeros(40, dtype=torch.bool)
    slightly[[30, 31]] = True  # 2 of 10 against 0 of 30: too few to tell
    assert not any(g.worse for g in find_groups(maps, {"cow": slightly})["cow"])


@pytest.mark.parametrize(
    ("y", "x", "place"),
    [
        (12, 12, "middle"), (1, 1, "upper left corner"), (22, 22, "lower right corner"),
        (1, 12, "upper edge"), (12, 22, "right edge"), (7, 7, "middle"),
    ],
)  # fmt: skip
def test_places_have_names(y, x, place):
    assert place_of_peak(spot(y, x)) == place


def test_a_peak_at_an_edge_is_flat_and_still_at_the_edge():
    heat = torch.zeros(8, 8)
    heat[7:, 6:] = 1
    assert place_of_peak(heat) == "lower right corner"


def test_maps_are_made_small_by_averaging():
    maps = torch.rand(2, 112, 224)
    shown = small(maps)
    assert shown.shape == (2, 56, 56) and torch.allclose(shown.mean((1, 2)), maps.mean((1, 2)), atol=1e-5)
    assert torch.equal(small(maps[:, :16, :16]), maps[:, :16, :16])


def test_the_number_of_clusters_is_found():
    places = [(4, 4)] * 9 + [(4, 19)] * 8 + [(19, 12)] * 7
    assert [c.size for c in distinct_clusters(spots(*places))] == [9, 8, 7]
    assert [c.size for c in distinct_clusters(spots(*places[:17]))] == [9, 8]
    assert len(distinct_clusters(torch.eye(64)[:40].view(40, 8, 8))) == 1  # each elsewhere
    assert len(distinct_clusters(spots(*places[:1]))) == 1


def test_groups_whose_mean_maps_look_the_same_are_one():
    broad = 1 - 0.1 * torch.rand(1, 24, 24)
    maps = torch.cat([broad + 0.2 * spots(*[(4, 4)] * 8), broad + 0.2 * spots(*[(19, 19)] * 8)])
    two = clusters_of_maps(maps, 2)
    assert [c.size for c in two] == [8, 8] and two[0].separation > 0.5  # k-means tells them apart
    assert len(distinct_clusters(maps)) == 1
