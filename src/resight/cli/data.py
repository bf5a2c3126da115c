"""`resight check`, `pack` and `augment`: options and output."""

from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json, Task, settings
from resight.core.text import amount

if TYPE_CHECKING:
    from resight.service.data.check import Checked, Group
    from resight.service.data.gallery import Drawn, OperationRow
    from resight.service.data.pack import Packed


def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for train.")],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write an HTML page that shows the near copies.")
    ] = None,
    task: Task = "classify",
    changes: Annotated[
        list[str] | None, settings("A setting of the task, such as segment.void=11; may be repeated.")
    ] = None,
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Decode every picture of a data set; list the faults and how to fix them.

    The exit code is 1 if there are faults, or pictures that occur in several splits or several classes.
    """
    from resight.service.data.check import check as service

    raise typer.Exit(checked(service(data, data_root, out, task, changes or ()), as_json=as_json))


def pack(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for train.")],
    shards: Annotated[
        int,
        typer.Option(min=1, help="Shards of the largest split; those of other splits have equal size."),
    ],
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Resize larger pictures to this shorter side. [default: copy the files]"),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="New folder to write. [default: DATA-packed]")
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality of resized pictures.")] = 90,
    task: Task = "classify",
    *,
    uncompressed: Annotated[
        bool,
        typer.Option(
            "--uncompressed",
            help="Write all pictures as PPM: fastest to read, 3 bytes per pixel (262 kB each at --size 256).",
        ),
    ] = False,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Pack a data set into WebDataset tar shards, shuffled once, with an index for random access."""
    from resight.service.data.pack import pack as service

    answer = service(data, shards, size, out, quality, data_root, uncompressed=uncompressed, task=task)
    packed(answer, as_json=as_json)


def augment(
    where: Annotated[
        str | None, typer.Argument(metavar="[IMAGE|DATA]", help="A picture, or a data set (as for train).")
    ] = None,
    changes: Annotated[
        list[str] | None,
        settings(
            "augment (same syntax as in a recipe, such as rotation:15,mixup:0.2; default: every "
            "operation), seed, image_size, or a setting of the task; may be repeated.",
        ),
    ] = None,
    out: Annotated[str, typer.Option(metavar="FILE", help="PNG file to write.")] = "augment.png",
    task: Task = "classify",
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Draw every operation on a picture at five strengths, or the effect of `--set augment=` on a data set.

    Without an argument, list the operations.
    """
    from resight.service.data.gallery import gallery, list_operations

    if where is None:
        operations(list_operations(), as_json=as_json)
        return
    drawn(gallery(where, out, changes or (), data_root, task), as_json=as_json)


def checked(answer: "Checked", *, as_json: bool) -> int:
    """Print the contents and the faults of a data set; return the exit code, 1 if there are faults."""
    wrong = {
        "faults": len(answer.faults),
        "leaks": len(answer.leaks),
        "conflicts": len(answer.conflicts),
    }
    if as_json:
        show.document(answer)
        return int(any(wrong.values()))
    show.say(f"{answer.data}: {amount(answer.n, 'picture')}, {answer.ok:,} can be read")
    across = _found(answer)
    for line in answer.unused:
        show.say(f"unused    {line}")
    splits = list(dict.fromkeys(s for c in answer.classes.values() for s in c))
    show.table(
        ("class", *splits),
        [(name, *(c.get(s, 0) for s in splits)) for name, c in answer.classes.items()],
    )
    for note in answer.notes:
        show.say(f"note      {note}")
    if answer.out:
        show.say(f"page      {answer.out}")
    if not any(wrong.values()):
        good = "every picture can be read, and none is in two splits or two classes"
        show.say(
            f"look at the near copies in different splits; otherwise {good}"
            if across
            else f"no faults: {good}"
        )
        return 0
    show.say(f"to fix: {', '.join(f'{count} {name}' for name, count in wrong.items() if count)}")
    return 1


def _found(answer: "Checked") -> int:
    """Print faults and groups of equal pictures; return how many near copies are in different splits."""
    for fault in answer.faults:
        show.say(f"fault     {fault.path}: {fault.fault}; {fault.cure}")
    for group in answer.leaks:
        show.say(
            f"leak      the same picture in several splits: {_places(group, group.splits)}; keep it in one"
        )
    for group in answer.conflicts:
        places = _places(group, group.classes)
        show.say(f"conflict  the same picture in several classes: {places}; keep the right one")
    plain = [g for g in answer.duplicates if g not in answer.leaks and g not in answer.conflicts]
    for group in plain:
        show.say(f"copy      {', '.join(group.paths)}; keep one")
    across = [pair for pair in answer.near_copies if len(set(pair.pictures.splits)) > 1]
    for pair in answer.near_copies:
        show.say(
            f"near copy {_places(pair.pictures, pair.pictures.splits)}: {pair.distance} of 63 bits differ"
        )
    if across:
        show.say(
            f"note      {len(across)} pairs of near copies lie in different splits, the commonest leak: the "
            "test then counts training pictures; keep both pictures of a pair in one split"
        )
    return len(across)


def _places(group: "Group", words: list[str]) -> str:
    """Return the paths of a group, each with its split or its class."""
    return ", ".join(f"{p} ({w})" for p, w in zip(group.paths, words, strict=True))


def packed(answer: "Packed", *, as_json: bool) -> None:
    """Print how many pictures were packed, and which were left out."""
    if as_json:
        show.document(answer)
        return
    rows = [(name, f"{part.pictures:,}", part.shards) for name, part in answer.splits.items()]
    show.table(("split", "pictures", "shards"), rows)
    show.say(f"{answer.out}: {answer.bytes / 2**20:,.1f} MiB")
    for line in answer.left_out:
        show.say(f"left out  {line}")
    for note in answer.notes:
        show.say(f"note      {note}")


def operations(rows: "list[OperationRow]", *, as_json: bool) -> None:
    """Print the table of augmentations."""
    if as_json:
        show.document({"operations": rows})
        return
    show.table(
        ("name", "kind", "does", "default", "above", "up to", "share"),
        [
            (
                r.name, r.kind, r.does,
                *("-" if v is None else f"{v:g}" for v in (r.default, r.above, r.up_to, r.share)),
            )
            for r in rows
        ],
    )  # fmt: skip
    show.say("Write them in a recipe as name, name:value or name:value@share, such as rotation:15@0.5")


def drawn(answer: "Drawn", *, as_json: bool) -> None:
    """Print the path of a gallery."""
    if as_json:
        show.document(answer)
        return
    show.say(f"{answer.image}  {len(answer.rows)} rows")
