"""YOLO's layout: a text file of boxes for each picture, in shares of the picture's sides."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.frames import Frame, read_frame
from resight.data.labelling import LARGEST, Rule, dataset_of_boxes
from resight.data.layouts.boxes import AnnotatedPicture, NamedBox, Notes
from resight.data.layouts.claim import Claim
from resight.data.layouts.data_yaml import DataYaml, read_data_yaml
from resight.data.layouts.splits import split_folders, split_of
from resight.data.layouts.tree import files_in, list_pictures, pictures_in, subfolders

IMAGES, LABELS = "images", "labels"
YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAMES = ("classes.txt", "obj.names", "_darknet.labels")
"""Files with a class name on each line: Label Studio and LabelImg, darknet and CVAT, Roboflow."""
LISTS = ("train.txt", "val.txt", "valid.txt", "test.txt")
LOOKED_AT = 100
"""Text files of a folder that are looked at for boxes; those of pictures without any are empty."""
SLACK = 0.01
"""How far a share may be outside 0 to 1: tools round."""


def claim_yolo(root: Path) -> Claim | None:
    """Claim a folder with text files of boxes next to its pictures or in labels/, and with class names."""
    if not (_names_files(root) or _yaml_file(root) or (root / LABELS).is_dir() or _split_labels(root)):
        return None
    if not any(map(_looks_like_boxes, _text_files(root))):
        return None
    used = {IMAGES, LABELS, *YAML, *NAMES, *LISTS, "obj.data", "obj_train_data", "notes.json"}
    used |= {f.name for f in subfolders(root) if split_of(f.name)}
    used |= {f.name for f in (*_names_files(root), *filter(None, [_yaml_file(root)]))}
    if any(file.with_suffix(".txt").is_file() for file in pictures_in(root)):
        used |= {f.name for f in (*pictures_in(root), *files_in(root, ".txt"))}
    return Claim("a YOLO folder", frozenset(used), lambda rule: open_yolo(root, rule=rule))


def open_yolo(root: Path, yaml: Path | None = None, rule: Rule = LARGEST) -> Dataset:
    """Open a folder in one of YOLO's layouts.

    Pictures are in images/ and text files in labels/, with split folders below (images/train) or above
    (train/images), or pictures and text files together. A line of a text file is a class number and a box
    (x and y of its centre, width and height), or a polygon of three corners or more, whose bounds are the
    box; all in shares of the sides of the picture as a person sees it, as Ultralytics reads them. Class names
    are in data.yaml or in a file with one per line. Places in data.yaml count where they are in the
    folder; of other splits the folders' names say where they are.

    Args:
        root: the folder.
        yaml: its data.yaml, where the user named that.
        rule: what a picture is labelled with.

    Source: https://docs.ultralytics.com/datasets/detect

    Raises:
        DataError: if there are no class names, a line is not a box, a share is outside 0 to 1, a class
            number has no name, or there is nothing to learn from.
    """
    notes = Notes()
    yaml = yaml or _yaml_file(root)
    said = read_data_yaml(yaml) if yaml else DataYaml({}, {})
    if said.points:
        raise DataError(
            f"{yaml}: looks like a YOLO keypoint data set (kpt_shape), which is not read as classes"
        )
    names = _class_names(root, yaml, said, notes)
    places = _all_places(root, yaml, said, notes)
    if "train" not in places:
        raise DataError(
            f"{root}: has YOLO pictures for {', '.join(places) or 'no split'} but none for train; add a "
            "train folder"
        )
    reader = _Reader(root, names, notes)
    splits = {split: list(reader.pictures(found)) for split, found in places.items()}
    reader.note_labels_without_pictures()
    return dataset_of_boxes(str(root), splits, notes, rule)


@dataclass
class _Reader:
    """Reads the text files of a data set."""

    root: Path
    names: dict[int, str]
    notes: Notes

    def __post_init__(self) -> None:
        self.read: set[Path] = set()

    def pictures(self, paths: list[Path]) -> Iterator[AnnotatedPicture]:
        """Yield pictures with their boxes."""
        for path in paths:
            file = _label_file(self.root, path)
            if not file.is_file():
                self.notes.add("pictures have no text file of boxes", path)
                continue
            if file in self.read:
                self.notes.add(
                    "pictures share a text file of boxes with another picture of the same name", path
                )
            self.read.add(file)
            yield self._picture(path, file)

    def note_labels_without_pictures(self) -> None:
        """Note text files whose pictures are missing."""
        for folder in {file.parent for file in self.read}:
            for file in _label_files(folder):
                if file not in self.read and _looks_like_boxes(file):
                    self.notes.add("text files of boxes have no picture and are left out", file)

    def _picture(self, path: Path, file: Path) -> AnnotatedPicture:
        things = [
            self._thing(line, f"{file}:{n}") for n, line in enumerate(_lines(file), start=1) if line.strip()
        ]
        size = read_frame(path, None).turned_size()
        if size is None:  # the decoder will name it; its class is that of its largest box
            largest = max(things, key=_area, default=None)
            return AnnotatedPicture(path, str(file), None, [], largest[0] if largest else "")
        boxes: list[NamedBox] = []
        segments: list[tuple[str, Any]] = []
        outlines: dict[NamedBox, Any] = {}
        for name, *shares in things:
            points = [share * size[i % 2] for i, share in enumerate(shares)]
            boxes.append((name, min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])))
            if len(points) > 4:
                segments.append((name, [points]))
                outlines[boxes[-1]] = [points]
        return AnnotatedPicture(
            path, str(file), size, boxes, segments=segments, outlines=outlines, frame=Frame(size)
        )

    def _thing(self, line: str, where: str) -> tuple[Any, ...]:
        """Return a line's class name and corners (x, y, x, y, ...) in shares: two of a box."""
        try:
            number, *shares = (float(word) for word in line.split())
            if not all(map(math.isfinite, (number, *shares))) or number != int(number):
                raise ValueError
        except ValueError:
            raise DataError(
                f"{where}: is not a YOLO line: a class number and four numbers; fix the line"
            ) from None
        if len(shares) != 4 and (len(shares) < 6 or len(shares) % 2):
            raise DataError(
                f"{where}: has {len(shares)} numbers after the class; a box has 4 and a polygon 6 or more, "
                "in pairs; fix the line"
            )
        if not all(-SLACK <= share <= 1 + SLACK for share in shares):
            raise DataError(
                f"{where}: has numbers outside 0 to 1; YOLO boxes are shares of the picture's sides, "
                "not pixels; divide them by its width and height"
            )
        if int(number) not in self.names:
            raise DataError(
                f"{where}: has the class {int(number)}, but only {_range(self.names)} have names; "
                "add its name"
            )
        if len(shares) == 4:
            x, y, width, height = shares
            shares = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        return self.names[int(number)], *shares


