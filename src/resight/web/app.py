"""The application: its routes, in one table."""

import importlib.resources
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from resight.service.serve.desk import Desk
from resight.service.serve.network import Served
from resight.tasks.classify.task import of_network
from resight.web import openapi, parameters
from resight.web.body import Bodies
from resight.web.desk import DeskApi
from resight.web.errors import HttpError
from resight.web.guard import Guard, Policy
from resight.web.metrics import TYPE, Metrics
from resight.web.pictures import Pictures
from resight.web.work import Work

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGES = {"/": "index.html", "/api": "api.html"}


@dataclass(frozen=True)
class Limits:
    """What a request may take.

    Attributes:
        bytes: of a picture's file.
        pixels: of a picture.
        queue: requests that wait or are computed at once.
        seconds: in which a body must arrive.
    """

    bytes: int = 32 * 10**6
    pixels: int = 50 * 10**6
    queue: int = 64
    seconds: float = 20.0


def create_app(networks: Sequence[Served], desk: Desk | None, policy: Policy, limits: Limits) -> ASGIApp:
    """Return the application.

    Args:
        networks: the runs.
        desk: the pictures to label, if there are any.
        policy: who may ask.
        limits: what a request may take.
    """
    metrics = Metrics()
    work = Work(limits.queue, metrics.batches.add)
    bodies = Bodies(limits.bytes, limits.seconds)
    desk_api = DeskApi(desk, work, bodies) if desk else None

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        work.start()
        if desk_api:
            desk_api.start()
        yield
        if desk_api:
            await desk_api.stop()
        await work.stop()

    told = {
        "runs": [_told(network) for network in networks],
        "limits": {"bytes": limits.bytes, "pixels": limits.pixels},
        "desk": desk is not None,
    }
    methods = dict.fromkeys(method for network in networks for method in network.methods)
    alike = len({network.classes for network in networks}) == 1
    runs = openapi.Runs(len(networks), tuple(methods), networks[0].classes if alike else ())
    described = openapi.document(runs, with_desk=desk is not None)
    routes = [
        *_of_pictures(Pictures(networks, work, bodies, limits.pixels)),
        _answering("/v1/runs", lambda: JSONResponse(told)),
        _answering("/health", lambda: JSONResponse({"status": "ok"})),
        _answering("/metrics", lambda: Response(metrics.text(work.inside, work.most), media_type=TYPE)),
        _answering("/openapi.json", partial(JSONResponse, described)),
        *(desk_api.routes() if desk_api else ()),
        *(Route(path, _page(name)) for path, name in PAGES.items()),
        Route("/static/{name}", _static),
    ]
    handlers = {HTTPException: _plain, HttpError: _told_error, Exception: _failed}
    app = Guard(Starlette(routes=routes, lifespan=life, exception_handlers=handlers), policy, metrics)
    if not policy.origins:
        return app
    return CORSMiddleware(
        app, allow_origins=policy.origins, allow_methods=["GET", "POST", "PUT"],
        allow_headers=["Authorization", "Content-Type"],
    )  # fmt: skip


def _of_pictures(pictures: Pictures) -> list[Route]:
    """Return the routes that take a picture."""
    answers = {
        "predict": pictures.predict, "explain": pictures.explain, "locate": pictures.locate,
        "picture": pictures.show,
    }  # fmt: skip
    return [Route(f"/v1/{name}", answer, methods=["POST"]) for name, answer in answers.items()]


def _answering(path: str, answer: Callable[[], Response]) -> Route:
    """Return a route that takes no parameters."""

    async def route(request: Request) -> Response:
        parameters.values(request, ())
        return answer()

    return Route(path, route)


def _told(network: Served) -> dict[str, Any]:
    test = network.run.facts.get("test") or {}
    keys = ("split", "n", "top1_error", "top1_interval")
    figures = {key: test[key] for key in keys if key in test}
    return {
        "name": network.name,
        "network": network.run.model.name,
        "size": network.run.preprocessing.size,
        **of_network(network.run.model).said(),
        "classes": list(network.classes),
        "methods": list(network.methods),
        "method": network.method,
        "closed": network.closed,
        "test": figures or None,
    }


async def _told_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HttpError)
    return Response(error.body(), error.status, error.headers, "application/json")


async def _plain(request: Request, error: Exception) -> Response:
    """Give Starlette's own errors, such as of an unknown path, the shape of ours."""
    assert isinstance(error, HTTPException)
    words = {404: "There is no such path; see /openapi.json.", 405: "This path does not take this method."}
    own = HttpError(error.status_code, words.get(error.status_code, error.detail), dict(error.headers or {}))
    return await _told_error(request, own)


async def _failed(request: Request, error: Exception) -> Response:
    """Answer where there is a bug of ours; the guard logs it."""
    del error
    return await _told_error(request, HttpError(500, "The request failed; the server's log has the reason."))


def _page(name: str) -> Callable[[Request], Response]:
    return lambda _: _file(name)


def _static(request: Request) -> Response:
    return _file(request.path_params["name"])


def _file(name: str) -> Response:
    """Return a file of the pages.

    Raises:
        HttpError: 404, if there is none.
    """
    kind = TYPES.get(name[name.rfind(".") :])
    folder = importlib.resources.files("resight.web").joinpath("static")
    known = {file.name: file for file in folder.iterdir()}
    if kind is None or name not in known:
        raise HttpError(404, "There is no such file.")
    return Response(known[name].read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})
