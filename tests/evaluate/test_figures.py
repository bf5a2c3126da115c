"""Test figures on numbers small enough to count by hand: each would move if a definition did."""

import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from resight.metrics.accuracy import confusion, topk_wrong
from resight.tasks.classify.one_result import OneClassResult

CLASSES = tuple("abcdefg")


def ranked(*places):
    """Probabilities (N, 7) in which each picture's own class, 0, has so many classes before it."""
    rows = []
    for place in places:
        order = [*range(1, 7)]
        order.insert(place, 0)
        row = torch.zeros(7, dtype=torch.float64)
        row[order] = torch.tensor([0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05], dtype=torch.float64)
        rows.append(row)
    return torch.stack(rows), torch.zeros(len(places), dtype=torch.long)


def result(probabilities, labels, classes=CLASSES):
    return OneClassResult(probabilities, labels, torch.arange(len(labels)), classes, ())


def test_top_5_takes_exactly_five_guesses():
    """Eight pictures whose class comes first, second, ... seventh, and seventh again."""
    figures = result(*ranked(0, 1, 2, 3, 4, 5, 6, 6)).figures()
    assert figures["top1_error"] == 100 * 7 / 8
    assert figures["top5_error"] == 100 * 3 / 8  # sixth, seventh, seventh
    scores, labels = ranked(0, 1, 2, 3, 4, 5, 6)
    for k in range(1, 8):
        assert topk_wrong(scores, labels, k).tolist() == [place >= k for place in range(7)]
    assert not topk_wrong(scores, labels, 50).any()


def test_top_5_says_nothing_of_five_classes():
    five = torch.eye(5, dtype=torch.float64)
    assert result(five, torch.arange(5), tuple("abcde")).figures()["top5_error"] is None
    six = torch.eye(6, dtype=torch.float64)
    assert result(six, torch.arange(6), tuple("abcdef")).figures()["top5_error"] == 0


def test_precision_is_of_what_was_said_and_recall_of_what_was_there():
    """Of a, a, a, a, b, b, c the answers are a, b, b, b, b, a, c.

    a: said twice, right once (precision 1/2); there four times, named once (recall 1/4). b: said four times,
    right once (1/4); there twice, named once (1/2). c: both 1.
    """
    answers = torch.tensor([0, 1, 1, 1, 1, 0, 2])
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    figures = result(torch.eye(4, dtype=torch.float64)[answers], labels, tuple("abcd")).figures()
    rows = {name: (row["precision"], row["recall"], row["n"]) for name, row in figures["per_class"].items()}
    assert rows == {"a": (1 / 2, 1 / 4, 4), "b": (1 / 4, 1 / 2, 2), "c": (1.0, 1.0, 1), "d": (None, None, 0)}
    assert figures["per_class"]["a"]["error"] == 75 and figures["per_class"]["d"]["error"] is None
    assert figures["wrong"] == 4 and figures["top1_error"] == pytest.approx(400 / 7)
    assert figures["confusion"] == [[1, 3, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_macro_averages_are_scikit_learns():
    """A class that is never predicted has a precision of 0; one without pictures does not count."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (60,), generator=generator)  # class d has no picture
    answers = torch.randint(0, 2, (60,), generator=generator)  # c and d are never named
    figures = result(torch.eye(4, dtype=torch.float64)[answers], labels, tuple("abcd")).figures()
    *theirs, _ = precision_recall_fscore_support(
        labels, answers, labels=[0, 1, 2], average="macro", zero_division=0
    )
    assert list(figures["macro"]) == ["precision", "recall", "f1"]
    assert list(figures["macro"].values()) == pytest.approx(theirs)


def test_rows_of_the_confusion_are_the_truth():
    counts = confusion(predicted=torch.tensor([2, 2, 0]), labels=torch.tensor([0, 0, 1]), classes=3)
    assert counts.tolist() == [[0, 0, 2], [1, 0, 0], [0, 0, 0]]


def test_the_interval_is_of_the_wrong_answers():
    """Wilson, 3 of 8 wrong: centre (3/8 + z^2/16) / (1 + z^2/8), with z = 1.96."""
    probabilities, labels = ranked(0, 0, 0, 0, 0, 1, 1, 1)
    low, high = result(probabilities, labels).figures()["top1_interval"]
    assert (low, high) == pytest.approx((13.684, 69.426), abs=0.001)


def test_the_risk_coverage_curve_is_of_the_answers_own_probability():
    """Probabilities of the answers 0.9, 0.8, 0.6, 0.5; the third is wrong."""
    probabilities = torch.tensor([[0.6, 0.4], [0.1, 0.9], [0.8, 0.2], [0.5, 0.5]], dtype=torch.float64)
    found = result(probabilities, torch.tensor([1, 1, 0, 0]), tuple("ab")).figures()["risk_coverage"]
    assert found["curve"] == [
        pytest.approx(row) for row in ([1 / 4, 0, 0.9], [2 / 4, 0, 0.8], [3 / 4, 100 / 3, 0.6], [1, 25, 0.5])
    ]
    assert found["area"] == pytest.approx((0 + 0 + 100 / 3 + 25) / 4)
