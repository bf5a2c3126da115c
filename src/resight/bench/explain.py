"""Saliency maps compared with pytorch-grad-cam, torch-cam and captum: speed, peak memory, agreement.

All work on one network with the same weights (random; speed does not depend on them), on the same pictures
and classes, at the same layer, with the same threads and the allocator setting that helps (`keep_pages`).
Each of the others is tried with and without channels last, and measured with the faster one. Each gives what
its users get from one call: ours and pytorch-grad-cam's maps have the pictures' size, torch-cam's and
captum's the layer's.

Memory is the process's peak during one step above the memory of network and pictures. A difference is the
largest one between maps scaled to [0, 1] at the pictures' size.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from resight.bench.interleave import Contest, timed
from resight.bench.peak import peak_of
from resight.bench.rows import Maps
from resight.core.device import pick_device
from resight.geometry import heatmaps
from resight.models.folding import Inference
from resight.models.zoo import create_model
from resight.saliency.methods import explain

LAYOUTS = (torch.contiguous_format, torch.channels_last)
SAMPLES = 4
"""Noisy copies of Smooth Grad-CAM++; torch-cam's default."""
REDUCED = 96
"""Channels that reduced Score-CAM scores, of about 1,950 that are not constant."""
OURS, FORWARD = "resight", "forward only"

PYTORCH_GRAD_CAM = {
    "grad_cam": "GradCAM", "grad_cam_pp": "GradCAMPlusPlus",
    "ablation_cam": "AblationCAM", "score_cam": "ScoreCAM",
}  # fmt: skip
TORCH_CAM = {
    "grad_cam": "GradCAM", "grad_cam_pp": "GradCAMpp",
    "smooth_grad_cam_pp": "SmoothGradCAMpp", "score_cam": "ScoreCAM",
}  # fmt: skip

Arrays = dict[str, np.ndarray]
Build = Callable[[torch.memory_format], tuple[Callable[[], Any], Callable[[Any], Arrays]]]
"""From a layout to a step, and a function from the step's result to the arrays that are compared."""


@dataclass(frozen=True)
class Case:
    """What is explained.

    Attributes:
        network: its name, here and in torchvision.
        batch: pictures per step.
        side: of the pictures.
        layer: the layer whose map is read.
    """

    network: str = "resnet50"
    batch: int = 16
    side: int = 224
    layer: str = "layer4"

    def other(self, layout: torch.memory_format) -> nn.Module:
        """Return torchvision's network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = getattr(torchvision.models, self.network)().eval()
        return model.to(pick_device(), memory_format=layout)

    def ours(self) -> nn.Module:
        """Return our network with the same weights."""
        model = create_model(self.network).eval()
        model.load_state_dict(self.other(torch.contiguous_format).state_dict())
        return model.to(pick_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    def pictures(self, layout: torch.memory_format) -> Tensor:
        """Return (B, 3, side, side)."""
        made = torch.randn(self.batch, 3, self.side, self.side, generator=torch.Generator().manual_seed(1))
        return made.to(pick_device(), memory_format=layout)

    def classes(self) -> list[int]:
        """Return the class to explain in each picture: the network's top-1."""
        with torch.inference_mode():
            return (
                self.other(torch.contiguous_format)(self.pictures(torch.contiguous_format)).argmax(1).tolist()
            )


class Looked:
    """A block whose first call finds the better layout and records memory and maps of one step.

    Args:
        build: makes the step.
        case: what is explained.
        layouts: the layouts to try.
        trial: what is timed to choose among them, if the step itself takes minutes.
    """

    def __init__(
        self,
        build: Build,
        case: Case,
        layouts: tuple[torch.memory_format, ...] = LAYOUTS,
        trial: Build | None = None,
    ) -> None:
        self.build, self.case, self.layouts, self.trial = build, case, layouts, trial or build
        self.facts: dict[str, Any] = {}
        self.step: Callable[[], Any] | None = None

    def __call__(self, seconds: float) -> tuple[int, float]:
        """Take one step at first, later steps for the given seconds."""
        if self.step is not None:
            step = self.step
            return timed(lambda: step() is None or self.case.batch)(seconds)
        layout = min(self.layouts, key=self._seconds)
        self.step, read = self.build(layout)
        started = time.perf_counter()
        result, memory = peak_of(self.step, pick_device())
        taken = time.perf_counter() - started
        self.facts = {
            "memory": memory,
            "layout": "channels last" if layout == torch.channels_last else "NCHW",
            **read(result),
        }
        return self.case.batch, taken

    def _seconds(self, layout: torch.memory_format) -> float:
        """Return the duration of the trial after a warm-up, the better of two."""
        gc.collect()  # the network of the previous layout
        step, _ = self.trial(layout)
        step()
        return min(timed(lambda: step() is None or 1)(0)[1] for _ in range(2))


