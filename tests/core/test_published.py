"""The table of published figures: it parses, and says what its record says."""

import csv
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from resight.core import published
from resight.core.published import CERTAINTIES
from resight.models.zoo import NETWORKS

RECORDS = Path(__file__).parents[3] / "shared" / "spec" / "results.json"


def test_every_row_parses():
    text = files("resight.core").joinpath("published.csv").read_text()
    rows = list(csv.reader(text.splitlines()))
    assert {len(row) for row in rows} == {9}
    figures = published.load()
    assert len(figures) == len(rows) - 1 > 400
    for figure in figures:
        assert figure.id and figure.dataset and figure.metric and figure.source, figure
        assert figure.certainty in CERTAINTIES, figure
        assert figure.value > 0, figure
        assert figure.unit in ("%", "M", "GMAC", ""), figure
        assert figure.unit != "%" or figure.value < 100, figure


def test_ids_are_unique():
    assert [i for i, n in Counter(figure.id for figure in published.load()).items() if n > 1] == []


def test_every_network_exists():
    assert {figure.network for figure in published.load()} - set(NETWORKS) == set()


def test_the_headline_is_an_error_or_an_accuracy():
    for network in {figure.network for figure in published.load()}:
        first = published.of(network)[0]
        assert first.metric not in ("params", "compute"), network
        others = {figure.metric for figure in published.of(network)}
        assert "accuracy" not in first.metric or not [m for m in others if "error" in m], network


def test_values_are_their_records():
    if not RECORDS.is_file():
        pytest.skip("the records that the table was made from are not beside this checkout")
    records = {record["id"]: record for record in json.loads(RECORDS.read_text())}
    for figure in published.load():
        if figure.id.startswith("gap-shift/"):
            continue  # held against the lecture itself, below
        record = records[figure.id]
        for key in ("value", "metric", "unit", "certainty"):
            assert getattr(figure, key) == record[key], (figure.id, key)


def test_the_lectures_figures_are_as_it_prints_them():
    """Sixteen: accuracy, precision, recall and F1 of both networks on both test sets."""
    figures = {f.id: f for f in published.load() if f.id.startswith("gap-shift/")}
    names = {"cnn-flattening": "cnn-flattening-388-298-params", "cnn-gap": "cnn-gap-101-578-params"}
    assert len(figures) == 16 and {f.certainty for f in figures.values()} == {"verified"}
    texts = [path.read_text() for path in sorted(RECORDS.parents[1].glob("seeds/*.txt"))]
    lecture = next((text for text in texts if "Accuracy over Shifted Test Set" in text), None)
    if lecture is None:
        pytest.skip("the lecture is not beside this checkout")
    _, _, printed = lecture.partition("Accuracy over Original Test Set")
    where, network, seen = "centred", "", 0
    for line in printed.splitlines():
        word, _, value = line.strip().lower().partition(":")
        if word == "accuracy over shifted test set":
            where = "shifted"
        elif word in names:
            network = names[word]
        elif word in ("accuracy", "precision", "recall", "f1") and seen < 16:
            assert figures[f"gap-shift/{network}/{word}-{where}-test-set"].value == float(value)
            seen += 1
    assert seen == 16


def test_some_figures_as_their_papers_print_them():
    headlines = {name: published.of(name)[0] for name in ("resnet20", "resnet50_v1", "efficientnet_b7")}
    assert [h.value for h in headlines.values()] == [8.75, 22.85, 84.3]
    assert published.of("no_such_network") == []
