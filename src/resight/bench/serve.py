"""`resight bench serve`: a served network that many clients ask at once, compared with batched `predict`.

Both read the same JPEGs and answer with the same network. The clients are a process of their own on the same
cores; the CPU time that they take is not the server's, so it is deducted from its time.
"""

import asyncio
import itertools
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from resight.bench.interleave import Block, answer, interleave
from resight.bench.load import drawn, enlarged
from resight.bench.rows import Rates, Row, Served
from resight.core.device import cores
from resight.core.errors import ResightError

REFERENCE = "resight predict"
CANDIDATES = (REFERENCE, "resight serve")
CLIENTS = 50
"""Clients that each send the next picture as soon as they have an answer."""
PHOTOS, SIDE, QUALITY = 64, 375, 90
"""Photos, their shorter side in pixels, and the quality of their JPEGs."""
COPIES = 400
"""Links to each photo, as many as a fast machine reads in a minute: `predict` reads a file once."""
FIRST = 64
"""Answers of `predict` before its clock starts: what it takes to open a run is not compared."""
MODEL, LINKS = "model.safetensors", "links"


@dataclass(frozen=True)
class Load:
    """What clients saw.

    Attributes:
        answers: of status 200.
        errors: other answers, and connections that broke.
        p50: of the seconds from a request to its answer.
        p99: of the same.
        seconds: from the first request to the last answer.
        cpu_seconds: of the clients' process in that time.
    """

    answers: int
    errors: int
    p50: float
    p99: float
    seconds: float
    cpu_seconds: float


def bench_serve(
    seconds: float, rounds: int, network: str = "efficientnet_lite0", clients: int = CLIENTS
) -> list[Row]:
    """Return a row for `predict` and one for `serve`.

    Args:
        seconds: minimum length of a block.
        rounds: blocks of each candidate.
        network: its name; the weights are random.
        clients: how many ask at once.

    Raises:
        ResightError: if a candidate's process dies.
    """
    with _files(network) as folder:
        words = (str(folder), clients)
        code = f"import sys; from resight.bench.serve import worker; worker({words!r}, sys.argv[1])"
        found = interleave(code, list(CANDIDATES), seconds, rounds, once=True)
    rows = []
    for name in CANDIDATES:
        rates, facts = Rates.of(found[name].rates, found[REFERENCE].rates), found[name].facts
        served = Served(**facts) if facts else None
        note = "the CPU time of the clients is deducted" if served else ""
        rows.append(Row(f"serve {network}", name, "images/s", REFERENCE, rates, None, note, served=served))
    return rows


def worker(words: tuple[str, int], name: str) -> None:
    """Run a candidate in this process."""
    folder = Path(words[0])
    answer(_predicting(folder) if name == REFERENCE else _serving(folder, words[1]))


def _predicting(folder: Path) -> Block:
    """Return a block of `resight predict` with all links."""
    from resight.core.device import keep_pages
    from resight.service.test.predict import predict

    keep_pages()

    def block(seconds: float) -> tuple[int, float]:
        rows = predict(str(folder / MODEL), str(folder / LINKS))
        for _ in itertools.islice(rows, FIRST):
            pass
        started, done = time.perf_counter(), 0
        for _ in rows:
            done += 1
            if time.perf_counter() - started >= seconds:
                break
        return done, time.perf_counter() - started

    return block


def _serving(folder: Path, clients: int) -> Block:
    """Return a block of clients that ask `resight serve`, which runs in a thread of this process."""
    from resight.core.device import keep_pages
    from resight.web.app import Limits
    from resight.web.serve import Address, serve

    keep_pages()
    said = queue.SimpleQueue[str]()
    words = ([str(folder / MODEL)], None, Address(port=0), Limits())
    threading.Thread(target=lambda: serve(*words, say=said.put), daemon=True).start()
    port = int(said.get(timeout=120).rstrip("/").rpartition(":")[2])
    code = "import sys; from resight.bench.serve import ask; ask(*sys.argv[1:])"

    def block(seconds: float) -> tuple[int, float]:
        command = [sys.executable, "-c", code, str(port), str(folder), str(clients), str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise ResightError("bench serve: the clients died; their output is above")
        load = Load(**json.loads(done.stdout))
        served = Served(clients, load.errors, 1000 * load.p50, 1000 * load.p99, load.cpu_seconds)
        block.facts = asdict(served)  # type: ignore[attr-defined]
        return load.answers, load.seconds - load.cpu_seconds / cores()

    return block


def ask(port: str, folder: str, clients: str, seconds: str) -> None:
    """Ask a server, and write a `Load` to standard output as JSON."""
    bodies = [path.read_bytes() for path in _photos(Path(folder))]
    load = asyncio.run(load_of(int(port), bodies, int(clients), float(seconds)))
    sys.stdout.write(json.dumps(asdict(load)))


async def load_of(port: int, bodies: list[bytes], clients: int, seconds: float) -> Load:
    """Let clients ask a server of this machine for some seconds.

    Args:
        port: of the server.
        bodies: files of pictures, which the clients send in turns.
        clients: how many ask at once, each over one connection.
        seconds: after which no client asks again.
    """
    turns, took, errors = itertools.cycle(bodies), list[float](), 0
    started, used = time.perf_counter(), time.process_time()

    async def client() -> None:
        nonlocal errors
        connection = None
        while time.perf_counter() - started < seconds:
            sent = time.perf_counter()
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", port)
                status = await _answered(*connection, port, next(turns))
            except (OSError, asyncio.IncompleteReadError):
                connection, status = None, 0
                await asyncio.sleep(0.1)
            if status == 200:
                took.append(time.perf_counter() - sent)
            else:
                errors += 1
        if connection:
            connection[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))
    p50, p99 = np.quantile(took, (0.5, 0.99)).tolist() if took else (0.0, 0.0)
    ended, cpu = time.perf_counter() - started, time.process_time() - used
    return Load(len(took), errors, p50, p99, ended, cpu)


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, body: bytes
) -> int:
    """Send a picture and read the answer; return its status."""
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    await reader.readexactly(int(fields["content-length"]))
    return int(lines[0].split()[1])


def _photos(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


@contextmanager
def _files(network: str) -> Iterator[Path]:
    """Write photos and a network with random weights into a folder that goes afterwards."""
    import torch

    from resight.core.preprocessing import Preprocessing
    from resight.models.modelfile import save_model
    from resight.models.zoo import create_model

    torch.manual_seed(0)
    model = create_model(network, 10).eval()
    model.classes = tuple(map(str, range(10)))
    model.preprocessing = Preprocessing(size=224, resize=256)
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / LINKS).mkdir()
        save_model(Path(place) / MODEL, model, model.state_dict(), {})
        for number in range(PHOTOS):
            photo = Path(place) / f"{number:02}.jpg"
            photo.write_bytes(enlarged(drawn(number), SIDE, QUALITY))
            for copy in range(COPIES):
                (Path(place) / LINKS / f"{copy:03}-{number:02}.jpg").hardlink_to(photo)
        yield Path(place)
