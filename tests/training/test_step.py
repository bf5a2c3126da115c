"""A step's gradient is that of the mean over its pictures, in however many parts it is computed."""

import pytest
import torch
from torch import nn

from resight.data.batches import Batch
from resight.data.marks import ClassMarks
from resight.training.checkpoints import Progress
from resight.training.step import Step


def gradients(parts, count, share=8):
    """Gradients and sums of a step of `count` pictures where `share` were due, in so many parts."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    images = torch.randn(8, 3, generator=generator)[:count]
    labels = torch.arange(8)[:count] % 4

    def objective(images, marks, done):
        logits = model(images)
        wrong = (logits.argmax(1) != marks.labels).sum()
        return nn.functional.cross_entropy(logits, marks.shown), wrong[None]

    step = Step(model, objective, torch.optim.SGD(model.parameters(), 0.1), share, torch.float32)
    progress = Progress()
    progress.parts = parts
    found = step(Batch(images, ClassMarks.of(labels)), 0, 0.0, 0, progress, print)
    loss = nn.functional.cross_entropy(model(images), labels, reduction="sum") / share
    expected = torch.autograd.grad(loss, list(model.parameters()))
    wrong = (model(images).argmax(1) != labels).sum()
    return [p.grad for p in model.parameters()], expected, found, torch.stack([loss.detach(), wrong.float()])


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [8, 7, 5])
def test_parts_add_up_to_the_whole_step(parts, count):
    """With 5 of 8 pictures left, the three that could not be read count nothing."""
    ours, expected, found, sums = gradients(parts, count)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(found, sums)
