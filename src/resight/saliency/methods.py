"""The table of methods, and `explain`, their single entry point."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resight.core import settings
from resight.core.errors import NotFiniteError, UsageError
from resight.core.registry import lookup, suggestion
from resight.data.given import Given
from resight.geometry import heatmaps
from resight.models.locks import holding
from resight.models.probabilities import rule_of
from resight.saliency import grad_cam, pictures
from resight.saliency.ablation_cam import ablation_cam
from resight.saliency.attention import attention_rollout, chefer_relevance
from resight.saliency.augmented_grad_cam import augmented_grad_cam
from resight.saliency.averaged_gradients import integrated_gradients, smooth_grad
from resight.saliency.cam import cam, gmp_cam
from resight.saliency.capture import Split, bare, logits_of, split_at
from resight.saliency.eigen_cam import eigen_cam, eigen_grad_cam
from resight.saliency.explanation import Explanation, Target, class_names, resolve, several
from resight.saliency.finer_cam import compared
from resight.saliency.layers import last_map_layer
from resight.saliency.look import Look, Question, wide
from resight.saliency.prepared import prepared
from resight.saliency.score_cam import score_cam

AT_ONCE = 2**28
"""Number of gradient values held in memory at a time."""

CAPPED = 0.99
"""Share of the pixels below the cap of averaged gradients (Smilkov et al. 2017, section 3)."""

POSITIVE = {"keep": 1.0, "energy": math.inf, "gap": math.inf}
"""Options that must be above zero, and their largest values."""


@dataclass(frozen=True)
class Method:
    """How a method is computed and how its maps are read.

    Attributes:
        compute: (look, options) to raw maps (B, T, h, w), signed; or (B, T, H, W).
        paper: who published it.
        title: its published name.
        rectified: whether the paper cuts off negative values before the map is shown.
        layerless: whether the method reads no layer that could be named.
        sweeps: whether the network is run on many modified pictures, which serve all targets at once.
        reads: what it reads where it is layerless.
        divides: whether it keeps the gradients of many targets within bounds itself.
        kept: the share of the pixels that keep their value when the map is shown.
    """

    compute: Callable[..., Tensor]
    paper: str
    title: str = ""
    rectified: bool = True
    layerless: bool = False
    sweeps: bool = False
    reads: str = "images"
    divides: bool = False
    kept: float = 1.0


def _finer(look: Look, base: str = "grad_cam", gamma: float = 0.6, others: int = 3) -> Tensor:
    """Return the maps (B, T, h, w) of a base method for what Finer-CAM asks, see `finer_cam.compared`.

    Defaults: gamma 0.6 and 3 classes, as in the released code; where the user names the class to compare
    with, gamma is the share of its logit that is subtracted.
    """
    method = lookup(BASES, base, "base method")
    question = compared(look, gamma, others)
    assert question.against is not None  # finer_cam compares
    look.facts["against"] = question.against.tolist()
    return _compute(method, look.asking(question), {})


def _augmented(look: Look, base: str = "grad_cam", **options: Any) -> Tensor:
    method = lookup(BASES, base, "base method")
    return augmented_grad_cam(look, method.compute, **options)


METHODS = {
    "cam": Method(cam, "Zhou et al. 2016", "CAM", rectified=False),
    "gmp_cam": Method(gmp_cam, "Zhou et al. 2016", "CAM with max pooling", rectified=False),
    "grad_cam": Method(grad_cam.grad_cam, "Selvaraju et al. 2017", "Grad-CAM"),
    "grad_cam_pp": Method(grad_cam.grad_cam_pp, "Chattopadhay et al. 2018", "Grad-CAM++"),
    "smooth_grad_cam_pp": Method(grad_cam.smooth_grad_cam_pp, "Omeiza et al. 2019", "Smooth Grad-CAM++"),
    "sharpen_focus": Method(grad_cam.sharpen_focus, "Wang et al. 2019", "Sharpen Focus"),
    "layer_cam": Method(grad_cam.layer_cam, "Jiang et al. 2021", "LayerCAM"),
    "hires_cam": Method(grad_cam.hires_cam, "Draelos and Carin 2020", "HiResCAM"),
    "xgrad_cam": Method(grad_cam.xgrad_cam, "Fu et al. 2020", "XGrad-CAM"),
    "ablation_cam": Method(ablation_cam, "Desai and Ramaswamy 2020", "Ablation-CAM", sweeps=True),
    "score_cam": Method(score_cam, "Wang et al. 2020", "Score-CAM", sweeps=True),
    "augmented_grad_cam": Method(_augmented, "Morbidelli et al. 2020", "Augmented Grad-CAM", sweeps=True),
    "eigen_cam": Method(eigen_cam, "Muhammad and Yeasin 2020", "Eigen-CAM"),
    "eigen_grad_cam": Method(eigen_grad_cam, "pytorch-grad-cam", "Eigen-Grad-CAM"),
    "finer_cam": Method(_finer, "Zhang et al. 2025", "Finer-CAM", divides=True),
    "guided_grad_cam": Method(pictures.guided_grad_cam, "Selvaraju et al. 2017", "Guided Grad-CAM"),
    "gradient": Method(pictures.gradient, "Simonyan et al. 2014", "Gradient", layerless=True),
    "rise": Method(
        pictures.rise, "Petsiuk et al. 2018", "RISE", rectified=False, layerless=True, sweeps=True
    ),
    "occlusion": Method(
        pictures.occlusion, "Zeiler and Fergus 2014", "Occlusion", layerless=True, sweeps=True
    ),
    "integrated_gradients": Method(
        integrated_gradients,
        "Sundararajan et al. 2017",
        "Integrated gradients",
        layerless=True,
        sweeps=True,
        kept=CAPPED,
    ),
    "smooth_grad": Method(
        smooth_grad, "Smilkov et al. 2017", "SmoothGrad", layerless=True, sweeps=True, kept=CAPPED
    ),
    "attention_rollout": Method(
        attention_rollout, "Abnar and Zuidema 2020", "Attention rollout", layerless=True, reads="attention"
    ),
    "chefer_relevance": Method(
        chefer_relevance, "Chefer et al. 2021", "Chefer's relevance", layerless=True, reads="attention"
    ),
}

BASES = {
    name: method
    for name, method in METHODS.items()
    if not method.layerless and name not in ("augmented_grad_cam", "guided_grad_cam", "finer_cam")
}
"""The methods whose maps have the layer's size."""

