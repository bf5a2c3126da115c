"""The table of networks."""

from typing import Any

from resight.core import published
from resight.core.errors import UnknownNameError
from resight.core.networks import Counted, counted
from resight.core.registry import matching, suggestion


def list_networks(pattern: str = "*") -> list[dict[str, Any]]:
    """Return a row for each network that matches a shell pattern: the JSON of `resight models`.

    Raises:
        UnknownNameError: if none matches.
    """
    names = matching(counted(), pattern)
    if not names:
        raise UnknownNameError(f"no network matches {pattern!r}; {suggestion(pattern, counted())}")
    return [_row(counted()[name]) for name in names]


def _row(network: Counted) -> dict[str, Any]:
    return {
        "name": network.name,
        "family": network.family,
        "year": network.year,
        **{key: network.summary[key] for key in ("parameters", "multiply_adds", "input_size")},
        "paper": network.paper,
        "published": [figure.record() for figure in published.of(network.name)],
    }
