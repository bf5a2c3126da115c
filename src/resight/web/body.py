"""A request's body: bounded in bytes, in seconds, and in what all requests together hold."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request

from resight.web.errors import HttpError

DROPPED = 64 * 2**20
"""Bytes of a body that is too large that are still read, so that its sender reads the answer."""
DROPPING = 5
"""Seconds that this may take."""
CLOSE = {"Connection": "close"}
"""What is left of a body must not be taken for the next request."""


@dataclass
class Bodies:
    """Reads bodies.

    Attributes:
        most: bytes of one.
        seconds: until it must be here.
        budget: bytes that all may hold while they arrive.
        held: bytes that they hold.
    """

    most: int
    seconds: float = 20.0
    budget: int = 2**29
    held: int = 0

    async def read(self, request: Request, most: int | None = None) -> bytes:
        """Return a request's body.

        Args:
            request: whose body has not been read.
            most: bytes, if not as many as for a picture.

        Raises:
            HttpError: 408, 413, 422 for an empty body, or 503 if other bodies hold all memory.
        """
        most = most or self.most
        fault = HttpError(413, f"The body has more than {most / 1e6:g} MB.", CLOSE)
        if int(request.headers.get("content-length") or 0) > most:
            await self._drop(request.stream())
            raise fault
        parts, size = [], 0
        stream = request.stream()
        try:
            async with asyncio.timeout(self.seconds):
                async for part in stream:
                    size += len(part)
                    self.held += len(part)
                    parts.append(part)
                    if size > most or self.held > self.budget:
                        break
        except TimeoutError:
            late = f"The body did not arrive within {self.seconds:g} seconds."
            raise HttpError(408, late, CLOSE) from None
        finally:
            self.held -= size
        if size > most:
            parts.clear()
            await self._drop(stream)
            raise fault
        if self.held + size > self.budget:
            raise HttpError(
                503, "The server is receiving too much; try again soon.", {**CLOSE, "Retry-After": "1"}
            )
        if not size:
            raise HttpError(422, "The body is empty; send the bytes of a picture.")
        return b"".join(parts)

    async def _drop(self, stream: AsyncIterator[bytes]) -> None:
        dropped = 0
        try:
            async with asyncio.timeout(DROPPING):
                async for part in stream:
                    dropped += len(part)
                    if dropped > DROPPED:
                        return
        except TimeoutError:
            return
