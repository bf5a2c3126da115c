"""What a label says, held against a slow reading of the same words."""

import unicodedata

import numpy as np
import pytest

from resight.core.errors import DataError
from resight.data.label_columns import LabelColumn, number_labels
from resight.data.labels import Lookup, class_table, is_missing, lookalikes, one_spelling


def column(labels, names=None, file="f", digits_count=False):
    values = list(dict.fromkeys(labels))
    rows = np.array([values.index(label) for label in labels], dtype=np.int64)
    return LabelColumn(file, values, rows, lambda row: f"{file}: row {row}", names, digits_count)


def names_of(columns):
    """Return the class name of each row of each column, None for a missing label."""
    labels = number_labels(columns)
    return [[labels.classes[n] if n >= 0 else None for n in numbers.tolist()] for numbers in labels.numbers]


@pytest.mark.parametrize(
    "value", [None, float("nan"), "", "  ", "\u00a0", "nan", "NaN", "NAN", "<NA>", -1, -1.0, "-1", " -1.0 "]
)
def test_what_is_missing(value):
    assert is_missing(value) and names_of([column(["a", value])]) == [["a", None]]


@pytest.mark.parametrize("value", [0, -2, 0.5, False, True, "nan.", "Nan", "none", "None", "0", "-", "-10"])
def test_what_is_not(value):
    assert not is_missing(value) and names_of([column([value])]) == [[str(value)]]


@pytest.mark.parametrize(
    ("value", "digits_count", "name"),
    [
        (0, False, "a"), (2, False, "1"), (3, False, None), (-1, False, None), (1.0, False, "b"),
        (1.5, False, None),
        (float("inf"), False, None), (float("nan"), False, None), (True, False, None), (None, False, None),
        ("a", False, "a"), (" b ", False, "b"), ("1", False, "1"), ("1", True, "b"),
        ("0002", True, "1"),
        ("9" * 30, True, None), ("\u0661", True, None), ("z", True, None), ("", True, None),
    ],
)  # fmt: skip
def test_a_lookup_takes_numbers_as_places_and_texts_as_names(value, digits_count, name):
    assert Lookup(("a", "b", "1"), digits_count=digits_count).name(value) == name


def test_random_files_are_read_as_a_slow_reader_does():
    rng = np.random.default_rng(0)
    words = ["cat", "dog", "caf\u00e9", "bird", "1", "22"]
    for _ in range(100):
        columns, expected = [], []
        for number in range(3):
            names = tuple(rng.permutation(words[:4]).tolist()) if rng.random() < 0.5 else None
            labels, own = [], []
            for _ in range(8):
                word = words[rng.integers(4 if names else 6)]
                own.append(word)
                spelled = unicodedata.normalize("NFD", word) if rng.random() < 0.3 else word
                labels.append(names.index(word) if names and rng.random() < 0.5 else f" {spelled}")
                if rng.random() < 0.2:
                    labels[-1], own[-1] = "", None
            columns.append(column(labels, names, f"f{number}"))
            expected.append(own)
        found = names_of(columns)
        composed = [[w and unicodedata.normalize("NFC", w) for w in own] for own in found]
        assert composed == expected
        assert len({w for own in found for w in own if w and w.startswith("caf")}) <= 1


def test_names_of_a_table_lend_their_spelling():
    decomposed = "cafe\u0301"
    assert one_spelling(["caf\u00e9"], [decomposed])[0] == {"caf\u00e9": decomposed}
    columns = [column([0, 1], (decomposed, "tea")), column(["caf\u00e9"])]
    assert names_of(columns) == [[decomposed, "tea"], [decomposed]]


def test_lookalikes_are_told_apart_by_case_space_and_invisible_letters_only():
    assert not lookalikes(["cat", "cats", "1", "10"])
    assert "'Cat' and 'cat'" in lookalikes(["Cat", "cat"])[0]
    for pair in (("hot dog", "hot  dog"), ("cat", "c\u200bat"), ("\uff43at", "cat")):
        assert lookalikes(pair)


def test_a_table_has_every_name_once():
    assert class_table(["b ", "a"], "f") == ("b ", "a")
    with pytest.raises(DataError, match="f: classes 0 and 2 are both named 'a'"):
        class_table(["a", "b", "a"], "f")


def test_an_unknown_name_is_refused_where_it_stands_first():
    with pytest.raises(DataError, match=r"f: row 1 has label 'c', which is not one of 2 classes"):
        number_labels([column([0, "c", "c"], ("a", "b"))])
    with pytest.raises(DataError, match=r"g: row 1 has label '1\.0' and f: row 0 has '1', two spellings"):
        number_labels([column(["1"], file="f"), column(["a", "1.0"], file="g")])


def test_large_numbers_that_differ_are_two():
    assert names_of([column(["9007199254740993", "9007199254740992"])]) == [
        ["9007199254740993", "9007199254740992"]
    ]
