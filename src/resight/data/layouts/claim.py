"""What a reader says of a folder: no, yes, or "this looks like ..., but"."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resight.data.dataset import Dataset
from resight.data.layouts.tree import is_picture, listed


@dataclass(frozen=True)
class Claim:
    """A reader knows the layout of a folder.

    Attributes:
        layout: what people call it, with its article: "a Pascal VOC folder".
        used: names of the files and folders in the folder that belong to the layout.
        open: reads it; a rule says what pictures with boxes are labelled with. None if it is not read.
        but: why it is not supported, and what to do.
    """

    layout: str
    used: frozenset[str] = frozenset()
    open: Callable[[Any], Dataset] | None = None
    but: str = ""


Reader = Callable[[Path], Claim | None]
"""Looks at a folder; None means no. It looks at names and a file's first lines, and reads nothing whole."""


MOST_NAMED = 20
"""Names of what is not used that are given one by one."""


def left_over(folder: Path, used: frozenset[str] | set[str], why: str) -> tuple[str, ...]:
    """Return a line for everything in a folder itself that is not used; pictures are counted, not listed.

    Args:
        folder: the folder.
        used: the names in it that are used.
        why: the reason, said of one thing: "is named after no split".
    """
    folders, files = listed(folder)
    rest = [path for path in (*folders, *files) if path.name not in used]
    loose = [path for path in rest if path in files and is_picture(path.name)]
    named = [path for path in rest if path not in loose]
    lines = [f"{path}: {why}" for path in named[:MOST_NAMED]]
    if len(named) > MOST_NAMED:
        lines.append(f"{folder}: {len(named) - MOST_NAMED} more files or folders: each {why}")
    if loose:
        lines.append(f"{folder}: {len(loose)} pictures in it have no class, such as {loose[0].name}")
    return tuple(lines)
