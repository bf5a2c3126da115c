"""Layouts that are known by their look and hold no classes to learn: each is refused by its name."""

import re
from pathlib import Path

from resight.data.layouts.claim import Claim
from resight.data.layouts.mask_folders import pairs_in
from resight.data.layouts.parts import MASK_ENDING
from resight.data.layouts.splits import is_classless, split_of
from resight.data.layouts.tree import (
    files_in,
    has_picture_below,
    is_picture,
    list_pictures,
    pictures_in,
    subfolders,
)

SEGMENTATION, POINTS, TABLE = "a segmentation set", "a keypoint data set", "pictures with a table"
CITYSCAPES = ("gtfine", "gtcoarse")
LOOKED_AT = 200
"""Pictures of a folder that are looked at."""


def claim_segmentation(root: Path) -> Claim | None:
    """Claim folders of pictures and of masks of the same names, in the folder itself or in its splits."""
    if fine := next((f.name for f in subfolders(root) if f.name.lower() in CITYSCAPES), None):
        return Claim(SEGMENTATION, but=f"{fine}/, as in Cityscapes; masks are not read as classes")
    for place in (root, *(f for f in subfolders(root) if split_of(f.name))):
        for pair in pairs_in(place):
            stems = {path.stem for path in list_pictures(pair.images)[:LOOKED_AT]}
            twins = {MASK_ENDING.sub("", path.stem) for path in list_pictures(pair.masks)} | {
                path.stem for path in list_pictures(pair.masks)
            }
            if stems and len(stems & twins) * 2 >= len(stems):
                shown = pair.images.relative_to(root), pair.masks.relative_to(root)
                return Claim(
                    SEGMENTATION,
                    but=f"pictures in {shown[0]}/ and masks of the same names in {shown[1]}/; masks are not "
                    "read as classes, so make one folder per class to classify, or use --task segment",
                )
    return None


def claim_points(root: Path) -> Claim | None:
    """Claim the layout of Leeds Sports Pose, COCO's files of key points alone, and tables of points."""
    if (root / "joints.mat").is_file():
        return Claim(
            POINTS, but="joints.mat, as in Leeds Sports Pose; points are no classes, use --task pose"
        )
    other = [
        file
        for file in files_in(root / "annotations", ".json")
        if file.stem.startswith(("person_keypoints", "captions"))
    ]
    if other:
        cure = "add annotations/instances_train*.json"
        if other[0].stem.startswith("person_keypoints"):
            cure += ", or use --task pose"
        return Claim("a COCO folder", but=f"{other[0].name} lists no classes; {cure}")
    return None


def claim_tables(root: Path) -> Claim | None:
    """Claim pictures in no class folders with a csv, or with a JSON file each, next to them."""
    if not is_classless(root):
        return None
    folders = [f for f in subfolders(root) if has_picture_below(f)]
    places = [root, *folders]
    pictures = [path for place in places for path in pictures_in(place)[:LOOKED_AT]]
    beside = next((p.with_suffix(".json") for p in pictures if p.with_suffix(".json").is_file()), None)
    if beside:
        return Claim(
            "pictures with one JSON file each (LabelMe)",
            but=f"such as {beside.relative_to(root)}; export them as COCO, Pascal VOC or YOLO",
        )
    for table in (file for place in places for end in (".csv", ".tsv") for file in files_in(place, end)):
        shown = table.relative_to(root)
        header, cells = _first_rows(table)
        numbers = sum(
            re.fullmatch(r"-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?", cell) is not None for cell in cells[1:]
        )
        if cells and is_picture(cells[0]) and numbers >= 4 and numbers == len(cells) - 1:
            return Claim(
                POINTS,
                but=f"{shown} has {numbers} numbers per picture; points are no classes, use --task pose",
            )
        if any(name in header for name in ("xmin", "x_min", "x1", "bbox")):
            return Claim(
                "pictures with a table of boxes",
                but=f"{shown} has columns {', '.join(header[:8])}; export it as COCO, Pascal VOC or YOLO",
            )
        return Claim(TABLE, but=f"{shown}; give {table} itself, with the columns path,label[,split]")
    return None


def _first_rows(table: Path) -> tuple[list[str], list[str]]:
    """Return the cells of a table's first line, in lower case, and of its second."""
    with table.open("rb") as stream:
        lines = stream.read(1 << 16).decode("utf-8-sig", "replace").splitlines()
    rows = [[cell.strip(" \"'") for cell in re.split(r"[,;\t]", line)] for line in lines[:2]]
    rows += [[]] * (2 - len(rows))
    return [cell.lower() for cell in rows[0]], rows[1]
