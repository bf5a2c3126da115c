"""The table of networks."""

from dataclasses import dataclass

from resight.core import published
from resight.core.errors import UnknownNameError
from resight.core.networks import Counted, counted
from resight.core.published import Record
from resight.core.registry import matching, suggestion


@dataclass(frozen=True)
class NetworkRow:
    """A network: where it is from, its size and cost, and what is published of it, the headline first."""

    name: str
    family: str
    year: int
    parameters: int
    multiply_adds: int
    input_size: int
    paper: str
    published: list[Record]


def list_networks(pattern: str = "*") -> list[NetworkRow]:
    """Return a row for each network that matches.

    Args:
        pattern: a shell pattern; the name of a network, for this one alone; or a part of names.

    Raises:
        UnknownNameError: if none matches.
    """
    names = matching(counted(), pattern)
    if not names and not set(pattern) & set("*?["):
        names = matching(counted(), f"*{pattern}*")
    if not names:
        raise UnknownNameError(f"no network matches {pattern!r}; {suggestion(pattern, counted())}")
    return [_row(counted()[name]) for name in names]


def _row(network: Counted) -> NetworkRow:
    counts = network.summary
    return NetworkRow(
        network.name,
        network.family,
        network.year,
        counts.parameters,
        counts.multiply_adds,
        counts.input_size,
        network.paper,
        [figure.record for figure in published.of(network.name)],
    )
