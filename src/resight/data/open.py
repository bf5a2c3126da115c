"""`open_dataset`: whatever the user has, as one kind of thing."""

from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

from resight.core.errors import DataError
from resight.core.files import dead_link
from resight.core.registry import nearest
from resight.data.dataset import Dataset
from resight.data.label_kinds import ANY
from resight.data.labelling import ALL, LARGEST, Rule
from resight.data.layouts.archive import is_zip, unpacked
from resight.data.layouts.builtin import BUILTIN, open_builtin
from resight.data.layouts.claim import Claim, Reader, left_over
from resight.data.layouts.coco import claim_coco, open_coco
from resight.data.layouts.coco_points import claim_coco_points, open_coco_points
from resight.data.layouts.csv_table import SUFFIXES as CSV_SUFFIXES
from resight.data.layouts.csv_table import open_csv
from resight.data.layouts.cvat import claim_cvat
from resight.data.layouts.folder import claim_folder
from resight.data.layouts.hub import is_hub, open_hub
from resight.data.layouts.lsp import claim_lsp
from resight.data.layouts.mapped import READ, Mapped, claim_mapped
from resight.data.layouts.point_table import claim_point_table, open_tables
from resight.data.layouts.pointed import POINTS
from resight.data.layouts.splits import split_in
from resight.data.layouts.table import open_parquet, parquet_shards
from resight.data.layouts.tiny_imagenet import claim_tiny_imagenet
from resight.data.layouts.tree import (
    files_in,
    has_picture,
    has_picture_below,
    pictures_in,
    subfolders,
)
from resight.data.layouts.unread import claim_points, claim_segmentation, claim_tables
from resight.data.layouts.voc import claim_voc
from resight.data.layouts.yolo import claim_yolo, open_yolo
from resight.data.shards.marks import JOINTS
from resight.data.shards.members import PACKED, open_shards, tar_shards
from resight.data.splitting import with_test_split


def open_dataset(where: str | Path, data_root: str | Path | None = None, *, whole: bool = False) -> Dataset:
    """Open a data set.

    Args:
        where: a built-in name (`digits`, `mnist`, `fashion_mnist`, `cifar10`, `cifar100`, `svhn`), a folder
            of class folders with or without train/val/test above them, a folder of
            `train-*.parquet` shards, a `.parquet` file (encoded pictures and a label), a folder of
            WebDataset shards (`train-*.tar`) or one such `.tar`, a data set of the Hugging Face hub
            (`hf://owner/name`), a `.csv` or `.tsv` (path,label[,split]), or pictures with boxes: a folder of
            Pascal VOC, COCO, YOLO, Tiny-ImageNet or an export of a labelling tool, COCO's `.json` or YOLO's
            `data.yaml`, and `multi-label:` before these; a folder with nothing but one of these folders; a
            `.zip` of any of these folders. docs/data.md has all forms, and what is refused.
        data_root: where built-in data sets are looked for and downloaded to; by default
            `$RESIGHT_DATA`, else the user's cache folder.
        whole: pictures without splits of their own are all the test split, none held out: for
            testing a finished run on other data.

    Returns:
        A data set with at least the splits "train" and "test" (or "test" alone, for a parquet of
        that name). Classes are the sorted names of the training split; `unused` names what was found and not
        used. Pictures without splits of their own are divided by a hash of their content, the same way
        everywhere. A picture with boxes is labelled by its largest one. Pictures have several classes each
        after `multi-label:`, in a csv with the column `labels` (semicolons between them) and in parquet with
        lists of labels.

    Raises:
        DataError: in one line, with the cure.
    """
    dataset = open_as_it_is(where, data_root)
    require_fit(dataset)
    return as_test(dataset) if whole else with_test_split(dataset)


def as_test(dataset: Dataset) -> Dataset:
    """Return a data set whose pictures are all the test split, if it has no splits of its own."""
    if set(dataset.splits) == {"train"}:
        return replace(dataset, splits={"test": replace(dataset.train, name="test")})
    return with_test_split(dataset)


def require_fit(dataset: Dataset) -> None:
    """Refuse a data set of which a split has classes that the training split lacks.

    Raises:
        DataError: naming the split and the classes.
    """
    for split in dataset.splits.values():
        split.relabelled(dataset.classes)


