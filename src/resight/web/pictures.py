"""The requests about pictures: predict, explain, locate, and a picture as a browser can show it."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from resight.core.errors import ResightError
from resight.core.figures import to_json
from resight.data.decode import decode
from resight.localize.rule import Rule
from resight.saliency.methods import METHODS
from resight.service.serve.network import Maps, Served
from resight.service.serve.showing import jpeg, png
from resight.web import parameters as p
from resight.web.body import Bodies
from resight.web.errors import HttpError, as_http
from resight.web.work import Work

PREDICT = (p.RUN, p.TOP)
EXPLAIN = (p.RUN, p.TARGET, p.METHOD, p.FORM)
LOCATE = (p.RUN, p.BOXED, p.METHOD, p.THRESHOLD, p.BOXES)
SHOW = (p.SIDE,)
NAME = "the picture"


@dataclass(frozen=True)
class Pictures:
    """Answers requests about pictures.

    Attributes:
        networks: the runs, in the order of their numbers.
        work: the thread that computes.
        bodies: reads the pictures.
        pixels: that a picture may have.
    """

    networks: Sequence[Served]
    work: Work
    bodies: Bodies
    pixels: int

    async def predict(self, request: Request) -> Response:
        """Classify a picture."""
        asked = p.values(request, PREDICT)
        network = self.network(asked["run"])
        body = await self._body(request)
        with self.work.admit():
            square = await self._read(lambda: network.prepared(self._reduced(body, network)))
            answer = await self._done(self.work.classify(network, square))
        return JSONResponse(network.row(answer, asked["top"]))

    async def explain(self, request: Request) -> Response:
        """Return maps of a picture."""
        asked = p.values(request, EXPLAIN)
        network, form = self.network(asked["run"]), asked["format"]
        body = await self._body(request)
        with self.work.admit():
            whole = form == "png"
            image = await self._read(
                lambda: self._whole(body, network) if whole else self._reduced(body, network)
            )
            maps = await self._done(
                self.work.compute(lambda: network.maps(image, asked["target"], asked["method"]))
            )
            if form == "png":
                content = await self._read(lambda: png(network.overlay(image, maps)))
                return Response(content, media_type="image/png")
            if form == "npy":
                return Response(_npy(maps.shown(len(maps.raw))), media_type="application/octet-stream")
        return JSONResponse(as_json(maps, network))

    async def locate(self, request: Request) -> Response:
        """Return boxes in a picture."""
        asked = p.values(request, LOCATE)
        network, rule = self.network(asked["run"]), Rule(asked["threshold"], boxes=asked["boxes"])
        body = await self._body(request)
        with self.work.admit():
            image = await self._read(lambda: self._whole(body, network))
            found = await self._done(
                self.work.compute(lambda: network.boxes(image, asked["target"], asked["method"], rule))
            )
        boxes = to_json(found)
        return JSONResponse({"width": image.width, "height": image.height, "boxes": boxes, "how": rule.words})

    async def show(self, request: Request) -> Response:
        """Return a picture as JPEG, upright, without metadata: browsers do not show every format."""
        asked = p.values(request, SHOW)
        body = await self._body(request)
        with self.work.admit():
            content = await self._read(lambda: jpeg(self._whole(body, self.networks[0]), asked["side"]))
        return Response(content, media_type="image/jpeg")

    def network(self, number: int) -> Served:
        """Return a run by its number.

        Raises:
            HttpError: 422, if there is none.
        """
        if number >= len(self.networks):
            raise HttpError(422, f"run must be below {len(self.networks)}; see GET /v1/runs.")
        return self.networks[number]

    async def _body(self, request: Request) -> bytes:
        with self.work.admit():
            pass  # a full queue is said before the picture is sent
        return await self.bodies.read(request)

    async def _read(self, call: Any) -> Any:
        return await self._done(self.work.read(call))

    async def _done(self, waiting: Any) -> Any:
        try:
            return await waiting
        except ResightError as error:
            raise as_http(error) from error

    def _reduced(self, body: bytes, network: Served) -> Image.Image:
        card = network.run.preprocessing
        return decode(body, NAME, at_least=card.resize, limit=self.pixels, levels=card.levels)

    def _whole(self, body: bytes, network: Served) -> Image.Image:
        return decode(body, NAME, limit=self.pixels, levels=network.run.preprocessing.levels)


def as_json(maps: Maps, network: Served) -> dict[str, Any]:
    """Return maps for programs; "data" is base64 of float32, little-endian, in the order of "shape"."""
    classes = [
        {"label": network.classes[index], "index": index, "score": score, "probability": probability}
        for index, score, probability in zip(maps.indices, maps.scores, maps.probabilities, strict=True)
    ]
    return {
        "method": maps.method,
        "title": METHODS[maps.method].title,
        "layer": maps.layer,
        "rectified": maps.rectified,
        "width": maps.size[0],
        "height": maps.size[1],
        "window": list(maps.window),
        "side": maps.side,
        "classes": classes,
        "shape": list(maps.raw.shape),
        "data": base64.b64encode(maps.raw.astype("<f4").tobytes()).decode(),
    }


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
