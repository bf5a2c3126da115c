"""What a training needs before its first step: network, pictures, preprocessing, batches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from resight.core.distributed import world
from resight.core.errors import DataError, PictureError, UsageError
from resight.core.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resight.data.augment import crops
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import resident_bytes
from resight.data.dataset import Dataset, Split
from resight.data.prepare import Normalize, contrast_normalized, decode_split, zca
from resight.models.classifier import Classifier
from resight.models.cost import evaluating
from resight.models.modelfile import is_model_file, load_model
from resight.models.weights import OFFICIAL, load_weights
from resight.models.zoo import COMMON, NETWORKS, OF_TRAINING, create_model, list_options, read_options
from resight.service.runs import MODEL_FILE
from resight.training.objective import OldSelf, Teacher
from resight.training.recipe import Recipe

OWN_WEIGHTS = "weights"
"""As a teacher: the network as it was given, whose old answers shall not be forgotten."""


def weight_file(weights: str) -> Path:
    """Return the file that the words `weights=` mean: a run folder stands for its model file."""
    path = Path(weights)
    return path / MODEL_FILE if path.is_dir() else path


def make_model(recipe: Recipe, classes: int) -> tuple[Classifier, Preprocessing | None]:
    """Return the network, with the given weights and then a fresh head, and the weights' preprocessing."""
    options = read_options(recipe.model, recipe.options)
    facts: dict[str, Any] | None = None
    if recipe.weights and recipe.weights not in OFFICIAL:
        path = weight_file(recipe.weights)
        if is_model_file(path):
            model, facts = load_model(path)
            if model.name != recipe.model:
                raise UsageError(f"weights={recipe.weights} are of {model.name}, not of {recipe.model}")
            defaults = list_options(recipe.model)
            ended = bool(model.options.get("last"))  # only a whole trunk can end earlier
            free = [option for option in COMMON if not (ended and option == "last")]
            differ = [k for k, v in options.items() if v != model.options.get(k, defaults[k])]
            if fixed := [k for k in differ if k not in free]:
                raise UsageError(f"weights={recipe.weights} have another {fixed[0]}; leave {fixed[0]}= out")
            if "last" in differ:
                model.end_at(options["last"], NETWORKS[model.name].input_size)
            built = {k: v for k, v in model.options.items() if k not in OF_TRAINING}
            model.options = {**built, **options}
        else:
            model = create_model(recipe.model, classes, **options)
            load_weights(model, path)
    else:
        model = create_model(recipe.model, classes, weights=recipe.weights or None, **options)
    card = model.preprocessing
    if recipe.teacher == OWN_WEIGHTS:
        _keep_head(model, facts)
    if recipe.weights:
        torch.manual_seed(recipe.seed)
        model.reset_classifier(classes)
    return model, card


def _keep_head(model: Classifier, facts: dict[str, Any] | None) -> None:
    """Keep a network's head as that of an old task, named after the data that it learned.

    Args:
        model: as its run left it.
        facts: the header of that run's model file; None if the weights are no run's.

    Raises:
        UsageError: if the weights are no run's.
    """
    card = model.preprocessing
    if facts is None or card is None:
        raise UsageError(f"teacher={OWN_WEIGHTS}: needs weights=RUN, whose answers shall not be forgotten")
    name = Path(str(facts.get("data") or "old")).stem
    taken = [task.name for task in model.old_tasks]
    if name in taken:
        name += f"-{sum(t.startswith(name) for t in taken) + 1}"
    kept = ("data", "data_root", "data_fingerprint", "recipe", "temperature", "test", "left_out")
    geometry = {"size": card.size, "resize": card.resize, "interpolation": card.interpolation}
    model.keep_head(name, {**{key: facts[key] for key in kept if key in facts}, "geometry": geometry})


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
        raise UsageError(f"teacher={OWN_WEIGHTS}: needs normalize=weights, as the old answers were learned")
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return OldSelf(model.requires_grad_(requires_grad=False))


