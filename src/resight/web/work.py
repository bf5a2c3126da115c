"""The one thread that computes, and the bounded queue before it.

Networks are changed while they are explained, so only one thread uses them. Pictures that wait together are
classified together: while a batch is computed the next one gathers, so no request waits for others to come.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resight.core.device import cores
from resight.core.errors import ResightError
from resight.service.serve.network import Served
from resight.web.errors import HttpError

LARGEST = 32
"""Pictures of a batch."""
PATIENCE = 60
"""Seconds that a request waits for its answer."""
RETRY = 1
"""Seconds after which a client that was turned away should come again."""


@dataclass
class _Job:
    """Something to compute.

    Attributes:
        future: gets the answer.
        network: of a picture to classify, with `square`.
        square: (S, S, 3) uint8.
        call: anything else.
    """

    future: asyncio.Future
    network: Served | None = None
    square: NDArray[np.uint8] | None = None
    call: Callable[[], Any] | None = None


@dataclass
class Work:
    """The queue; it belongs to one event loop.

    Attributes:
        most: requests that may be here at once, waiting or being computed.
        sizes: called with the size of each batch.
        inside: requests that are here.
    """

    most: int
    sizes: Callable[[int], None]
    inside: int = 0
    _jobs: deque[_Job] = field(default_factory=deque)
    _idle: deque[_Job] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="network")
    )
    _readers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(cores(), thread_name_prefix="decode")
    )
    _task: asyncio.Task | None = None

    def start(self) -> None:
        """Begin to compute."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End after what is being computed; called when no request is left."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for job in (*self._jobs, *self._idle):
            job.future.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._readers.shutdown(wait=True, cancel_futures=True)

    def admit(self) -> "_Place":
        """Return a place in the queue, to be held as a context.

        Raises:
            HttpError: 503, if all are taken.
        """
        if self.inside >= self.most:
            raise HttpError(503, "The server is busy; try again soon.", {"Retry-After": str(RETRY)})
        return _Place(self)

    async def read(self, call: Callable[[], Any]) -> Any:
        """Run a call in a thread that reads pictures; several run at once."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def classify(self, network: Served, square: NDArray[np.uint8]) -> Tensor:
        """Return the probabilities (classes,) of a square.

        Raises:
            ResightError: if the network's answer is unusable.
            HttpError: 503 after `PATIENCE` seconds.
        """
        return await self._answer(_Job(_future(), network, square), self._jobs)

    async def compute(self, call: Callable[[], Any], *, idle: bool = False) -> Any:
        """Run a call in the thread that computes.

        Args:
            call: what to run.
            idle: wait until no request does, however long that takes.
        """
        return await self._answer(_Job(_future(), call=call), self._idle if idle else self._jobs)

    async def _answer(self, job: _Job, jobs: deque[_Job]) -> Any:
        jobs.append(job)
        self._wake.set()
        if jobs is self._idle:
            return await job.future
        try:
            return await asyncio.wait_for(job.future, PATIENCE)
        except TimeoutError:
            raise HttpError(
                503, f"No answer within {PATIENCE} seconds.", {"Retry-After": str(RETRY)}
            ) from None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            batch = self._next()
            if not batch:
                self._wake.clear()
                continue
            try:
                answers = await loop.run_in_executor(self._thread, _computed, batch)
            except Exception as error:  # noqa: BLE001 - each request reports it
                answers = [error] * len(batch)
            for job, answer in zip(batch, answers, strict=True):
                if job.future.done():
                    continue
                if isinstance(answer, Exception):
                    job.future.set_exception(answer)
                else:
                    job.future.set_result(answer)

    def _next(self) -> list[_Job]:
        """Take the next job, and with a picture to classify all others for its network, in their order."""
        for jobs in (self._jobs, self._idle):
            while jobs and jobs[0].future.done():
                jobs.popleft()
        jobs = self._jobs or self._idle
        if not jobs:
            return []
        first = jobs.popleft()
        if first.network is None:
            return [first]
        batch, left = [first], deque[_Job]()
        for job in jobs:
            fits = job.network is first.network and len(batch) < LARGEST and not job.future.done()
            (batch if fits else left).append(job)
        jobs.clear()
        jobs.extend(left)
        self.sizes(len(batch))
        return batch


@dataclass
class _Place:
    work: Work

    def __enter__(self) -> None:
        self.work.inside += 1

    def __exit__(self, *_: object) -> None:
        self.work.inside -= 1


def _future() -> asyncio.Future:
    return asyncio.get_running_loop().create_future()


def _computed(batch: Sequence[_Job]) -> list[Any]:
    first = batch[0]
    if first.network is None:
        assert first.call is not None
        return [first.call()]
    try:
        return first.network.answers([job.square for job in batch if job.square is not None])
    except ResightError as error:
        return [error] * len(batch)
