"""The parameters of requests: read from the address, and described in the OpenAPI document."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request

from resight.localize.rule import RULES
from resight.web.errors import HttpError


@dataclass(frozen=True)
class Parameter:
    """A parameter in the query of an address.

    Attributes:
        name: as it is written.
        kind: "integer", "number" or "string".
        about: one sentence.
        default: where it is left out.
        least: smallest value, or number of characters.
        most: largest value, or number of characters.
        below: whether the value must be below `most`.
        choices: the values of a string.
    """

    name: str
    kind: str
    about: str
    default: Any = None
    least: float = 0
    most: float = 1_000
    below: bool = False
    choices: tuple[str, ...] = ()

    def read(self, word: str) -> Any:
        """Return the value of a word.

        Raises:
            HttpError: 422, if it is none.
        """
        if self.kind == "string":
            if self.choices and word not in self.choices:
                raise HttpError(422, f"{self.name} must be one of {', '.join(self.choices)}.")
            if not self.least <= len(word) <= self.most:
                raise HttpError(422, f"{self.name} must have {self.least:g} to {self.most:g} characters.")
            return word
        limits = f"from {self.least:g} to {'below ' * self.below}{self.most:g}"
        fault = HttpError(
            422, f"{self.name} must be {'a number' if self.kind == 'number' else 'a whole number'} {limits}."
        )
        try:
            value = float(word) if self.kind == "number" else int(word)
        except ValueError:
            raise fault from None
        if (
            not math.isfinite(value)
            or not self.least <= value <= self.most
            or (self.below and value == self.most)
        ):
            raise fault
        return value

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its value."""
        if self.kind == "string":
            own = (
                {"enum": list(self.choices)}
                if self.choices
                else {"minLength": self.least, "maxLength": self.most}
            )
        else:
            own = {"minimum": self.least, "exclusiveMaximum" if self.below else "maximum": self.most}
        default = {} if self.default is None else {"default": self.default}
        return {"type": self.kind, **own, **default}


RUN = Parameter("run", "integer", "Number of the run in GET /v1/runs.", 0, 0, 15)
TOP = Parameter("top", "integer", "How many classes to list.", 5, 1)
TARGET = Parameter(
    "target", "string",
    "A class name or number, topK for the K best classes, or all. Default: the best class.",
    least=1, most=200,
)  # fmt: skip
BOXED = replace(
    TARGET, about="A class name or number, or topK for the K best classes. Default: the best class."
)
"""The same, of boxes: all classes at once are not located."""
METHOD = Parameter(
    "method", "string", "A saliency method of GET /v1/runs. Default: CAM where it is exact, else Grad-CAM.",
    least=1, most=40,
)  # fmt: skip
FORM = Parameter(
    "format", "string",
    "json: raw maps as base64; png: the picture under the first map; npy: maps in [0, 1] of what the network "
    "saw.",
    "json", choices=("json", "png", "npy"),
)  # fmt: skip
THRESHOLD = Parameter(
    "threshold",
    "number",
    "A pixel above this share of the map's maximum belongs to the object.",
    0.2,
    0,
    1,
    below=True,
)
BOXES = Parameter("boxes", "string", "Which parts of the map get a box.", "largest", choices=tuple(RULES))
SIDE = Parameter("side", "integer", "Largest side in pixels.", 1600, 16, 4096)


def values(request: Request, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the parameters of a request by name, defaults filled in.

    Raises:
        HttpError: 422 for an unknown, repeated or wrong one.
    """
    known = {parameter.name: parameter for parameter in parameters}
    found = {parameter.name: parameter.default for parameter in parameters}
    seen = set()
    for name, word in request.query_params.multi_items():
        if name not in known:
            takes = f"; it takes {', '.join(known)}" if known else "; it takes none"
            raise HttpError(422, f"{name!r} is not a parameter of this request{takes}.")
        if name in seen:
            raise HttpError(422, f"{name} is given twice.")
        seen.add(name)
        found[name] = known[name].read(word)
    return found