def compare(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Maps]:
    """Turn the facts of the blocks into columns of the rows, by candidate."""
    ours, columns = facts[OURS], {}
    plain = facts.get(FORWARD, {}).get("memory")
    for name, told in facts.items():
        memory, other = told["memory"], name != OURS
        both = [kind for kind in ("maps", "raw") if other and kind in told and kind in ours]
        columns[name] = Maps(
            layout=told["layout"],
            memory_mb=memory,
            memory_ratio=memory / plain if memory is not None and plain else None,
            difference=float(np.abs(told["maps"] - ours["maps"]).max()) if "maps" in both else None,
            spearman=spearman(told["raw"], ours["raw"]) if "raw" in both else None,
        )
    return columns


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean rank correlation of the rows of two arrays (N, M) without ties."""
    ranks = [rows.argsort(1).argsort(1) - (rows.shape[1] - 1) / 2 for rows in (first, second)]
    return float(np.mean((ranks[0] * ranks[1]).sum(1) / (ranks[0] ** 2).sum(1)))


def _shown(case: Case, raw: Tensor) -> Arrays:
    """Scale maps (B, h, w) for the comparison."""
    shown = heatmaps.resize(heatmaps.rectify(raw.detach().float()), case.side, case.side)
    return {"maps": heatmaps.normalize(shown).cpu().numpy()}


# --- the candidates ------------------------------------------------------------------------------


def forward(case: Case) -> Build:
    """Only the network, without an explanation."""

    def build(layout: torch.memory_format) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
        model, images = case.other(layout), case.pictures(layout)

        def step() -> Tensor:
            with torch.inference_mode():
                return model(images).cpu()

        return step, lambda _: {}

    return build


def resight(case: Case, method: str, **options: Any) -> Build:
    """One map per picture."""

    def build(layout: torch.memory_format) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
        model, images, classes = case.ours(), case.pictures(layout), case.classes()
        return (
            lambda: explain(model, images, method, classes, case.layer, **options).maps.cpu(),
            lambda maps: {"maps": maps.numpy()},
        )

    return build


def resight_all(case: Case, method: str, **options: Any) -> Build:
    """Maps of all classes, at the layer's size."""

    def build(layout: torch.memory_format) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
        model, images, classes = case.ours(), case.pictures(layout), case.classes()

        def read(raw: Tensor) -> Arrays:
            return _shown(case, raw[range(len(raw)), classes]) | {"raw": raw.flatten(0, 1).flatten(1).numpy()}

        return lambda: explain(model, images, method, "all", case.layer, **options).raw.cpu(), read

    return build


class _Bf16(nn.Module):
    """The trunk in bf16 as in `resight predict`, and the head; close calls are not computed again."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        both = Inference(case.ours(), torch.bfloat16)  # pyright: ignore[reportArgumentType]
        self.trunk, self.head = both.trunk, both.model

    def forward(self, images: Tensor) -> Tensor:
        return self.head.forward_head(self.trunk(images.bfloat16()).float())


def resight_bf16(case: Case, method: str, target: str = "") -> Build:
    """The same in bf16: for each picture's class, or for all."""

    def build(layout: torch.memory_format) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
        model, images, classes = _Bf16(case).eval(), case.pictures(layout), case.classes()
        if target:
            return lambda: explain(model, images, method, target, "trunk").raw.cpu(), lambda _: {}
        return (
            lambda: explain(model, images, method, classes, "trunk").maps.cpu(),
            lambda maps: {"maps": maps.numpy()},
        )

    return build


def pytorch_grad_cam(case: Case, method: str) -> Build:
    """pytorch-grad-cam."""

    def build(layout: torch.memory_format) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
        import pytorch_grad_cam as library  # pyright: ignore[reportMissingImports] - an extra
        from pytorch_grad_cam.utils.model_targets import (  # pyright: ignore[reportMissingImports]
            ClassifierOutputTarget,
        )

        model, images = case.other(layout), case.pictures(layout)
        cam = getattr(library, PYTORCH_GRAD_CAM[method])(model, [model.get_submodule(case.layer)])
        wanted = [ClassifierOutputTarget(number) for number in case.classes()]
        return (
            lambda: cam(input_tensor=images, targets=wanted),
            lambda maps: {"maps": heatmaps.normalize(torch.from_numpy(maps)).numpy()},
        )

    return build


def torch_cam(case: Case, method: str, **options: Any) -> Build:
    """torch-cam; as in its manual, without gradients in the first pass if it needs none."""
    graph = method in ("grad_cam", "grad_cam_pp")

    def build(layout: torch.memory_format) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
        from torchcam import methods as library  # pyright: ignore[reportMissingImports] - an extra

        model, images, classes = case.other(layout), case.pictures(layout), case.classes()
        extractor = getattr(library, TORCH_CAM[method])(model, case.layer, **options)

        def step() -> Tensor:
            with torch.set_grad_enabled(graph):
                scores = model(images)
            return extractor(classes, scores)[0].cpu()

        return step, lambda maps: _shown(case, maps)

    return build


