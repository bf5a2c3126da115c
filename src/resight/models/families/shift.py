"""Two small networks that differ in one layer: the last map is flattened, or averaged over space.

Source: the teaching experiment on shifted digits that Resight reproduces: 64x64 pictures, three 3x3
convolutions without padding, Glorot's uniform weights. Its dropout rate is not given; 0.5 is used.
"""

from functools import partial

from torch import nn

from resight.models.classifier import Classifier
from resight.models.initialization import glorot_uniform
from resight.models.network import Network

SHIFT = "teaching experiment on global average pooling and shift (unpublished)"

WIDTHS = (32, 64, 128)  # maps 62 -> 31, 29 -> 14, 12 -> 6


class ShiftNet(Classifier):
    """Three convolutions with 2x2 max pooling, a hidden linear layer of 64, one linear layer.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: "flatten" and "gap" make the two networks of the experiment.
        dropout: before each linear layer.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, head: str = "gap", dropout: float = 0.5
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=6)
        channels = in_channels
        for number, width in enumerate(WIDTHS, start=1):
            self.add(f"conv{number}", f"conv{number}", nn.Conv2d(channels, width, 3))
            self.add(f"conv{number}", f"relu{number}", nn.ReLU())
            following = f"conv{number + 1}" if number < len(WIDTHS) else f"pool{number}"
            self.add(following, f"pool{number}", nn.MaxPool2d(2))
            channels = width
        self.num_features = channels
        self.add_head("dropout4", nn.Dropout(dropout))
        self.add_head("fc4", nn.Linear(channels * (36 if head == "flatten" else 1), 64))
        self.add_head("relu4", nn.ReLU())
        self.add_head("dropout5", nn.Dropout(dropout))
        self.add_head("fc5", nn.Linear(64, num_classes))
        glorot_uniform(self)


NETWORKS = {
    "cnn_flatten": Network(partial(ShiftNet, head="flatten"), "shift", 2023, SHIFT, 64, 10, 1),
    "cnn_gap": Network(partial(ShiftNet, head="gap"), "shift", 2023, SHIFT, 64, 10, 1),
}
