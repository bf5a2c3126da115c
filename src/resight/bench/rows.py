"""The rows of a benchmark, as `resight bench` prints them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resight.core.figures import IfAny, Inline

if TYPE_CHECKING:
    from resight.bench.interleave import Measured

PEAK = "peak_mb"
"""The peak memory among the facts of a block."""


@dataclass(frozen=True)
class Rates:
    """What was measured, in pictures a second; None where the hardware cannot run a candidate.

    Attributes:
        median: over the blocks.
        lowest: of a block.
        highest: of a block.
        ratio: median over the rounds of the rate to that of another candidate in the same round.
    """

    median: float | None = None
    lowest: float | None = None
    highest: float | None = None
    ratio: float | None = None

    @classmethod
    def of(cls, rates: Sequence[float], reference: Sequence[float]) -> "Rates":
        """Return what some rates are, block by block, compared with those of the reference."""
        ratio = statistics.median(a / b for a, b in zip(rates, reference, strict=True))
        return cls(statistics.median(rates), min(rates), max(rates), ratio)


@dataclass(frozen=True)
class Pixels:
    """Mean absolute difference, of 255, to Pillow's resize of the whole photo; None for loaders of others."""

    pixel_difference: float | None


@dataclass(frozen=True)
class Maps:
    """What a candidate that draws maps took, and how its maps differ from ours.

    Attributes:
        layout: of the tensors.
        memory_mb: its peak; None where it is unknown.
        memory_ratio: to the forward pass alone, if that was measured.
        difference: the largest to our maps; None for our own.
        spearman: of maps of all classes by fewer passes, the mean rank correlation with those by all.
    """

    layout: str
    memory_mb: float | None
    memory_ratio: float | None
    difference: float | None
    spearman: IfAny[float] = None


@dataclass(frozen=True)
class Memory:
    """What a candidate's block took.

    Attributes:
        memory_mb: its peak above what was held before; None where it is unknown.
        memory_to: the peak over that of the candidate that the ratio refers to.
    """

    memory_mb: float | None
    memory_to: float | None

    @classmethod
    def of(cls, found: "Mapping[str, Measured]", name: str, reference: str) -> "Memory | None":
        """Return what a candidate took, if its block measured it."""
        own, other = (found[one].facts.get(PEAK) for one in (name, reference))
        if PEAK not in found[name].facts:
            return None
        return cls(own, own / other if own and other else None)


@dataclass(frozen=True)
class Deployed:
    """What a candidate that answers pictures took besides its time for each.

    Attributes:
        first_answer_seconds: from the start of Python to the first answer.
        peak_mb: the most memory that its process held; None where the system does not tell.
    """

    first_answer_seconds: float
    peak_mb: float | None


@dataclass(frozen=True)
class Served:
    """What clients of a server saw, in the last block.

    Attributes:
        clients: that asked at once.
        errors: requests without an answer.
        p50_ms: of the milliseconds from a request to its answer.
        p99_ms: of the same.
        client_cpu_seconds: CPU time of the clients.
    """

    clients: int
    errors: int
    p50_ms: float
    p99_ms: float
    client_cpu_seconds: float


@dataclass(frozen=True)
class Row:
    """A candidate of a benchmark.

    Attributes:
        bench: the benchmark.
        candidate: its name.
        unit: of the rates.
        to: the candidate that the ratio refers to.
        rates: what was measured.
        pixels: of a loader of photos.
        note: for the reader.
        maps: of a candidate that draws maps.
        memory: of a candidate whose peak is measured.
        deployed: of a candidate of `bench export`.
        served: of the server in `bench serve`.
    """

    bench: str
    candidate: str
    unit: str
    to: str
    rates: Inline[Rates]
    pixels: Inline[Pixels | None]
    note: str
    maps: Inline[Maps | None] = None
    memory: Inline[Memory | None] = None
    deployed: Inline[Deployed | None] = None
    served: Inline[Served | None] = None
