"""Reading ahead, in threads or in processes: batches in the order in which they were asked for.

Threads: nearly all time goes to libjpeg and to torch's resize, which let other threads run; what is read is
in memory once, no picture is sent from one process to another, and an epoch begins at once. But they share
Python's lock with the caller: where that one starts a thousand small kernels a step, as training on a GPU
does, take processes. What comes out is the same.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from resight.core.errors import DataError, HangingError, ResightError

Key = TypeVar("Key")
Result = TypeVar("Result")
Joined = TypeVar("Joined")

AHEAD = 3
"""Batches that threads read while one is used."""


@dataclass(frozen=True)
class Readers:
    """Who reads ahead.

    Attributes:
        count: threads or processes; 0 reads when a batch is asked for.
        processes: take processes.
        timeout: seconds after which one that gives nothing counts as hanging.
    """

    count: int
    processes: bool = False
    timeout: float = 300.0


def stream(
    read: Callable[[Key], Result],
    join: Callable[[list[Result]], Joined],
    batches: Iterable[Sequence[Key]],
    readers: Readers,
) -> Iterator[Joined]:
    """Yield the batches, each read key by key and joined, in order.

    Args:
        read: called from several threads or processes at a time.
        join: makes one thing of a batch's results; in a process, what it gives should be tensors.
        batches: keys; asked for only as far as is read ahead.
        readers: who reads.

    Raises:
        ResightError: what `read` or `join` raises, when the batch's turn has come.
        DataError: if a process dies or hangs.
        HangingError: if a thread hangs, which nothing can end.
    """
    if not readers.count:
        return (join([read(key) for key in keys]) for keys in batches)
    if readers.processes:
        return _by_processes(read, join, batches, readers)
    return _by_threads(read, join, batches, readers)


def _by_threads(
    read: Callable[[Key], Result],
    join: Callable[[list[Result]], Joined],
    batches: Iterable[Sequence[Key]],
    readers: Readers,
) -> Iterator[Joined]:
    pending: deque[list[Future[list[Result]]]] = deque()
    pool = ThreadPoolExecutor(readers.count, thread_name_prefix="resight-reader")
    hanging = False

    def first() -> Joined:
        return join([r for part in pending.popleft() for r in part.result(readers.timeout)])

    try:
        for keys in batches:
            pending.append([pool.submit(_all, read, part) for part in _parts(keys, readers.count)])
            if len(pending) > AHEAD:
                yield first()
        while pending:
            yield first()
    except TimeoutError as error:
        hanging = True
        raise HangingError(_hangs(readers)) from error
    finally:
        pool.shutdown(wait=not hanging, cancel_futures=True)


def _parts(keys: Sequence[Key], workers: int) -> Iterator[Sequence[Key]]:
    """Cut a batch into a few parts for each thread: less to hand over, and no long wait for the last."""
    size = max(1, len(keys) // (4 * workers))
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _all(read: Callable[[Key], Result], keys: Sequence[Key]) -> list[Result]:
    return [read(key) for key in keys]


def _by_processes(
    read: Callable[[Key], Result],
    join: Callable[[list[Result]], Joined],
    batches: Iterable[Sequence[Key]],
    readers: Readers,
) -> Iterator[Joined]:
    loader = DataLoader(
        _Reader(read),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=readers.count,
        timeout=readers.timeout,
        collate_fn=_Join(join),
        # Its own generator, so that making an iterator draws nothing from torch's.
        generator=torch.Generator().manual_seed(0),
    )
    try:
        for joined in loader:
            if isinstance(joined, ResightError):
                raise joined
            yield joined
    except RuntimeError as error:
        if "DataLoader timed out" in str(error):
            raise DataError(_hangs(readers)) from error
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a data worker died ({str(error).splitlines()[0]}); resume with: resight train --resume RUN, "
            "and with --set workers=0 if it happens again"
        ) from error


def _hangs(readers: Readers) -> str:
    return (
        f"a data worker returned nothing for {readers.timeout:g} seconds: the disk or network that holds the "
        "pictures does not respond; when it does, resume with: resight train --resume RUN, or with a "
        "longer --set timeout="
    )


class _Reader(TorchDataset, Generic[Key, Result]):
    """What a process reads; an error of ours is a result, so that it comes home in its own words."""

    def __init__(self, read: Callable[[Key], Result]) -> None:
        self.read = read

    def __getitem__(self, key: Key) -> Result | ResightError:  # type: ignore[override]
        try:
            return self.read(key)
        except ResightError as error:
            return _Raised(error)  # type: ignore[return-value]


class _Raised:
    """An error on its way home."""

    def __init__(self, error: ResightError) -> None:
        self.error = error


class _Join:
    """Joins the results of a batch in a process."""

    def __init__(self, join: Callable[[list[Any]], Any]) -> None:
        self.join = join

    def __call__(self, results: list[Any]) -> Any:
        raised = next((r for r in results if isinstance(r, _Raised)), None)
        if raised:
            return raised.error
        try:
            return self.join(results)
        except ResightError as error:
            return error
