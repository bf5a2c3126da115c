"""COCO's JSON: pictures, boxes and masks of a split in one file; and where labelling tools put that file."""

import json
import math
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.labelling import LARGEST, Rule, dataset_of_boxes
from resight.data.layouts.boxes import AnnotatedPicture, Notes, refuse_shares
from resight.data.layouts.claim import Claim
from resight.data.layouts.splits import is_classless, split_folders, split_of
from resight.data.layouts.tree import files_in, has_picture, pictures_in, subfolders

PREFIX = "instances_"
ALONE = (
    "_annotations.coco.json",  # Roboflow
    "result.json",  # Label Studio
    "annotations.json",
    "instances.json",
    "labels.json",  # FiftyOne
    "coco.json",
)
"""Names of the one file of a folder or of a split's folder, the first name first."""
KEYS = (b'"images"', b'"annotations"', b'"categories"')
DEFAULT = ("default",)
"""What CVAT calls a task without subsets."""


def claim_coco(root: Path) -> Claim | None:
    """Claim a folder with COCO files in one of the forms that `coco_files` names."""
    files = coco_files(root)
    if not files:
        return None
    used = {file.relative_to(root).parts[0] for file in files.values()}
    used |= {f.name for f in subfolders(root) if split_of(f.name) or f.name in ("images", "data", *DEFAULT)}
    if any(file.parent == root for file in files.values()):
        used |= {path.name for path in pictures_in(root)}
    return Claim("a COCO folder", frozenset(used), lambda rule: open_coco(str(root), files, rule))


def coco_files(root: Path) -> dict[str, Path]:
    """Return the COCO files of a folder by split.

    They are annotations/instances_SPLIT.json, as train2017 or, of all pictures, default (CVAT);
    annotations/SPLIT.json; or a file named as in `ALONE` in each split's folder (Roboflow) or in the folder
    itself (Label Studio).

    Raises:
        DataError: if a split has several.
    """
    files: dict[str, Path] = {}
    listed = [f for folder in subfolders(root) if _is_annotations(folder) for f in files_in(folder, ".json")]
    instances = [f for f in listed if f.stem.startswith(PREFIX)]
    whole = [f for f in instances if f.stem.removeprefix(PREFIX) in DEFAULT]
    if whole and len(instances) == 1:
        return {"train": whole[0]}
    for file in instances or listed:
        if split := split_of(file.stem.removeprefix(PREFIX)):
            if split in files:
                raise DataError(
                    f"{root}: has several files for {split} ({files[split].name}, {file.name}); give one "
                    "of the files"
                )
            files[split] = file
    if files:
        return files
    splits = split_folders(root) if any(split_of(f.name) for f in subfolders(root)) else {}
    files = {split: file for split, folder in splits.items() if (file := _alone(folder))}
    if not files and (file := _alone(root)):
        files = {"train": file}
    return files


def _is_annotations(folder: Path) -> bool:
    return folder.name.lower() == "annotations"


def _alone(folder: Path) -> Path | None:
    """Return the COCO file of a folder: by its name, or the only JSON file next to images/ and the like.

    Among the pictures themselves another name may be a result that was written there.
    """
    if named := next((file for name in ALONE if (file := folder / name).is_file()), None):
        return named
    found = files_in(folder, ".json")
    if len(found) != 1 or has_picture(folder) or not is_classless(folder):
        return None
    with found[0].open("rb") as stream:
        head = stream.read(1 << 16)
    return found[0] if any(key in head for key in KEYS) else None


