"""A deployed network as the bytes of a file: ONNX by torch's exporter, or a program of `torch.export`."""

import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resight.core.errors import ModelFileError
from resight.export.box_operations import translations
from resight.export.deployed import KEY, require_extra
from resight.export.graph import INPUT, Deployed
from resight.export.solved import Solved

EXAMPLE = (2, 40, 50)
"""Number, height and width of the pictures that the exporter runs; all three stay open in the file, but the
number where a file takes one picture at a time."""
BETWEEN = ("Relu", "QuantizeLinear", "DequantizeLinear")
"""Operations that may be between the trunk's last map and the convolution that gives the maps."""
AXES = ("batch", "height", "width")
"""The open axes of the input."""
OUTPUT_AXES = {
    "probabilities": ("batch", "classes"),
    "logits": ("batch", "classes"),
    "maps": ("batch", "maps", "cells down", "cells across"),
    "map_classes": ("batch", "maps"),
    "picture_maps": ("batch", "height", "width"),
}
"""What the axes of each output of a classifier are."""


def axes_of(network: Deployed | Solved) -> dict[str, list[str]]:
    """Return the names of a network's outputs and of their axes."""
    known = network.axes if isinstance(network, Solved) else OUTPUT_AXES
    return {name: list(known[name]) for name in network.outputs}


def to_onnx(network: Deployed | Solved, name: str) -> Any:
    """Return the ONNX model of a network, without a document in it.

    Args:
        network: what is exported.
        name: what to call it in an error.

    Raises:
        ModelFileError: if an operation of the network cannot be exported; it names the reason.
    """
    require_extra("onnx", "onnxscript")
    with _exporting(name):
        program = torch.onnx.export(
            network, (_example(network),), dynamo=True, verbose=False, input_names=[INPUT],
            output_names=[*network.outputs, *network.inside], dynamic_shapes=(_open_axes(network),),
            custom_translation_table=translations(),
        )  # fmt: skip
    assert program is not None  # with dynamo=True
    model = program.model_proto
    kept = [output for output in model.graph.output if output.name in network.outputs]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    _name_axes(model)
    return model


def _name_axes(model: Any) -> None:
    """Give the open axes of inputs and outputs names that a person understands."""
    shapes = [value.type.tensor_type.shape.dim for value in (*model.graph.input, *model.graph.output)]
    names = {axis.dim_param: name for axis, name in zip(shapes[0], AXES, strict=False) if axis.dim_param}
    for axis in (axis for shape in (*shapes, *_shapes_inside(model)) for axis in shape):
        if axis.dim_param in names:
            axis.dim_param = names[axis.dim_param]


def _shapes_inside(model: Any) -> list[Any]:
    return [value.type.tensor_type.shape.dim for value in model.graph.value_info]


def onnx_of(content: bytes) -> Any:
    """Return the ONNX model in a file's bytes."""
    import onnx

    return onnx.load_from_string(content)


def map_layer(model: Any) -> Any:
    """Return the convolution of an ONNX model that gives the maps; None if there is none."""
    made = {"features"}
    for node in model.graph.node:  # in an order in which they can run
        if node.op_type in BETWEEN and node.input[0] in made:
            made.add(node.output[0])
        elif node.op_type == "Conv" and node.input[0] in made:
            return node
    return None


def with_document(model: Any, document: dict[str, Any]) -> bytes:
    """Return an ONNX model as bytes, with a document in its metadata."""
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=json.dumps(document))
    return model.SerializeToString()


def to_program(network: Deployed | Solved, name: str) -> torch.export.ExportedProgram:
    """Return the program of `torch.export` of a network.

    Raises:
        ModelFileError: as `to_onnx`.
    """
    with _exporting(name):
        return torch.export.export(network, (_example(network),), dynamic_shapes=(_open_axes(network),))


def program_bytes(program: torch.export.ExportedProgram, document: dict[str, Any]) -> bytes:
    """Return a program as the bytes of a .pt2 file, with a document as its extra file "resight"."""
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={KEY: json.dumps(document)})
    return stream.getvalue()


def program_of(content: bytes, network: Deployed | Solved) -> Callable[[NDArray[np.uint8]], dict[str, Any]]:
    """Return what gives the outputs of a .pt2 file for one picture (H, W, 3), by name, as arrays."""
    program = torch.export.load(io.BytesIO(content)).module()

    def run(picture: NDArray[np.uint8]) -> dict[str, Any]:
        with torch.no_grad():
            found = program(torch.from_numpy(np.array(picture))[None])
        return {name: value.numpy() for name, value in zip(network.outputs, found, strict=False)}

    return run


def _open_axes(network: Deployed | Solved) -> dict[int, Any]:
    """Return the axes of the pictures that stay open."""
    return dict.fromkeys(range(0 if network.together else 1, 3), torch.export.Dim.DYNAMIC)


def _example(network: Deployed | Solved) -> torch.Tensor:
    count, height, width = EXAMPLE if network.together else (1, *EXAMPLE[1:])
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


@contextmanager
def _exporting(name: str) -> Iterator[None]:
    """Turn whatever an exporter raises into one line, and silence its warnings about itself."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # an exporter meets any code of any network
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        reason = (lines or [type(cause).__name__])[0][:200]
        raise ModelFileError(
            f"{name}: cannot be exported: torch's exporter does not take one of its operations ({reason})"
        ) from error
