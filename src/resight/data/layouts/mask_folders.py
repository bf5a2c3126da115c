"""Where masks lie beside their pictures: folders of both, by splits or lists, and each picture's mask."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resight.core.errors import DataError
from resight.data.layouts.boxes import Notes
from resight.data.layouts.parts import IMAGES, MASK_ENDING, MASKS
from resight.data.layouts.splits import split_folders, split_of
from resight.data.layouts.tree import has_picture_below, list_pictures, subfolders

LISTS = "ImageSets/Segmentation"
"""Pascal VOC's lists of the pictures that have masks."""


@dataclass(frozen=True)
class Folders:
    """A folder of pictures and one of their masks."""

    images: Path
    masks: Path


def pairs_in(place: Path) -> Iterator[Folders]:
    """Yield folders of pictures in a folder with those that may hold their masks, by their names."""
    there = {folder.name: folder for folder in subfolders(place)}
    pictures = [folder for name, folder in there.items() if name.lower() in IMAGES]
    for name, masks in there.items():
        own = MASK_ENDING.sub("", name)
        beside = pictures if name.lower() in MASKS else [there[own]] if own != name and own in there else []
        for images in beside:
            if images != masks and has_picture_below(images) and has_picture_below(masks):
                yield Folders(images, masks)


def folders_of(root: Path) -> dict[str, Folders]:
    """Return the folders of each split, or of all pictures under ""; empty if there are none.

    `images/` and `masks/` in the folder itself, in folders named after splits, or above such folders; or
    `train/` and `trainannot/`. Of masks, at least half must have a picture.

    Raises:
        DataError: if two folders are of one split.
    """
    found: dict[str, Folders] = {}
    for pair in pairs_in(root):
        if _fits(pair):
            split = split_of(pair.images.name) or ""
            if split in found:
                raise DataError(
                    f"{root}: {found[split].masks.name}/ and {pair.masks.name}/ both hold masks of "
                    f"{pair.images.name}/; move one elsewhere"
                )
            found[split] = pair
    if "" in found:
        return _below(found[""])
    if found:
        return found
    if not any(split_of(folder.name) for folder in subfolders(root)):
        return {}
    for split, folder in split_folders(root).items():
        inner = [pair for pair in pairs_in(folder) if _fits(pair)]
        if len(inner) > 1:
            names = " and ".join(f"{pair.masks.name}/" for pair in inner)
            raise DataError(f"{folder}: {names} both hold masks; move one elsewhere")
        if inner:
            found[split] = inner[0]
    return found


def _below(pair: Folders) -> dict[str, Folders]:
    """Return the folders of each split below two folders, if all pictures are in such folders."""
    inner = subfolders(pair.images)
    if not inner or not all(split_of(folder.name) for folder in inner if has_picture_below(folder)):
        return {"": pair}
    images, masks = split_folders(pair.images), split_folders(pair.masks)
    both = {split: Folders(folder, masks[split]) for split, folder in images.items() if split in masks}
    return both or {"": pair}


def _fits(pair: Folders) -> bool:
    keys = {_key(path, pair.images) for path in list_pictures(pair.images)}
    masks = [_keys(path, pair.masks) for path in list_pictures(pair.masks)]
    return 2 * sum(not keys.isdisjoint(names) for names in masks) >= len(masks) > 0


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _keys(path: Path, folder: Path) -> tuple[str, ...]:
    """Return the names that the picture of a mask may have."""
    whole = path.relative_to(folder).with_suffix("")
    return tuple(dict.fromkeys((whole.as_posix(), whole.with_name(_cut(whole.name)).as_posix())))


def _cut(stem: str) -> str:
    return MASK_ENDING.sub("", stem) or stem


def matched(pair: Folders, notes: Notes) -> dict[str, tuple[Path, Path]]:
    """Return each picture that has a mask, and the mask, by the picture's name without its suffix.

    What has no partner, or several, is noted.
    """
    pictures: dict[str, list[Path]] = {}
    for path in list_pictures(pair.images):
        pictures.setdefault(_key(path, pair.images), []).append(path)
    masks: dict[str, list[Path]] = {}
    for path in list_pictures(pair.masks):
        key = next((name for name in _keys(path, pair.masks) if name in pictures), None)
        if key is None:
            notes.add("masks have no picture and are left out", path)
        else:
            masks.setdefault(key, []).append(path)
    found = {}
    for key, paths in pictures.items():
        own = masks.get(key, [])
        if not own:
            notes.add("pictures have no mask and are left out", paths[0])
        elif len(paths) > 1 or len(own) > 1:
            notes.add("pictures and masks of one name are more than two and are left out", paths[0])
        else:
            found[key] = (paths[0], own[0])
    return found


def listed(root: Path) -> dict[str, list[str]]:
    """Return the names that Pascal VOC's lists of pictures with masks give to each split; empty without any.

    trainval.txt is the training split if there is no train.txt.

    Raises:
        DataError: if a list cannot be read, or there is none for training.
    """
    lists: dict[str, list[str]] = {}
    for split, names in {"train": ("train", "trainval"), "val": ("val",), "test": ("test",)}.items():
        file = next((f for f in (root / LISTS / f"{name}.txt" for name in names) if f.is_file()), None)
        if file is None or (split == "val" and not (root / LISTS / "train.txt").is_file()):
            continue
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: cannot be read ({error}); save it as UTF-8 text") from error
        lists[split] = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if lists and "train" not in lists:
        raise DataError(f"{root}: {LISTS} has {', '.join(lists)}.txt but no train.txt; add one")
    return lists
