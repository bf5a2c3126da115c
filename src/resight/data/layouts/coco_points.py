"""COCO's key points of people: each person is one sample, cut out of the picture by its box."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.layouts.boxes import Notes
from resight.data.layouts.claim import Claim
from resight.data.layouts.coco import (
    edges_of,
    find_picture,
    has_fields,
    picture_folders,
    read_parts,
    unique_images,
)
from resight.data.layouts.pointed import PointedPicture, dataset_of_points
from resight.data.layouts.splits import split_of
from resight.data.layouts.tree import files_in, subfolders
from resight.data.points import Skeleton, swaps_of

PREFIX = "person_keypoints_"
GROWN = 1.25
"""Sides of what is cut out over those of the person's box, so that hands at its edge are seen whole."""
LEAST = 0.5
"""Pixels under which the side of a box is none."""
TORSO = ("left_shoulder", "right_hip")


def claim_coco_points(root: Path) -> Claim | None:
    """Claim a folder with annotations/person_keypoints_SPLIT.json."""
    files = _files(root)
    if not files:
        return None
    used = {file.relative_to(root).parts[0] for file in files.values()}
    used |= {folder.name for folder in subfolders(root) if split_of(folder.name) or folder.name == "images"}
    return Claim("COCO's key points", frozenset(used), lambda _: open_coco_points(str(root), files))


def _files(root: Path) -> dict[str, Path]:
    found = {}
    for folder in subfolders(root):
        if folder.name.lower() == "annotations":
            for file in files_in(folder, ".json"):
                split = split_of(file.stem.removeprefix(PREFIX))
                if file.stem.startswith(PREFIX) and split:
                    found[split] = file
    return found


def open_coco_points(name: str, files: dict[str, Path]) -> Dataset:
    """Open COCO's files of key points.

    Every person with a marked point is a sample: its box, a quarter larger, is all that is seen of the
    picture. Crowds, and people without points, are left out. Points are x, y and v (0 not marked, 1 hidden,
    2 seen); names and skeleton are the category's, of which there is one with key points. Points named
    left_... and right_... swap when a picture is mirrored.

    Source: https://cocodataset.org/#format-data, 2. Keypoint Detection

    Args:
        name: what the user called the data set.
        files: the file of each split.

    Raises:
        DataError: if a file cannot be read, has no or several categories with key points, or the files
        differ.
    """
    notes, splits, first = Notes(), {}, None
    for split, file in files.items():
        skeleton, splits[split] = _read(file, notes)
        if first and skeleton != first[1]:
            raise DataError(f"{file}: has other key points than {first[0].name}; give both the same category")
        first = first or (file, skeleton)
    assert first is not None  # a claim has a file
    return dataset_of_points(name, first[1], splits, notes)


def _read(file: Path, notes: Notes) -> tuple[Skeleton, list[PointedPicture]]:
    images, annotations, categories = read_parts(file)
    number, skeleton = _skeleton(file, categories)
    by_id = {image["id"]: image for image in unique_images(file, images, notes)}
    folders, people = picture_folders(file, PREFIX), []
    for thing in annotations:
        if not has_fields(thing, "image_id", "category_id") or thing["category_id"] != number:
            continue
        image = by_id.get(thing["image_id"])
        if image is None:
            notes.add(f"people of {file.name} are in no listed image and are left out", file)
            continue
        path = find_picture(folders, str(image["file_name"]), file.parent)
        if path is None:
            notes.add("annotated pictures are missing and are left out", f"{file}, {image['file_name']}")
            continue
        source = f"{file}, {image['file_name']}, id {thing.get('id')}"
        if person := _person(path, source, image, thing, len(skeleton), notes):
            people.append(person)
    return skeleton, people


def _skeleton(file: Path, categories: list[Any]) -> tuple[Any, Skeleton]:
    own = [
        c
        for c in categories
        if has_fields(c, "id") and isinstance(c.get("keypoints"), list) and c["keypoints"]
    ]
    if len(own) != 1:
        count = "no category" if not own else f"{len(own)} categories"
        raise DataError(f"{file}: has {count} with the list keypoints; one is needed, such as person")
    names = tuple(str(name) for name in own[0]["keypoints"])
    if len(set(names)) < len(names):
        raise DataError(f"{file}: two of its key points have one name; rename one")
    limbs = own[0].get("skeleton") or []
    for limb in limbs:
        if not (
            isinstance(limb, list) and len(limb) == 2 and all(_is_joint(end, len(names)) for end in limb)
        ):
            raise DataError(f"{file}: skeleton holds {limb!r}, which is no pair of 1 to {len(names)}; fix it")
    torso = tuple(names.index(name) for name in TORSO if name in names)
    return own[0]["id"], Skeleton(
        names,
        swaps_of(names, str(file)),
        tuple((a - 1, b - 1) for a, b in limbs),
        torso if len(torso) == 2 else (),
    )


def _is_joint(end: Any, count: int) -> bool:
    return isinstance(end, int) and 1 <= end <= count


def _person(
    path: Path, source: str, image: dict, thing: dict, joints: int, notes: Notes
) -> PointedPicture | None:
    numbers = thing.get("keypoints")
    if thing.get("iscrowd") or not isinstance(numbers, list) or not any(numbers):
        notes.add("people have no key points and are left out", source)
        return None
    if len(numbers) != 3 * joints or not all(
        isinstance(v, int | float) and math.isfinite(v) for v in numbers
    ):
        notes.add(f"people do not have {joints} key points of x, y and v and are left out", source)
        return None
    rows = np.array(numbers, dtype=np.float64).reshape(joints, 3)
    if not np.isin(rows[:, 2], (0, 1, 2)).all():
        notes.add("people have key points whose v is not 0, 1 or 2 and are left out", source)
        return None
    edges = edges_of(thing.get("bbox"))
    if edges is None or min(edges[2] - edges[0], edges[3] - edges[1]) < LEAST:
        notes.add("people have no box and are left out", source)
        return None
    x0, y0, x1, y1 = edges
    across, down = (GROWN - 1) / 2 * (x1 - x0), (GROWN - 1) / 2 * (y1 - y0)
    size = (image.get("width"), image.get("height"))
    known = all(isinstance(side, int) and side > 0 for side in size)
    return PointedPicture(
        path, source, rows[:, :2], rows[:, 2].astype(np.int8), size if known else None,  # type: ignore[arg-type]
        (x0 - across, y0 - down, x1 + across, y1 + down),
    )  # fmt: skip
