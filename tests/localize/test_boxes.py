"""Boxes from maps: against a flood fill of our own, at every threshold, and on planted objects."""

import numpy as np
import pytest

from resight.core.errors import UsageError
from resight.data.layouts.masks import draw_segmentation
from resight.localize.boxes import centre_maps, regions, regions_by_peak, scaled, sweep
from resight.localize.segments import pixels_of_region, run_lengths_of


def flood(inside):
    """Parts of a mask as (area, box), by a stack; neighbours touch at corners too."""
    seen, parts = np.zeros_like(inside), []
    for start in zip(*np.nonzero(inside), strict=True):
        if seen[start]:
            continue
        seen[start], stack, cells = True, [start], []
        while stack:
            y, x = stack.pop()
            cells.append((y, x))
            for v in range(max(y - 1, 0), min(y + 2, inside.shape[0])):
                for u in range(max(x - 1, 0), min(x + 2, inside.shape[1])):
                    if inside[v, u] and not seen[v, u]:
                        seen[v, u] = True
                        stack.append((v, u))
        ys, xs = [c[0] for c in cells], [c[1] for c in cells]
        parts.append((len(cells), (min(xs), min(ys), max(xs) + 1, max(ys) + 1)))
    return sorted(parts, key=lambda p: -p[0])


def smooth(seed, height=24, width=31):
    noise = np.random.default_rng(seed).normal(size=(height + 4, width + 4))
    return sum(noise[i : i + height, j : j + width] for i in range(5) for j in range(5)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.9])
def test_regions_are_those_of_a_flood_fill(seed, threshold):
    share = scaled(smooth(seed)[None], "max")[0]
    found, expected = regions(share, threshold), flood(share > threshold)
    assert [r.area for r in found] == [area for area, _ in expected]
    assert {r.box for r in found} == {box for _, box in expected}
    for region in found:
        x0, y0, x1, y1 = region.box
        assert region.peak <= share[y0:y1, x0:x1].max()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(31, 24), (100, 57), (11, 9)])
def test_pixels_of_a_region_are_those_whose_centre_is_in_its_cells(seed, size):
    share = scaled(smooth(seed)[None], "max")[0]
    for region in regions(share, 0.3):
        part = np.zeros(share.shape, bool)
        x0, y0, x1, y1 = region.box
        part[y0:y1, x0:x1] = region.cells
        assert part.sum() == region.area and (share[part] > 0.3).all()
        wanted = np.zeros((size[1], size[0]), bool)
        for y in range(size[1]):
            for x in range(size[0]):
                wanted[y, x] = part[int((y + 0.5) * 24 / size[1]), int((x + 0.5) * 31 / size[0])]
        found = pixels_of_region(region, share.shape, size)
        assert (found == wanted).all() if wanted.any() else found.sum() == 1


def test_run_lengths_are_read_back():
    for mask in (
        np.array([[0, 1, 1], [1, 1, 0]], bool),
        np.ones((2, 3), bool),
        np.zeros((2, 3), bool),
        np.array([[1, 0], [0, 1]], bool),
        np.random.default_rng(0).random((30, 20)) < 0.4,
    ):
        written = run_lengths_of(mask)
        assert written["size"] == list(mask.shape) and sum(written["counts"]) == mask.size
        assert (draw_segmentation(written, mask.shape[::-1]) == mask).all()
        assert all(count > 0 for count in written["counts"][1:])
    assert run_lengths_of(np.array([[0, 1, 1], [1, 1, 0]], bool))["counts"] == [1, 4, 1]


def test_pixels_that_touch_at_a_corner_are_one_part():
    share = np.zeros((4, 4), np.float32)
    share[0, 0] = share[1, 1] = share[3, 3] = 1
    assert [(r.area, r.box) for r in regions(share, 0.5)] == [(2, (0, 0, 2, 2)), (1, (3, 3, 4, 4))]


def test_a_pixel_at_the_threshold_does_not_belong():
    share = np.array([[0.5, 0.25]], np.float32)
    assert [r.box for r in regions(share, 0.25)] == [(0, 0, 1, 1)] and regions(share, 0.5) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_sweep_is_every_threshold_for_itself(seed):
    share, thresholds = scaled(smooth(seed)[None], "minmax")[0], np.linspace(0, 1, 21)
    largest, parts = sweep(share, thresholds.tolist())
    for threshold, box, every in zip(thresholds.astype(np.float32), largest, parts, strict=True):
        found = regions(share, float(threshold))
        assert {r.box for r in found} == {tuple(b) for b in every.tolist()}
        if not found:
            assert box.tolist() == [0, 0, 0, 0]
        else:
            assert tuple(box.tolist()) in {r.box for r in found if r.area == found[0].area}


def test_scaled_names_what_a_threshold_is_a_share_of():
    maps = np.array([[[1.0, 2.0, 5.0]], [[-1.0, -2.0, -3.0]], [[2.0, 2.0, 2.0]]], np.float32)
    assert scaled(maps, "max").tolist() == [
        [[pytest.approx(0.2), pytest.approx(0.4), 1.0]],
        [[0.0, 0.0, 0.0]],
        [[1.0, 1.0, 1.0]],
    ]
    assert scaled(maps, "minmax").tolist() == [[[0, 0.25, 1]], [[1, 0.5, 0]], [[0, 0, 0]]]
    with pytest.raises(UsageError, match="must be one of max, minmax"):
        scaled(maps, "sum")


def test_two_touching_objects_are_cut_along_their_valley():
    y, x = np.mgrid[:40, :60]
    spots = np.exp(-((y - 20) ** 2 + (x - 18) ** 2) / 120) + 0.9 * np.exp(
        -((y - 20) ** 2 + (x - 42) ** 2) / 120
    )
    share = scaled(spots[None].astype(np.float32), "max")[0]
    assert len(regions(share, 0.2)) == 1
    found = sorted(regions_by_peak(share, 0.2, 5), key=lambda r: r.box)
    assert len(found) == 2 and found[0].box[2] == pytest.approx(30, abs=2)
    assert found[0].box[2] <= found[1].box[0] + 1 and found[0].peak == 1.0
    assert sum(r.area for r in found) == (share > 0.2).sum()


def test_a_small_second_peak_is_no_object():
    share = np.zeros((20, 40), np.float32)
    share[5:15, 5:15], share[8:12, 25:30] = 1, 0.4
    assert [r.box for r in regions_by_peak(share, 0.2, 3)] == [(5, 5, 15, 15)]


def test_the_centre_map_is_symmetric_and_highest_in_the_middle():
    maps = centre_maps(2, 20, 30)
    assert maps.shape == (2, 20, 30) and 0.95 < maps.max() <= 1
    assert np.allclose(maps, maps[:, ::-1, ::-1]) and maps[0, 10, 15] == maps.max()
