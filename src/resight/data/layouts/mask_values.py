"""What the values of a set's masks mean: which class each is, and which do not count."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from resight.core.errors import DataError
from resight.data.dataset import VOID
from resight.data.layouts.boxes import Notes
from resight.data.layouts.tree import files_in

NAMED_IN = ("classes.txt", "class_names.txt", "labels.txt")
"""Files that name the classes, the first one that is there."""
VOIDS = frozenset([
    "void", "unlabeled", "unlabelled", "unlabeled area", "ignore", "ignored", "__ignore__", "undefined",
    "don't care", "dontcare", "no label",
])  # fmt: skip
"""Names, in lower case, of what does not count."""
SKIPPED = "__ignore__"
"""labelme's first line: its number is -1, and the next line's is 0."""
IN_README = re.compile(r"\b(\d{1,3})\s*(?:=|:|is|means|-)\s*(?:the\s+)?(?:void|ignored?|unlabell?ed)\b", re.I)
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""The values 0 to 20 of Pascal VOC (development kit of 2012, section 3.2)."""
BINARY = ("background", "foreground")


@dataclass(frozen=True)
class Meaning:
    """What values mean.

    Attributes:
        names: of the classes, by value.
        void: values that do not count.
        source: what says so.
    """

    names: Mapping[int, str]
    void: frozenset[int]
    source: str = ""
    notes: tuple[str, ...] = field(default=())


def meaning_of(root: Path, used: Collection[int], void: int, notes: Notes) -> Meaning:
    """Return what the values of a folder's masks mean.

    A file names the classes, a line each, the first of value 0; or each with its value. A class that it calls
    void, or a value that README calls so, does not count, and neither does `void`. Without such a file: the
    names of Pascal VOC where the folder has its lists; background and foreground where the masks hold 0 and
    255 alone; else each class is called by its value.

    Args:
        root: the folder.
        used: values that occur.
        void: the value that does not count.
        notes: what is found out is added.

    Raises:
        DataError: if the file cannot be read, or two lines name one value, or one name has two.
    """
    stated = _void_in_readme(root)
    if stated is not None:
        notes.add(f"of the values, {stated}, is called void and does not count", root / "README")
    voids = {value for value in (void, stated) if value is not None and value >= 0}
    file = next((f for name in NAMED_IN for f in files_in(root) if f.name.lower() == name), None)
    if file:
        named = read_names(file)
        own = {value for value, name in named.items() if name.lower() in VOIDS}
        names = {value: name for value, name in named.items() if value not in own}
        voids -= names.keys()
        return Meaning(names, frozenset(voids | own), file.name)
    if set(used) == {0, VOID} and void == VOID:
        notes.add("value, 255, is read as the foreground, not as void: masks hold nothing else but 0", root)
        return Meaning(dict(zip((0, VOID), BINARY, strict=True)), frozenset())
    rest = sorted(set(used) - voids)
    if (
        (root / "SegmentationClass").is_dir()
        and (root / "ImageSets").is_dir()
        and max(rest, default=0) < len(VOC)
    ):
        notes.add("folder has Pascal VOC's lists and no file of class names, so VOC's names are taken", root)
        return Meaning(dict(enumerate(VOC)), frozenset(voids))
    return Meaning({value: str(value) for value in rest}, frozenset(voids))


def _void_in_readme(root: Path) -> int | None:
    """Return the value that a README calls void, if it names exactly one."""
    for file in files_in(root):
        if file.name.lower().startswith("readme"):
            with file.open("rb") as stream:
                text = stream.read(1 << 16).decode("utf-8-sig", "replace")
            found = {int(match[1]) for match in IN_README.finditer(text)}
            return found.pop() if len(found) == 1 else None
    return None


def read_names(file: Path) -> dict[int, str]:
    """Return the names of a file of classes by their values.

    Raises:
        DataError: if it cannot be read, or two lines name one value, or one name has two.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); save it as UTF-8 text") from error
    while lines and not lines[-1]:
        lines.pop()
    if lines and lines[0] == SKIPPED:
        lines = lines[1:]
    numbered = [re.fullmatch(r"(\d{1,3})\s*[\s,:;=]\s*(\S.*)", line) for line in lines]
    if lines and all(numbered):
        rows = [(int(match[1]), match[2].strip()) for match in numbered if match]
    else:
        rows = list(enumerate(lines))
    names: dict[int, str] = {}
    for value, name in rows:
        if not name:
            raise DataError(f"{file}: has no name for value {value}; fill the line")
        if value in names or name in names.values():
            raise DataError(f"{file}: names value {value} or class {name!r} twice; name each once")
        names[value] = name
    return names
