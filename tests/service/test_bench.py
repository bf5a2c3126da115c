"""The benchmark runs the product's own parts: a change of theirs must not leave it behind."""

import pytest

from resight.service.bench import bench


@pytest.mark.slow
@pytest.mark.parametrize("name", ["load", "train"])
def test_a_benchmark_measures_every_candidate(name):
    rows = bench(name, 0.05, 1)
    assert len(rows) >= 2 and all(row["median"] > 0 for row in rows)
    assert rows[0]["ratio"] is None or rows[0]["ratio"] == 1
