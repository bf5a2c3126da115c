"""Small pictures with label maps, which tests share: bright shapes on a dark ground, and masks of them."""

import numpy as np
from PIL import Image

COLOURS = {"ground": (30, 30, 30), "red": (230, 40, 40), "blue": (40, 40, 230)}
NAMES = tuple(COLOURS)
SIZE = (60, 40)
VOID = 255


def drawn(chance, void=True):
    """A picture of 60 x 40 with a red and a blue box, and its label map with a void border at the right."""
    labels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for number in (1, 2):
        width, height = chance.integers(12, 24, 2)
        x, y = chance.integers(0, SIZE[0] - width), chance.integers(0, SIZE[1] - height)
        labels[y : y + height, x : x + width] = number
    pixels = np.array([COLOURS[name] for name in NAMES], np.uint8)[labels]
    pixels = np.clip(pixels + chance.integers(-20, 20, pixels.shape), 0, 255).astype(np.uint8)
    if void:
        labels[:, -3:] = VOID
    return pixels, labels


def save_mask(path, labels):
    image = Image.fromarray(labels)
    image.putpalette([value for number in range(256) for value in (number, 0, 255 - number)])
    image.save(path)


def make_masked(root, count=30, splits=("train", "val", "test"), names=True):
    """A folder of images/ and masks/ for each split, a third of the pictures in the later ones."""
    chance = np.random.default_rng(0)
    for split in splits:
        images, masks = (root / split / part for part in ("images", "masks"))
        images.mkdir(parents=True)
        masks.mkdir()
        for number in range(count if split == splits[0] else count // 3):
            pixels, labels = drawn(chance)
            Image.fromarray(pixels).save(images / f"{number:03d}.png")
            save_mask(masks / f"{number:03d}.png", labels)
    if names:
        (root / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    return root
