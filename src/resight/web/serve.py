"""`serve`: opens runs and data, and answers requests until a signal ends it."""

import asyncio
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from resight.core.errors import ResightError, UsageError
from resight.core.files import locked
from resight.service.serve.desk import Desk, open_desk
from resight.service.serve.network import Served, open_served
from resight.web.app import Limits, create_app
from resight.web.guard import Policy
from resight.web.protocol import Protocol

DRAINING = 30
"""Seconds that requests under way have after a signal."""
WAITING = 128
"""Connections that wait until they are accepted."""
LEAST_TOKEN = 16
"""Characters of a token."""


@dataclass(frozen=True)
class Address:
    """Where a server listens, and who may ask.

    Attributes:
        host: an address or a name of this machine.
        port: 0 takes a free one.
        token: what requests must carry; needed where other machines can ask.
        names: what the server is called besides its addresses.
        cors: origins of other sites whose pages may ask.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    names: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would open the server to others.

        Raises:
            UsageError: naming the option.
        """
        if not is_loopback(self.host) and not self.token:
            raise UsageError(
                f"--host {self.host}: other machines could ask; give --token, or set RESIGHT_TOKEN"
            )
        if self.token and (len(self.token) < LEAST_TOKEN or not self.token.isascii() or " " in self.token):
            raise UsageError(f"--token: needs {LEAST_TOKEN} or more ASCII characters without spaces")
        for origin in self.cors:
            if origin == "*" or "://" not in origin or origin.count("/") > 2:
                raise UsageError(f"--cors {origin}: give one origin, such as https://example.org")


@dataclass(frozen=True)
class Labelling:
    """Pictures to draw and correct boxes on, and where the boxes go; see `open_desk`."""

    data: str
    out: str | None = None
    split: str = "all"
    data_root: str | None = None
    form: str = "coco"

    def open(self, network: Served) -> Desk:
        """Open the pictures for a network that proposes boxes."""
        return open_desk(network, self.data, self.out, self.split, self.data_root, self.form)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """Ends by a signal with exit code 0, after the requests under way."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._leave) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.force_exit = self.should_exit  # the second signal does not wait
        self.should_exit = True


def serve(
    runs: Sequence[str],
    labelling: Labelling | None,
    address: Address,
    limits: Limits,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve runs until SIGTERM or Ctrl-C.

    Args:
        runs: RUNs; the pages show two next to each other.
        labelling: what is labelled; None for no labelling.
        address: where to listen.
        limits: what a request may take.
        say: gets a line for the user.

    Raises:
        ResightError: in one line.
    """
    with _bound(address) as listening:
        networks = [open_served(run) for run in runs]
        desk = labelling.open(networks[0]) if labelling else None
        with locked(desk.labels.folder) if desk else nullcontext():
            app = create_app(networks, desk, Policy(address.names, address.token, address.cors), limits)
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            say(f"http://{shown}:{port}/{f'#token={address.token}' if address.token else ''}")
            if desk:
                say(f"boxes are saved to {desk.labels.folder}; your pictures and annotations are not changed")
            asyncio.run(server_of(app).serve([listening]))


def server_of(app: ASGIApp) -> uvicorn.Server:
    """Return the server of an application; its `should_exit` ends it."""
    return _Server(
        uvicorn.Config(
            app, http=Protocol, ws="none", log_level="warning", access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=DRAINING, timeout_keep_alive=15, lifespan="on",
        )
    )  # fmt: skip


def _bound(address: Address) -> socket.socket:
    """Listen before the runs are opened, so that a taken port is said at once."""
    listening: socket.socket | None = None
    try:
        kind, _, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(kind, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(WAITING)
    except (OSError, OverflowError) as error:
        if listening:
            listening.close()
        why = getattr(error, "strerror", None) or error
        raise ResightError(
            f"{address.host}:{address.port}: cannot listen there ({why}); choose another --port or --host"
        ) from error
    return listening
