"""HTTP with less patience than uvicorn's: a request's head must arrive soon, and connections are counted."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from resight.web.errors import body_of

HEAD_SECONDS = 10.0
"""Until the head of a request is here, from the connection or the first byte after the last answer."""
MOST_CONNECTIONS = 256


def _raw(status: int, phrase: str, message: str) -> bytes:
    body = body_of(status, message)
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


class Protocol(H11Protocol):
    """A connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, or turn away one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_raw(503, "Service Unavailable", "The server has too many connections."))
            transport.close()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; while no head is complete, the time for it runs."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            self._watch()
        else:
            self._rest()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._rest()
        self.transport.write(_raw(400, "Bad Request", msg))
        self.transport.close()

    def _watch(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._end)

    def _rest(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            message = f"The head of the request did not arrive within {HEAD_SECONDS:g} seconds."
            self.transport.write(_raw(408, "Request Timeout", message))
            self.transport.close()
