"""The description of the API, for programs (OpenAPI 3.1) and for the page that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import resight
from resight.service.serve.network import ALL
from resight.web import desk, pictures
from resight.web.parameters import BOXED, METHOD, RUN, TARGET, Parameter

NUMBER, INTEGER, STRING = {"type": "number"}, {"type": "integer"}, {"type": "string"}
BOX = {"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4, "description": "x, y, width, height"}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["status", "code", "message"],
            "properties": {"status": INTEGER, "code": STRING, "message": STRING},
        }
    },
}
FAULTS = {
    400: "The Host header does not name this server.",
    401: "The server's token is missing.",
    403: "A page of another origin asked.",
    404: "There is no such thing.",
    405: "Not with this method.",
    408: "The body arrived too slowly.",
    409: "Somebody else changed it first; the answer has its present state.",
    413: "The body is too large.",
    422: "A parameter or the body is wrong.",
    500: "The server failed.",
    503: "The server is busy; Retry-After has seconds.",
}


def record(properties: dict[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schema of an object."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


PAIR = {
    "type": "array",
    "items": {"type": ["string", "number"]},
    "minItems": 2,
    "maxItems": 2,
    "description": "A class and its probability.",
}
ANSWER = record(
    {
        "label": STRING,
        "index": INTEGER,
        "probability": NUMBER,
        "top": {"type": "array", "items": PAIR},
        "labels": {
            "type": "array",
            "items": STRING,
            "description": "Multi-label networks: all of 0.5 or more.",
        },
    },
    ("labels",),
)
RUNS = record(
    {
        "runs": {
            "type": "array",
            "items": record(
                {
                    "name": STRING,
                    "network": STRING,
                    "size": INTEGER,
                    "method": {"type": ["string", "null"]},
                    "closed": {"type": "boolean"},
                    "classes": {"type": "array", "items": STRING},
                    "methods": {"type": "array", "items": STRING},
                    "multi_label": {"type": "boolean"},
                    "test": {"type": ["object", "null"]},
                }
            ),
        },
        "limits": record({"bytes": INTEGER, "pixels": INTEGER}),
        "desk": {"type": "boolean"},
    }
)
MAPS = record(
    {
        "method": STRING,
        "title": STRING,
        "layer": STRING,
        "rectified": {"type": "boolean"},
        "width": INTEGER,
        "height": INTEGER,
        "window": {
            "type": "array",
            "items": NUMBER,
            "description": "What the network saw (left, top, right, bottom).",
        },
        "side": INTEGER,
        "classes": {
            "type": "array",
            "items": record({"label": STRING, "index": INTEGER, "score": NUMBER, "probability": NUMBER}),
        },
        "shape": {"type": "array", "items": INTEGER, "description": "Maps, rows, columns."},
        "data": {"type": "string", "contentEncoding": "base64", "description": "float32, little-endian."},
    }
)
FOUND = record(
    {
        "width": INTEGER,
        "height": INTEGER,
        "how": STRING,
        "boxes": {"type": "array", "items": record({"label": STRING, "score": NUMBER, "box": BOX})},
    }
)
KEY = {
    "name": "key",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
}
DESK_BOX = record({"label": {"type": "string", "minLength": 1, "maxLength": desk.LONGEST}, "box": BOX})
DESK_PICTURE = record(
    {
        "key": STRING,
        "name": STRING,
        "width": INTEGER,
        "height": INTEGER,
        "version": INTEGER,
        "done": {"type": "boolean"},
        "from": {"enum": ["saved", "data", "proposed"]},
        "boxes": {
            "type": "array",
            "items": record({"label": STRING, "box": BOX, "score": NUMBER}, ("score",)),
        },
    }
)
DESK_SAVE = record(
    {
        "version": {"type": "integer", "minimum": 0},
        "done": {"type": "boolean"},
        "boxes": {"type": "array", "items": DESK_BOX, "maxItems": desk.MOST_BOXES},
    }
)
DESK_LIST = record(
    {
        "total": INTEGER,
        "done": INTEGER,
        "scored": INTEGER,
        "matching": INTEGER,
        "file": STRING,
        "classes": {"type": "array", "items": STRING},
        "pictures": {"type": "array", "items": {"type": "object"}},
    }
)
BYTES = {"type": "string", "format": "binary"}
JSON = "application/json"


def _operation(
    about: str,
    answers: dict[str, dict[str, Any]],
    parameters: Sequence[Parameter | dict[str, Any]] = (),
    body: dict[str, Any] | None = None,
    faults: Sequence[int] = (),
    status: int = 200,
) -> dict[str, Any]:
    told = [
        p
        if isinstance(p, dict)
        else {"name": p.name, "in": "query", "description": p.about, "schema": p.schema}
        for p in parameters
    ]
    # Any request can meet these.
    every = sorted({400, 401, 403, 405, 500, *faults, *([422] if told or not body else ())})
    return {
        "summary": about,
        "parameters": told,
        **({"requestBody": {"required": True, "content": body}} if body else {}),
        "responses": {
            str(status): {"description": "Done.", "content": {k: {"schema": v} for k, v in answers.items()}},
            **{str(n): {"description": FAULTS[n], "content": {JSON: {"schema": ERROR}}} for n in every},
        },
    }


MOST_CLASSES = 50
"""Classes that the document lists as targets; more would fill it."""


@dataclass(frozen=True)
class Runs:
    """What the parameters of a request may name.

    Attributes:
        count: of the runs.
        methods: that one of them has.
        classes: of all of them; empty where they differ.
    """

    count: int
    methods: tuple[str, ...]
    classes: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The values of `target` besides `ALL`; empty if they are not listed."""
        names = self.classes
        if not 0 < len(names) <= MOST_CLASSES or max(map(len, names)) > TARGET.most:
            return ()
        numbers = range(len(names))
        return tuple(dict.fromkeys([*names, *map(str, numbers), *(f"top{n + 1}" for n in numbers)]))

    def told(self, parameters: Sequence[Parameter]) -> list[Parameter]:
        """Return parameters with the values that they can have here."""
        every = tuple(dict.fromkeys((*self.targets, ALL))) if self.targets else ()
        own = {
            RUN: replace(RUN, most=self.count - 1), METHOD: replace(METHOD, choices=self.methods),
            TARGET: replace(TARGET, choices=every), BOXED: replace(BOXED, choices=self.targets),
        }  # fmt: skip
        return [own.get(parameter, parameter) for parameter in parameters]