def captum(case: Case) -> Build:
    """Grad-CAM of captum, which has no other of these methods."""

    def build(layout: torch.memory_format) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
        from captum.attr import LayerGradCam  # pyright: ignore[reportMissingImports] - an extra

        model, images, classes = case.other(layout), case.pictures(layout), case.classes()
        cam = LayerGradCam(model, model.get_submodule(case.layer))
        return (
            lambda: cam.attribute(images, target=classes, relu_attributions=True),
            lambda maps: _shown(case, maps[:, 0]),
        )

    return build


# --- the table -----------------------------------------------------------------------------------

CHANNELS_LAST = (torch.channels_last,)
NEEDS = ("pytorch_grad_cam", "torchcam", "captum")


def contests(case: Case = Case(), one: Case = Case(batch=1)) -> dict[str, Contest]:
    """Return the benchmarks.

    Args:
        case: of the methods that take a batch.
        one: of those that take many passes per picture.
    """
    return {**_batched(case), **_by_picture(case, one)}


def _batched(case: Case) -> dict[str, Contest]:
    """Return the benchmarks of methods that take a batch."""

    def looked(build: Build) -> Callable[[], Looked]:
        return lambda: Looked(build, case)

    def ours(build: Build) -> Callable[[], Looked]:
        return lambda: Looked(build, case, CHANNELS_LAST)

    def with_peers(method: str) -> dict[str, Callable[[], Looked]]:
        return {
            FORWARD: looked(forward(case)),
            OURS: ours(resight(case, method)),
            "resight bf16": ours(resight_bf16(case, method)),
            "pytorch-grad-cam": looked(pytorch_grad_cam(case, method)),
            "torch-cam": looked(torch_cam(case, method)),
        }

    return {
        "explain": Contest(
            {**with_peers("grad_cam"), "captum": looked(captum(case))},
            "pytorch-grad-cam", needs_bf16=("resight bf16",), needs=NEEDS, compare=compare,
        ),
        "explain-pp": Contest(
            with_peers("grad_cam_pp"),
            "pytorch-grad-cam", needs_bf16=("resight bf16",), needs=NEEDS, compare=compare,
            notes={
                "pytorch-grad-cam": "another formula: adds 1e-6 to a denominator that is as small",
                "torch-cam": "another formula: its division by the denominator has no effect",
            },
        ),
        "explain-all": Contest(
            {
                FORWARD: looked(forward(case)),
                OURS: ours(resight_all(case, "grad_cam")),
                "resight bf16": ours(resight_bf16(case, "grad_cam", "all")),
                "torch-cam, one class": looked(torch_cam(case, "grad_cam")),
            },
            FORWARD, needs_bf16=("resight bf16",), needs=NEEDS[1:2], compare=compare,
            notes={OURS: "maps of every class, at the layer's size"},
        ),
    }  # fmt: skip


def _by_picture(case: Case, one: Case) -> dict[str, Contest]:
    """Return the benchmarks of methods that take many passes per picture, all but the first one by one."""

    def slow(build: Build, layouts: tuple[torch.memory_format, ...] = LAYOUTS) -> Callable[[], Looked]:
        return lambda: Looked(build, one, layouts, forward(case))

    return {
        "explain-smooth": Contest(
            {
                OURS: lambda: Looked(
                    resight(case, "smooth_grad_cam_pp", samples=SAMPLES), case, CHANNELS_LAST
                ),
                "torch-cam": lambda: Looked(
                    torch_cam(case, "smooth_grad_cam_pp", num_samples=SAMPLES), case
                ),
            },
            "torch-cam", needs=NEEDS[1:2], compare=compare,
            notes={
                OURS: "its weights do not depend on the noise (pooling, linear layer): no noisy pass",
                "torch-cam": "another formula, and it weights the map of the last noisy copy",
            },
        ),
        "explain-ablation": Contest(
            {
                OURS: lambda: Looked(resight(one, "ablation_cam"), one, CHANNELS_LAST),
                "pytorch-grad-cam": slow(pytorch_grad_cam(one, "ablation_cam")),
            },
            "pytorch-grad-cam", needs=NEEDS[:1], compare=compare,
            notes={OURS: "in closed form behind pooling and one linear layer"},
        ),
        "explain-score": Contest(
            {
                OURS: slow(resight_all(one, "score_cam"), CHANNELS_LAST),
                f"resight, {REDUCED} passes": slow(
                    resight_all(one, "score_cam", reduced=REDUCED), CHANNELS_LAST
                ),
                "pytorch-grad-cam": slow(pytorch_grad_cam(one, "score_cam")),
                "torch-cam": slow(torch_cam(one, "score_cam")),
            },
            "pytorch-grad-cam", once=True, needs=NEEDS[:2], compare=compare,
            notes={
                OURS: "maps of every class; the others give one",
                "pytorch-grad-cam": "another formula: enlarges masks with their corners aligned",
                "torch-cam": "another formula: scales a mask before it enlarges it, not after",
            },
        ),
    }  # fmt: skip
