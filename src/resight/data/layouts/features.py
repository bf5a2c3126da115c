"""What the columns of a parquet file are: which holds the picture, which the label, and the class names.

The picture is

1. the column that the Hugging Face features call Image,
2. else the column with bytes that is named like a picture (`image`, `img`, `picture`, ...),
3. else the only struct of bytes and path, or the only column with bytes.

Of several that the features call Image, the name decides too. The label is

1. the column that the features call ClassLabel (or a list of these),
2. else `label` or `labels`, else `fine_label`, else `class`, `category`, `target` and the like.

Where several are left, the file is refused with their names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resight.core.documents import read
from resight.core.errors import DataError
from resight.core.imagenet import as_in_weights
from resight.data.labels import class_table, one_line
from resight.data.shards.columns import unreadable

PICTURE_NAMES = frozenset(
    {"image", "img", "picture", "pic", "photo", "imagebytes", "imgbytes", "imagedata"}
    | {"jpg", "jpeg", "png", "webp"}
)
LABEL_NAMES = (
    frozenset({"label", "labels"}),
    frozenset({"finelabel"}),
    frozenset({"class", "category", "target", "cls", "classname", "classlabel", "labelname", "categoryname"}),
)
"""The first of these sets that a column's name is in decides."""
FEATURES = {"info?": ({"features?": ({str: object}, None)}, None)}


@dataclass(frozen=True)
class Columns:
    """What the columns of a parquet file are.

    Attributes:
        picture: the column with encoded pictures.
        label: the column with labels; "" if there is none.
        names: the class names that the label's numbers count through; None if the file has none. ImageNet's
            1,000 classes have the names of official weights, however the file spells them.
        several: whether a row lists any number of labels.
        unused: the other columns.
        certain: whether features or a known name say which is the picture.
        respelled: whether the file spells the names otherwise.
    """

    picture: str
    label: str
    names: tuple[str, ...] | None
    several: bool
    unused: tuple[str, ...]
    certain: bool
    respelled: bool = False


def columns_of(file: Path) -> Columns:
    """Return what the columns of a parquet file are.

    Raises:
        DataError: if the file cannot be read, or it is not clear which column is the picture or the label.
    """
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(file, error) from error
    if len(set(schema.names)) < len(schema.names):
        twice = next(n for n in schema.names if schema.names.count(n) > 1)
        raise DataError(f"{file}: has two columns named {twice!r}; rename one")
    features = _features(file, schema)
    picture, certain = _picture(file, schema, features)
    label = _label(file, schema, features, picture)
    feature = _inner(features.get(label))
    unused = tuple(n for n in schema.names if n not in (picture, label))
    several = bool(label) and is_list(schema.field(label).type)
    names = _names(file, label, feature)
    known = as_in_weights(names) if names else None
    return Columns(picture, label, known or names, several, unused, certain, known is not None)


def needs_columns(file: Path, names: Sequence[str]) -> str:
    """Return what to say of a file without a picture or a label column."""
    return (
        f"{file}: has columns {_listed(names)}; needs encoded pictures (bytes, or a struct with bytes) and a "
        "column 'label'"
    )


def plain(name: str) -> str:
    """Return a column's name as it is compared: small letters, without white space, `_` and `-`."""
    return "".join(letter for letter in name.casefold() if letter not in "_-" and not letter.isspace())


def is_list(kind: pa.DataType) -> bool:
    """Whether each value of a type is a list."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _features(file: Path, schema: pa.Schema) -> dict[str, Any]:
    """Return the Hugging Face features of the schema's metadata by column; none if there are none."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    if not metadata:
        return {}
    document = read(metadata, FEATURES, f"{file}: its 'huggingface' metadata")
    return (document.get("info") or {}).get("features") or {}


def _inner(feature: Any) -> dict[str, Any]:
    """Return a feature, or what a list of it holds."""
    while isinstance(feature, list) and feature:
        feature = feature[0]
    if isinstance(feature, dict) and isinstance(feature.get("feature"), dict | list):
        return _inner(feature["feature"])
    return feature if isinstance(feature, dict) else {}


def _picture(file: Path, schema: pa.Schema, features: dict[str, Any]) -> tuple[str, bool]:
    """Return the picture column, and whether features or a known name say so."""
    held = [f.name for f in schema if _holds_pictures(f.type)]
    said = [n for n in schema.names if _is_of_type(features.get(n), "Image")]
    if said and not any(n in held for n in said):
        raise DataError(
            f"{file}: its column {said[0]!r} does not hold encoded pictures but "
            f"{one_line(str(schema.field(said[0]).type))[:80]}; "
            "save the pictures' bytes in it"
        )
    found = [n for n in said if n in held] or held
    known = [n for n in found if plain(n) in PICTURE_NAMES]
    if len(found) > 1 and known:
        found = known
    elif len(found) > 1:  # a struct of bytes and path is how pictures are kept, plain bytes may be anything
        structs = [n for n in found if pa.types.is_struct(schema.field(n).type)]
        found = structs if len(structs) == 1 and "mask" not in structs[0].casefold() else found
    certain = bool(said or known)
    if not found:
        raise DataError(needs_columns(file, schema.names))
    if len(found) > 1:
        raise DataError(
            f"{file}: columns {_listed(found)} could each be the picture; rename the right one to 'image'"
        )
    return found[0], certain


def _label(file: Path, schema: pa.Schema, features: dict[str, Any], picture: str) -> str:
    held = [f.name for f in schema if f.name != picture and _holds_labels(f.type)]
    said = [n for n in held if _inner(features.get(n)).get("_type") == "ClassLabel"]
    named = next((n for tier in LABEL_NAMES if (n := [c for c in held if plain(c) in tier])), [])
    found = said or named
    if len(said) > 1:
        found = next((n for tier in LABEL_NAMES if (n := [c for c in said if plain(c) in tier])), said)
    elif said and not _is_label(said[0]):  # it may be of something else, such as the photographer
        found = said + [n for n in named if _is_label(n) and n not in said]
    if len(found) > 1:
        raise DataError(
            f"{file}: columns {_listed(found)} could each be the label; rename the right one to 'label'"
        )
    return found[0] if found else ""


def _is_label(name: str) -> bool:
    return plain(name) in LABEL_NAMES[0]


def _names(file: Path, column: str, feature: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the class names of a ClassLabel feature, if there are any."""
    names = feature.get("names")
    if not names:
        return None
    where = f"{file}: the class names of column {column!r}"
    if isinstance(names, dict) and set(names) == {str(i) for i in range(len(names))}:
        names = [names[str(i)] for i in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise DataError(
            f"{where}: are not a list of names; write the file again with the program that made it"
        )
    return class_table(names, where)


def _is_of_type(feature: Any, kind: str) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == kind


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _is_bytes(kind.field(place).type)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _holds_labels(kind: pa.DataType) -> bool:
    if is_list(kind) or pa.types.is_dictionary(kind):
        return _holds_labels(kind.value_type)
    checks: Sequence[Callable[[pa.DataType], bool]] = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_null,
    )
    return any(check(kind) for check in checks)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name[:80]) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
