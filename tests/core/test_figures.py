"""Figures as JSON: the fields in their order, and the two kinds of fields that differ."""

import json
from dataclasses import dataclass
from pathlib import Path

from resight.core.figures import IfAny, Inline, to_json


@dataclass(frozen=True)
class Share:
    name: str
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Row:
    path: Path
    share: Inline[Share]
    rest: dict[str, list[Share]]
    note: IfAny[str] = None


def test_a_dataclass_becomes_its_fields_in_their_order_and_none_stays_null():
    assert json.dumps(to_json(Share("a", None))) == '{"name": "a", "interval": null}'
    assert json.dumps(to_json([Share("a", (0.5, 1))])) == '[{"name": "a", "interval": [0.5, 1]}]'


def test_an_inline_field_stands_in_its_place_and_an_optional_one_is_left_out_without_a_value():
    row = Row(Path("x/y.png"), Share("a", None), {"b": [Share("c", None)]})
    expected = {
        "path": "x/y.png",
        "name": "a",
        "interval": None,
        "rest": {"b": [{"name": "c", "interval": None}]},
    }
    assert json.dumps(to_json(row)) == json.dumps(expected)
    noted = Row(Path("x"), Share("a", None), {}, note="")
    assert (
        list(to_json(noted)) == ["path", "name", "interval", "rest", "note"] and to_json(noted)["note"] == ""
    )


def test_what_is_json_already_stays_as_it_is():
    document = {"a": [1, 2.5, None, True, {"b": "c"}]}
    assert to_json(document) == document


def test_nothing_stands_in_the_place_of_an_inline_field_that_is_none():
    assert list(to_json(Row(Path("x"), None, {}))) == ["path", "rest"]  # type: ignore[arg-type]