PARTICULAR = (
    "cam", "gmp_cam", "guided_grad_cam", "finer_cam", "attention_rollout", "chefer_relevance",
)  # fmt: skip
"""The methods that do not fit every network with a map."""


def fitting(
    model: nn.Module, images: Tensor, layers: Sequence[str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the methods that fit a network, in the table's order, and for the others why they do not.

    Args:
        model: gives logits.
        images: (B, C, H, W), as for `explain`; the first is tried.
        layers: as for `explain`.
    """
    unfit = {}
    for name in PARTICULAR:
        try:
            explain(model, images[:1], name, None, None if METHODS[name].layerless else layers)
        except UsageError as error:
            unfit[name] = str(error)
    return [name for name in METHODS if name not in unfit], unfit


def list_options(method: str) -> dict[str, Any]:
    """Return the options of a method and their defaults.

    Raises:
        UnknownNameError: for an unknown method.
    """
    entry = lookup(METHODS, method, "saliency method")
    functions = [entry.compute, augmented_grad_cam] if method == "augmented_grad_cam" else [entry.compute]
    return {
        name: parameter.default
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }


def read_options(methods: Sequence[str], words: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Turn `key=value` arguments into options of methods; each method gets the options that it has.

    Raises:
        UsageError: for an argument that is not key=value, a key that is not an option of any of the methods,
            or a value of another type.
    """
    known = {method: list_options(method) for method in methods}
    options: dict[str, dict[str, Any]] = {method: {} for method in methods}
    for key, value in settings.pairs(words):
        takers = [method for method in methods if key in known[method]]
        if not takers:
            every = {name for names in known.values() for name in names}
            of = " and ".join(methods) if len(methods) < 3 else "any of the methods"
            close = f"; {suggestion(key, every)}" if every else ", which has none"
            raise UsageError(f"{key!r} is not an option of {of}{close}")
        for method in takers:
            options[method][key] = settings.read_like(key, value, known[method][key])
    return options


def explain(
    model: nn.Module,
    images: Tensor | Given | Sequence[Given],
    method: str = "grad_cam",
    target: Target = None,
    layer: str | Sequence[str] | None = None,
    *,
    seed: int = 0,
    probabilities: str | None = None,
    **options: Any,
) -> Explanation:
    """Show where a network looks for a class.

    Works on any torch network. Hooks, modes, gradients, parameters and the random state are left unchanged,
    also after an error. Several threads may explain one network: they take turns.

    Args:
        model: gives logits (B, classes) for images, or anything, if `target` is a function of it. A network
            is taken out of `torch.compile` and parallel wrappers.
        images: (B, C, H, W), preprocessed as the network expects them, on its device, in its precision. An
            `autocast` around the call is ignored. If the network knows its preprocessing, as
            `open_run(RUN).model` does, also one or several pictures: paths, PIL pictures, and arrays of
            uint8, (H, W, 3) RGB or (H, W) grey; they are preprocessed for it.
        method: a name in `METHODS`.
        target: None (top-1), a class number, a class name, one per image, several per image, "all", or a
            function of what the network returned that gives a score (B,) or several (B, T): a side of a box,
            a key point, the mean of a segmentation, the similarity to an embedding. "A-B", with names or
            numbers, or `Versus(number, number)`: why A and not B, the difference of their logits; of a
            class with a hyphen in its name, the name itself comes first. A network with one logit
            has one class, number 0: the positive class of the two. For the negative class give
            `lambda logits: -logits[:, 0]`.
        layer: name of the layer whose map is read; by default the last one with a spatial map. For several
            layers, the maps are normalized, resized to the largest and averaged.
        seed: seed of the method's random draws.
        probabilities: how logits become probabilities, for the methods that use them (RISE, and Score-CAM
            by its option `weighting`): "softmax", "sigmoid" (an independent decision for each class) or
            "none" (the network returns probabilities). By default the network's own rule; see `rule_of`.
        **options: of the method; see `list_options`.

    Returns:
        Maps of shape (B, H, W), or (B, T, H, W) if several targets per image were asked for.

    Raises:
        UsageError: for an unknown method, option, layer or class, or a method that does not fit the network.
        PictureError: if a picture cannot be read.
        NotFiniteError: if the images, the scores or a map hold NaN or infinite values.
    """
    entry = lookup(METHODS, method, "saliency method")
    images = images if isinstance(images, Tensor) else prepared(bare(model), images)
    _check(images, method, options, layer)
    if callable(target) and probabilities is not None:
        raise UsageError(
            "probabilities= applies to logits, but a target function gives its own scores; omit it"
        )
    model = bare(model)
    with holding(model):
        return _explain(entry, model, images, target, layer, seed, probabilities, options)


def _explain(
    entry: Method,
    model: nn.Module,
    images: Tensor,
    target: Target,
    layer: str | Sequence[str] | None,
    seed: int,
    probabilities: str | None,
    options: Mapping[str, Any],
) -> Explanation:
    names = class_names(model)
    own_precision = torch.autocast(images.device.type, enabled=False)
    with torch.inference_mode(mode=False), own_precision:
        images = images.clone() if images.is_inference() else images
        layers = [] if entry.layerless else _layers(model, images, layer)
        split = split_at(model, images, layers)
        question = _question(model, split, target, names, probabilities)
        looks = [Look(model, images, split, question, place, seed) for place in range(len(layers) or 1)]
        scores = wide(looks[0].scores.detach())
        if len(scores) != len(images):
            raise UsageError(f"the target function gives {len(scores)} scores for {len(images)} images")
        _check_finite(split, scores)
        maps = [_compute(entry, look, options) for look in looks]
    raw = maps[0] if len(maps) == 1 else _fused(maps, rectified=entry.rectified)
    if not raw.isfinite().all():
        raise NotFiniteError(
            f"the maps of {entry.title} are NaN or infinite: values inside the network overflow the range of "
            "its precision; run it in float32, or use another method"
        )
    if question.targets is None:
        numbers = torch.arange(scores.shape[1], device=scores.device).expand(len(images), -1)
    else:
        numbers = question.targets
    keep = several(target) or (question.targets is None and scores.shape[1] > 1)
    fields = (raw, numbers, scores) if keep else tuple(t[:, 0] for t in (raw, numbers, scores))
    against = question.named_against
    against = against if keep or against is None else against[:, 0]
    size = (images.shape[2], images.shape[3])
    read = ", ".join(layers) or entry.reads
    return Explanation(
        fields[0], read, fields[1], fields[2], size, entry.rectified, looks[0].facts, against, entry.kept
    )


def _check(images: Tensor, method: str, options: Mapping[str, Any], layer: object) -> None:
    known = list_options(method)
    for name in options:
        if name not in known:
            close = f"; {suggestion(name, known)}" if known else ", which has none"
            raise UsageError(f"{name!r} is not an option of {method}{close}")
        _check_value(name, options[name], known[name])
    if images.ndim != 4 or not len(images):
        raise UsageError(f"images must be (B, C, H, W) with B > 0, not {tuple(images.shape)}")
    if not images.is_floating_point():
        raise UsageError(
            f"images must be floating point, preprocessed as the network expects them, not {images.dtype}"
        )
    if not (finite := images.isfinite().flatten(1).all(1)).all():
        raise NotFiniteError(
            f"image {int(finite.logical_not().nonzero()[0])} of the batch holds NaN or infinite values"
        )
    if METHODS[method].layerless and layer is not None:
        what = "attention of all blocks" if METHODS[method].reads == "attention" else "pictures"
        raise UsageError(f"{method} works on the {what}, not on a layer; omit layer=")


def _check_value(name: str, value: Any, default: Any) -> None:
    """Refuse a value out of range: counts start at 1, or at 0 where that is the default; shares are >= 0."""
    if isinstance(default, int):
        least = min(default, 1)
        if not isinstance(value, int) or value < least:
            raise UsageError(f"{name}={value!r}: needs a whole number, {least} or more")
    elif isinstance(default, float):
        if not (isinstance(value, int | float) and math.isfinite(value)) or value < 0:
            raise UsageError(f"{name}={value!r}: needs a number of 0 or more")
        if name in POSITIVE and not 0 < value <= POSITIVE[name]:
            most = "" if math.isinf(POSITIVE[name]) else f", and {POSITIVE[name]:g} or less"
            raise UsageError(f"{name}={value!r}: needs a number above 0{most}")
    elif name == "precision" and value not in ("fp32", "bf16"):
        raise UsageError(f"precision={value!r}: must be one of fp32, bf16")


def _layers(model: nn.Module, images: Tensor, layer: str | Sequence[str] | None) -> list[str]:
    if layer is None:
        return [last_map_layer(model, images)]
    if not layer:
        raise UsageError("layer= is empty; name a layer, or omit it for the last map")
    return [layer] if isinstance(layer, str) else list(layer)


def _check_finite(split: Split, scores: Tensor) -> None:
    """Refuse NaN and infinity in the scores; other classes may have a logit of minus infinity ("never")."""
    logits = logits_of(split.output)
    sound = scores.isfinite().all(1)
    if logits is not None:
        sound &= (logits < math.inf).all(1)
    if not sound.all():
        place, kind = int(sound.logical_not().nonzero()[0]), scores.dtype if logits is None else logits.dtype
        raise NotFiniteError(
            f"the network's output for image {place} of the batch has NaN or infinity in {kind}: check its "
            "weights, or run it in float32"
        )


def _question(
    model: nn.Module, split: Split, target: Target, names: Sequence[str], probabilities: str | None
) -> Question:
    if callable(target):
        return Question(None, target)
    logits = logits_of(split.output)
    if logits is None:
        raise UsageError(
            "the network does not return logits (B, classes); give target= a function of what it returns"
        )
    rule = rule_of(model, logits.shape[1], probabilities)
    targets, others = resolve(target, logits.detach(), names)
    if others is None:
        return Question(targets, None, rule)
    return Question(targets, None, rule, others.clamp(min=0)[..., None], (others >= 0).float()[..., None])


def _compute(entry: Method, look: Look, options: Mapping[str, Any]) -> Tensor:
    """Compute raw maps, for a part of the targets at a time where the gradients of all would not fit."""
    targets = look.question.targets
    if entry.sweeps or entry.divides or targets is None:
        return entry.compute(look, **options).detach()
    if entry.layerless:
        values = look.images.numel()
    else:
        places = 1 if look.head is not None and look.head.linear_in_the_map else look.cells
        values = look.activation.shape[0] * look.activation.shape[1] * places
    most, count = max(1, AT_ONCE // values), targets.shape[1]
    if count <= most:
        return entry.compute(look, **options).detach()
    parts = [slice(start, start + most) for start in range(0, count, most)]
    looks = [look.asking(look.question.asking_for(part)) for part in parts]
    return torch.cat([entry.compute(part, **options).detach() for part in looks], 1)


def _fused(maps: list[Tensor], *, rectified: bool) -> Tensor:
    """Return the mean of maps of several layers, each normalized, at the largest size."""
    height, width = max((m.shape[-2:] for m in maps), key=lambda size: size[0] * size[1])
    shown = [heatmaps.rectify(m) if rectified else m for m in maps]
    return torch.stack([heatmaps.resize(heatmaps.normalize(m), height, width) for m in shown]).mean(0)
