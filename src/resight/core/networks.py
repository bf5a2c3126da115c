"""Sizes and costs of the networks as in their papers, available without building one and without torch.

`networks.jsonl` has one line per network, in the order of the table of networks. `scripts/networks` writes
it, and tests/service/networks/test_table.py checks it against the networks.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from resight.core.figures import IfAny, to_json

FILE = "networks.jsonl"


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer of a summary; a line of the file lists its fields in this order.

    Attributes:
        name: as in the network; "" for a function between layers.
        kind: its class, or the function.
        output: shape for one image.
        parameters: of the layer.
        multiply_adds: for one image.
        activation_bytes: memory that it adds for one image, in float32.
        receptive_field: of one position, in pixels; None for the whole input.
        stride: pixels between two neighbouring positions; None for the whole input.
    """

    name: str
    kind: str
    output: list[int]
    parameters: int
    multiply_adds: int
    activation_bytes: int
    receptive_field: int | None
    stride: int | None


@dataclass(frozen=True)
class Summary:
    """A network layer by layer, and its totals, for one image.

    Attributes:
        name: of the network.
        input_size: side of the square input, in pixels.
        channels: of the input.
        classes: of the output.
        parameters: of all layers, without heads that only training uses.
        multiply_adds: of convolutions and linear layers.
        activation_bytes: of a forward pass in float32.
        receptive_field: of the last map, in pixels.
        layers: in the order in which they run.
        task: of a run, where it is another one than classification.
    """

    name: str
    input_size: int
    channels: int
    classes: int
    parameters: int
    multiply_adds: int
    activation_bytes: int
    receptive_field: int | None
    layers: list[LayerRow]
    task: IfAny[str] = None


@dataclass(frozen=True)
class Counted:
    """The line of a network.

    Attributes:
        name: of the network.
        family: the file that defines it.
        year: of the paper.
        paper: authors, title, number.
        least_size: side of the smallest square that it takes, in pixels.
        summary: of one image of the paper's size.
    """

    name: str
    family: str
    year: int
    paper: str
    least_size: int
    summary: Summary

    def line(self) -> str:
        """Return it as it is in the file."""
        document = to_json(self)
        summary = document["summary"]
        summary["layers"] = [list(layer.values()) for layer in summary["layers"]]
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def read(cls, line: str) -> "Counted":
        """Read a line that `line` returned."""
        document = json.loads(line)
        summary = document.pop("summary")
        layers = [LayerRow(*layer) for layer in summary.pop("layers")]
        return cls(**document, summary=Summary(**summary, layers=layers))


@cache
def counted() -> dict[str, Counted]:
    """Return all networks by name, in the table's order."""
    text = files("resight.core").joinpath(FILE).read_text(encoding="utf-8")
    rows = (Counted.read(line) for line in text.splitlines())
    return {row.name: row for row in rows}
