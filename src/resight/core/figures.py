"""The one way from figures, facts and rows, which are frozen dataclasses, to JSON.

A dataclass becomes a dictionary of its fields, by their names and in their order. Two kinds of fields differ:
`IfAny` ones are left out where they are None, and an `Inline` one gives its own keys in its place.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

Value = TypeVar("Value")
IfAny = Annotated[Value | None, "if any"]
"""A field that is left out of the JSON where it is None; other fields become null."""
Inline = Annotated[Value, "inline"]
"""A field, of a dataclass, whose own fields stand in its place; nothing does where it is None."""


def to_json(value: Any) -> Any:
    """Return dataclasses, and all that hold some, as plain JSON types; paths become text."""
    if is_dataclass(value) and not isinstance(value, type):
        document: dict[str, Any] = {}
        for one in fields(value):
            own, kind = getattr(value, one.name), getattr(one.type, "__metadata__", ())
            if "inline" in kind:
                document |= to_json(own) or {}
            elif own is not None or "if any" not in kind:
                document[one.name] = to_json(own)
        return document
    if isinstance(value, Mapping):
        return {key: to_json(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(own) for own in value]
    return str(value) if isinstance(value, Path) else value
