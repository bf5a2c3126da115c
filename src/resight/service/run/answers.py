"""How sure a run's answers were on held-out pictures, and which were wrong: a part of its header.

`resight predict --at-least P` reads there how often the answers that it accepts are wrong.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resight.core.errors import ModelFileError
from resight.metrics.risk_coverage import RiskCoverage, risk_coverage
from resight.tasks.classify.result import TestResult

KEY = "answers"
VALIDATION, TEST = "validation", "test"


def packed_answers(of: str, confidence: Tensor, wrong: Tensor) -> dict[str, str]:
    """Return answers as JSON: 4 bytes each, the probability, negative where the answer is wrong.

    Args:
        of: which pictures they are of: `VALIDATION`, `TEST`, or "5-fold".
        confidence: the probability of each answer, (N,), above 0.
        wrong: whether it is wrong, (N,) bool.
    """
    signed = torch.where(wrong, -confidence.double(), confidence.double()).numpy().astype("<f4")
    return {"of": of, "confidences": base64.b64encode(np.sort(signed).tobytes()).decode("ascii")}


def kept_answers(of: str, result: TestResult) -> dict[str, Any]:
    """Return the answers of a result as an entry of a header; nothing where a picture has several.

    Args:
        of: see `packed_answers`.
        result: its probabilities are above 0.
    """
    confidence = result.confidence()
    return {} if confidence is None else {KEY: packed_answers(of, confidence, result.wrong())}


def answers_of(facts: Mapping[str, Any], name: str) -> tuple[str, RiskCoverage] | None:
    """Return which pictures the answers in a header are of, and their curve; None if there are none.

    Raises:
        ModelFileError: if they are damaged.
    """
    found = facts.get(KEY)
    if not found or not found["confidences"]:
        return None
    try:
        signed = np.frombuffer(base64.b64decode(found["confidences"], validate=True), "<f4")
    except ValueError as error:
        raise ModelFileError(f"{name}: its list of answers is damaged ({error}); train again") from error
    values = torch.from_numpy(signed.astype(np.float64))
    if not bool(((values.abs() > 0) & (values.abs() <= 1)).all()):
        raise ModelFileError(
            f"{name}: its list of answers is damaged (a value is not a probability); train again"
        )
    return found["of"], risk_coverage(values.abs(), values < 0)