def open_coco(name: str, files: dict[str, Path], rule: Rule = LARGEST) -> Dataset:
    """Open COCO's JSON files.

    A box [x, y, width, height] counts from the picture's corner, with fractions. A crowd (iscrowd) is no
    object: it gives no box and no label. It does belong to the mask of its class, which says where in
    the picture the class is.

    Source: https://cocodataset.org/#format-data

    Args:
        name: what the user called the data set.
        files: the file of each split.
        rule: what a picture is labelled with.

    Raises:
        DataError: if a file cannot be read or there is nothing to learn from.
    """
    if "train" not in files:
        only = next(iter(files.values()))
        raise DataError(f"{name}: has no {PREFIX}train*.json; to test on {only.name}, give that file itself")
    notes = Notes()
    splits = {split: _read(file, notes) for split, file in files.items()}
    used = {picture.path for pictures in splits.values() for picture in pictures}
    for folder in sorted({path.parent for path in used}):
        for path in pictures_in(folder):
            if path not in used:
                notes.add("pictures are not in any annotation file and are left out", path)
    return dataset_of_boxes(name, splits, notes, rule)


def _read(file: Path, notes: Notes) -> list[AnnotatedPicture]:
    images, annotations, categories = read_parts(file)
    names = _category_names(file, annotations, categories, notes)
    objects = defaultdict(list)
    for annotation in annotations:
        if has_fields(annotation, "image_id", "category_id"):
            objects[annotation["image_id"]].append(annotation)
        else:
            notes.add(f"annotations of {file.name} have no image_id or no category_id", file)
    images = unique_images(file, images, notes)
    pictures, folders = [], picture_folders(file)
    for image in images:
        found = objects.pop(image["id"], [])
        path = find_picture(folders, str(image["file_name"]), file.parent)
        if path is None:
            notes.add("annotated pictures are missing and are left out", f"{file}, {image['file_name']}")
            continue
        pictures.append(_picture(path, file, image, found, names, notes))
    _refuse_shared_pictures(pictures)
    for image_id in objects:
        notes.add(f"images are not listed in {file.name} but have annotations", f"image_id {image_id}")
    refuse_shares(str(file), [box[1:] for picture in pictures for box in picture.boxes])
    return pictures


def unique_images(file: Path, images: list, notes: Notes) -> list[dict]:
    """Return the images that have an id and a file_name.

    Raises:
        DataError: if two have one id.
    """
    kept: dict[Any, dict] = {}
    for image in images:
        if not has_fields(image, "id", "file_name"):
            notes.add(f"images of {file.name} have no id or no file_name and are left out", file)
            continue
        if (other := kept.get(image["id"])) is not None:
            raise DataError(
                f"{file}: two images have the id {image['id']!r}, {other['file_name']} and "
                f"{image['file_name']}, so their annotations cannot be told apart; give each its own id"
            )
        kept[image["id"]] = image
    return list(kept.values())


def _category_names(file: Path, annotations: list, categories: list, notes: Notes) -> dict[Any, str]:
    """Return the class names by category id.

    Two categories with one name are one class if only one of them is used, as in Roboflow's files, whose
    first category is a heading; this is noted.

    Raises:
        DataError: if two categories have one id, or two that are used have one name.
    """
    names: dict[Any, str] = {}
    for category in categories:
        if not has_fields(category, "id", "name"):
            continue
        number, name = category["id"], str(category["name"]).strip()
        if number in names:
            raise DataError(
                f"{file}: two categories have the id {number!r}, {names[number]!r} and {name!r}; give "
                "each its own id"
            )
        names[number] = name
    uses = Counter(a["category_id"] for a in annotations if has_fields(a, "category_id"))
    by_name: dict[str, list[Any]] = defaultdict(list)
    for number, name in names.items():
        by_name[name].append(number)
    for name, numbers in by_name.items():
        used = [number for number in numbers if uses[number]]
        if len(used) > 1:
            raise DataError(
                f"{file}: the categories {', '.join(map(repr, used))} share one name, {name!r}; rename one "
                "or merge them"
            )
        if len(numbers) > 1:
            notes.add(
                "categories share the name of another one and have no annotations", f"{name!r} in {file.name}"
            )
    return names