def require_size(model: Classifier, size: int) -> None:
    """Refuse pictures that leave no map, before anything is read.

    Raises:
        UsageError: naming a size that the network takes.
    """
    try:
        with torch.no_grad(), evaluating(model):
            model(torch.zeros(1, model.in_channels, size, size))
    except (RuntimeError, UsageError) as error:
        least = NETWORKS[model.name].least_size
        cure = f"set image_size= to {least} or more"
        if "input_size" in list_options(model.name):
            cure = f"set input_size= and image_size= to the same side (the paper's is {least})"
        raise UsageError(f"{model.name} does not take pictures of {size} x {size}; {cure}") from error


def read_training(
    dataset: Dataset, recipe: Recipe, weights_card: Preprocessing | None, *, strict: bool
) -> tuple[Dataset, list[np.ndarray] | None, Preprocessing, list[PictureError]]:
    """Decode the training split if it fits in memory, and settle the preprocessing on it."""
    size = recipe.image_size
    pipeline = Pipeline(tuple(s for s in parse(recipe.augment) if s.operation.kind in ("crop", "flip")))
    crop, photos = pipeline.crop, pipeline.whole
    card = Preprocessing(size=size, resize=round(size * 8 / 7) if photos else size)
    budget = recipe.memory_gib * 2**30
    if photos and crop:
        # Whole pictures, large enough to be cut from: about 4/3 as wide as high.
        cache = replace(card, resize=crops.cached_side(crop.name, crop.value, size))
        fits = len(dataset.train) * cache.resize**2 * 4 <= budget
    else:
        cache = card
        fits = resident_bytes(dataset.train, card, pipeline) <= budget
    pictures: list[np.ndarray] | None = None
    faults: list[PictureError] = []
    train = dataset.train
    if fits:
        train, pictures, faults = decode_split(train, cache, whole=photos, strict=strict)
        require_every_class(dataset, train)
        dataset = replace(dataset, splits={**dataset.splits, "train": train})
    return dataset, pictures, _normalization(card, recipe, train, pictures, weights_card), faults


def require_every_class(dataset: Dataset, train: Split) -> None:
    """Refuse a data set of which a whole class cannot be read.

    Args:
        dataset: gives the classes.
        train: what could be read of its training split.

    Raises:
        DataError: naming the classes.
    """
    missing = np.flatnonzero(train.class_counts() == 0)
    if len(missing):
        names = ", ".join(dataset.classes[m] for m in missing)
        raise DataError(
            f"{dataset.name}: no picture of {names} can be read; see: resight check {dataset.name}"
        )