def open_as_it_is(where: str | Path, data_root: str | Path | None = None, rule: Rule = LARGEST) -> Dataset:
    """Open a data set with the splits that it has; see `open_dataset`.

    A split with classes that the training split lacks counts through these too: see `Split.fitted`.

    Args:
        where: see `open_dataset`.
        data_root: see `open_dataset`.
        rule: what pictures with boxes are labelled with; all their classes after `multi-label:`. With
            `POINTS` a data set of key points is read, with `Mapped` one of label maps, and no other.

    Raises:
        DataError: in one line, with the cure.
    """
    if not parted_name(str(where))[1].strip():
        raise DataError("the data set's name is empty; give a folder, a file or a built-in name")
    if str(where) in BUILTIN:
        dataset = open_builtin(str(where), Path(data_root) if data_root else None)
    elif is_hub(str(where)):
        dataset = open_hub(str(where))
    else:
        prefix, path = parted_name(str(where))
        if prefix and (rule is POINTS or isinstance(rule, Mapped)):
            what = "key points have no labels" if rule is POINTS else "label maps show all classes"
            raise DataError(f"{where}: {what}; leave {MULTI_LABEL} out")
        dataset = _open_path(Path(path), ALL if prefix else rule)
        if prefix and dataset.kind is not ANY:
            raise DataError(
                f"{path}: has one class per picture; multi-label: needs boxes, a csv with labels, or "
                "parquet with lists of labels"
            )
        dataset = replace(dataset, name=f"{prefix}{dataset.name}")
    return dataset


MULTI_LABEL = "multi-label:"
"""Before a place: its pictures have the classes of all their boxes."""


def parted_name(where: str) -> tuple[str, str]:
    """Return `MULTI_LABEL` if a data set's name begins with it, else "", and the place that it names."""
    place = where.removeprefix(MULTI_LABEL)
    return where[: len(where) - len(place)], place


def _open_path(path: Path, rule: Rule) -> Dataset:
    try:
        if path.is_dir():
            return _open_folder(path, rule)
        if is_zip(path) and path.is_file():
            return _open_zip(path, rule)
        return _open_file(path, rule)
    except OSError as error:
        where = error.filename or path
        raise DataError(f"{where}: cannot be read ({error.strerror}); check its permissions") from error


def _open_file(path: Path, rule: Rule) -> Dataset:
    if target := dead_link(path):
        raise DataError(f"{path}: is a link to {target}, which does not exist; fix the link")
    if not path.exists():
        raise DataError(f"{path}: no such file, folder or built-in data set{_meant(path)}")
    suffix = path.suffix.lower()
    if rule is POINTS:
        return _open_points(path, suffix)
    if suffix == ".parquet":
        return open_parquet(str(path), {"test" if split_in(path.stem) == "test" else "train": [path]})
    if suffix in CSV_SUFFIXES:
        return open_csv(path)
    if suffix == ".json":
        return open_coco(str(path), {"train": path}, rule)
    if suffix in (".yaml", ".yml"):
        return replace(open_yolo(path.parent, path, rule), name=str(path))
    if suffix == ".tar":
        return open_shards(str(path), {"test" if split_in(path.stem) == "test" else "train": [path]})
    if path.name.endswith(PACKED):
        raise DataError(f"{path}: is compressed, so its samples cannot be located; unpack it to .tar")
    raise DataError(f"{path}: must be a folder, .zip, .parquet, .tar, .csv, .json or data.yaml")


def _open_points(path: Path, suffix: str) -> Dataset:
    """Open a file that holds key points."""
    if suffix in CSV_SUFFIXES:
        return open_tables(str(path), [path])
    if suffix == ".json":
        return open_coco_points(str(path), {"train": path})
    raise DataError(
        f"{path}: holds no key points; they are read from a folder, a .zip, a .csv or COCO's .json"
    )


def _meant(path: Path) -> str:
    """Return what a place that is not there may mean: a neighbour; a bare word a built-in set too."""
    try:
        neighbours = [entry.name for entry in islice(path.parent.iterdir(), MOST)]
    except OSError:
        neighbours = []
    close = [str(path.with_name(name)) for name in nearest(path.name, neighbours)]
    if len(path.parts) == 1:
        close += nearest(path.name, BUILTIN)
    return f"; nearest: {', '.join(close)}" if close else f"; built in: {', '.join(BUILTIN)}"


def _open_zip(path: Path, rule: Rule) -> Dataset:
    """Open what a zip holds; messages name the zip, pictures are where they were unpacked."""
    place = unpacked(path)
    try:
        dataset = _open_folder(place, rule)
    except DataError as error:
        raise DataError(str(error).replace(str(place), str(path))) from error
    notes, unused = (
        tuple(line.replace(str(place), str(path)) for line in lines)
        for lines in (dataset.notes, dataset.unused)
    )
    return replace(dataset, name=str(path), notes=notes, unused=unused)


def _claim_parquet(root: Path) -> Claim | None:
    shards = parquet_shards(root)
    used = frozenset(file.name for file in files_in(root) if file.suffix.lower() == ".parquet")
    return Claim("parquet files", used, lambda _: open_parquet(str(root), shards, root)) if shards else None


def _claim_tar(root: Path) -> Claim | None:
    # An archive that was left beside the folders that came out of it is no shard.
    if subfolders(root):
        return None
    shards = tar_shards(root)
    used = frozenset(file.name for files in shards.values() for file in files) | {
        "classes.json",
        "classes.txt",
        JOINTS,
    }

    def opened(rule: Rule) -> Dataset:
        return open_shards(str(root), shards, pointed=rule is POINTS)

    return Claim("tar shards", used, opened) if shards else None


