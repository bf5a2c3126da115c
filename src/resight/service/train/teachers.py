"""Networks that a training listens to: a teacher, or itself as it was."""

import numpy as np
import torch

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.models.modelfile import load_model
from resight.models.weights import OFFICIAL
from resight.service.train.weight_files import OWN_WEIGHTS, weight_file
from resight.tasks.teachers import OldSelf, Teacher
from resight.training.recipe import Recipe


def make_old_self(recipe: Recipe, card: Preprocessing, device: torch.device) -> OldSelf | None:
    """Return the network as its weights were, if the recipe says that it shall not forget.

    Raises:
        UsageError: if the pictures are normalized otherwise than then.
    """
    if recipe.teacher != OWN_WEIGHTS:
        return None
    model, _ = load_model(weight_file(recipe.weights))
    own = model.preprocessing
    assert own is not None  # load_model gives it
    if (own.mean, own.std, bool(own.pixel_mean)) != (card.mean, card.std, bool(card.pixel_mean)):
        raise UsageError(
            f"teacher={OWN_WEIGHTS}: needs normalize=weights, with which the old answers were trained"
        )
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return OldSelf(model.requires_grad_(requires_grad=False))


def make_teacher(
    recipe: Recipe, classes: tuple[str, ...], card: Preprocessing, device: torch.device
) -> Teacher | None:
    """Return the teacher that the recipe names, fitted to the student's classes and preprocessing.

    Raises:
        UsageError: if it has other classes, or its pictures are prepared in a way that cannot be fitted.
    """
    if recipe.teacher in ("", OWN_WEIGHTS):
        return None
    if recipe.teacher in OFFICIAL or recipe.teacher.startswith("zoo:"):
        raise UsageError(f"teacher={recipe.teacher}: give a run that was trained on these classes")
    model, _ = load_model(weight_file(recipe.teacher))
    if set(model.classes) != set(classes):
        raise UsageError(f"teacher={recipe.teacher}: has other classes than the data")
    own = model.preprocessing
    assert own is not None  # load_model gives it
    affine = not (own.pixel_mean or card.pixel_mean or own.contrast or card.contrast)
    if own.whitening is None or card.whitening is None:
        alike = own.whitening is card.whitening
    else:
        alike = np.array_equal(own.whitening, card.whitening)
    if own.size != card.size or (not affine and (own != card or not alike)):
        raise UsageError(
            f"teacher={recipe.teacher}: its pictures have another size or normalization; "
            "train both with the same image_size=, normalize= and data"
        )
    std, own_std = torch.tensor(card.std), torch.tensor(own.std)
    shift = (torch.tensor(card.mean) - torch.tensor(own.mean)) / own_std
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Teacher(
        model.requires_grad_(requires_grad=False),
        torch.tensor([model.classes.index(c) for c in classes], device=device),
        (std / own_std).view(3, 1, 1).to(device),
        shift.view(3, 1, 1).to(device),
    )