def _area(thing: tuple[Any, ...]) -> float:
    _, *shares = thing
    xs, ys = shares[::2], shares[1::2]
    return (max(xs) - min(xs)) * (max(ys) - min(ys))


def _range(names: dict[int, str]) -> str:
    numbers = sorted(names)
    whole = numbers == [*range(len(numbers))]
    return f"0 to {numbers[-1]}" if whole else ", ".join(map(str, numbers[:10]))


def _class_names(root: Path, yaml: Path | None, said: DataYaml, notes: Notes) -> dict[int, str]:
    listed: dict[Path, dict[int, str]] = {}
    for file in _names_files(root):
        lines = [line.strip() for line in _lines(file)]
        while lines and not lines[-1]:
            lines.pop()
        if "" in lines or len(set(lines)) < len(lines):
            raise DataError(f"{file}: has an empty line or a repeated name; give each class its own name")
        listed[file] = dict(enumerate(lines))
    if said.names and yaml:
        listed = {yaml: said.names, **listed}
    if not any(listed.values()):
        raise DataError(
            f"{root}: looks like a YOLO data set without class names; add classes.txt with one per "
            "line, in the order of their numbers"
        )
    first, *others = listed
    for other in others:
        if listed[other] != listed[first]:
            raise DataError(f"{other}: names classes that differ from {first}; move the wrong one elsewhere")
    return listed[first]


def _names_files(root: Path) -> list[Path]:
    """Return the files with a class name on each line; splits have one each in Roboflow's darknet form."""
    places = [root, root / LABELS, *(f for f in subfolders(root) if split_of(f.name))]
    return [place / name for place in places for name in NAMES if (place / name).is_file()]


def _yaml_file(root: Path) -> Path | None:
    """Return data.yaml, or the only file of its kind that names classes."""
    if named := next((root / name for name in YAML if (root / name).is_file()), None):
        return named
    found = [
        file
        for end in (".yaml", ".yml")
        for file in files_in(root, end)
        if re.search(rb"(?m)^names\s*:", _head(file))
    ]
    return found[0] if len(found) == 1 else None


def _all_places(root: Path, yaml: Path | None, said: DataYaml, notes: Notes) -> dict[str, list[Path]]:
    """Return the pictures of each split: as data.yaml says, and of other splits as the folders' names say."""
    found = _said_places(root, yaml, said, notes)
    taken = {path for pictures in found.values() for path in pictures}
    for split, pictures in _places(root, notes).items():
        if split not in found and not taken.intersection(pictures):
            found[split] = pictures
    return found


