"""Valid values of a network's option: of the default's type, finite, and in a range that can be built."""

from typing import Any

from resight.core.errors import UsageError

MOST = 65_536
"""Largest value of an option that is a count."""
RANGES = {"width": (0.01, 16.0), "depth": (0.01, 16.0), "scales": (1, 16), "sharpen": (0.0, 1e6)}
"""Ranges of options that multiply layers or their sizes, and of those with their own bounds."""
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def require_option(name: str, key: str, value: Any, default: Any) -> None:
    """Refuse an option's value before anything is built with it.

    Args:
        name: of the network, for the message.
        key: of the option.
        value: the value given.
        default: the option's default, which gives its type.

    Raises:
        UsageError: for a value of another type, not finite, or out of range.
    """
    kind = type(default)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {int: number and isinstance(value, int), float: number}.get(kind, type(value) is kind)
    if not fits:
        raise UsageError(f"{name} cannot be built with {key}={_shown(value)}: needs {KINDS[kind]}")
    low, high = RANGES.get(key, (0 if kind is int else -MOST, MOST))
    if number and not low <= value <= high:
        wanted = "not be negative" if value < low == 0 else f"be {low:g} to {high:g}"
        raise UsageError(f"{name} cannot be built with {key}={_shown(value)}: must {wanted}")


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
