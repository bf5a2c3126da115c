"""`resight check`, `pack` and `augment`: words and answers."""

from typing import Annotated, Any

import typer

from resight.cli import show
from resight.cli.words import DataRoot, Json


def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for train.")],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also draw the near copies on a page (HTML).")
    ] = None,
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Decode every picture of a data set and say what is wrong with it, and what to do.

    The exit code is 1 if there are faults, pictures in several splits or pictures in several classes.
    """
    from resight.service.data.check import check as service

    raise typer.Exit(checked(service(data, data_root, out), as_json=as_json))


def pack(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for train.")],
    shards: Annotated[
        int, typer.Option(min=1, help="Shards of the largest split; the others have as large ones.")
    ],
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Reduce larger pictures to this shorter side. [default: bytes as they are]"),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="A new folder. [default: DATA-packed]")
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of reduced pictures, as JPEG.")] = 90,
    *,
    uncompressed: Annotated[
        bool,
        typer.Option(
            "--uncompressed",
            help="Write all as PPM: read fastest, 3 bytes a pixel (262 kB each at --size 256).",
        ),
    ] = False,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Pack a data set into WebDataset tar shards, shuffled once, with an index for reading in any order."""
    from resight.service.data.pack import pack as service

    packed(service(data, shards, size, out, quality, data_root, uncompressed=uncompressed), as_json=as_json)


def augment(
    where: Annotated[
        str | None, typer.Argument(metavar="[IMAGE|DATA]", help="A picture, or a data set as for train.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="augment (as a recipe has it, such as rotation:15,mixup:0.2; by default every operation), "
            "seed or image_size; may be repeated.",
        ),
    ] = None,
    out: Annotated[str, typer.Option(metavar="FILE", help="The picture (PNG).")] = "augment.png",
    *,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Draw every operation on a picture at five strengths, or what `--set augment=` makes of a data set."""
    from resight.service.data.gallery import gallery, list_operations

    if where is None:
        operations(list_operations(), as_json=as_json)
        return
    drawn(gallery(where, out, changes or (), data_root), as_json=as_json)


def checked(answer: dict[str, Any], *, as_json: bool) -> int:
    """Print what a data set is made of and what is wrong with it; returns the exit code, 1 for faults."""
    wrong = {name: len(answer[name]) for name in ("faults", "leaks", "conflicts")}
    if as_json:
        show.document(answer)
        return int(any(wrong.values()))
    show.say(f"{answer['data']}: {answer['n']:,} pictures, {answer['ok']:,} can be read")
    for fault in answer["faults"]:
        show.say(f"fault     {fault['path']}: {fault['fault']}; {fault['cure']}")
    for group in answer["leaks"]:
        show.say(f"leak      the same picture in several splits: {_places(group, 'splits')}; keep it in one")
    for group in answer["conflicts"]:
        places = _places(group, "classes")
        show.say(f"conflict  the same picture in several classes: {places}; keep the right one")
    plain = [g for g in answer["duplicates"] if g not in answer["leaks"] and g not in answer["conflicts"]]
    for group in plain:
        show.say(f"copy      {', '.join(group['paths'])}; keep one")
    across = [pair for pair in answer["near_copies"] if len(set(pair["splits"])) > 1]
    for pair in answer["near_copies"]:
        show.say(f"near copy {_places(pair, 'splits')}: {pair['distance']} of 63 bits differ")
    if across:
        show.say(
            f"note      {len(across)} pairs of near copies lie in different splits, the commonest leak: the "
            "test counts pictures that were learned; keep both of a pair in one split"
        )
    for line in answer["unused"]:
        show.say(f"unused    {line}")
    splits = list(dict.fromkeys(s for c in answer["classes"].values() for s in c))
    show.table(
        ("class", *splits),
        [(name, *(c.get(s, 0) for s in splits)) for name, c in answer["classes"].items()],
    )
    for note in answer["notes"]:
        show.say(f"note      {note}")
    if answer["out"]:
        show.say(f"page      {answer['out']}")
    if not any(wrong.values()):
        good = "every picture can be read, and none is in two splits or two classes"
        show.say(
            f"look at the near copies in different splits; else {good}" if across else f"all is well: {good}"
        )
        return 0
    show.say(f"to mend: {', '.join(f'{count} {name}' for name, count in wrong.items() if count)}")
    return 1


def _places(group: dict[str, Any], what: str) -> str:
    """Return the pictures of a group, each with its split or its class."""
    return ", ".join(f"{p} ({w})" for p, w in zip(group["paths"], group[what], strict=True))


def packed(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print what was packed, and what was left out."""
    if as_json:
        show.document(answer)
        return
    rows = [(name, f"{part['pictures']:,}", part["shards"]) for name, part in answer["splits"].items()]
    show.table(("split", "pictures", "shards"), rows)
    show.say(f"{answer['out']}: {answer['bytes'] / 2**20:,.1f} MiB")
    for line in answer["left_out"]:
        show.say(f"left out  {line}")
    for note in answer["notes"]:
        show.say(f"note      {note}")


def operations(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the table of augmentations."""
    if as_json:
        show.document({"operations": rows})
        return
    show.table(
        ("name", "kind", "does", "default", "above", "up to", "share"),
        [
            (
                r["name"], r["kind"], r["does"],
                *("-" if r[key] is None else f"{r[key]:g}" for key in ("default", "above", "up_to", "share")),
            )
            for r in rows
        ],
    )  # fmt: skip
    show.say("A recipe names them as name, name:value or name:value@share, such as rotation:15@0.5")


def drawn(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print where a gallery is."""
    if as_json:
        show.document(answer)
        return
    show.say(f"{answer['image']}  {len(answer['rows'])} rows")