def _claim_pointed_tar(root: Path) -> Claim | None:
    """Claim shards that hold key points."""
    return _claim_tar(root) if (root / JOINTS).is_file() else None


READERS: tuple[Reader, ...] = (
    claim_tiny_imagenet,
    _claim_parquet,
    claim_coco,
    claim_voc,
    claim_cvat,
    claim_yolo,
    _claim_tar,
    claim_segmentation,
    claim_points,
    claim_tables,
)
"""Each layout that a folder may have, except class folders, which are only asked for where none is found."""
POINT_READERS: tuple[Reader, ...] = (claim_lsp, claim_coco_points, claim_point_table, _claim_pointed_tar)
"""Each layout with key points; other layouts are refused where key points are asked for."""
MAP_READERS: tuple[Reader, ...] = (claim_mapped, claim_coco, claim_yolo)
"""Each layout with label maps, or with masks that give some."""

MOST = 10_000
"""Neighbours of a place that is not there that are compared with it."""
WRAPPERS = 5
"""Folders within folders that are looked through for the data set."""


def is_annotated(root: Path) -> bool:
    """Return whether a folder has a layout that is read and is not class folders."""
    return any(claim.open for claim in _claims(root, READERS))


def _claims(root: Path, readers: tuple[Reader, ...]) -> list[Claim]:
    return [claim for reader in readers if (claim := reader(root))]


def _readers(rule: Rule) -> tuple[Reader, ...]:
    if rule is POINTS:
        return POINT_READERS
    return MAP_READERS if isinstance(rule, Mapped) else READERS


def _open_folder(path: Path, rule: Rule) -> Dataset:
    """Open a folder, or the only folder with pictures in it, by the one reader that knows it.

    A reader that reads goes before one that only knows the name. Two that read are refused.
    """
    chain = _wrapped(path)
    for root in chain:
        claims = _claims(root, _readers(rule))
        readable = [claim for claim in claims if claim.open]
        if len(readable) > 1:
            layouts = " and ".join(claim.layout for claim in readable)
            raise DataError(
                f"{root}: looks like {layouts}; give the file of the one you mean (.json, data.yaml, "
                ".parquet), or move the other's files elsewhere"
            )
        if claims:
            return _opened(path, chain, root, (readable or claims)[0], rule)
    if rule is POINTS:
        raise DataError(
            f"{path}: holds no key points; they are read from joints.mat (Leeds Sports Pose), from "
            "annotations/person_keypoints_train*.json (COCO), from a csv with path, NAME_x and NAME_y, or "
            "from shards packed of these"
        )
    if isinstance(rule, Mapped):
        raise DataError(f"{path}: holds no label maps; {READ}")
    for root in chain:
        if claim := claim_folder(root):
            return _opened(path, chain, root, claim, rule)
    raise DataError(_nothing_known(path, chain[-1]))


def _opened(path: Path, chain: list[Path], root: Path, claim: Claim, rule: Rule) -> Dataset:
    if claim.open is None:
        raise DataError(f"{root}: this looks like {claim.layout}: {claim.but}")
    dataset = claim.open(rule)
    above = [
        line
        for outer, inner in pairwise(chain)
        if outer in root.parents
        for line in left_over(outer, {inner.name}, f"is next to {inner.name}/, which is the data set")
    ]
    beside = left_over(root, claim.used, f"is not part of {claim.layout}")
    return replace(dataset, name=str(path), unused=(*above, *beside, *dataset.unused))


def _wrapped(path: Path) -> list[Path]:
    """Return a folder, and the folders within it as long as each is the only one with anything to read."""
    chain = [path]
    while len(chain) <= WRAPPERS and not has_picture(chain[-1]):
        filled = (f for f in subfolders(chain[-1]) if has_picture_below(f) or parquet_shards(f))
        inner = [*islice(filled, 2)]
        if len(inner) != 1:
            break
        chain.append(inner[0])
    return chain


def _nothing_known(path: Path, last: Path) -> str:
    """Return the line about a folder that no reader knows, with what lies in it."""
    if loose := pictures_in(last):
        found = files_in(last, ".json")
        hint = f"; if {found[0].name} is COCO, give that file" if found else ""
        return (
            f"{last}: holds {len(loose)} pictures outside class folders, so their classes are unknown; make "
            f"one folder per class, or list them in a csv with path,label{hint}"
        )
    dead = next(((f, t) for f in files_in(last) if not f.suffix and (t := dead_link(f))), None)
    if dead:
        return f"{dead[0]}: is a link to {dead[1]}, which does not exist; fix the link"
    return f"{path}: holds no class folders with pictures; make one folder per class"