def _picture(
    about: str, answers: dict[str, dict[str, Any]], parameters: Sequence[Parameter]
) -> dict[str, Any]:
    file = {**BYTES, "minLength": 1}
    body = {"application/octet-stream": {"schema": file}, "image/*": {"schema": file}}
    return _operation(about, answers, parameters, body, (408, 413, 422, 503))


def document(runs: Runs, *, with_desk: bool) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        runs: what is served.
        with_desk: whether the server has data to label.
    """
    paths: dict[str, Any] = {
        "/v1/predict": {"post": _picture("Classify a picture.", {JSON: ANSWER}, runs.told(pictures.PREDICT))},
        "/v1/explain": {
            "post": _picture(
                "Show where the network looks, for one class or many.",
                {JSON: MAPS, "image/png": BYTES, "application/octet-stream": BYTES},
                runs.told(pictures.EXPLAIN),
            )
        },
        "/v1/locate": {"post": _picture("Find boxes by the map.", {JSON: FOUND}, runs.told(pictures.LOCATE))},
        "/v1/picture": {
            "post": _picture("A picture as JPEG, without metadata.", {"image/jpeg": BYTES}, pictures.SHOW)
        },
        "/v1/runs": {"get": _operation("The runs that are served.", {JSON: RUNS})},
        "/health": {"get": _operation("Whether the server answers.", {JSON: record({"status": STRING})})},
        "/metrics": {"get": _operation("What the server counts (Prometheus).", {"text/plain": STRING})},
        "/openapi.json": {"get": _operation("This document.", {JSON: {"type": "object"}})},
    }
    if with_desk:
        paths |= desk_paths()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Resight",
            "version": resight.__version__,
            "description": "One picture a request, as the bytes of its file. Those that arrive together are "
            "classified together.",
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
        "paths": paths,
    }


def desk_paths() -> dict[str, Any]:
    """Return the paths of the labelling desk."""
    return {
        "/v1/desk": {"get": _operation("The pictures to label.", {JSON: DESK_LIST}, desk.LIST)},
        "/v1/desk/{key}": {
            "get": _operation("A picture's boxes.", {JSON: DESK_PICTURE}, [KEY], faults=(404, 503)),
            "put": _operation(
                "Save a picture's boxes, unless somebody else did since `version`.",
                {JSON: DESK_PICTURE},
                [KEY],
                {JSON: {"schema": DESK_SAVE}},
                (404, 408, 409, 413, 422, 503),
            ),
        },
        "/v1/desk/{key}/picture": {
            "get": _operation(
                "The picture as JPEG.", {"image/jpeg": BYTES}, [KEY, *desk.PICTURE], faults=(404, 503)
            )
        },
    }
