"""Untrusted JSON: parsed within bounds and checked against the shape that its reader expects.

Third-party files, headers and table metadata are untrusted: they may nest a million brackets, hold
endless numbers, repeat a key, or hold a list in place of a name. Each reader states a shape; what
differs is refused by its place in the document.

A shape is one of

    str, int, float, bool, None, object   a value of that type; float takes whole numbers too, object anything
    Within(low, high)                     a number in this closed range
    Whole(low, high)                      a whole number in this closed range
    [shape]                               a list of such values
    {"key": shape, "key?": shape}         an object with these keys; those with a question mark may be absent;
                                          other keys are allowed
    {str: shape}                          an object with any keys, whose values have this shape
    (shape, shape)                        one of these
"""

import json
import math
from dataclasses import dataclass
from typing import Any

from resight.core.errors import DataError, ResightError

DEEPEST = 64
"""Brackets within brackets."""
LONGEST_NUMBER = 400
"""Digits of one number."""


@dataclass(frozen=True)
class Within:
    """A finite number in the closed range [low, high]."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Whole:
    """A whole number in the closed range [low, high]."""

    low: float = -(2**63)
    high: float = 2**63 - 1


def parse(text: str | bytes, where: str, error: type[ResightError] = DataError, *, nan: bool = False) -> Any:
    """Parse JSON.

    Args:
        text: the document; bytes are UTF-8, with or without a byte order mark.
        where: the file, or the place in it, for the message.
        error: what is raised.
        nan: whether NaN and infinity are read as Python writes them; a shape of numbers still refuses
            them.

    Raises:
        ResightError: of the type `error`, if the text is not JSON, nests over 64 levels, repeats a key,
            or holds NaN, infinity, a number of more than 400 digits or half of a surrogate pair.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        document = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_unique,
            parse_constant=float if nan else _no_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
        if not _shallow(document):
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        if "\\ud" in text or "\\uD" in text:  # half of a pair is no letter, and no file or terminal takes it
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError:
        raise error(f"{where}: is not usable JSON (it is nested too deeply); write the file again") from None
    except ValueError as cause:
        raise error(f"{where}: is not usable JSON ({cause}); write the file again") from cause
    return document


def require(document: Any, shape: Any, where: str, error: type[ResightError] = DataError) -> Any:
    """Return the document if it has the shape.

    Raises:
        ResightError: of the type `error`, naming the first place that differs.
    """
    if fault := _fault(document, shape, ""):
        raise error(f"{where}: {fault}; write the file again with the program that made it")
    return document


def read(
    text: str | bytes, shape: Any, where: str, error: type[ResightError] = DataError, *, nan: bool = False
) -> Any:
    """Parse JSON and check it against a shape; see `parse` and `require`."""
    return require(parse(text, where, error, nan=nan), shape, where, error)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice[:80]!r} appears twice in one object")
    return document


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not a number in JSON")


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number has {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    if len(digits) > LONGEST_NUMBER or not math.isfinite(value := float(digits)):
        raise ValueError(f"the number {digits[:40]} is out of range")
    return value


def _shallow(document: Any) -> bool:
    """Return whether a document nests at most `DEEPEST` levels, without recursion."""
    level = [document]
    for _ in range(DEEPEST):
        level = [
            item
            for value in level
            if isinstance(value, list | dict)
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, list | dict)
        ]
        if not level:
            return True
    return False


def _fault(value: Any, shape: Any, place: str) -> str:
    """Return what differs from the shape, "" if nothing does."""
    if shape is object:
        return ""
    if isinstance(shape, tuple):
        faults = [_fault(value, one, place) for one in shape]
        return "" if "" in faults else faults[0]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _differs(value, "a list", place)
        return next((f for i, item in enumerate(value) if (f := _fault(item, shape[0], f"{place}[{i}]"))), "")
    if isinstance(shape, dict):
        return _fault_of_object(value, shape, place)
    if isinstance(shape, Within | Whole):
        fits = _is_number(value) and shape.low <= value <= shape.high
        if isinstance(shape, Whole):
            fits = fits and isinstance(value, int)
        kind = "a whole number" if isinstance(shape, Whole) else "a number"
        return "" if fits else _differs(value, f"{kind} from {shape.low:g} to {shape.high:g}", place)
    if shape is None:
        return "" if value is None else _differs(value, "null", place)
    if shape is float:
        return "" if _is_number(value) else _differs(value, "a number", place)
    if shape is int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if whole else _differs(value, "a whole number", place)
    words = {str: "text", bool: "true or false"}
    return "" if isinstance(value, shape) else _differs(value, words[shape], place)


def _fault_of_object(value: Any, shape: dict[Any, Any], place: str) -> str:
    if not isinstance(value, dict):
        return _differs(value, "an object", place)
    if str in shape:
        return next(
            (f for key, item in value.items() if (f := _fault(item, shape[str], _at(place, key)))), ""
        )
    for word, inner in shape.items():
        key = word.removesuffix("?")
        if key in value:
            if fault := _fault(value[key], inner, _at(place, key)):
                return fault
        elif key == word:
            return f"{place or 'the document'} has no {key!r}"
    return ""


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _at(place: str, key: str) -> str:
    return f"{place}.{key[:80]}" if place else key[:80]


def _differs(value: Any, wanted: str, place: str) -> str:
    shown = json.dumps(value, default=str)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return f"{place or 'the document'} is {shown}, but must be {wanted}"
