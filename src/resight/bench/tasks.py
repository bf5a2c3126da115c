"""Detectors compared with torchvision's own, from the same trunk, at the same size and settings.

Both are Faster R-CNN on a pyramid over ResNet-50 with 256 channels, 256 anchors and 512 regions a picture,
all layers learning, statistics of batch normalization moving. From equal weights they answer alike (a test
says so), so only the time differs. torchvision's is trained as in its reference: float32, SGD with momentum.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from resight.bench.interleave import Block, Contest, timed
from resight.bench.own import remembering, training
from resight.core.device import pick_device, pick_precision
from resight.core.preprocessing import Preprocessing
from resight.data.batches import Batch
from resight.data.objects import ObjectMarks
from resight.data.prepare import Normalize
from resight.models.solver import Solver
from resight.models.zoo import create_model
from resight.tasks.detect.task import Detect
from resight.tasks.task import Aids, Learned
from resight.training.recipe import Recipe

CLASSES, OBJECTS = 5, 8
DETECT = Detect(width=256, regions=512)


@dataclass(frozen=True)
class Scene:
    """What the detectors are given.

    Attributes:
        network: name of the trunk, a ResNet, here and in torchvision.
        batch: pictures of a step.
        side: of the pictures, in pixels.
    """

    network: str = "resnet50"
    batch: int = 2
    side: int = 320

    def images(self) -> Tensor:
        """Return normalized images (batch, 3, side, side)."""
        return torch.randn(self.batch, 3, self.side, self.side, generator=torch.Generator().manual_seed(0))

    def boxes(self) -> Tensor:
        """Return the objects' edges in shares of the sides, (batch, OBJECTS, 4)."""
        generator = torch.Generator().manual_seed(1)
        corners = 0.7 * torch.rand(self.batch, OBJECTS, 2, generator=generator)
        sides = 0.05 + 0.25 * torch.rand(self.batch, OBJECTS, 2, generator=generator)
        return torch.cat([corners, corners + sides], 2)

    def labels(self) -> Tensor:
        """Return the objects' classes, (batch, OBJECTS)."""
        return torch.arange(self.batch * OBJECTS).view(self.batch, OBJECTS) % CLASSES


def _theirs(scene: Scene) -> torch.nn.Module:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    trunk = resnet_fpn_backbone(
        backbone_name=scene.network, weights=None, norm_layer=torch.nn.BatchNorm2d, trainable_layers=5
    )
    model = FasterRCNN(trunk, CLASSES + 1, min_size=scene.side, max_size=scene.side)
    return model.to(pick_device())


def _their_training(scene: Scene) -> Block:
    device, model = pick_device(), _theirs(scene).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9, weight_decay=5e-4)
    images = list(scene.images().to(device))
    targets = [
        {"boxes": (scene.side * boxes).to(device), "labels": (labels + 1).to(device)}
        for boxes, labels in zip(scene.boxes(), scene.labels(), strict=True)
    ]

    def step() -> int:
        loss = torch.stack(list(model(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(images)

    return timed(step)


def _their_test(scene: Scene) -> Block:
    device, model = pick_device(), _theirs(scene).eval()
    image = scene.images()[0].to(device)

    def step() -> int:
        with torch.inference_mode():
            return len(model([image]))

    return timed(step)


def _ours(scene: Scene) -> Solver:
    network = DETECT.network(create_model(scene.network, CLASSES), Learned(tuple("abcde")))
    network.preprocessing = Preprocessing(size=scene.side, resize=scene.side)
    return network


def _our_training(scene: Scene, precision: str) -> Block:
    device, network = pick_device(), _ours(scene)
    images = scene.images().to(device, memory_format=torch.channels_last)
    none = torch.zeros(OBJECTS, dtype=torch.bool)
    marks = ObjectMarks(
        tuple(scene.boxes().to(device)), tuple(scene.labels().to(device)), (none,) * scene.batch,
        (none,) * scene.batch, torch.full((scene.batch, 2), scene.side), torch.arange(scene.batch),
    )  # fmt: skip

    def source(turn: int) -> Iterator[Batch]:
        del turn
        for _ in range(100):
            yield Batch(images, marks)

    recipe = Recipe(
        model=scene.network, image_size=scene.side, epochs=1, batch_size=scene.batch, lr=0.005,
        weight_decay=5e-4, schedule="constant", augment=(), normalize="channel", precision=precision,
    )  # fmt: skip
    return training(network, DETECT.objective(network, Aids()), DETECT.counts, source, recipe)


def _our_test(scene: Scene, precision: str) -> Block:
    device, network = pick_device(), _ours(scene).eval()
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    square = torch.randint(0, 256, (1, scene.side, scene.side, 3), dtype=torch.uint8, generator=generator)
    normalize, chosen = Normalize(network.preprocessing, device), pick_precision(precision, device)  # type: ignore[arg-type]
    return timed(lambda: len(DETECT.outputs(network, square, normalize, chosen)))


def contests(scene: Scene | None = None) -> dict[str, Contest]:
    """Return the benchmarks of detectors: a training step, and a test picture."""
    scene = scene or Scene()

    def of(theirs: Callable[[Scene], Block], ours: Callable[[Scene, str], Block]) -> Contest:
        return Contest(
            {
                "plain": lambda: remembering(theirs(scene)),
                "ours in fp32": lambda: remembering(ours(scene, "fp32")),
                "ours": lambda: remembering(ours(scene, "auto")),
            }
        )

    return {"detect": of(_their_training, _our_training), "detect-test": of(_their_test, _our_test)}
