"""Detectors and segmenters compared with torchvision's own: equal weights, pictures and settings.

`detect`: Faster R-CNN on a pyramid over ResNet-50 with 256 channels, 256 anchors and 512 regions a picture.
`segment`: DeepLabv3 over ResNet-50 at an output stride of 8, with the second head. All layers learn, and the
statistics of batch normalization move. From equal weights both sides answer alike (tests say so), so only the
time differs. torchvision's are trained as in its references: float32, SGD with momentum.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.bench.interleave import Block, Contest, timed
from resight.bench.own import remembering, training
from resight.core.device import pick_device, pick_precision
from resight.core.preprocessing import Preprocessing
from resight.data.augment.warp import Warp
from resight.data.batches import Batch
from resight.data.dataset import VOID
from resight.data.map_marks import LabelMaps
from resight.data.objects import ObjectMarks
from resight.data.prepare import Normalize
from resight.models.heads.released import SEGMENTERS, our_names
from resight.models.solver import Solver
from resight.models.zoo import create_model
from resight.tasks.detect.task import Detect
from resight.tasks.segment.task import AUX, Segment
from resight.tasks.task import Aids, Learned, SolverTask
from resight.training.recipe import Recipe

CLASSES, OBJECTS = 5, 8
NAMES = tuple("abcde")
DETECT = Detect(width=256, regions=512)
SEGMENT = Segment(head="deeplab", output_stride=8, width=256, aux=True)


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

    def maps(self) -> Tensor:
        """Return the class of every pixel, (batch, side, side) uint8: stripes."""
        rows = torch.arange(self.side)[:, None] * CLASSES // self.side
        return rows.expand(self.batch, self.side, self.side).to(torch.uint8)

    def square(self) -> Tensor:
        """Return a decoded picture, (1, side, side, 3) uint8."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (1, self.side, self.side, 3), dtype=torch.uint8, generator=generator)

    @property
    def card(self) -> Preprocessing:
        """The preprocessing of the pictures, as torchvision's detectors have it."""
        return Preprocessing(size=self.side, resize=self.side)

    def objects(self, device: torch.device) -> ObjectMarks:
        """Return boxes and classes as a detector's marks."""
        none = torch.zeros(OBJECTS, dtype=torch.bool)
        return ObjectMarks(
            tuple(self.boxes().to(device)), tuple(self.labels().to(device)), (none,) * self.batch,
            (none,) * self.batch, torch.full((self.batch, 2), self.side), torch.arange(self.batch),
        )  # fmt: skip

    def label_maps(self) -> LabelMaps:
        """Return the classes of all pixels as a segmenter's marks, not moved."""
        still = torch.eye(3, dtype=torch.float64)[None]
        return LabelMaps(tuple(self.maps()), (Warp((still,)),) * self.batch)


def _their_detector(scene: Scene) -> nn.Module:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    trunk = resnet_fpn_backbone(
        backbone_name=scene.network, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    return FasterRCNN(trunk, CLASSES + 1, min_size=scene.side, max_size=scene.side)


def _their_segmenter(scene: Scene) -> nn.Module:
    from torchvision.models import segmentation

    torch.manual_seed(0)
    build = getattr(segmentation, f"deeplabv3_{scene.network}")
    return build(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)


def _their_training(model: nn.Module, loss: Callable[[], Tensor], batch: int) -> Block:
    """Return a block that trains a network of torchvision as its references do."""
    model.to(pick_device()).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9, weight_decay=5e-4)

    def step() -> int:
        found = loss()
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        return batch

    return timed(step)


def _detector_trained(scene: Scene) -> Block:
    device, model = pick_device(), _their_detector(scene)
    images = list(scene.images().to(device))
    targets = [
        {"boxes": (scene.side * boxes).to(device), "labels": (labels + 1).to(device)}
        for boxes, labels in zip(scene.boxes(), scene.labels(), strict=True)
    ]
    return _their_training(
        model, lambda: torch.stack(list(model(images, targets).values())).sum(), scene.batch
    )


def _segmenter_trained(scene: Scene) -> Block:
    device, model = pick_device(), _their_segmenter(scene)
    images, true = scene.images().to(device), scene.maps().long().to(device)

    def loss() -> Tensor:
        said = model(images)
        main, second = (F.cross_entropy(said[key], true, ignore_index=VOID) for key in ("out", "aux"))
        return main + AUX * second

    return _their_training(model, loss, scene.batch)


def _detector_tested(scene: Scene) -> Block:
    device, model = pick_device(), _their_detector(scene).to(pick_device()).eval()
    square = scene.square().to(device)

    def step() -> int:
        with torch.inference_mode():
            return len(model([square[0].permute(2, 0, 1).float() / 255]))

    return timed(step)


def _segmenter_tested(scene: Scene) -> Block:
    device, model = pick_device(), _their_segmenter(scene).to(pick_device()).eval()
    card, square = scene.card, scene.square().to(device)
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (card.mean, card.std))

    def step() -> int:
        images = square.permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return len(model((images - mean) / std)["out"].argmax(1).to(torch.uint8).cpu())

    return timed(step)


def our_network(scene: Scene, task: SolverTask) -> Solver:
    """Return our network with the weights of torchvision's."""
    network = task.network(create_model(scene.network, CLASSES), Learned(NAMES))
    if task.name == "detect":
        network.load_state_dict(our_names(_their_detector(scene).state_dict()))
    else:
        network.load_state_dict(our_names(_their_segmenter(scene).state_dict(), SEGMENTERS))
    network.preprocessing, network.classes = scene.card, NAMES
    return network


def _ours_trained(scene: Scene, task: SolverTask, precision: str) -> Block:
    device, network = pick_device(), our_network(scene, task)
    images = scene.images().to(device, memory_format=torch.channels_last)
    marks = scene.objects(device) if task.name == "detect" else scene.label_maps()

    def source(turn: int) -> Iterator[Batch]:
        del turn
        for _ in range(100):
            yield Batch(images, marks)

    recipe = Recipe(
        model=scene.network, image_size=scene.side, epochs=1, batch_size=scene.batch, lr=0.005,
        weight_decay=5e-4, schedule="constant", augment=(), normalize="channel", precision=precision,
    )  # fmt: skip
    return training(network, task.objective(network, Aids()), task.counts, source, recipe)


def _ours_tested(scene: Scene, task: SolverTask, precision: str) -> Block:
    device, network = pick_device(), our_network(scene, task).eval()
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalize, chosen = Normalize(scene.card, device), pick_precision(precision, device)
    square = scene.square()
    return timed(lambda: len(task.outputs(network, square, normalize, chosen)))


def contests(scene: Scene | None = None) -> dict[str, Contest]:
    """Return the benchmarks of both tasks: a training step, and a test picture."""
    scene = scene or Scene()

    def of(
        theirs: Callable[[Scene], Block], ours: Callable[[Scene, SolverTask, str], Block], task: SolverTask
    ) -> Contest:
        return Contest(
            {
                "plain": lambda: remembering(theirs(scene)),
                "ours in fp32": lambda: remembering(ours(scene, task, "fp32")),
                "ours": lambda: remembering(ours(scene, task, "auto")),
            }
        )

    return {
        "detect": of(_detector_trained, _ours_trained, DETECT),
        "detect-test": of(_detector_tested, _ours_tested, DETECT),
        "segment": of(_segmenter_trained, _ours_trained, SEGMENT),
        "segment-test": of(_segmenter_tested, _ours_tested, SEGMENT),
    }
