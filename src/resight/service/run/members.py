"""Which pictures a run learned, chose its weights on and tested: known by content, wherever they lie.

A model file's header holds 48 bits of the digest of each picture. With 200,000 pictures on both sides, one in
7,000 comparisons of two data sets finds a picture that is missing.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.console import counted
from resight.core.documents import require
from resight.core.errors import ModelFileError
from resight.data.dataset import FINGERPRINT_DIGESTS, Dataset, Split
from resight.data.pictures import digest_of_nothing

Digests = NDArray[np.uint64]
LETTERS, BYTES = 12, 6
"""Hexadecimal letters, and bytes, of a short digest."""
KEY = "pictures"
SHAPE = {"of": str, "splits": {str: str}, "before": str, "unknown": [str]}
"""Of what a header says under `KEY`."""


@dataclass(frozen=True)
class Members:
    """The pictures of a run.

    Attributes:
        of: the fingerprint of the training split that they belong to.
        splits: short digests of each split's pictures, rising.
        before: those that the runs behind it (its weights, its teacher) learned or were chosen on.
        unknown: runs behind it that do not say which pictures they learned.
    """

    of: str
    splits: Mapping[str, Digests]
    before: Digests = field(default_factory=lambda: np.empty(0, np.uint64))
    unknown: tuple[str, ...] = ()

    def known(self) -> Digests:
        """Return the digests of all pictures that the run, or one behind it, learned or was chosen on."""
        own = [digests for name, digests in self.splits.items() if name in ("train", "val")]
        return with_content(np.concatenate([*own, self.before]))

    def header(self) -> dict[str, Any]:
        """Return the pictures as JSON."""
        splits = {name: _packed(digests) for name, digests in self.splits.items()}
        return {
            "of": self.of,
            "splits": splits,
            "before": _packed(self.before),
            "unknown": list(self.unknown),
        }


def short_digests(split: Split) -> Digests:
    """Return the short digest of each picture of a split, (N,); 0 for an empty file, which has no content."""
    digests = [split.digest(i) for i in counted(range(len(split)), "hashing pictures")]
    empty = [digest_of_nothing(split.picture_name(i)) for i in range(len(split))]
    return np.array(
        [0 if d == e else int(d[:LETTERS], 16) for d, e in zip(digests, empty, strict=True)], np.uint64
    )


def with_content(digests: Digests) -> Digests:
    """Return the different digests of pictures that have content, rising."""
    return np.unique(digests[digests > 0])


def can_be_known(splits: Iterable[Split]) -> bool:
    """Return whether the pictures of some splits are few enough to be distinguished by content in passing."""
    splits = list(splits)
    return sum(map(len, splits)) <= FINGERPRINT_DIGESTS


def members_of(facts: Mapping[str, Any], name: str) -> Members | None:
    """Return the pictures of a run from its model file's header; None if it does not say them.

    Raises:
        ModelFileError: if the header is damaged.
    """
    if facts.get(KEY) is None:
        return None
    found = require(facts[KEY], SHAPE, f"{name}: {KEY}", ModelFileError)
    splits = {split: _unpacked(text, name) for split, text in found["splits"].items()}
    return Members(found["of"], splits, _unpacked(found["before"], name), tuple(found["unknown"]))


def note_members(
    dataset: Dataset, learned: str, behind: Sequence[tuple[str, Mapping[str, Any]]]
) -> Members | None:
    """Return the pictures of a run that is about to be trained.

    Args:
        dataset: with its splits.
        learned: the fingerprint of its training split.
        behind: name and header of each run that it starts from or listens to.

    Returns:
        None for more than 200,000 pictures.
    """
    if not can_be_known(dataset.splits.values()):
        return None
    before, unknown = [np.empty(0, np.uint64)], []
    for name, facts in behind:
        members = members_of(facts, name)
        if members is None:
            unknown.append(name)
        else:
            before.append(members.known())
            unknown += members.unknown
    splits = {name: np.sort(short_digests(split)) for name, split in dataset.splits.items()}
    return Members(learned, splits, np.unique(np.concatenate(before)), tuple(dict.fromkeys(unknown)))


def notes_of(members: Members) -> tuple[str, ...]:
    """Return what to say of test pictures that the runs behind a run have seen."""
    notes = []
    test = members.splits.get("test", np.empty(0, np.uint64))
    if seen := int(np.isin(test, members.before).sum()):
        notes.append(
            f"{seen} of {len(test)} test pictures were used to train or select a run that this one "
            "starts from or is taught by, so the test error is too low"
        )
    if members.unknown:
        notes.append(
            f"{', '.join(members.unknown)} does not state its training pictures: if they include test "
            "pictures, the test error is too low"
        )
    return tuple(notes)


def _packed(digests: Digests) -> str:
    rows = np.sort(digests).astype("<u8").view(np.uint8).reshape(-1, 8)[:, :BYTES]
    return base64.b64encode(rows.tobytes()).decode("ascii")


def _unpacked(text: str, name: str) -> Digests:
    try:
        rows = np.frombuffer(base64.b64decode(text, validate=True), np.uint8).reshape(-1, BYTES)
    except ValueError as error:
        raise ModelFileError(f"{name}: the list of its pictures is damaged ({error}); train again") from error
    whole = np.zeros((len(rows), 8), np.uint8)
    whole[:, :BYTES] = rows
    return whole.view("<u8").reshape(-1).astype(np.uint64)
