"""`resight bench export`: an exported network compared with torch, from the decoded square to the answer.

Every candidate has its own process and they take turns, at batch 1 and at batch 32. The networks have random
weights, which take as long as learned ones. The 8-bit file quantizes every layer: what that costs in accuracy
is for `resight export --int8` to say, which keeps layers float where they need it.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.bench.interleave import Block, answer, interleave
from resight.bench.peak import peak_of_process
from resight.bench.rows import Deployed, Rates, Row
from resight.core.errors import ResightError
from resight.core.preprocessing import Preprocessing

REFERENCE = "torch eager"
CANDIDATES = (REFERENCE, "resight predict", "onnxruntime float", "onnxruntime int8")
CALIBRATION = 8
"""Pictures whose values give the ranges of 8 bits."""
FLOAT, SMALL = "float.onnx", "int8.onnx"


@dataclass(frozen=True)
class Network:
    """What is measured.

    Attributes:
        name: of the network, in the zoo.
        side: of its squares, in pixels.
        batch: pictures at once.
    """

    name: str
    side: int
    batch: int

    @property
    def card(self) -> Preprocessing:
        """Its preprocessing: the squares as they are."""
        return Preprocessing(size=self.side, resize=self.side)

    def pictures(self) -> NDArray[np.uint8]:
        """Return the decoded squares, (batch, side, side, 3)."""
        return _noise(self.batch, self.side)


NETWORKS = tuple(
    Network(name, side, batch)
    for name, side in (("resnet50", 224), ("efficientnet_lite0", 224))
    for batch in (1, 32)
)


def bench_export(seconds: float, rounds: int, networks: Sequence[Network] = NETWORKS) -> list[Row]:
    """Return a row for each candidate, network and batch; the ratio is to eager torch.

    Args:
        seconds: minimum length of a block.
        rounds: blocks of each candidate, and times that its first answer is waited for.
        networks: what is measured.

    Raises:
        ModelFileError: if a package of the extra `export` is missing.
        ResightError: if a candidate's process dies.
    """
    rows = []
    for network in networks:
        with _files(network) as folder:
            words = (network.name, str(network.side), str(network.batch), str(folder))
            code = f"import sys; from resight.bench.export import worker; worker({words!r}, sys.argv[1])"
            found = interleave(code, list(CANDIDATES), seconds, rounds)
            first = _first_answers((network.name, str(network.side), "1", str(folder)), rounds)
            bench = f"export {network.name}, batch {network.batch}"
            for name in CANDIDATES:
                rates = Rates.of(found[name].rates, found[REFERENCE].rates)
                more = Deployed(first[name], found[name].facts["peak_mb"])
                rows.append(Row(bench, name, "images/s", REFERENCE, rates, None, "", deployed=more))
    return rows


def worker(words: tuple[str, str, str, str], name: str) -> None:
    """Run a candidate in this process."""
    answer(_block(_step(words, name)))


def first(words: tuple[str, str, str, str], name: str) -> None:
    """Answer once."""
    _step(words, name)()


def _first_answers(words: tuple[str, str, str, str], rounds: int) -> dict[str, float]:
    """Return the seconds from the start of Python to the first answer, the median of some starts."""
    took: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for turn in range(rounds):
        for name in CANDIDATES if turn % 2 else reversed(CANDIDATES):
            code = f"from resight.bench.export import first; first({words!r}, {name!r})"
            started = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code], check=False)
            if done.returncode:
                raise ResightError(f"bench export, {name}: its process died; its output is above")
            took[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in took.items()}


def _step(words: tuple[str, str, str, str], name: str) -> Callable[[], int]:
    """Return what answers a batch of decoded squares, and how many pictures it answered."""
    network, folder = Network(words[0], int(words[1]), int(words[2])), Path(words[3])
    squares = network.pictures()
    if name.startswith("onnxruntime"):
        from resight.export.deployed import Onnx

        opened = Onnx(folder / (FLOAT if name.endswith("float") else SMALL))
        return lambda: len(opened.outputs_of(squares))
    return (_eager if name == REFERENCE else _predicting)(network, squares)


def _block(step: Callable[[], int]) -> Block:
    """Return a block that repeats a step; its facts hold the process's peak memory."""

    def block(seconds: float) -> tuple[int, float]:
        started, done = time.perf_counter(), step()
        while time.perf_counter() - started < seconds:
            done += step()
        took = time.perf_counter() - started
        block.facts = {"peak_mb": peak_of_process()}  # type: ignore[attr-defined]
        return done, took

    return block


def _eager(network: Network, squares: NDArray[np.uint8]) -> Callable[[], int]:
    """Return what a user writes after the tutorials: eager float32, normalized on the device."""
    import torch

    model = _model(network)
    card = network.card
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.mean, card.std))

    def step() -> int:
        images = torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            return len(model((images - mean) / std).softmax(1).argmax(1).tolist())

    return step


def _predicting(network: Network, squares: NDArray[np.uint8]) -> Callable[[], int]:
    """Return what `resight predict` does."""
    import torch

    from resight.core.device import keep_pages
    from resight.data.prepare import Normalize
    from resight.evaluate.scores import logits_of
    from resight.service.run.run import Run

    keep_pages()
    model, device = _model(network), torch.device("cpu")
    member = Run("bench", None, model, {}, device).member(model.classes, fast=True)
    normalize, batch = Normalize(network.card, device), torch.from_numpy(squares)
    return lambda: len(logits_of(member.network, batch, normalize, member.precision).argmax(1).tolist())


def _model(network: Network):  # noqa: ANN202 - a classifier; torch is not loaded for the other candidates
    """Return the network, fresh but confident, as a trained one is: see `bench.bench`."""
    import torch

    from resight.models.zoo import create_model

    torch.manual_seed(0)
    model = create_model(network.name).eval()
    with torch.no_grad():
        last = model.get_classifier()
        assert isinstance(last, torch.nn.Linear)
        last.bias[0] = 100.0
    model.classes = tuple(map(str, range(last.out_features)))
    model.preprocessing = network.card
    return model


@contextmanager
def _files(network: Network) -> Iterator[Path]:
    """Write the network as .onnx files, float and in 8 bits, into a folder that goes afterwards."""
    from resight.export.graph import Deployed as Graph
    from resight.export.int8 import Quantizer
    from resight.export.writing import axes_of, to_onnx, with_document

    model = _model(network)
    graph = Graph(model, network.card, 1.0, model.probabilities, None).eval()
    document = {
        "classes": list(model.classes), "preprocessing": network.card.to_dict(),
        "export": {
            "format": 1, "task": "classify", "outputs": axes_of(graph), "probabilities": model.probabilities,
        },
    }  # fmt: skip
    exported = to_onnx(graph, network.name)
    small = Quantizer(exported, list(_noise(CALIBRATION, network.side))).model_with()
    with tempfile.TemporaryDirectory() as place:
        for name, content in ((FLOAT, exported), (SMALL, small)):
            (Path(place) / name).write_bytes(with_document(content, document))
        yield Path(place)


def _noise(count: int, side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
