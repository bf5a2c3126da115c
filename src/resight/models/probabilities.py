"""How logits become probabilities: one rule per network, looked up here."""

from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.models.activations import SIGMOID, SOFTMAX

RULES = (SOFTMAX, SIGMOID, "none")
"""One class out of several; an independent yes or no for each class; or the network's output as it is."""


def rule_of(model: nn.Module, logits: int, asked: str | None = None) -> str:
    """Return how a network's logits become probabilities, one of `RULES`.

    The rule asked for comes first, then the one that the network declares: a network of Resight, or any
    module, in its attribute `probabilities`; one of transformers in `config.problem_type`. Without a
    declaration, the sigmoid applies to a single logit, that of the positive class of two, else the softmax.

    Args:
        model: the network, without wrappers.
        logits: number of logits for a picture.
        asked: one of `RULES`, or None.

    Raises:
        UsageError: for an unknown rule, or the softmax of a single logit, which is always 1.
    """
    if asked is not None and asked not in RULES:
        raise UsageError(f"probabilities={asked!r}: must be one of {', '.join(RULES)}")
    rule = asked or _declared(model) or ("sigmoid" if logits == 1 else "softmax")
    if rule == "softmax" and logits == 1:
        raise UsageError("probabilities='softmax': the softmax of a single logit is always 1; use 'sigmoid'")
    return rule


def _declared(model: nn.Module) -> str | None:
    own = getattr(model, "probabilities", None)
    if isinstance(own, str) and own in RULES:
        return own
    kind = getattr(getattr(model, "config", None), "problem_type", None)
    return "sigmoid" if kind == "multi_label_classification" else None


def to_probabilities(logits: Tensor, rule: str) -> Tensor:
    """Return the probabilities of logits (B, classes), in their precision.

    Args:
        logits: (B, classes).
        rule: one of `RULES`.
    """
    if rule == "none":
        return logits
    return logits.sigmoid() if rule == "sigmoid" else logits.softmax(1)
