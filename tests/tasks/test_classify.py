"""Classification as a task: what it counts, how it is judged, which weights are kept, what it refuses."""

import pytest
import torch
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.data.marks import ClassMarks
from resight.models.zoo import create_model
from resight.tasks.classify.task import AnyClasses, OneClass
from resight.tasks.task import Aids, Best

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 2.0], [-1.0, -2.0, -3.0]])
ONE = torch.tensor([0, 1, 1, 0])
ANY = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])


def test_of_one_class_the_first_answer_counts():
    row = OneClass().judged(LOGITS, ClassMarks.of(ONE))
    assert row == {"val_loss": pytest.approx(float(F.cross_entropy(LOGITS, ONE))), "val_error": 25.0}
    assert OneClass().row({"wrong": 3.0}, 12) == {"train_error": 25.0}
    assert OneClass().row({"wrong": 0.0}, 0) == {"train_error": 0.0}


def test_of_any_classes_a_picture_without_one_is_right_if_nothing_is_answered():
    row = AnyClasses().judged(LOGITS, ClassMarks.of(ANY))
    loss = float(F.binary_cross_entropy_with_logits(LOGITS, ANY))
    assert row == {"val_loss": pytest.approx(loss), "val_error": 25.0}  # the second picture


@pytest.mark.parametrize(("task", "labels"), [(OneClass(), ONE), (AnyClasses(), ANY)])
def test_the_loss_counts_the_wrong_answers_of_the_labels_not_of_what_is_shown(task, labels):
    """A blended picture learns shares, and is right where its own class is named."""
    model = create_model("speednet8", 3).eval()
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    shares = torch.full((4, 3), 1 / 3)
    loss, sums = task.objective(model, Aids())(images, ClassMarks(labels, shares), 0.0)
    logits = model(images)
    torch.testing.assert_close(loss, task.criterion()(logits, shares))
    assert sums.tolist() == [int(task.wrong(logits, labels).sum())] and not sums.requires_grad


def test_a_loss_of_one_class_is_refused_where_there_are_several():
    for model, words in (
        (create_model("lenet5", 3), "its own loss"),
        (create_model("resnet20", 3, sharpen=1.0), "need one class per picture"),
    ):
        with pytest.raises(UsageError, match=words):
            AnyClasses().objective(model, Aids())
        OneClass().objective(model, Aids())


@pytest.mark.parametrize(
    ("best", "row", "before", "kept"),
    [
        (Best("val_error"), {"val_error": 5.0}, None, True),
        (Best("val_error"), {"val_error": 5.0}, 5.0, True),  # the last of equal ones
        (Best("val_error"), {"val_error": 5.1}, 5.0, False),
        (Best("val_map", lower=False), {"val_map": 5.1}, 5.0, True),
        (Best("val_map", lower=False), {"val_map": 4.9}, 5.0, False),
        (Best("val_error"), {}, None, True),
        (Best("val_error"), {}, 5.0, True),  # without validation the last epoch
    ],
)
def test_the_kept_epoch(best, row, before, kept):
    assert best.improves(row, before) is kept


def test_a_later_epoch_may_be_worse_within_what_cannot_be_told_and_the_best_stays_the_measure():
    lower, higher = Best("val_error"), Best("val_map", lower=False)
    assert lower.improves({"val_error": 6.0}, 5.0, 1.0) and not lower.improves({"val_error": 6.1}, 5.0, 1.0)
    assert higher.improves({"val_map": 4.0}, 5.0, 1.0) and not higher.improves({"val_map": 3.9}, 5.0, 1.0)
    assert lower.better({"val_error": 6.0}, 5.0) == 5.0 and higher.better({"val_map": 6.0}, 5.0) == 6.0
    assert lower.better({"val_error": 6.0}, None) == 6.0 and lower.better({}, None) is None


def test_marks_are_cut_joined_and_chosen():
    marks = ClassMarks(ONE, torch.eye(4))
    assert len(marks) == 4 and marks[1:3].labels.tolist() == [1, 1]
    assert torch.equal(marks[1:3].shown, torch.eye(4)[1:3])
    again = ClassMarks.joined([marks[:1], marks[1:]])
    assert torch.equal(again.labels, ONE) and torch.equal(again.shown, torch.eye(4))
    plain = ClassMarks.of(ONE)[torch.tensor([2, 0])]
    assert plain.shown is plain.labels and plain.labels.tolist() == [1, 0]
