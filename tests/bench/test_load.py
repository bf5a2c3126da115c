"""Loading of photos is measured in every way, and its pixels are compared."""

import numpy as np
import pytest

from as_json import measure
from resight.bench import load as bench_load
from resight.bench.load import difference, make_photos


def test_photos_are_drawn_without_the_sample_and_lie_in_every_form(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_load, "COMPARED", 3)
    note = make_photos(tmp_path, 12, 6)
    assert "12 photos drawn" in note
    assert len(list((tmp_path / "folder").rglob("*.jpg"))) == 12
    assert len(list((tmp_path / "tar").glob("*.tar"))) == len(list((tmp_path / "packed").glob("*.tar"))) > 2
    assert (tmp_path / "parquet" / "train.parquet").is_file()
    assert difference(tmp_path, "folder") < 0.1
    assert 0.1 < difference(tmp_path, "packed") < 4
    assert 0 < difference(tmp_path, "large") < 4


def test_a_large_photo_is_seen_as_a_difference_when_it_is_read_wrongly(tmp_path, monkeypatch):
    make_photos(tmp_path, 8, 2)
    real = bench_load.fit
    monkeypatch.setattr(bench_load, "fit", lambda image, card: np.roll(real(image, card), 20, axis=1))
    assert difference(tmp_path, "folder") > 4


@pytest.mark.slow
def test_every_way_to_load_photos_is_measured(real_data, monkeypatch):
    monkeypatch.setenv("RESIGHT_DATA", str(real_data))
    rows = measure(0.05, 1, photos=160, large=4)
    assert {row["candidate"] for row in rows} == set(bench_load.WAYS) and all(
        row["median"] > 0 for row in rows
    )
    assert all((row["ratio"] == 1) == (row["candidate"] == row["to"]) for row in rows)
    assert all(row["pixel_difference"] is None or row["pixel_difference"] <= 4 for row in rows)
    assert "of ImageNet" in rows[0]["note"]
