"""What a network's option may be: of its default's kind, finite, and in a range that can be built."""

from typing import Any

from resight.core.errors import UsageError

MOST = 65_536
"""Of an option that counts something."""
RANGES = {"width": (0.01, 16.0), "depth": (0.01, 16.0), "scales": (1, 16), "sharpen": (0.0, 1e6)}
"""Of options that multiply layers or their sizes, and of those that have a bound of their own."""
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def require_option(name: str, key: str, value: Any, default: Any) -> None:
    """Refuse an option's value before anything is built with it.

    Args:
        name: of the network, for the message.
        key: of the option.
        value: what was given.
        default: the option's default, which gives its kind.

    Raises:
        UsageError: for a value of another kind, that is not finite, or out of range.
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
