"""Who may ask: the Host header, the origin, the token; and what every answer says to browsers.

A page of another site cannot read answers without CORS. It can still send requests, and by a DNS name of its
own that it points at this machine it would even be of the same origin (DNS rebinding). So a request must
name the server by an IP address, by `localhost` or by a name that was given, and must not come from a page
of another origin.
"""

import hmac
import ipaddress
import logging
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resight.web.errors import HttpError, body_of
from resight.web.metrics import Metrics

OPEN = ("/health", "/openapi.json")
"""Paths that need no token besides the pages themselves, which hold nothing of a run."""
GUARDED = ("/v1/", "/metrics")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
GONE = 499
"""The status that is counted for a client that left."""

_log = logging.getLogger("resight.web")


@dataclass(frozen=True)
class Policy:
    """Who may ask.

    Attributes:
        names: what the server may be called besides its IP addresses and `localhost`.
        token: what requests must carry; empty if none is needed.
        origins: of other sites whose pages may ask.
    """

    names: tuple[str, ...] = ()
    token: str = ""
    origins: tuple[str, ...] = ()

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Refuse a request that is not allowed.

        Raises:
            HttpError: 400, 401 or 403.
        """
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.is_own(hosts[0]):
            raise HttpError(400, "The Host header does not name this server; see --name.")
        origin = headers.get("origin")
        if origin is not None and method not in ("GET", "HEAD") and not self._takes(origin, hosts[0]):
            raise HttpError(403, "Pages of another origin may not ask; see --cors.")
        if self.token and path.startswith(GUARDED):
            given = headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
                message = "Send the token of this server: Authorization: Bearer TOKEN."
                raise HttpError(401, message, {"WWW-Authenticate": "Bearer"})

    def is_own(self, host: str) -> bool:
        """Return whether a Host header names this server."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if not name or "@" in host or "/" in host:
            return False
        if name == "localhost" or name in {own.lower() for own in self.names}:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _takes(self, origin: str, host: str) -> bool:
        return origin in self.origins or urlsplit(origin).netloc == host


class Guard:
    """The outermost layer: checks requests, counts them, and gives every answer its headers."""

    def __init__(self, app: ASGIApp, policy: Policy, metrics: Metrics) -> None:
        self.app, self.policy, self.metrics = app, policy, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self.policy.check(scope["method"], scope["path"], Headers(scope=scope))
            await self.app(scope, receive, sending)
        except HttpError as error:
            await answer(error, sending)
        except ClientDisconnect:
            status = GONE
        except Exception:  # noqa: BLE001 - a bug of ours must not end the server
            _log.exception("A request failed.")
            if not status:
                await answer(HttpError(500, "The request failed; the server's log has the reason."), sending)
        finally:
            route = getattr(scope.get("route"), "path", None) or "other"
            self.metrics.add(_method(scope["method"]), route, status, time.monotonic() - begun)


def _method(word: str) -> str:
    return word if word in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"


async def answer(error: HttpError, send: Send) -> None:
    """Send an error."""
    body = body_of(error.status, error.message, **error.more)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
