"""Output, memory, cost and receptive field of every layer of a network.

Conventions. A multiply-add counts as one (FLOPs are twice that); convolutions and linear layers count, as in
the papers' tables. Activations are float32: the input and the outputs of convolutions, poolings, linear
layers and concatenations; activation functions, normalizations, dropout and sums are counted as in-place
(except maxout, which outputs fewer channels than it reads). The receptive field is that of the widest path, r
<- r + (k - 1) d j, j <- j s, along the height or the width, whichever is larger: the side of the square of
the input that one position depends on. A gate that reads the whole map (squeeze and excitation) does not
widen it.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from resight.core.errors import UsageError
from resight.models.cost import evaluating, parameters
from resight.models.operators.convolution import LocallyConnected2d
from resight.models.operators.descriptors import DenseSift, Hog

IN_PLACE = (
    "ReLU", "GELU", "SiLU", "Sigmoid", "Tanh", "ScaledTanh", "LeakyReLU", "PReLU", "ELU", "Step", "Identity",
    "Dropout", "BatchNorm2d", "LocalResponseNorm", "LocalContrastNorm", "StochasticDepth", "Flatten",
)  # fmt: skip
POOLINGS = ("max_pool2d", "avg_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool2d")


@dataclass(frozen=True)
class Field:
    """The receptive field of one position of a map.

    Attributes:
        height: of the part of the input, in pixels; infinite for the whole input.
        width: the same.
        stride: pixels of the input between two neighbouring positions.
        top: first row of that part for the position (0, 0); below zero in the padding.
        left: first column.
        bottom: last row.
        right: last column.
    """

    height: float = 1
    width: float = 1
    stride: float = 1
    top: float = 0
    left: float = 0
    bottom: float = 0
    right: float = 0

    @property
    def size(self) -> float:
        """The larger side."""
        return max(self.height, self.width)

    def through(
        self, kernel: tuple[int, int], stride: int, dilation: int = 1, padding: tuple[float, float] = (0, 0)
    ) -> "Field":
        """Return the field after a sliding window."""
        if self == WHOLE:
            return self
        reach = dilation * self.stride
        high, wide = (kernel[0] - 1) * reach, (kernel[1] - 1) * reach
        up, back = padding[0] * self.stride, padding[1] * self.stride
        return Field(
            self.height + high, self.width + wide, self.stride * stride,
            self.top - up, self.left - back, self.bottom + high - up, self.right + wide - back,
        )  # fmt: skip

    def box(self, row: int, column: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the part of an image that a position depends on.

        Args:
            row: of the position in the map.
            column: of the position.
            height: of the image, in pixels.
            width: of the image.

        Returns:
            (top, left, bottom, right) in whole pixels, half-open, inside the image.
        """
        if self == WHOLE:
            return 0, 0, height, width
        y, x = row * self.stride, column * self.stride
        return (
            int(max(self.top + y, 0)), int(max(self.left + x, 0)),
            int(min(self.bottom + y + 1, height)), int(min(self.right + x + 1, width)),
        )  # fmt: skip


WHOLE = Field(math.inf, math.inf, math.inf)


def widest(fields: list[Field]) -> Field:
    """Return the field of a position where several paths join; whole-map gates do not count."""
    finite = [f for f in fields if f != WHOLE]
    if not finite:
        return WHOLE if fields else Field()
    return Field(
        max(f.height for f in finite), max(f.width for f in finite), max(f.stride for f in finite),
        min(f.top for f in finite), min(f.left for f in finite),
        max(f.bottom for f in finite), max(f.right for f in finite),
    )  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A row of the summary.

    Attributes:
        name: as in the network; "" for a function between layers.
        kind: its class, or the function.
        output: shape for one image.
        parameters: of the layer.
        multiply_adds: for one image.
        activation_bytes: memory that it adds for one image, in float32.
        field: receptive field of one position.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int
    field: Field


class _Tracer(fx.Tracer):
    """Stops at every module without children."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        return not list(m.children())


class _Meter(fx.Interpreter):
    """Runs a network node by node and records the output of each."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.fields: dict[fx.Node, Field] = {}
        self.layers: list[Layer] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        field = widest([self.fields[node] for node in n.all_input_nodes if node in self.fields])
        if n.op == "placeholder":
            self._note("input", "Input", result, field=field)
        elif n.op == "call_module":
            module = self.module.get_submodule(str(n.target))
            field = _module_field(module, field, self.fetch_args_kwargs_from_env(n)[0][0])
            self._note(str(n.target), type(module).__name__, result, module=module, field=field)
        elif n.op in ("call_function", "call_method"):
            kind = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", str(n.target))
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            field = _function_field(kind, args, kwargs, result, field)
            nothing = kind.startswith("adaptive") and result.shape == args[0].shape
            if kind == "cat" or (kind in POOLINGS and not nothing):
                self._note("", kind, result, field=field)
        self.fields[n] = field
        return result

    def _note(
        self, name: str, kind: str, result: Any, *, field: Field, module: nn.Module | None = None
    ) -> None:
        if not isinstance(result, Tensor):
            return
        held = 0 if kind in IN_PLACE else 4 * result[0].numel()
        count = sum(p.numel() for p in module.parameters()) if module else 0
        cost = _multiply_adds(module, result) if module else 0
        self.layers.append(Layer(name, kind, tuple(result.shape[1:]), count, cost, held, field))


