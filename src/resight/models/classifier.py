"""The contract of every network: a trunk that gives a map, and a head that reads it."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.models.activations import SIGMOID, SOFTMAX
from resight.models.cost import evaluating
from resight.models.criterion import PLAIN, Criterion
from resight.models.origin import Origin

if TYPE_CHECKING:
    from resight.models.old_tasks import OldTask

Part = TypeVar("Part", bound=nn.Module)

HEADS = ("gap", "gmp", "flatten")
"""Global average pooling, global maximum pooling, or every position of the map."""


class Classifier(nn.Module):
    """A trunk and a head: `forward(x) == forward_head(forward_features(x))`.

    B images, K channels, h x w map. A network is built with `add` and `add_head`: layers under their
    published names, in the order in which they run, each in a stage.

    Args:
        num_classes: number of logits.
        in_channels: channels of the image.
        head: one of `HEADS`: how the last map becomes a vector.
        grid: side of the last map at the network's own input size, in positions. With the head "flatten",
            other maps are averaged to it, so that the network works at other input sizes.

    Attributes:
        num_features: K, channels of the last map.
        classes: names of the classes, in the order of the logits; empty until weights bring them.
        logit_activation: what turns several logits into probabilities: `SOFTMAX` or `SIGMOID`.
        preprocessing: how a picture must be prepared; None until weights bring it.
        old_tasks: the tasks of its `old_heads`, see `resight.models.old_tasks`.
        name: the name under which it was created.
        options: the options with which it was created.
        weights_note: one line on what its weights lack, and which of several were used; "" for nothing.
        origin: where its weights come from, if they are third-party weights.

    Raises:
        UsageError: if there is no such head.
    """

    logit_scale: ClassVar[float] = 1.0
    """What the pooled map is multiplied by."""
    same_below: ClassVar[float] = 0.0
    """Distance below which its released weights, which have no classes, mean one person; 0 for all others."""
    auxiliary_weight: ClassVar[float] = 0.0
    """Weight of an auxiliary head's loss relative to the main head's."""

    guided_layer: str = ""
    """The trunk's layer that a regressor reads to learn from a teacher's layer of the same name."""

    num_features: int

    def __init__(self, num_classes: int, in_channels: int, head: str, grid: int) -> None:
        super().__init__()
        if head not in HEADS:
            raise UsageError(f"head {head!r} is not one of {', '.join(HEADS)}")
        self.num_classes, self.in_channels, self.head, self.grid = num_classes, in_channels, head, grid
        self.classes: tuple[str, ...] = ()
        self.logit_activation = SOFTMAX
        self.preprocessing: Preprocessing | None = None
        self.name, self.options = "", dict[str, Any]()
        self.weights_note = ""
        self.origin: Origin | None = None
        self.old_tasks: list[OldTask] = []
        self._stages: dict[str, list[str]] = {}
        self._reader: list[str] = []
        self._auxiliary: dict[str, str] = {}

    def add(self, stage: str, name: str, module: Part) -> Part:
        """Append a layer to the trunk and return it.

        Args:
            stage: the group of layers that share one map size.
            name: of the layer; a dot names a child ("features.0").
            module: the layer, (B, C, h, w) to (B, C', h', w').
        """
        self._stages.setdefault(stage, []).append(name)
        return self._register(name, module)

    def add_head(self, name: str, module: Part) -> Part:
        """Append a layer to the head, after its pooling, and return it; the last one gives the logits."""
        self._reader.append(name)
        return self._register(name, module)

    def add_auxiliary(self, after: str, name: str, module: Part) -> Part:
        """Add a head that reads the trunk's layer `after` only in training, and return it."""
        self._auxiliary[after] = name
        return self._register(name, module)

    def add_linear_head(self, name: str, channels: int, dropout: float = 0.0) -> None:
        """Add the usual head: pooling (see `HEADS`), dropout if any, one linear layer."""
        width = channels * self.grid**2 if self.head == "flatten" else channels
        if dropout:
            self.add_head("dropout", nn.Dropout(dropout))
        self.add_head(name, nn.Linear(width, self.num_classes))

    def _register(self, name: str, module: Part) -> Part:
        parent, _, leaf = name.rpartition(".")
        if parent and parent not in self._modules:
            self.add_module(parent, nn.Sequential())
        self.get_submodule(parent).add_module(leaf, module)
        return module

    @property
    def sharpen(self) -> float:
        """Weight of the attention losses in training, see `resight.tasks.classify.attention`."""
        return self.options.get("sharpen", 0.0)

    @property
    def frozen_norm(self) -> bool:
        """Whether training leaves the statistics of batch normalization as they are."""
        return self.options.get("frozen_norm", False)

    @property
    def measured_norm(self) -> bool:
        """Whether each epoch measures these statistics for the kept weights, on training pictures."""
        return self.options.get("measured_norm", False)

    @property
    def frozen_depthwise(self) -> bool:
        """Whether training leaves the kernels of depth-wise convolutions as they are."""
        return self.options.get("frozen_depthwise", False)

    @property
    def stages(self) -> "OrderedDict[str, nn.Module]":
        """The named stages, first to last: run in sequence, they are the trunk."""
        return OrderedDict(
            (stage, self.get_submodule(names[0]) if len(names) == 1 else nn.Sequential(*self._parts(names)))
            for stage, names in self._stages.items()
        )

    def trunk_layers(self) -> list[list[str]]:
        """Return the names of the trunk's layers, stage by stage."""
        return list(self._stages.values())

    def layers_of(self, stage: str) -> list[str]:
        """Return the names of the layers of a stage."""
        return self._stages[stage]

    def _parts(self, names: Sequence[str]) -> list[nn.Module]:
        return [self.get_submodule(name) for name in names]

    def forward_features(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into the last map (B, K, h, w)."""
        for names in self._stages.values():
            for name in names:
                images = self.get_submodule(name)(images)
        return images

    def forward_maps(self, images: Tensor, stages: Collection[str]) -> dict[str, Tensor]:
        """Turn images (B, C, H, W) into the maps (B, K, h, w) of some stages, by name."""
        maps = {}
        for stage, names in self._stages.items():
            for name in names:
                images = self.get_submodule(name)(images)
            if stage in stages:
                maps[stage] = images
        return maps

    def forward_to(self, images: Tensor, layer: str) -> Tensor:
        """Run the trunk up to one of its layers, and return that layer's output."""
        for names in self._stages.values():
            for name in names:
                images = self.get_submodule(name)(images)
                if name == layer:
                    return images
        raise UsageError(f"the trunk of {self.name or 'this network'} has no layer {layer!r}")

    def pool(self, features: Tensor) -> Tensor:
        """Turn the last map (B, K, h, w) into the vector (B, K) or (B, K grid^2) that the head reads."""
        if self.head == "gmp":
            return torch.flatten(F.adaptive_max_pool2d(features, 1), 1)
        # adaptive_avg_pool2d, not mean: bit-equal to torchvision.
        side = self.grid if self.head == "flatten" else 1
        return torch.flatten(F.adaptive_avg_pool2d(features, side), 1)

    def forward_head(self, features: Tensor, *, pre_logits: bool = False) -> Tensor:
        """Pool the last map and return logits.

        Args:
            features: (B, K, h, w).
            pre_logits: stop before the last layer.

        Returns:
            (B, classes), or the input of the last layer.
        """
        x = self.pool(features)
        if self.logit_scale != 1:
            x = x * self.logit_scale
        for name in self._reader[:-1]:
            x = self.get_submodule(name)(x)
        return x if pre_logits else self.get_classifier()(x)

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into logits (B, classes)."""
        return self.forward_head(self.forward_features(images))

    def forward_training(self, images: Tensor, maps: list[Tensor] | None = None) -> tuple[Tensor, ...]:
        """Return the logits of the head, then those of each auxiliary head, from one pass.

        Args:
            images: (B, C, H, W).
            maps: a list that each stage's map (B, K, h, w) is appended to.
        """
        beside = []
        for names in self._stages.values():
            for name in names:
                images = self.get_submodule(name)(images)
                if name in self._auxiliary:
                    beside.append(self.get_submodule(self._auxiliary[name])(images))
            if maps is not None:
                maps.append(images)
        return (self.forward_head(images), *beside)

    def loss(
        self, outputs: tuple[Tensor, ...], targets: Tensor, done: float, criterion: Criterion = PLAIN
    ) -> Tensor:
        """Return the training loss: the criterion, plus the weighted criterion of the auxiliary heads.

        Args:
            outputs: of `forward_training`, float32.
            targets: (B,) or (B, classes), see `Criterion`.
            done: share of the training that is done, in [0, 1).
            criterion: cross-entropy, unless the network has its own loss.
        """
        del done
        head, *beside = (criterion(output, targets) for output in outputs)
        return head + self.auxiliary_weight * sum(beside) if beside else head

    def learning(self, name: str) -> tuple[float, float]:
        """Return the factors of a parameter's learning rate and weight decay.

        The slope of a PReLU is not decayed (He et al. 2015, "Delving Deep into Rectifiers", section 2.1).
        """
        return 1.0, decayed(self, name)

    def head_parameters(self) -> set[str]:
        """Return the names of the parameters of the layers that give logits, and of a regressor.

        They are fresh where the trunk's are given, so `trunk_lr` and `head_first` leave them alone.
        """
        fresh = (*self.last_layers(), *(["regressor"] if self.guided_layer else []))
        own = {id(p) for name in fresh for p in self.get_submodule(name).parameters()}
        return {name for name, p in self.named_parameters() if id(p) in own}

    def constrain(self) -> None:
        """Project the weights into the network's bounds; called after every step; most have none."""

    def initialize_from(self, images: Tensor) -> None:
        """Let a fresh network initialize from normalized training images (B, C, H, W); most do not."""

    @property
    def looks_first(self) -> bool:
        """Whether a fresh network initializes from training images."""
        return type(self).initialize_from is not Classifier.initialize_from

    def end_at(self, stage: str, size: int) -> None:
        """Make a stage the last: later ones are dropped, and one fresh linear layer reads its larger map.

        This makes class activation maps finer, at some cost in accuracy.

        Args:
            stage: a name in `stages`.
            size: side of an image that the network takes.

        Raises:
            UsageError: if there is no such stage, or the head does not pool or is a custom head.
        """
        names = list(self._stages)
        if stage not in names:
            raise UsageError(f"last={stage}: the stages of this network are {', '.join(names)}")
        if self.head == "flatten":
            raise UsageError(f"last={stage}: the head must pool; add head=gap")
        own = type(self)
        if (own.pool, own.forward_head) != (Classifier.pool, Classifier.forward_head):
            raise UsageError(f"last={stage}: this network's own head reads only its last map")
        for dropped in names[names.index(stage) + 1 :]:
            for layer in self._stages.pop(dropped):
                if auxiliary := self._auxiliary.pop(layer, None):
                    self._remove(auxiliary)
                self._remove(layer)
        classifier = self.classifier_name
        for layer in self._reader:
            self._remove(layer)
        self._reader = []
        with torch.no_grad(), evaluating(self):
            features = self.forward_features(torch.zeros(1, self.in_channels, size, size))
        self.num_features = features.shape[1]
        self.add_head(classifier, nn.Linear(self.num_features, self.num_classes))

    def drop_head(self, stages: Sequence[str]) -> None:
        """Leave the trunk alone, up to the last of some stages: all heads, and what comes after, go.

        Raises:
            UsageError: if there is no such stage, or they are not in the order in which they run.
        """
        names = list(self._stages)
        if not stages or [name for name in names if name in stages] != list(stages):
            raise UsageError(
                f"a head reads {', '.join(stages) or 'nothing'}; the stages of {self.name or 'this network'} "
                f"are, in order, {', '.join(names)}"
            )
        dropped = names[names.index(stages[-1]) + 1 :]
        for layer in (layer for stage in dropped for layer in self._stages.pop(stage)):
            self._remove(layer)
        # Whatever else the network holds is of its heads: their layers, side heads, a regressor.
        trunk = {layer.partition(".")[0] for names in self._stages.values() for layer in names}
        for layer in self._reader:
            self._remove(layer)
        for name in [name for name, _ in self.named_children() if name not in trunk]:
            del self._modules[name]
        self._reader, self._auxiliary, self.old_tasks = [], {}, []

    def _remove(self, name: str) -> None:
        parent, _, leaf = name.rpartition(".")
        del self.get_submodule(parent)._modules[leaf]

    @property
    def probabilities(self) -> str:
        """How its logits become probabilities, see `resight.models.probabilities`."""
        return SIGMOID if self.num_classes == 1 else self.logit_activation

    @property
    def classifier_name(self) -> str:
        """The name of the last layer."""
        return self._reader[-1]

    def get_classifier(self) -> nn.Module:
        """Return the last layer, which gives the logits."""
        return self.get_submodule(self.classifier_name)

    def before_last(self) -> list[nn.Module]:
        """Return the layers of the head between its pooling and its last layer, in their order."""
        return self._parts(self._reader[:-1])

    def training_only(self) -> tuple[str, ...]:
        """Return the names of the heads that are used only in training."""
        return tuple(self._auxiliary.values())

    def last_layers(self) -> list[str]:
        """Return the names of the layers that give logits: the head's, and each auxiliary head's."""
        beside = (
            f"{name}.{list(dict(self.get_submodule(name).named_children()))[-1]}"
            for name in self._auxiliary.values()
        )
        return [self.classifier_name, *beside]

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer, and that of every auxiliary head, by fresh ones of `num_classes` logits."""
        self.num_classes, self.classes, self.logit_activation = num_classes, (), SOFTMAX
        for name in self.last_layers():
            parent, _, leaf = name.rpartition(".")
            setattr(self.get_submodule(parent), leaf, fresh_like(self.get_submodule(name), num_classes))


def decayed(network: nn.Module, name: str) -> float:
    """Return what a parameter's weight decay is multiplied by: that of a PReLU's slope by 0."""
    owner = network.get_submodule(name.rpartition(".")[0])
    return 0.0 if isinstance(owner, nn.PReLU) else 1.0


def fresh_like(layer: nn.Module, num_classes: int) -> nn.Module:
    """Return a layer of the same kind, device and dtype, with `num_classes` outputs."""
    if isinstance(layer, nn.Conv2d):
        fresh: nn.Module = nn.Conv2d(layer.in_channels, num_classes, 1)
    else:  # a linear layer, or one that is made like it
        fresh = type(layer)(layer.in_features, num_classes)  # pyright: ignore[reportCallIssue]
    return fresh.to(next(iter(layer.state_dict().values())))
