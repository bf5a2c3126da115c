"""JSON from outside is bounded, and refused by the place that differs."""

import pytest

from resight.core.documents import Whole, Within, parse, read
from resight.core.errors import DataError, ModelFileError

CARD = {
    "size": Whole(1, 4096),
    "mean": [Within(0, 1)],
    "name?": (str, None),
    "facts?": {str: int},
    "on?": bool,
}


def test_what_fits_is_returned_as_it_is():
    text = '\ufeff{"size": 32, "mean": [0, 0.5], "name": null, "facts": {"a": 1}, "more": [[]]}'
    expected = {"size": 32, "mean": [0, 0.5], "name": None, "facts": {"a": 1}, "more": [[]]}
    assert read(text, CARD, "f.json") == expected
    assert read(text.encode(), CARD, "f.json") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1", "is not usable JSON"),
        ("NaN", "NaN is not a number"),
        ("-Infinity", "not a number"),
        ("1e999", "out of range"),
        ("1" * 5000, "5,000 digits"),
        ('{"a": 1, "a": 2}', "'a' appears twice"),
        ("[" * 100 + "]" * 100, "deeper than 64"),
        ("[" * 200_000, "nested too deeply"),
        (b"\xff\xfe", "not usable JSON"),
        ('["\\ud83d"]', "surrogates not allowed"),
    ],
)
def test_text_that_is_not_bounded_json_is_refused(text, words):
    with pytest.raises(ModelFileError, match=r"^f\.json: ") as caught:
        parse(text, "f.json", ModelFileError)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "the document is [], but must be an object"),
        ('{"mean": []}', "the document has no 'size'"),
        ('{"size": 0, "mean": []}', "size is 0, but must be a whole number from 1 to 4096"),
        ('{"size": true, "mean": []}', "size is true"),
        ('{"size": 2.0, "mean": []}', "size is 2.0"),
        ('{"size": 2, "mean": [0, 2]}', "mean[1] is 2, but must be a number from 0 to 1"),
        ('{"size": 2, "mean": {}}', "mean is {}, but must be a list"),
        ('{"size": 2, "mean": [], "name": 3}', "name is 3, but must be text"),
        ('{"size": 2, "mean": [], "facts": {"a": "b"}}', 'facts.a is "b", but must be a whole number'),
        ('{"size": 2, "mean": [], "on": 1}', "on is 1, but must be true or false"),
    ],
)
def test_what_differs_is_named_by_its_place(text, words):
    with pytest.raises(DataError, match=r"f\.json") as caught:
        read(text, CARD, "f.json")
    assert words in str(caught.value)


def test_pairs_of_surrogates_are_letters_and_nan_is_read_where_it_is_asked_for():
    assert parse('["\\ud83d\\ude00"]', "f.json") == ["\U0001f600"]
    found = parse('{"a": NaN, "b": -Infinity}', "f.json", nan=True)
    assert found["a"] != found["a"] and found["b"] == float("-inf")
    with pytest.raises(DataError, match="a is NaN, but must be a number"):
        read('{"a": NaN}', {"a": float}, "f.json", nan=True)


def test_whole_numbers_beyond_every_float_are_no_numbers():
    digits = "1" + "0" * 398
    for shape in (float, Within(0, 1), Whole(0, 9)):
        with pytest.raises(DataError, match="must be"):
            read(digits, shape, "f.json")
