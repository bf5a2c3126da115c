"""COCO's JSON: pictures, boxes and masks of a split in one file."""

import json
import math
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.layouts.boxes import AnnotatedPicture, Notes, dataset_of_boxes

PREFIX = "instances_"


def coco_files(root: Path) -> dict[str, Path]:
    """Return the files annotations/instances_{train,val,test}*.json of a folder by split.

    Raises:
        DataError: if a split has several.
    """
    files = {}
    for split in ("train", "val", "test"):
        found = sorted((root / "annotations").glob(f"{PREFIX}{split}*.json"))
        if len(found) > 1:
            names = ", ".join(f.name for f in found)
            raise DataError(f"{root}: has several files for {split} ({names}); give one of them itself")
        if found:
            files[split] = found[0]
    return files


def open_coco(name: str, files: dict[str, Path], *, multi_label: bool = False) -> Dataset:
    """Open COCO's JSON files.

    A box [x, y, width, height] counts from the picture's corner, with fractions. A crowd (iscrowd) is no
    object: it gives no box and no label. It does belong to the mask of its class, which says where in
    the picture the class is.

    Source: https://cocodataset.org/#format-data

    Args:
        name: what the user called the data set.
        files: the file of each split.
        multi_label: see `dataset_of_boxes`.

    Raises:
        DataError: if a file cannot be read or there is nothing to learn from.
    """
    if "train" not in files:
        only = next(iter(files.values()))
        raise DataError(f"{name}: has no {PREFIX}train*.json; to test on {only.name}, give that file itself")
    notes = Notes()
    splits = {split: _read(file, notes) for split, file in files.items()}
    return dataset_of_boxes(name, splits, notes, multi_label=multi_label)


def _read(file: Path, notes: Notes) -> list[AnnotatedPicture]:
    images, annotations, categories = _parts(file)
    names = {c["id"]: str(c["name"]).strip() for c in categories if _has(c, "id", "name")}
    objects = defaultdict(list)
    for annotation in annotations:
        if _has(annotation, "image_id", "category_id"):
            objects[annotation["image_id"]].append(annotation)
        else:
            notes.add(f"annotations of {file.name} have no image_id or no category_id", file)
    pictures = []
    for image in images:
        if not _has(image, "id", "file_name"):
            notes.add(f"images of {file.name} have no id or no file_name and are left out", file)
            continue
        found = objects.pop(image["id"], [])
        path = _find(file, str(image["file_name"]))
        if path is None:
            notes.add("annotated pictures are not there and are left out", f"{file}, {image['file_name']}")
            continue
        pictures.append(_picture(path, file, image, found, names, notes))
    for image_id in objects:
        notes.add(f"images are not listed in {file.name} but have annotations", f"image_id {image_id}")
    return pictures


def _picture(
    path: Path, file: Path, image: dict, objects: list[dict], names: dict[Any, str], notes: Notes
) -> AnnotatedPicture:
    source = f"{file}, {image['file_name']}"
    size = (image.get("width"), image.get("height"))
    known = all(isinstance(side, int) and side > 0 for side in size)
    picture = AnnotatedPicture(path, source, size if known else None, [])  # type: ignore[arg-type]
    for thing in objects:
        name = names.get(thing["category_id"], "")
        if name and thing.get("segmentation"):
            picture.segments.append((name, thing["segmentation"]))
        if thing.get("iscrowd"):
            continue
        if edges := _edges(thing.get("bbox")):
            picture.boxes.append((name, *edges))
        else:
            notes.add("boxes are not four numbers and are left out", source)
    return picture


def _parts(file: Path) -> tuple[list, list, list]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); check the file") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is not JSON ({error}); copy it again") from error
    parts = [
        content.get(key) if isinstance(content, dict) else None
        for key in ("images", "annotations", "categories")
    ]
    if not all(isinstance(part, list) for part in parts):
        raise DataError(f"{file}: is not COCO's JSON: it needs lists images, annotations and categories")
    return tuple(parts)  # type: ignore[return-value]


def _has(entry: Any, *keys: str) -> bool:
    """Return whether an entry is a dictionary with numbers or strings under `keys`."""
    return isinstance(entry, dict) and all(isinstance(entry.get(key), int | float | str) for key in keys)


def _edges(box: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        return None
    x, y, width, height = (float(v) for v in box)
    if not all(math.isfinite(v) for v in (x, y, width, height)):
        return None
    return x, y, x + width, y + height


def _find(file: Path, name: str) -> Path | None:
    """Return a picture of a JSON file: beside it, in images/ or, from annotations/, in the split's folder."""
    if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return None
    above = file.parent.parent
    split = file.stem.removeprefix(PREFIX)
    folders = [file.parent, file.parent / "images"]
    if file.parent.name == "annotations":
        folders = [above / split, above / "images" / split, above / "images", above, *folders]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
