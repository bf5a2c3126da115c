"""Clusters of maps: a planted cue in a corner is found, and a crowd is not called two groups."""

import pytest
import torch

from resight.core.errors import UsageError
from resight.evaluate.clusters import clusters_of_maps


def spots(places, seed=0):
    """Maps of one spot each with a little noise, (N, 40, 48), of strengths from 0.2 to 1."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.arange(40.0)[:, None], torch.arange(48.0)
    maps = [torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 50) for y, x in places]
    strength = 0.2 + 0.8 * torch.rand(len(maps), 1, 1, generator=generator)
    return strength * (torch.stack(maps) + 0.05 * torch.rand(len(maps), 40, 48, generator=generator))


def test_half_of_the_pictures_that_are_known_by_a_corner_are_found():
    generator = torch.Generator().manual_seed(1)
    jitter = (torch.rand(30, 2, generator=generator) * 6 - 3).tolist()
    places = [(5 + a, 5 + b) if i % 2 else (20 + a, 24 + b) for i, (a, b) in enumerate(jitter)]
    state = torch.get_rng_state()
    found = clusters_of_maps(spots(places), 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert [cluster.size for cluster in found] == [15, 15]
    corner, middle = sorted(found, key=lambda c: -float(c.mean[:12, :12].sum()))
    assert sorted(corner.members) == list(range(1, 30, 2)) and sorted(middle.members) == list(range(0, 30, 2))
    assert all(cluster.separation > 0.6 for cluster in found)
    y, x = divmod(int(corner.mean.argmax()), 48)
    assert abs(y - 5) < 4 and abs(x - 5) < 4 and corner.mean.shape == (40, 48)


def test_members_nearest_to_the_centre_come_first():
    found = clusters_of_maps(spots([(20, 20), (20, 21), (20, 22), (20, 23), (34, 40)]), 1)
    assert len(found) == 1 and found[0].separation == 0
    assert found[0].members[-1] == 4
    maps = spots([(10, 10), (10, 12), (10, 26), (35, 40)])
    left = clusters_of_maps(maps, 2)
    assert torch.allclose(left[0].mean, maps[sorted(left[0].members)].mean(0))


def test_a_crowd_cut_in_two_is_told_by_its_separation():
    generator = torch.Generator().manual_seed(2)
    crowd = clusters_of_maps(torch.rand(60, 40, 48, generator=generator), 2)
    assert all(cluster.separation < 0.2 for cluster in crowd)


def test_sizes_differ_and_the_largest_is_first():
    found = clusters_of_maps(spots([(5, 5)] * 3 + [(30, 40)] * 9 + [(30, 5)] * 6), 3)
    assert [cluster.size for cluster in found] == [9, 6, 3]
    assert found[0].members != found[1].members


def test_equal_maps_make_one_cluster_whatever_is_asked():
    found = clusters_of_maps(torch.zeros(6, 8, 8), 3)
    assert [cluster.size for cluster in found] == [6] and found[0].separation == 0
    same = clusters_of_maps(spots([(5, 5)])[:1].repeat(6, 1, 1), 3)
    assert sum(cluster.size for cluster in same) == 6


def test_the_same_seed_gives_the_same_clusters():
    maps = torch.rand(40, 16, 16)
    again = [[c.members for c in clusters_of_maps(maps, 4, seed=5)] for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("count", [0, 4])
def test_counts_that_cannot_be_are_refused(count):
    with pytest.raises(UsageError, match="clusters"):
        clusters_of_maps(torch.rand(3, 8, 8), count)
