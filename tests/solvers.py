"""Small networks of every task with a head of its own, of random weights, and pictures for them."""

import numpy as np
import torch
from PIL import Image

from resight.core.preprocessing import Preprocessing
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.tasks.detect.task import Detect
from resight.tasks.localize.task import Localize
from resight.tasks.pose.task import Pose
from resight.tasks.task import Learned
from resight.tasks.tasks import built, header_of
from resight.tasks.verify.task import Verify

SIDE = 48
ABOUT = {
    "joints": ["head", "hand", "foot"], "torso": [0, 2], "swaps": [0, 1, 2], "limbs": [[0, 2]], "eyes": [],
    "mean_pose": [[0.2, 0.3], [0.5, 0.5], [0.7, 0.6]],
}  # fmt: skip
TASKS = {
    "verify": Verify(),
    "localize": Localize(),
    "localize per class": Localize(per_class=True, mirrored=False),
    "pose": Pose(),
    "pose in stages": Pose("rle", 2),
    "detect": Detect(width=8, anchor=3),
    "detect masks": Detect(width=8, anchor=3, masks=True),
    "detect c4": Detect(head="c4", width=8),
}


def solver(task):
    """A network whose head says something of every picture."""
    torch.manual_seed(0)
    trunk = create_model("speednet8_narrow", num_classes=2).eval()
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    trunk.preprocessing = Preprocessing(size=SIDE, resize=SIDE, frame=task.frame)
    network = built(task, trunk, Learned(("x", "y"), ABOUT if task.name == "pose" else {})).eval()
    for parameter in network.head.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    if task.name == "verify":
        network.head.get_buffer("fitted").copy_(torch.tensor([0.4, 0.01, 20.0]))
    return network


def save_solver(path, task):
    network = solver(task)
    save_model(path, network, network.state_dict(), {"data": None, "temperature": 1.3, **header_of(task)})
    return str(path)


def pictures():
    """Smooth pictures of several sizes."""
    made = []
    for number, size in enumerate(((60, 40), (40, 61), (200, 90), (48, 48))):
        cells = np.random.default_rng(number).integers(0, 256, (7, 9, 3), dtype=np.uint8)
        made.append(Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC))
    return made
