"""Finer-CAM: what speaks for a class and not for those that the network takes for similar.

Source: Zhang et al. 2025, "Finer-CAM: spotting the difference reveals finer details for visual explanation",
section 3: in place of y^c, a method explains y^c - gamma y^d, d a similar class. Features that both classes
share cancel.
"""

from dataclasses import replace

import torch

from resight.core.errors import UsageError
from resight.saliency.capture import logits_of
from resight.saliency.look import Look, Question, wide


def compared(look: Look, gamma: float, others: int) -> Question:
    """Return the question of Finer-CAM: each target less gamma times the classes that it is compared with.

    If the user named the class to compare with, it is this one. Otherwise it is the mean of the classes whose
    logits are nearest to the target's, weighted by the softmax of their logits, as in the released code.

    Deviation from the released code: these weights are constants, without a gradient of their own.

    Args:
        look: the pass.
        gamma: how strongly the other classes count: 0 gives the method itself.
        others: R, how many classes, at most.

    Raises:
        UsageError: if the targets are no classes, or the network has only one.
    """
    question, logits = look.question, logits_of(look.split.output)
    if question.targets is None or logits is None or logits.shape[1] < 2:
        raise UsageError(
            "finer_cam compares classes: it needs class targets, and a network with two classes or more"
        )
    if question.strength is not None and question.against is not None:
        if not (question.strength > 0).any(2).all():
            raise UsageError(
                "finer_cam: some targets name a class to compare with and others do not; explain them in "
                "two calls"
            )
        return replace(question, strength=question.strength * gamma)
    logits = wide(logits.detach())
    own = logits.gather(1, question.targets)[..., None]
    rest = logits[:, None].expand(-1, own.shape[1], -1)
    rest = rest.scatter(2, question.targets[..., None], -torch.inf)  # a class is not compared with itself
    nearest = (rest - own).abs().argsort(dim=2, stable=True)[..., : min(others, logits.shape[1] - 1)]
    weight = rest.gather(2, nearest).softmax(2).nan_to_num(0)  # all of them -inf: none counts
    return replace(question, against=nearest, strength=weight * gamma)
