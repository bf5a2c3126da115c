"""Pictures that a user gives in place of a tensor, as the network expects them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.given import Given, decode_given, listed
from resight.data.prepare import Normalize, fit


def prepared(model: nn.Module, given: Given | Sequence[Given]) -> Tensor:
    """Return pictures as the network expects them, (B, C, H, W), on its device, in its precision.

    Raises:
        UsageError: if the network does not know its preprocessing, or an item is not a picture.
        PictureError: if one cannot be read.
    """
    card = getattr(model, "preprocessing", None)
    if not isinstance(card, Preprocessing):
        raise UsageError(
            "the network does not state its preprocessing; give a preprocessed tensor (B, C, H, W)"
        )
    squares = [
        fit(decode_given(picture, f"images[{number}]", at_least=card.resize, levels=card.levels), card)
        for number, picture in enumerate(listed(given))
    ]
    if not squares:
        raise UsageError("images is empty; give one picture or more")
    first = next(model.parameters())
    pixels = torch.from_numpy(np.stack(squares)).to(first.device)
    return Normalize(card, first.device)(pixels).to(first.dtype)
