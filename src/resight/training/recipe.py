"""A recipe: all settings of a training run, except the data. Limited to 25 settings on purpose."""

import math
from dataclasses import dataclass

from resight.core import settings
from resight.core.errors import UsageError
from resight.data.augment.operations import parse

CHOICES = {
    "optimizer": ("sgd", "nesterov", "rmsprop", "adam", "adamw"),
    "schedule": ("constant", "cosine", "one-cycle", "steps", "fifths", "linear", "plateau"),
    "normalize": ("channel", "channel-mean", "pixel-mean", "gcn", "gcn-zca", "imagenet", "weights"),
    "precision": ("auto", "bf16", "fp32", "tf32"),
    "balance": ("none", "loss", "sampling"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a training run, except the data.

    Attributes:
        model: name of the network.
        options: of the network, as key=value: shortcut=B, activation=elu, head=gmp and so on.
        weights: "" (from scratch), "installed" (by pip), "torchvision", "torchvision-v1", "timm", a run, or a
            weight file. A user may also say "none" and "auto", which are resolved before the recipe is made.
        teacher: a run whose answers are also targets (distillation; hints where the network has a regressor);
            "weights": the given weights themselves, whose head is kept and whose answers on the new pictures
            are learned next to the new labels (Learning without Forgetting).
        image_size: side of the square that the network sees, in pixels.
        epochs: passes over the training pictures.
        batch_size: pictures per step.
        optimizer: "sgd" or "nesterov", both with momentum, "rmsprop" (decay 0.9, eps 1e-8), "adam"
            (Kingma and Ba, "Adam: A Method for Stochastic Optimization", algorithm 1), or "adamw"
            (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", algorithm 2); `momentum` is
            the beta1 of these two, beta2 is 0.999, eps 1e-8.
        lr: the largest learning rate of the schedule.
        momentum: of the optimizer.
        weight_decay: L2 penalty, on every parameter. Under "adamw" it is decoupled from the gradient, times
            the learning rate, and spares vectors: biases and what normalization scales and shifts.
        schedule: "one-cycle" (linear up, linear down), "cosine", "steps" (a tenth at every drop),
            "fifths" (a fifth at every drop), "linear" (down to a hundredth), "plateau" (a tenth
            whenever the validation error stopped falling) or "constant".
        drops: where "steps" drops; for "one-cycle", where the peak is; for "plateau", how long the error must
            not have fallen, 0.1 if empty; shares of the training.
        warmup: (steps, rate): the first steps run at this rate; empty for none. (steps, rate, of): that many
            steps of a training of `of` steps or more, and proportionally fewer of a shorter one.
        label_smoothing: share of the target spread over all classes.
        ema: decay per step of the averaged weights that are kept; 0 keeps the weights themselves.
        augment: operations as `name`, `name:value` or `name:value@share`, see `resight augment`.
        normalize: "channel" (mean and deviation of the training pictures), "channel-mean",
            "pixel-mean" (these two do not divide), "gcn" (global contrast normalization of each
            picture, minus the mean picture), "gcn-zca" (and ZCA whitening), "imagenet", or "weights" (as
            in the weights).
        val_share: share of the training pictures held out to choose the best epoch and to fit the
            temperature, if the data set has no val split; 0 for none.
        precision: "auto" (bf16 where the hardware multiplies it), "fp32" (IEEE), "bf16", or "tf32" (float32
            whose products have 10 bits of mantissa on CUDA; elsewhere as "fp32").
        memory_gib: up to this size a decoded training set is kept in memory; on a GPU if that takes no
            more than half of what is free there. Whole pictures (resized-crop, scale-jitter, random-crop) are
            kept resized, so crops differ a little from those of pictures that are read from files, see
            docs/training.md.
        trunk_lr: the trunk's learning rate over the head's; 0 leaves the trunk unchanged, statistics of batch
            normalization included. A second number divides it again from each stage to the one before:
            0.1,2.6 gives the last stage a tenth and the one before it a 26th. With a third number only that
            many stages learn, the last ones: 0.1,1,4 leaves all stages before the last four as they are,
            statistics included.
        head_first: share of the epochs, at the start, in which only the head is trained.
        balance: of classes with different numbers of pictures: "loss" (a picture counts more the rarer
            its class), "sampling" (every class is drawn equally often), or "none".
        seed: of every random choice.
    """

    model: str
    image_size: int
    epochs: int
    batch_size: int
    lr: float
    schedule: str
    augment: tuple[str, ...]
    normalize: str
    options: tuple[str, ...] = ()
    weights: str = ""
    teacher: str = ""
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    drops: tuple[float, ...] = ()
    warmup: tuple[float, ...] = ()
    label_smoothing: float = 0.0
    ema: float = 0.0
    val_share: float = 0.1
    precision: str = "auto"
    memory_gib: float = 2.0
    trunk_lr: tuple[float, ...] = (1.0,)
    head_first: float = 0.0
    balance: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the setting, its value and the range.
        """
        settings.require_choices(self, CHOICES)
        # 16 pixels leave a map in every network; batch statistics need two pictures.
        for name, least in (("image_size", 16), ("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)} must be {least} or more")
        if self.seed >= 2**63:
            raise UsageError(f"seed={self.seed} must be below 2**63")
        for name in ("momentum", "label_smoothing", "ema", "val_share", "head_first"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be in [0, 1)")
        for name in ("lr", "weight_decay", "memory_gib", "seed"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name}={getattr(self, name)} must not be negative")
        self._require_trunk_rates()
        if len(self.warmup) not in (0, 2, 3) or not all(w >= 0 for w in self.warmup):
            raise UsageError(f"warmup={self.warmup} must be steps,rate, such as 400,0.01, or steps,rate,of")
        if len(self.warmup) == 3 and self.warmup[2] <= self.warmup[0]:
            raise UsageError(f"warmup={self.warmup}: the third number is the steps of a whole training")
        if wrong := [word for word in self.options if "=" not in word]:
            raise UsageError(f"options={wrong[0]!r} is not key=value")
        if not all(0 < d < 1 for d in self.drops) or list(self.drops) != sorted(self.drops):
            raise UsageError(f"drops={self.drops} must rise between 0 and 1")
        if self.schedule == "plateau" and len(self.drops) > 1:
            raise UsageError(
                f"drops={self.drops}: schedule=plateau takes one number, the share of the training without a "
                "lower error that is a plateau, such as 0.1"
            )
        parse(self.augment)

    def _require_trunk_rates(self) -> None:
        """Refuse an invalid `trunk_lr`.

        Raises:
            UsageError: naming its value and what it may be.
        """
        rate, *more = self.trunk_lr or (-1.0,)
        if len(more) > 2 or rate < 0 or min(more, default=1) < 1:
            raise UsageError(
                f"trunk_lr={self.trunk_lr} must be a rate, perhaps a divisor of 1 or more, and perhaps the "
                "number of stages that learn"
            )
        if self.trunk_lr[2:] and not self.trunk_lr[2].is_integer():
            raise UsageError(f"trunk_lr={self.trunk_lr}: the third number counts stages, so it must be whole")

    @property
    def learning_stages(self) -> float:
        """How many stages of the trunk may learn, counted from the last; infinity for all of them."""
        return self.trunk_lr[2] if len(self.trunk_lr) == 3 else math.inf


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a recipe knows when it sets its defaults.

    Attributes:
        model: the network that the user asked for; empty for the recipe's choice.
        pictures: the number of training pictures.
        side: typical shorter side of the pictures, in pixels.
        mirrors: whether a mirrored picture keeps its class.
        pretrained: whether it starts from given weights.
        weights_size: input size of the given weights, in pixels; 0 if unknown, or there are none.
        least_size: side of the smallest picture that the network takes; 0 if it was not named.
        normalized: whether it has batch normalization, without which only lower rates converge.
    """

    model: str
    pictures: int
    side: int
    mirrors: bool
    pretrained: bool = False
    weights_size: int = 0
    least_size: int = 0
    normalized: bool = True

    @property
    def flip(self) -> tuple[str, ...]:
        """Mirroring, if allowed."""
        return ("flip",) if self.mirrors else ()
