"""Near copies: pictures that were saved again, with other compression or at another size.

A picture is reduced to 32 x 32 grey levels. Its perceptual hash is 63 bits: which of the low coefficients of
the discrete cosine transform are above their median (Zauner 2010, "Implementation and benchmarking of
perceptual image hash functions", section 3.2). Two pictures are near copies if at most 6 bits differ and
their grey levels correlate by 0.99 or more. docs/checking.md says what that finds and what it does not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.console import counted

SIDE, LOW = 32, 8
FARTHEST = 6
"""Bits that may differ."""
ALIKE = 0.99
"""Correlation of grey levels from which on two pictures may be near copies."""
FLAT = 8.0
"""Standard deviation of grey levels (0 to 255) below which a picture is too flat to be recognized."""
BANDS, BAND_BITS = 4, 16
CHUNK = 1 << 20
"""Pairs that are looked at together."""
SET_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
COSINES = np.cos(np.pi * np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1) / (2 * SIDE))


@dataclass(frozen=True)
class Print:
    """What a picture is recognized by.

    Attributes:
        bits: the perceptual hash, in the lower 63 bits.
        grey: the reduced picture, (32 * 32,) uint8.
    """

    bits: int
    grey: NDArray[np.uint8]


def print_of(image: Image.Image) -> Print | None:
    """Return what a picture is recognized by; None if it is too flat to be distinguished from others."""
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(small)
    if grey.std() < FLAT:
        return None
    waves = (COSINES @ grey.astype(np.float64) @ COSINES.T).ravel()[1:]  # without the mean
    above = waves > np.median(waves)
    return Print(int("".join("01"[int(bit)] for bit in above), 2), grey.ravel())


def are_near(first: Print, second: Print) -> bool:
    """Return whether two pictures are near copies."""
    if (first.bits ^ second.bits).bit_count() > FARTHEST:
        return False
    return bool(_correlation(first.grey[None], second.grey[None])[0] >= ALIKE)


def near_pairs(prints: Sequence[Print]) -> list[tuple[int, int, int]]:
    """Return (first, second, distance) of all near copies, nearest first.

    Of hashes that differ in at most 7 bits, one of four bands of 16 bits differs in at most one: so pairs are
    looked up by band (Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space with multi-index
    hashing"), and time grows much more slowly than the number of pairs.

    Args:
        prints: of different pictures.
    """
    if len(prints) < 2:
        return []
    bits = np.array([p.bits for p in prints], np.uint64)
    grey = np.stack([p.grey for p in prints])
    pairs_of_bands = counted(_candidates(bits), "comparing pictures, parts")
    found = [_judged(first, second, bits, grey) for first, second in pairs_of_bands]
    pairs = np.concatenate(found)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], pairs[:, 2]))
    return [(int(a), int(b), int(d)) for a, b, d in pairs[order]]


def _candidates(bits: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs, the first below the second, of which a band differs in at most one bit; each pair once."""
    flips = np.array([0, *(1 << bit for bit in range(BAND_BITS))], np.uint64)
    bands = [(bits >> np.uint64(BAND_BITS * band)) & np.uint64((1 << BAND_BITS) - 1) for band in range(BANDS)]
    for band, keys in enumerate(bands):
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
        for flip in flips:
            start = np.searchsorted(ranked, keys ^ flip, "left")
            count = np.searchsorted(ranked, keys ^ flip, "right") - start
            for first, places in _ranges(start, count):
                second = order[places]
                new = first < second
                for before in bands[:band]:  # what an earlier band has found
                    new &= _set_bits(before[first] ^ before[second]) > 1
                yield first[new], second[new]


def _ranges(
    start: NDArray[np.int64], count: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (row, place) for each place in [start, start + count) of each row, about `CHUNK` at a time."""
    ends, at = np.cumsum(count), 0
    while at < len(start):
        done = int(ends[at - 1]) if at else 0
        to = max(at + 1, int(np.searchsorted(ends, done + CHUNK, "right")))
        own = count[at:to]
        rows = np.repeat(np.arange(at, to), own)
        yield rows, start[rows] + np.arange(len(rows)) - np.repeat(ends[at:to] - own - done, own)
        at = to


def _set_bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return SET_BITS[words.view(np.uint8).reshape(-1, 8)].sum(1, dtype=np.int64)


def _judged(
    first: NDArray[np.int64], second: NDArray[np.int64], bits: NDArray[np.uint64], grey: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Return the rows (first, second, distance) of those pairs that are near copies."""
    distance = _set_bits(bits[first] ^ bits[second])
    near = np.flatnonzero(distance <= FARTHEST)
    alike = [_correlation(grey[first[part]], grey[second[part]]) for part in _parts(near)]
    near = near[np.concatenate(alike) >= ALIKE]
    return np.stack([first[near], second[near], distance[near]], axis=1)


def _parts(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.array_split(rows, len(rows) // 8192 + 1)


def _correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the correlation of each row of a with that of b; none is of one level."""
    a, b = (x - x.mean(1, keepdims=True, dtype=np.float32) for x in (a, b))
    ab, aa, bb = (np.einsum("ij,ij->i", x, y) for x, y in ((a, b), (a, a), (b, b)))
    return ab / np.sqrt(aa * bb)
