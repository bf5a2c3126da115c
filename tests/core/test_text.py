"""Names from outside cannot steer a terminal."""

import json

import pytest

from resight.core.text import LONGEST_LINE, amount, one_line, printable, printable_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("Füße 猫 🐈 e\u0301", "Füße 猫 🐈 e\u0301"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\x9b2Jb\x7f\x00\x07\r", r"a\x9b2Jb\x7f\x00\x07\x0d"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("bad\udcff", r"bad\udcff"),
        ("two\nlines\tand tabs", "two\nlines\tand tabs"),
    ],
)
def test_control_characters_become_escapes(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((1, "class"), "1 class"), ((2, "class"), "2 classes"), ((0, "picture"), "0 pictures"),
        ((1_024, "picture"), "1,024 pictures"), ((3, "box"), "3 boxes"), ((2, "axis", "axes"), "2 axes"),
        ((1, "axis", "axes"), "1 axis"),
    ],
)  # fmt: skip
def test_a_count_agrees_with_its_noun(words, said):
    assert amount(*words) == said


def test_a_line_stays_one_line_of_bounded_length():
    assert one_line("a\nb\tc\r") == r"a\nb\tc\x0d"
    long = one_line("x" * 5_000 + "y")
    assert len(long) <= LONGEST_LINE and long.startswith("xx") and long.endswith("xy") and " ... " in long


def test_json_stays_json_and_says_the_same():
    answer = {"path\u009b": "\u202eexe\x1b[2J", "name": "Füße\udcff", "n": [1, 2.5, None]}
    text = printable_json(json.dumps(answer, ensure_ascii=False))
    assert json.loads(text) == answer
    assert text.isprintable() and "Füße" in text