def _said_places(root: Path, yaml: Path | None, said: DataYaml, notes: Notes) -> dict[str, list[Path]]:
    """Return the pictures of each split that data.yaml names and that is in the folder."""
    found: dict[str, list[Path]] = {}
    for split, words in said.places.items():
        places = [place for word in words if (place := _resolved(root, said.path, word))]
        if len(places) < len(words):
            notes.add("folders of splits are missing", f"{split} in {yaml}: {', '.join(words)}")
        elif (
            pictures := [p for place in places for p in _pictures_of(root, place, notes)]
        ) in found.values():
            notes.add("splits repeat the pictures of another split and are left out", f"{split} in {yaml}")
        else:
            found[split] = pictures
    return found if "train" in found else {}


def _resolved(root: Path, path: str, word: str) -> Path | None:
    """Return a place in a folder that data.yaml names: from `path` or from the folder; ../ does not count."""
    parts = [part for part in PurePosixPath(word.replace("\\", "/")).parts if part not in ("..", ".")]
    below = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("..", ".")]
    for start in (root.joinpath(*below) if below and below[0] != "/" else root, root):
        candidate = start.joinpath(*parts)
        if parts and parts[0] != "/" and candidate.exists():
            return candidate
    # The whole path of another machine: as much of its end as is there.
    return next((p for i in range(1, len(parts)) if (p := root.joinpath(*parts[i:])).exists()), None)


def _pictures_of(root: Path, place: Path, notes: Notes) -> list[Path]:
    """Return the pictures of a folder, or those that a text file lists."""
    if place.is_dir():
        return list_pictures(place)
    pictures = []
    for line in filter(None, (line.strip() for line in _lines(place))):
        path = _resolved(root, "", line)
        if path:
            pictures.append(path)
        else:
            notes.add("listed pictures are missing and are left out", f"{line} in {place.name}")
    return pictures


def _places(root: Path, notes: Notes) -> dict[str, list[Path]]:
    """Return the pictures of each split by the names of folders and lists."""
    images = root / IMAGES
    if images.is_dir():
        below = split_folders(images) if any(split_of(f.name) for f in subfolders(images)) else {}
        if below:
            for path in pictures_in(images):
                notes.add("pictures are outside the folders of splits and are left out", path)
            return {split: list_pictures(folder) for split, folder in below.items()}
        return {"train": list_pictures(images)}
    above = split_folders(root) if any(split_of(f.name) for f in subfolders(root)) else {}
    if above:
        return {split: list_pictures(folder) for split, folder in above.items()}
    return {
        "train": [
            p for folder in (root, root / "obj_train_data") if folder.is_dir() for p in list_pictures(folder)
        ]
    }


def _label_file(root: Path, picture: Path) -> Path:
    """Return a picture's text file: in labels/ instead of the last images/ of its path, else next to it."""
    parts = list(picture.relative_to(root).parts)
    if IMAGES in parts[:-1]:
        last = len(parts) - 2 - parts[:-1][::-1].index(IMAGES)
        parts[last] = LABELS
    return root.joinpath(*parts).with_suffix(".txt")


def _split_labels(root: Path) -> list[Path]:
    """Return the folders of splits with text files: SPLIT/labels, or SPLIT itself with class names."""
    splits = [f for f in subfolders(root) if split_of(f.name)]
    labels = [f / LABELS for f in splits if (f / LABELS).is_dir()]
    return labels or [f for f in splits if any((f / name).is_file() for name in NAMES) or _yaml_file(root)]


def _text_files(root: Path) -> Iterator[Path]:
    """Yield text files that may hold boxes, where any of the forms has them: some of each place."""
    places = [root] if _yaml_file(root) else [root / LABELS, *_split_labels(root), root / "obj_train_data"]
    for place in places:
        found = (f for f in place.rglob("*.txt") if f.name not in (*NAMES, *LISTS))
        yield from islice(found, LOOKED_AT)
    yield from _label_files(root)[:LOOKED_AT]


def _label_files(folder: Path) -> list[Path]:
    return [f for f in files_in(folder, ".txt") if f.name not in (*NAMES, *LISTS)]


def _looks_like_boxes(file: Path) -> bool:
    first, *rest = _head(file).split(b"\n")[0].split() or [b""]
    try:
        return first.isdigit() and len([float(word) for word in rest]) >= 4
    except ValueError:
        return False


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(1 << 14)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); save it as UTF-8 text") from error
