"""What a sample of a shard says of its picture in small members: label, boxes, key points, size.

The label is the text of `.cls`, else "label" in `.json`, else the text of `.txt`: a number or a name; it may
be missing. These keys of `.json` are a layout of ours, all in pixels of the decoded picture: "boxes", a list
of {"label", "box": [x0, y0, x1, y1]}; "points", [x, y, state] of each joint that `joints.json` next to the
shards names; "size", the picture's width and height.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resight.core.documents import Whole, Within, parse, read, require
from resight.core.errors import DataError
from resight.data.labels import class_table, one_line
from resight.data.points import HIDDEN, UNMARKED, VISIBLE, KeyPoints, Skeleton

CURE = "copy or pack it again"
JOINTS = "joints.json"
"""Next to the shards: what the joints are, the fields of a `Skeleton`."""
MARKS = {
    "label?": (str, int, None),
    "boxes?": ([{"label": (str, int), "box": [Within()]}], None),
    "points?": ([[Within()]], None),
    "size?": ([Whole(1, 2**31 - 1)], None),
}
SKELETON = {
    "names": [str], "swaps": [Whole(0)], "limbs": [[Whole(0)]], "torso": [Whole(0)], "eyes": [Whole(0)],
}  # fmt: skip


class Row(NamedTuple):
    """A sample of a shard.

    Attributes:
        member: name of the picture's member.
        offset: where its bytes begin in the shard.
        length: how many they are.
        digest: of the bytes.
        label: as the shard spells it, "" if there is none.
        boxes: {"label", "box"} of each; None if it says nothing of boxes.
        points: x, y and state of each joint; None if it says nothing of joints.
        size: (width, height) of the decoded picture; None if it is not said.
    """

    member: str
    offset: int
    length: int
    digest: str
    label: str
    boxes: list[dict[str, Any]] | None = None
    points: list[list[float]] | None = None
    size: tuple[int, int] | None = None


def marked(shard: Path, key: str, sample: dict[str, Any]) -> Row:
    """Return a sample with what it says of itself.

    Args:
        shard: the file.
        key: name of the sample.
        sample: its members by suffix: the picture's place, and the content of the others.

    Raises:
        DataError: if one cannot be read.
    """
    where = f"{shard}: the boxes or masks of sample {one_line(key)} cannot be read"
    try:
        texts = {kind: sample[kind].decode("utf-8-sig").strip() for kind in ("cls", "txt") if kind in sample}
    except ValueError as error:
        raise DataError(f"{where} ({error}); {CURE}") from error
    document = parse(sample["json"], where) if "json" in sample else {}
    document = require(document if isinstance(document, dict) else {}, MARKS, where)
    boxes, points, size = (document.get(name) for name in ("boxes", "points", "size"))
    if boxes is not None:
        if any(len(b["box"]) != 4 for b in boxes):
            raise DataError(f"{where} (a box does not have four edges); {CURE}")
        boxes = [{"label": b["label"], "box": [float(v) for v in b["box"]]} for b in boxes]
    if any(len(p) != 3 or p[2] not in (UNMARKED, HIDDEN, VISIBLE) for p in points or ()):
        raise DataError(f"{where} (a key point is not x, y and a state of 0, 1 or 2); {CURE}")
    if size is not None and len(size) != 2:
        raise DataError(f"{where} (a size is not a width and a height); {CURE}")
    label = texts.get("cls") or document.get("label", texts.get("txt"))
    label = "" if label is None else str(label).strip()
    if "\0" in label:  # which numpy would cut off
        raise DataError(f"{where} (the label holds a NUL character); {CURE}")
    member, offset, length, digest = sample["picture"]
    return Row(member, offset, length, digest, label, boxes, points, (size[0], size[1]) if size else None)


def parse_classes(name: str, content: bytes, where: str) -> tuple[tuple[str, ...], bool]:
    """Return the class names in a `classes.json` or `classes.txt`, and whether pictures may be mirrored.

    JSON is a list, or {"classes": a list, "mirrors": true or false}; text has one name a line.

    Args:
        name: the file's name.
        content: what it holds.
        where: for the message.

    Raises:
        DataError: if it holds no such thing, or a name twice.
    """
    if name.endswith(".txt"):
        try:
            lines = content.decode("utf-8-sig").rstrip().splitlines()
        except ValueError as error:
            raise DataError(f"{where} ({error}); write one name per line, as UTF-8") from error
        return class_table([line.strip() for line in lines], where), True
    document = parse(content, where)
    if not isinstance(document, dict):
        document = {"classes": require(document, [str], where)}
    require(document, {"classes": [str], "mirrors?": bool}, where)
    return class_table(document["classes"], where), document.get("mirrors", True)


def said_of(skeleton: Skeleton) -> dict[str, Any]:
    """Return what `joints.json` says of the joints."""
    return asdict(skeleton)


def skeleton_in(folder: Path) -> Skeleton:
    """Return what `joints.json` in a folder of shards says.

    Raises:
        DataError: if it cannot be read, or numbers a joint that it does not name.
    """
    file = folder / JOINTS
    where = f"{file}: does not say what the joints are"
    found = read(file.read_bytes(), SKELETON, where)
    limbs = tuple((limb[0], limb[1]) for limb in found["limbs"] if len(limb) == 2)
    rest = (tuple(found[name]) for name in ("swaps", "torso", "eyes"))
    swaps, torso, eyes = rest
    used = {*swaps, *torso, *eyes, *(joint for limb in limbs for joint in limb)}
    count = len(found["names"])
    fits = len(limbs) == len(found["limbs"]) and len(swaps) in (0, count)
    if not fits or max(used, default=0) >= count or {len(torso), len(eyes)} - {0, 2}:
        raise DataError(f"{where} (its numbers do not fit its {count} names); pack it again")
    return Skeleton(tuple(found["names"]), swaps, limbs, torso, eyes)


def key_points(skeleton: Skeleton, rows: Sequence[tuple[Path, Any]]) -> KeyPoints:
    """Return the joints of a split's pictures.

    Args:
        skeleton: what they are, J of them.
        rows: its shards, each with its index.

    Raises:
        DataError: naming a shard with a sample that has other than J points.
    """
    parts = []
    for shard, index in rows:
        count = len(index.labels)
        if len(index.point_counts) != count or (index.point_counts != len(skeleton)).any():
            raise DataError(
                f"{shard}: a sample does not have the {len(skeleton)} key points that {JOINTS} names; "
                "pack it again"
            )
        parts.append(index.points.reshape(count, len(skeleton), 3))
    points = np.concatenate(parts)
    return KeyPoints(skeleton, np.ascontiguousarray(points[..., :2]), points[..., 2].astype(np.int8))
