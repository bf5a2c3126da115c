"""The requests of the labelling desk."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resight.core import documents
from resight.core.documents import Whole, Within
from resight.core.errors import ResightError, UsageError
from resight.core.figures import to_json
from resight.service.serve.desk import LONGEST, MOST_BOXES, Desk, Item
from resight.service.serve.labels import ChangedError
from resight.web import parameters as p
from resight.web.body import Bodies
from resight.web.errors import HttpError, as_http
from resight.web.work import Work

__all__ = ["LIST", "LONGEST", "MOST_BOXES", "PICTURE", "DeskApi"]

LIST = (
    p.Parameter("order", "string", "By the network's doubt, or by name.", "doubt", choices=("doubt", "name")),
    p.Parameter("state", "string", "Which pictures.", "open", choices=("open", "done", "all")),
    p.Parameter("start", "integer", "Place of the first picture.", 0, 0, 10_000_000),
    p.Parameter("count", "integer", "How many pictures.", 100, 1, 1_000),
)
PICTURE = (p.SIDE,)
FAR = 1e7
SAVE = {
    "version": Whole(0),
    "done": bool,
    "boxes": [{"label": str, "box": [Within(-FAR, FAR)]}],
}
MOST_BYTES = 2**20
AT_ONCE = 8
"""Pictures that the network sees in one go while no request waits."""

_log = logging.getLogger("resight.web")


@dataclass
class DeskApi:
    """Answers the desk's requests.

    Attributes:
        desk: the pictures.
        work: the thread that computes.
        bodies: reads what is saved.
    """

    desk: Desk
    work: Work
    bodies: Bodies
    _task: asyncio.Task | None = field(default=None)

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [
            Route("/v1/desk", self.listed),
            Route("/v1/desk/{key}", self.one, methods=["GET", "PUT"]),
            Route("/v1/desk/{key}/picture", self.picture),
        ]

    def start(self) -> None:
        """Let the network see all pictures while nobody asks."""
        self._task = asyncio.get_running_loop().create_task(self._answer_all())

    async def stop(self) -> None:
        """End that."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _answer_all(self) -> None:
        try:
            while items := self.desk.unanswered(AT_ONCE):
                await self.work.compute(lambda items=items: self.desk.answer(items), idle=True)
        except Exception:  # noqa: BLE001 - the order by doubt ends there; everything else goes on
            _log.exception("The network could not see all pictures.")

    async def listed(self, request: Request) -> Response:
        """Return a part of the list."""
        asked = p.values(request, LIST)
        matching, rows = self.desk.listed(asked["order"], asked["state"], asked["start"], asked["count"])
        folder = self.desk.labels.folder.name
        told = {**self.desk.counts(), "matching": matching, "file": folder, "classes": self.desk.classes}
        return JSONResponse({**told, "pictures": to_json(rows)})

    async def one(self, request: Request) -> Response:
        """Return or save a picture's boxes: one route, so that a wrong method is told both."""
        return await (self.save if request.method == "PUT" else self.state)(request)

    async def state(self, request: Request) -> Response:
        """Return a picture's boxes."""
        p.values(request, ())
        item = self._item(request)
        with self.work.admit():
            state = await self._done(self.work.compute(lambda: self.desk.state(item)))
        return JSONResponse(state)

    async def picture(self, request: Request) -> Response:
        """Return a picture as JPEG."""
        asked, item = p.values(request, PICTURE), self._item(request)
        with self.work.admit():
            content = await self._done(self.work.read(lambda: self.desk.picture(item, asked["side"])))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    async def save(self, request: Request) -> Response:
        """Save a picture's boxes."""
        p.values(request, ())
        item = self._item(request)
        given = _read(await self.bodies.read(request, MOST_BYTES))
        with self.work.admit():
            try:
                state = await self.work.read(
                    lambda: self.desk.save(item, given["version"], given["boxes"], done=given["done"])
                )
            except ChangedError:
                now = await self._done(self.work.read(lambda: self.desk.state(item)))
                raise HttpError(409, "Somebody else changed these boxes first.", now=now) from None
            except UsageError as error:
                raise as_http(error) from error
            except ResightError as error:
                raise HttpError(
                    500, "The boxes could not be saved; the server's log has the reason."
                ) from error
        return JSONResponse(state)

    def _item(self, request: Request) -> Item:
        item = self.desk.item(request.path_params["key"])
        if item is None:
            raise HttpError(404, "There is no such picture.")
        return item

    async def _done(self, waiting: Any) -> Any:
        try:
            return await waiting
        except ResightError as error:
            raise as_http(error) from error


def _read(body: bytes) -> dict[str, Any]:
    try:
        given = documents.read(body, SAVE, "the body", UsageError)
    except UsageError as error:
        raise HttpError(422, str(error).partition(";")[0] + ".") from error
    extra = set(given) - set(SAVE)
    if extra or len(given["boxes"]) > MOST_BOXES or any(len(box["box"]) != 4 for box in given["boxes"]):
        raise HttpError(422, f"Give version, done and at most {MOST_BOXES} boxes of four numbers.")
    return given
