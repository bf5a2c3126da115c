"""A float ONNX file with 8-bit weights and activations, and which of its layers must stay float.

Static quantization: unsigned activations, signed weights with one scale for each output channel, as pairs of
quantize and dequantize operations around each convolution and product; the scales come from the smallest and
largest value that validation pictures give. Resize, normalization and maps stay float.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.console import counted
from resight.export.deployed import require_extra
from resight.export.graph import INPUT
from resight.export.writing import map_layer

KINDS = ("Conv", "Gemm", "MatMul")
"""Operations that are quantized."""
FUSED = ("Relu", "Clip")
"""Operations that the runtime fuses with the one before, so that the range of their output counts."""


class _Pictures:
    """Calibration pictures as onnxruntime asks for them."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self.left: Iterator[NDArray[np.uint8]] = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        picture = next(self.left, None)
        return None if picture is None else {INPUT: picture[None]}


class Quantizer:
    """The ranges of a model's values over calibration pictures, from which 8-bit models are made.

    Args:
        model: of `to_onnx`; it is not changed.
        pictures: calibration pictures, (H, W, 3) uint8 each.

    Attributes:
        layers: names of the network's convolutions and products, in their order.
    """

    def __init__(self, model: Any, pictures: Sequence[NDArray[np.uint8]]) -> None:
        require_extra("onnx", "onnxruntime")
        import onnx
        import onnx.shape_inference
        from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

        self.model = onnx.shape_inference.infer_shapes(model)
        self.layers = layers_of(self.model)
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "float.onnx"
            onnx.save(self.model, str(file))
            calibrator = create_calibrator(
                file, [*KINDS, *FUSED], str(Path(place) / "augmented.onnx"),
                calibrate_method=CalibrationMethod.MinMax, extra_options={"symmetric": False},
            )  # fmt: skip
            calibrator.collect_data(_Pictures(pictures))  # pyright: ignore[reportArgumentType] - only asked
            self.ranges = calibrator.compute_data()
            del calibrator

    def model_with(self, floating: Collection[str] = ()) -> Any:
        """Return the model in 8 bits, in which the named layers stay float."""
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        copied = onnx.ModelProto()
        copied.CopyFrom(self.model)
        names = [name for name in self.layers if name not in floating]
        quantizer = QDQQuantizer(
            copied, per_channel=True, reduce_range=False, weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8, tensors_range=self.ranges,
            nodes_to_quantize=[*names, *_fused_with(copied, names)], nodes_to_exclude=[],
            op_types_to_quantize=[*KINDS, *FUSED], extra_options={},
        )  # fmt: skip
        quantizer.quantize_model()
        return quantizer.model.model


def most_sensitive(
    quantizer: Quantizer, harm: Callable[[Any], float], layers: Sequence[str] | None = None
) -> list[str]:
    """Return the layers in the order of the harm that quantizing each one alone does, the worst first.

    Args:
        quantizer: makes the models.
        harm: of an 8-bit model.
        layers: which to try; by default all.
    """
    tried = quantizer.layers if layers is None else list(layers)
    harms = {
        name: harm(quantizer.model_with(set(quantizer.layers) - {name}))
        for name in counted(tried, "trying layers", len(tried))
    }
    return sorted(tried, key=lambda name: -harms[name])


def layers_of(model: Any) -> list[str]:
    """Return the names of the network's convolutions and products in an ONNX model, in their order."""
    inside, maps = _behind(model, "images"), map_layer(model)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in KINDS and node.name in inside and (maps is None or node.name != maps.name)
    ]


def _fused_with(model: Any, layers: Sequence[str]) -> list[str]:
    """Return the names of the activations that directly follow some layers."""
    made = {name for node in model.graph.node if node.name in layers for name in node.output}
    return [node.name for node in model.graph.node if node.op_type in FUSED and node.input[0] in made]


def _behind(model: Any, value: str) -> set[str]:
    """Return the names of the nodes that depend on a value."""
    reached, names = {value}, set[str]()
    for node in model.graph.node:  # a graph lists its nodes in an order in which they can run
        if reached.intersection(node.input):
            names.add(node.name)
            reached.update(node.output)
    return names