def _normalization(
    card: Preprocessing,
    recipe: Recipe,
    train: Split,
    pictures: list[np.ndarray] | None,
    weights_card: Preprocessing | None,
) -> Preprocessing:
    """Return the card with the recipe's mean and deviation."""
    if recipe.normalize == "imagenet" or (recipe.normalize == "weights" and weights_card is None):
        return replace(card, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    if recipe.normalize == "weights" and weights_card:
        return _as_the_weights(card, weights_card)
    if pictures is None:
        sample = train.take(np.unique(np.linspace(0, len(train) - 1, 2000).astype(int)))
        _, pictures, _ = decode_split(sample, card)
    if recipe.normalize in ("pixel-mean", "gcn", "gcn-zca") and any(
        p.shape != (card.size, card.size, 3) for p in pictures
    ):
        raise UsageError(f"normalize={recipe.normalize} needs pictures of one size; use channel-mean")
    if recipe.normalize in ("gcn", "gcn-zca"):
        return _contrast(card, pictures, whiten=recipe.normalize == "gcn-zca")
    if recipe.normalize == "pixel-mean":
        total = np.zeros((card.size, card.size, 3))
        for picture in pictures:
            total += picture
        mean_image = torch.from_numpy(total / len(pictures) / 255).permute(2, 0, 1).float()
        return replace(card, std=(1.0, 1.0, 1.0), pixel_mean=tuple(mean_image.flatten().tolist()))
    moments = np.zeros((2, 3))
    pixels = 0
    for picture in pictures:
        flat = picture.reshape(-1, 3).astype(np.float64) / 255
        moments += (flat.sum(0), (flat**2).sum(0))
        pixels += len(flat)
    mean = moments[0] / pixels
    std = np.sqrt(np.maximum(moments[1] / pixels - mean**2, 1e-6))
    if recipe.normalize == "channel-mean":
        std = np.ones(3)
    return replace(card, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def _as_the_weights(card: Preprocessing, weights_card: Preprocessing) -> Preprocessing:
    """Return the card with all of the weights' normalization; a mean picture is resized.

    Raises:
        UsageError: if the weights were whitened at another size.
    """
    pixel_mean = weights_card.pixel_mean
    if weights_card.size != card.size:
        if weights_card.whitening is not None:
            raise UsageError(
                f"the weights' pictures were whitened at {weights_card.size} pixels: set "
                f"image_size={weights_card.size}, or another normalize="
            )
        if pixel_mean:
            stored = torch.tensor(pixel_mean).view(1, 3, weights_card.size, weights_card.size)
            resized = functional.interpolate(stored, (card.size, card.size), mode="bilinear")
            pixel_mean = tuple(resized.flatten().tolist())
    return replace(weights_card, size=card.size, resize=card.resize, pixel_mean=pixel_mean)


def _contrast(card: Preprocessing, pictures: list[np.ndarray], *, whiten: bool) -> Preprocessing:
    """Return the card with global contrast normalization and, if asked for, ZCA whitening.

    The mean picture and the whitening are of the training pictures after contrast normalization, whole
    and not augmented; here pictures are whitened after augmentation, where the papers whiten before.
    """
    if whiten and card.size > 48:
        raise UsageError(
            f"normalize=gcn-zca at {card.size} pixels needs a table of {(3 * card.size**2) ** 2:,} numbers; "
            "use gcn, or --set image_size=32"
        )
    parts = [
        contrast_normalized(
            torch.from_numpy(np.stack(pictures[start : start + 4096])).permute(0, 3, 1, 2), 55
        )
        for start in range(0, len(pictures), 4096)
    ]
    vectors = torch.cat(parts)
    mean = vectors.mean(0)
    table = zca(vectors.sub_(mean)).numpy() if whiten else None
    return replace(card, contrast=55.0, pixel_mean=tuple(mean.tolist()), whitening=table)


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
            f"teacher={recipe.teacher}: its pictures have another size or are normalized otherwise; "
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


def first_images(dataset: Dataset, card: Preprocessing, normalize: Normalize) -> Tensor:
    """Return some plain training images, evenly spaced, normalized: 2,000 of 32 x 32, fewer larger ones."""
    most = max(32, 2000 * 32 * 32 // card.size**2)
    chosen = np.unique(np.linspace(0, len(dataset.train) - 1, most).astype(int))
    _, squares, _ = decode_split(dataset.train.take(chosen), card)
    return normalize(torch.from_numpy(np.stack(squares)).to(normalize.device))


def validation_of(
    dataset: Dataset, card: Preprocessing, faults: list[PictureError], *, strict: bool
) -> tuple[Tensor, Tensor] | None:
    """Return this process's squares and labels of the validation split, in memory; None if there is none.

    Raises:
        PictureError: the first fault, if strict.
    """
    if "val" not in dataset.splits:
        return None
    whole = dataset.splits["val"]
    part, squares, more = decode_split(whole.take(world().share(len(whole))), card, strict=strict)
    faults += world().gathered(more)
    if not sum(world().all_of(len(part) if squares else 0)):
        return None
    pixels = np.stack(squares) if squares else np.empty((0, card.size, card.size, 3), np.uint8)
    return torch.from_numpy(pixels), torch.from_numpy(part.labels)


def class_weights(dataset: Dataset, device: torch.device) -> Tensor:
    """Return what a picture of each class counts, (classes,): classes the same, a picture 1 in the mean.

    Where a picture may have several classes, each class's yes counts as much as its no.
    """
    counts = torch.from_numpy(dataset.train.class_counts()).clamp(min=1)
    if dataset.multi_label:
        return ((len(dataset.train) - counts).clamp(min=1) / counts).float().to(device)
    return (len(dataset.train) / (len(dataset.classes) * counts)).float().to(device)


def squares_of(
    dataset: Dataset, split: str, card: Preprocessing, faults: list[PictureError], *, strict: bool
) -> tuple[Tensor, Tensor] | None:
    """Return the squares and labels of a split, in memory; None if there are none."""
    if split not in dataset.splits:
        return None
    part, squares, more = decode_split(dataset.splits[split], card, strict=strict)
    faults += more
    if not squares:
        return None
    return torch.from_numpy(np.stack(squares)), torch.from_numpy(part.labels)