def _multiply_adds(module: nn.Module, result: Tensor) -> int:
    """Return the multiply-adds of a layer that gave `result` (1, ...)."""
    if isinstance(module, nn.Conv2d):
        return result.numel() * module.weight[0].numel()
    if isinstance(module, LocallyConnected2d):
        return result.numel() * int(module.weight.shape[2])
    if isinstance(module, nn.Linear):
        return result.numel() * module.in_features
    dense = getattr(module, "dense_inputs", 0)  # own convolutions declare the inputs per output
    return int(result.numel() * dense)


def _module_field(module: nn.Module, field: Field, images: Tensor) -> Field:
    """Return the field after a layer that got `images` (1, C, H, W) or vectors."""
    if isinstance(module, DenseSift | Hog):
        return field.through(*module.window(*images.shape[-2:]))
    if isinstance(module, nn.Linear) or type(module).__name__ in ("GlobalAveragePool", "GlobalMaxPool"):
        return WHOLE
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return WHOLE
    if isinstance(module, LocallyConnected2d):
        return field.through((module.kernel, module.kernel), module.stride)
    kernel = getattr(module, "kernel_size", getattr(module, "kernel", 1))
    if kernel == 1 and not hasattr(module, "stride"):
        return field
    stride, dilation = getattr(module, "stride", 1), getattr(module, "dilation", 1)
    stride, dilation = (v[0] if isinstance(v, tuple) else v for v in (stride, dilation))
    return field.through(_pair(kernel), stride, dilation, _pair(getattr(module, "padding", 0)))


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _function_field(kind: str, args: tuple, kwargs: dict[str, Any], result: Any, field: Field) -> Field:
    if kind in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        shape = args[0].shape[-2:]
        return field if isinstance(result, Tensor) and result.shape[-2:] == shape else WHOLE
    if kind in ("max_pool2d", "avg_pool2d"):
        kernel = args[1] if len(args) > 1 else kwargs["kernel_size"]
        stride = args[2] if len(args) > 2 else kwargs.get("stride")
        padding = args[3] if len(args) > 3 else kwargs.get("padding", 0)
        return field.through((int(kernel), int(kernel)), int(stride or kernel), 1, _pair(padding))
    if kind == "getitem" and isinstance(args[1], tuple):
        steps = [part.step for part in args[1] if isinstance(part, slice) and part.step]
        return replace(field, stride=field.stride * max(steps, default=1))
    if kind in ("mean", "flatten") and isinstance(result, Tensor) and result.ndim < 4:
        one = isinstance(args[0], Tensor) and args[0].ndim == 4 and args[0].shape[-2:].numel() == 1
        return field if one else WHOLE
    return field


@dataclass(frozen=True)
class Summary:
    """A network, layer by layer.

    Attributes:
        layers: in the order in which they run.
        parameters: of the whole network, including those used only in training.
        multiply_adds: of one image.
        activation_bytes: of one image in float32, forward.
        receptive_field: side of the square of the input that one position of the last map depends on.
    """

    layers: tuple[Layer, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int
    receptive_field: int


def field_of(summary: Summary, layer: str) -> Field:
    """Return the receptive field of one position of a layer's map.

    Args:
        summary: of the network.
        layer: its name, or that of a group of layers (a block, a stage).

    Raises:
        UsageError: if no layer of that name gives a map.
    """
    rows = [r for r in summary.layers if r.name == layer or r.name.startswith(f"{layer}.")]
    rows = [r for r in rows if len(r.output) == 3]
    if not rows:
        raise UsageError(f"layer {layer!r} does not give a map (K, h, w)")
    # A block ends in a sum or a concatenation, which has no name: the layers of its last map's stride.
    return widest([r.field for r in rows if r.field.stride == rows[-1].field.stride])


def summarize(model: nn.Module, size: int, channels: int = 3) -> Summary:
    """Return output, memory, cost and receptive field of every layer, for one square image.

    Args:
        model: a network, or any module that takes a map; it is not changed.
        size: side of the image, in pixels.
        channels: of the image.

    Raises:
        UsageError: if the network cannot take images of that size.
    """
    graph = fx.GraphModule(model, _Tracer().trace(model))
    meter = _Meter(graph)
    first = next(iter(model.state_dict().values()), torch.empty(0))
    image = torch.zeros(1, channels, size, size, device=first.device)
    with torch.no_grad(), evaluating(model):
        try:
            meter.run(image)
        except (RuntimeError, UsageError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"the network does not take images of {size} x {size} ({reason})") from error
    layers = tuple(meter.layers)
    maps = [layer.field.size for layer in layers if len(layer.output) == 3]
    return Summary(
        layers,
        parameters(model),
        sum(layer.multiply_adds for layer in layers),
        sum(layer.activation_bytes for layer in layers),
        int(max((m for m in maps if m < math.inf), default=1)),
    )