def _refuse_shared_pictures(pictures: list[AnnotatedPicture]) -> None:
    seen: dict[Path, str] = {}
    for picture in pictures:
        if other := seen.get(picture.path):
            raise DataError(
                f"{picture.source}: is the same file as {other} but listed as another image; list it once"
            )
        seen[picture.path] = picture.source


def _picture(
    path: Path, file: Path, image: dict, objects: list[dict], names: dict[Any, str], notes: Notes
) -> AnnotatedPicture:
    source = f"{file}, {image['file_name']}"
    size = (image.get("width"), image.get("height"))
    known = all(isinstance(side, int) and side > 0 for side in size)
    picture = AnnotatedPicture(path, source, size if known else None, [])  # type: ignore[arg-type]
    for thing in objects:
        number = thing["category_id"]
        name = names.get(number, "")
        if name and thing.get("segmentation"):
            picture.segments.append((name, thing["segmentation"]))
        edges = edges_of(thing.get("bbox"))
        if name and edges and thing.get("segmentation"):
            picture.outlines[name, *edges] = thing["segmentation"]
        if thing.get("iscrowd"):
            if name and edges:
                picture.ignored.append((name, *edges))
            continue
        if edges:
            if name:
                picture.boxes.append((name, *edges))
            else:
                notes.add("boxes have no class and are left out", f"{source}, category_id {number!r}")
        else:
            notes.add("boxes are not four numbers and are left out", source)
    return picture


def read_parts(file: Path) -> tuple[list, list, list]:
    """Return the images, annotations and categories of a file.

    Raises:
        DataError: if it cannot be read, or lacks one of the lists.
    """
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
        raise DataError(f"{file}: is not COCO JSON: it needs the lists images, annotations and categories")
    return tuple(parts)  # type: ignore[return-value]


def has_fields(entry: Any, *keys: str) -> bool:
    """Return whether an entry is a dictionary with numbers or strings under `keys`."""
    return isinstance(entry, dict) and all(isinstance(entry.get(key), int | float | str) for key in keys)


def edges_of(box: Any) -> tuple[float, float, float, float] | None:
    """Return the edges x0, y0, x1, y1 of a box [x, y, width, height]; None if it is none."""
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        return None
    x, y, width, height = (float(v) for v in box)
    if not all(math.isfinite(v) for v in (x, y, width, height)):
        return None
    return x, y, x + width, y + height


def picture_folders(file: Path, prefix: str = PREFIX) -> list[Path]:
    """Return where a file's pictures may be: next to it, in images/ or data/, or in folders of its split.

    Args:
        file: named after its split, behind a prefix.
        prefix: of its name.
    """
    folders = [file.parent, file.parent / "images", file.parent / "data"]
    if not _is_annotations(file.parent):
        return folders
    above, own = file.parent.parent, file.stem.removeprefix(prefix)
    places = [above / own, above / "images" / own]
    if split := split_of(own):
        for place in (above, above / "images"):
            places += [f for f in subfolders(place) if split_of(f.name) == split and f not in places]
    return [*places, above / "images", above, *folders]


def find_picture(folders: list[Path], name: str, own: Path) -> Path | None:
    r"""Return a picture that a file names, with slashes or backslashes.

    Of a path that is not there, of another machine (C:\data\0.png, ../upload/0.png), only the last part is
    looked for.

    Args:
        folders: where it may be.
        name: as the file names it.
        own: the folder of that file.
    """
    posix = PurePosixPath(name.replace("\\", "/"))
    if not name or "\0" in name:
        return None
    foreign = posix.is_absolute() or ".." in posix.parts or (len(name) > 1 and name[1] == ":")
    wanted = posix.name if foreign else str(posix)
    if not wanted:
        return None
    with suppress(OSError):  # a name that no file can have
        if foreign and (own / posix).is_file():
            return own / posix
        return next((folder / wanted for folder in folders if (folder / wanted).is_file()), None)
    return None
