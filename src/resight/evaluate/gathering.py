"""Answers of all processes brought together, broken pictures apart."""

from collections.abc import Iterable, Iterator
from typing import Any

from resight.core.distributed import world
from resight.core.errors import PictureError


def gather(
    answers: Iterable[tuple[int, Any]], *, strict: bool
) -> tuple[list[tuple[int, Any]], tuple[PictureError, ...]]:
    """Return the answers of all processes by rising index, and the pictures that could not be read.

    Args:
        answers: (index, answer or PictureError) pairs of this process.
        strict: stop at the first fault.

    Raises:
        PictureError: the first fault, if strict; or if no picture could be read.
    """
    everything = world().gathered(list(_until_a_fault(answers, strict=strict)))
    read, faults = [], []
    for index, answer in sorted(everything, key=lambda pair: pair[0]):
        if isinstance(answer, PictureError):
            if strict:
                raise answer
            faults.append(answer)
        else:
            read.append((index, answer))
    if not read:
        raise faults[0]
    return read, tuple(faults)


def _until_a_fault(answers: Iterable[tuple[int, Any]], *, strict: bool) -> Iterator[tuple[int, Any]]:
    """Yield answers; if strict, none after the first fault."""
    for index, answer in answers:
        yield index, answer
        if strict and isinstance(answer, PictureError):
            return
