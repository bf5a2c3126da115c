"""Errors as JSON, all of one shape: {"error": {"status", "code", "message"}}."""

import json
from http import HTTPStatus

from resight.core.errors import NotFiniteError, PictureError, ResightError, UsageError
from resight.core.text import one_line

CODES = {
    400: "bad_request",
    401: "no_token",
    403: "forbidden",
    404: "not_found",
    405: "wrong_method",
    408: "too_slow",
    409: "changed",
    413: "too_large",
    422: "unusable",
    500: "internal",
    503: "busy",
}
"""What clients tell errors apart by, by status."""


class HttpError(Exception):
    """An answer that says what is wrong with a request.

    Attributes:
        status: of HTTP.
        message: one sentence for the user; no path of this machine.
        headers: for the answer.
        more: further keys of "error".
    """

    def __init__(
        self, status: int, message: str, headers: dict[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers, self.more = status, message, headers or {}, more

    def body(self) -> bytes:
        """Return the answer's JSON."""
        return body_of(self.status, self.message, **self.more)


def body_of(status: int, message: str, **more: object) -> bytes:
    """Return the JSON of an error."""
    code = CODES.get(status) or HTTPStatus(status).name.lower()
    error = {"status": status, "code": code, "message": one_line(message), **more}
    return json.dumps({"error": error}).encode()


def as_http(error: ResightError) -> HttpError:
    """Return an error of a service for the client: its own fault 422, ours 500.

    Others than those of the request itself could name a file of this machine, so only these are told.
    """
    if isinstance(error, PictureError):
        return HttpError(422, f"The picture {error.fault}; {error.cure}.")
    if isinstance(error, UsageError):
        return HttpError(422, f"{error}.")
    if isinstance(error, NotFiniteError):
        return HttpError(500, "The network's answer is not finite.")
    return HttpError(500, "The request failed; the server's log has the reason.")
