"""DeepFace: three locally connected layers, for faces that were aligned first.

Source: Taigman, Yang, Ranzato and Wolf, "DeepFace: Closing the Gap to Human-Level Performance in Face
Verification", 2014, section 3 and figure 2. Initial weights are N(0, 0.01^2), biases 0.5 (section 5.2).
"""

from functools import partial

from torch import nn

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.initialization import gaussian
from resight.models.network import Network
from resight.models.operators.convolution import LocallyConnected2d

TAIGMAN2014 = "Taigman et al., DeepFace: Closing the Gap to Human-Level Performance, CVPR 2014"


class DeepFace(Classifier):
    """C1, M2, C3, L4, L5, L6, F7, F8.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`; only "flatten" has F7.
        input_size: side of the input, in pixels, at least 71; fixed, because L4 to L6 depend on the position.
    """

    def __init__(
        self, num_classes: int = 4030, in_channels: int = 3, head: str = "flatten", input_size: int = 152
    ) -> None:
        if input_size < 71:
            raise UsageError(f"input_size={input_size} leaves no map; it must be 71 or more")
        side1 = input_size - 10  # C1
        side2 = -(-(side1 - 3) // 2) + 1  # M2, the last window may extend beyond the border
        side3 = side2 - 8  # C3
        side4, side5 = side3 - 8, (side3 - 8 - 7) // 2 + 1  # L4, L5
        super().__init__(num_classes, in_channels, head, grid=side5 - 4)
        self.add("c1", "c1", nn.Conv2d(in_channels, 32, 11))
        self.add("c1", "relu1", nn.ReLU())
        self.add("m2", "m2", nn.MaxPool2d(3, 2, ceil_mode=True))
        self.add("c3", "c3", nn.Conv2d(32, 16, 9))
        self.add("c3", "relu3", nn.ReLU())
        self.add("l4", "l4", LocallyConnected2d(16, 16, side3, 9))
        self.add("l4", "relu4", nn.ReLU())
        self.add("l5", "l5", LocallyConnected2d(16, 16, side4, 7, 2))
        self.add("l5", "relu5", nn.ReLU())
        self.add("l6", "l6", LocallyConnected2d(16, 16, side5, 5))
        self.add("l6", "relu6", nn.ReLU())
        self.num_features = 16
        if head == "flatten":
            self.add_head("f7", nn.Linear(16 * self.grid**2, 4096))
            self.add_head("relu7", nn.ReLU())
            self.add_head("dropout7", nn.Dropout(0.5))
        self.add_head("f8", nn.Linear(4096 if head == "flatten" else 16, num_classes))
        gaussian(self, 0.01, bias=0.5)


NETWORKS = {
    "deepface": Network(partial(DeepFace), "deepface", 2014, TAIGMAN2014, 152, 4030, least_size=152),
}
