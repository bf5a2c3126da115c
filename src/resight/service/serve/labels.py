"""Corrected boxes on disk: COCO files in a folder of their own, rewritten at every change.

    FOLDER/annotations/instances_SPLIT.json      instances_default.json where there are no splits

Where Pascal VOC is asked for, its files are written too, see `voc.py`, and these files are in FOLDER/.serve.

Only pictures that somebody marked as done are among "images"; those that are begun are kept besides, where
readers do not look. Pictures stay where they are, and the files name them from their own folder.
"""

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resight.core import documents
from resight.core.documents import Whole
from resight.core.errors import DataError, ResightError
from resight.core.files import write_text
from resight.data.layouts.coco import DESK
from resight.service.serve import voc

Box = tuple[str, float, float, float, float]
"""Class, left, top, width and height, in pixels of the picture as stored."""
IMAGE = {"file_name": str, "width": Whole(1), "height": Whole(1), "version": Whole(1)}
SHAPE = {
    "info": {"contributor": str, "begun": [{**IMAGE, "boxes": [{"label": str, "bbox": [float]}]}]},
    "images": [{**IMAGE, "id": Whole(0)}],
    "annotations": [{"id": Whole(0), "image_id": Whole(0), "category_id": Whole(0), "bbox": [float]}],
    "categories": [{"id": Whole(0), "name": str}],
}
MOST_BYTES = 2**30


FORMS = ("coco", "voc")
NO_SPLIT = "default"
"""What the file of pictures without splits is called."""
PLACES = {"coco": "annotations", "voc": ".serve"}
"""The folder of the COCO files: with VOC, where readers of data sets do not look."""


class ChangedError(ResightError):
    """Somebody else saved the picture first."""


@dataclass(frozen=True)
class Saved:
    """What is saved of a picture.

    Attributes:
        split: whose file it is in.
        size: (width, height) of the picture as stored.
        version: counts its changes, from 1.
        done: whether it is finished.
        boxes: its boxes.
    """

    split: str
    size: tuple[int, int]
    version: int
    done: bool
    boxes: tuple[Box, ...]


