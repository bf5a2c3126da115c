"""What is exported of a task says what the task says: the same network written for graphs, still in torch."""

import numpy as np
import pytest
import torch

from resight.data.layouts.masks import run_lengths
from resight.evaluate.asked import Asked
from resight.export.box_operations import NONE, suppressed
from resight.export.drawn import masks_of
from resight.export.solved import solved
from resight.localize.segments import run_lengths_of
from resight.models.heads.instance_masks import pasted
from solvers import TASKS, pictures, solver


def alike(mask, known, size):
    """Masks are equal but for pixels whose probability is a half, to rounding."""
    one, other = (run_lengths(own["counts"], size) for own in (mask, known))
    return (one != other).sum() <= 2


@pytest.mark.parametrize("name", TASKS)
def test_the_network_for_the_graph_answers_as_the_task(name):
    task, found = TASKS[name], 0
    network = solver(task)
    deployed = solved(network, network.preprocessing, task, 1.3)
    made = pictures()
    asked = Asked(network, network.preprocessing, torch.float32, lambda i: made[i], range(len(made)), 0, 1.3)
    for index, wanted in task.answers(asked):
        with torch.no_grad():
            outputs = deployed(torch.from_numpy(np.array(made[index]))[None])
        said = {key: value.numpy() for key, value in zip(deployed.outputs, outputs, strict=True)}
        if task.name == "verify":
            assert np.allclose(said["embeddings"][0], wanted.embedding, atol=1e-6)
        elif task.name == "localize":
            assert said["probabilities"][0].argmax() == wanted.label
            assert said["probabilities"][0].max() == pytest.approx(wanted.probability, abs=1e-6)
            assert np.allclose(said["boxes"][0], wanted.each, atol=1e-3)
        elif task.name == "pose":
            assert np.allclose(said["points"][0] + 0.5, wanted.stages[-1], atol=1e-3)
            if wanted.spread:
                assert np.allclose(said["confidences"][0], 1 - np.mean(wanted.spread, 1), atol=1e-5)
        else:
            found += len(wanted.scores)
            assert np.array_equal(said["classes"], wanted.labels)
            assert np.allclose(said["boxes"], wanted.boxes, atol=1e-3)
            assert np.allclose(said["scores"], wanted.scores, atol=1e-6)
            if task.masks:
                own = list(masks_of(said["masks"], said["mask_boxes"], made[index].size))
                for mask, known in zip(own, wanted.masks, strict=True):
                    assert alike(mask, known, made[index].size)
    assert found or task.name != "detect"


def test_suppression_is_torchvisions_in_each_group():
    from torchvision.ops import batched_nms

    chance = torch.Generator().manual_seed(0)
    corner = 50 * torch.rand(3, 40, 2, generator=chance)
    boxes = torch.cat([corner, corner + 5 + 20 * torch.rand(3, 40, 2, generator=chance)], 2)
    scores = torch.rand(3, 40, generator=chance)
    groups = torch.arange(3).repeat_interleave(40)
    wanted = batched_nms(boxes.flatten(0, 1), scores.flatten(), groups, 0.4)
    wanted = wanted[scores.flatten()[wanted] > 0.3]
    found = suppressed(boxes, scores, 0.4, 0.3, 200)
    assert found.tolist() == wanted.tolist() + [NONE] * (200 - len(wanted))
    assert suppressed(boxes, scores, 0.4, 0.3, 5).tolist() == wanted[:5].tolist()
    assert suppressed(boxes, scores, 0.4, 2.0, 3).tolist() == [NONE] * 3


def test_masks_are_pasted_as_torch_does():
    chance = np.random.default_rng(0)
    likely = chance.random((6, 28, 28)).astype(np.float32)
    corners = chance.uniform(-3, 30, (6, 2))
    boxes = np.concatenate([corners, corners + chance.uniform(0.5, 40, (6, 2))], 1)
    wanted = (pasted(torch.from_numpy(likely), boxes.tolist(), (40, 50)) > 0.5).numpy()
    found = list(masks_of(likely, boxes, (50, 40)))
    assert found == [run_lengths_of(mask) for mask in wanted]
