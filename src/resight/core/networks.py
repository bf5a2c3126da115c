"""Sizes and costs of the networks as in their papers, available without building one and without torch.

`networks.jsonl` has one line per network, in the order of the table of networks. `scripts/networks` writes
it, and tests/service/networks/test_table.py checks it against the networks.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

FILE = "networks.jsonl"
LAYER = (
    "name", "kind", "output", "parameters", "multiply_adds", "activation_bytes", "receptive_field", "stride",
)  # fmt: skip
"""What a layer's list holds, in this order."""


@dataclass(frozen=True)
class Counted:
    """The line of a network.

    Attributes:
        name: of the network.
        family: the file that defines it.
        year: of the paper.
        paper: authors, title, number.
        least_size: side of the smallest square that it takes, in pixels.
        summary: the JSON of `resight summary NAME`: counts of one image of the paper's size, without heads
            that only training uses.
    """

    name: str
    family: str
    year: int
    paper: str
    least_size: int
    summary: dict[str, Any]

    def line(self) -> str:
        """Return it as it is in the file."""
        layers = [[layer[key] for key in LAYER] for layer in self.summary["layers"]]
        document = {**vars(self), "summary": {**self.summary, "layers": layers}}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def read(cls, line: str) -> "Counted":
        """Read a line that `line` returned."""
        document = json.loads(line)
        summary = document.pop("summary")
        layers = [dict(zip(LAYER, layer, strict=True)) for layer in summary["layers"]]
        return cls(**document, summary={**summary, "layers": layers})


@cache
def counted() -> dict[str, Counted]:
    """Return all networks by name, in the table's order."""
    text = files("resight.core").joinpath(FILE).read_text(encoding="utf-8")
    rows = (Counted.read(line) for line in text.splitlines())
    return {row.name: row for row in rows}