@dataclass
class Labels:
    """The files of a folder.

    Attributes:
        folder: the folder.
        saved: by the picture's whole path.
        categories: class names; their numbers in the files start at 1.
        form: "coco" or "voc".
    """

    folder: Path
    saved: dict[Path, Saved] = field(default_factory=dict)
    categories: list[str] = field(default_factory=list)
    form: str = FORMS[0]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, folder: Path, form: str = FORMS[0]) -> "Labels":
        """Read what a folder holds, if there is any.

        Args:
            folder: the folder.
            form: "coco" or "voc".

        Raises:
            DataError: if it holds something that the desk did not write, or in the other form.
        """
        labels = cls(folder, form=form)
        place = labels.place
        other = cls(folder, form=next(name for name in FORMS if name != form))
        if any(other.place.glob("instances_*.json")):
            raise DataError(
                f"{folder}: holds boxes as {other.form}; choose --format {other.form} or another --out"
            )
        files = sorted(place.glob("instances_*.json")) if place.is_dir() else []
        if not files and folder.exists() and (not folder.is_dir() or any(_visible(folder))):
            raise DataError(
                f"{folder}: is not empty and holds no boxes of serve; choose another folder with --out"
            )
        for file in files:
            labels._read(file)
        return labels

    @property
    def place(self) -> Path:
        """The folder of the COCO files."""
        return self.folder / PLACES[self.form]

    def _read(self, file: Path) -> None:
        try:
            if file.stat().st_size > MOST_BYTES:
                raise DataError(f"{file}: is too large; choose another folder with --out")
            text = file.read_bytes()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
        parsed = documents.parse(text, str(file))
        info = parsed.get("info") if isinstance(parsed, dict) else None
        if not isinstance(info, dict) or info.get("contributor") != DESK:
            raise DataError(
                f"{file}: was not written by serve, which does not change it; choose another --out"
            )
        content = documents.require(parsed, SHAPE, str(file))
        names = {category["id"]: category["name"] for category in content["categories"]}
        self.categories += [name for name in names.values() if name not in self.categories]
        boxes: dict[int, list[Box]] = {}
        for note in content["annotations"]:
            box = (names.get(note["category_id"], ""), *note["bbox"])
            if len(box) != 5 or not box[0]:
                raise DataError(
                    f"{file}: annotation {note['id']} has no class or no box; correct it in the file"
                )
            boxes.setdefault(note["image_id"], []).append(box)  # type: ignore[arg-type]
        split = file.stem.removeprefix("instances_")
        for image in content["images"]:
            self._keep(file, image, split, tuple(boxes.get(image["id"], ())), done=True)
        for image in content["info"]["begun"]:
            own = tuple((box["label"], *box["bbox"]) for box in image["boxes"])
            self._keep(file, image, split, own, done=False)  # type: ignore[arg-type]

    def _keep(
        self, file: Path, image: dict[str, Any], split: str, boxes: tuple[Box, ...], *, done: bool
    ) -> None:
        path = Path(os.path.normpath(file.parent.absolute() / image["file_name"]))
        size = image["width"], image["height"]
        self.saved[path] = Saved(split, size, image["version"], done, boxes)

    def save(
        self, path: Path, split: str, size: tuple[int, int], version: int, boxes: Sequence[Box], *, done: bool
    ) -> Saved:
        """Save a picture's boxes; on disk when this returns.

        Args:
            path: the picture's whole path.
            split: whose file it goes to.
            size: (width, height) of the picture as stored.
            version: what the boxes were changed from; 0 if nothing was saved.
            boxes: all of them.
            done: whether the picture is finished.

        Raises:
            ChangedError: if another version is saved.
            ResightError: if the file cannot be written; the version before stays.
        """
        with self._lock:
            before = self.saved.get(path)
            if version != (before.version if before else 0):
                raise ChangedError("somebody else changed the boxes")
            known = list(self.categories)
            self.categories += [name for name in dict.fromkeys(box[0] for box in boxes) if name not in known]
            self.saved[path] = Saved(split, size, version + 1, done, tuple(boxes))
            try:
                if self.form == "voc":
                    self._write_voc(path)
                self._write(split)
            except BaseException:
                self.categories = known
                if before:
                    self.saved[path] = before
                else:
                    del self.saved[path]
                raise
            return self.saved[path]

    def _write_voc(self, path: Path) -> None:
        """Write a picture's XML file if it is finished, remove it if not, and its split's list."""
        own = self.saved[path]
        if own.done:
            voc.write_annotation(self.folder, path, own.size, own.boxes)
        else:
            voc.remove_annotation(self.folder, path)
        if own.split != NO_SPLIT:
            done = (other for other, row in sorted(self.saved.items()) if row.split == own.split and row.done)
            voc.write_list(self.folder, own.split, done)

    def _write(self, split: str) -> None:
        """Write a split's file: a line for every picture and box, so that changes are easy to compare."""
        file = self.place / f"instances_{split}.json"
        number = {name: place for place, name in enumerate(self.categories, start=1)}
        images, notes, begun = [], [], []
        for path, own in sorted(self.saved.items()):
            if own.split != split:
                continue
            image: dict[str, Any] = {"id": len(images) + 1, "file_name": _name(path, file.parent)}
            image |= {"width": own.size[0], "height": own.size[1], "version": own.version, "by": DESK}
            if not own.done:
                parts = [{"label": label, "bbox": list(box)} for label, *box in own.boxes]
                begun.append({**image, "id": len(begun) + 1, "boxes": parts})
                continue
            images.append(image)
            notes += [
                {
                    "id": len(notes) + place, "image_id": image["id"], "category_id": number[label],
                    "bbox": box, "area": round(box[2] * box[3], 2), "iscrowd": 0,
                }
                for place, (label, *box) in enumerate(own.boxes, start=1)
            ]  # fmt: skip
        categories = [{"id": place, "name": name} for name, place in number.items()]
        words = "Boxes are in pixels of the pictures as stored, before EXIF rotation."
        parts = [
            f'"info": {{"description": "{words}", "contributor": "{DESK}", "begun": {_lines(begun)}}}',
            *(f'"{name}": {_lines(rows)}' for name, rows in
              (("images", images), ("annotations", notes), ("categories", categories))),
        ]  # fmt: skip
        write_text(file, "{\n" + ",\n".join(parts) + "\n}\n")


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]" if rows else "[]"


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _name(path: Path, folder: Path) -> str:
    """Return a picture's path from a folder; its whole path where there is none, on another drive."""
    try:
        return Path(os.path.relpath(path, folder.absolute())).as_posix()
    except ValueError:
        return path.as_posix()
