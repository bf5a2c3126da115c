"""Counter-based randomness: every draw is a function of (seed, epoch, sample, operation).

No generator carries state from one draw to the next, so the number of workers, the order of the
batches and an interrupted run cannot change a draw. A sample that recurs in an epoch counts as another
one (`resight.data.order.draw_keys`). The mixing function is SplitMix64's finalizer
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), applied once per
coordinate.
"""

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

GOLDEN = 0x9E3779B97F4A7C15
WORD = 2**64 - 1
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def bits(seed: int, epoch: int, samples: NDArray | int, operation: str) -> NDArray[np.uint64]:
    """Return 64 random bits for each sample, shape of `samples`."""
    words = np.atleast_1d(np.asarray(samples)).astype(np.uint64)
    state = (_state(seed, epoch, operation) + GOLDEN) & WORD
    if words.size == 1:  # numpy takes ten times as long for a single number
        return np.full(words.shape, _mixed((state + int(words.flat[0]) * GOLDEN) & WORD), dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = words * np.uint64(GOLDEN) + np.uint64(state)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND)
        return z ^ (z >> np.uint64(31))


@lru_cache(4096)
def _state(seed: int, epoch: int, operation: str) -> int:
    """Return the part of the key that all samples of an operation share."""
    state = 0
    for word in (seed, epoch, zlib.crc32(operation.encode())):
        state = _mixed((state + word + GOLDEN) & WORD)
    return state


def _mixed(z: int) -> int:
    z = ((z ^ (z >> 30)) * FIRST) & WORD
    z = ((z ^ (z >> 27)) * SECOND) & WORD
    return z ^ (z >> 31)


def uniform(seed: int, epoch: int, samples: NDArray | int, operation: str) -> NDArray[np.float64]:
    """Return a uniform draw in [0, 1) for each sample, shape (len(samples),)."""
    return (bits(seed, epoch, samples, operation) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(seed: int, epoch: int, samples: NDArray | int, operation: str) -> NDArray[np.float64]:
    """Return a standard normal draw for each sample (Box-Muller), shape (len(samples),)."""
    radius = np.sqrt(-2 * np.log1p(-uniform(seed, epoch, samples, operation + "/radius")))
    return radius * np.cos(2 * np.pi * uniform(seed, epoch, samples, operation + "/angle"))


def permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the order of `count` samples in an epoch."""
    return np.argsort(bits(seed, epoch, np.arange(count), "order"), kind="stable")


def torch_seed(seed: int, step: int, part: int = 0) -> int:
    """Return the seed of torch's own generator before a part of a step (for dropout and similar layers)."""
    return int(bits(seed, step, part, "torch")[0] >> np.uint64(1))
