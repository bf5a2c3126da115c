"""The sentence and the chart of the risk-coverage curve, against counts by hand."""

import re

import pytest
import torch

from resight.metrics.risk_coverage import risk_coverage
from resight.service.report.risk import risk_chart, risk_words


def curve(count, wrong):
    """Answers of falling confidence, of which those at some places are wrong."""
    faults = torch.zeros(count, dtype=torch.bool)
    faults[list(wrong)] = True
    return risk_coverage(torch.linspace(0.99, 0.4, count), faults)


@pytest.mark.parametrize(
    "count, wrong, words",
    [
        # Of 100 the first 90 are accepted, errors at places 0 and 45 among them.
        (100, (0, 45, *range(92, 100)), "10 % of photos, it is wrong on 1 in 45 of the rest;"),
        (400, (399, 398, 5), "it is wrong on 1 in 360 of the rest; on all photos it is wrong on 1 in 133."),
        (20, (19, 18), "it makes no error on the other 18; on all photos it is wrong on 1 in 10."),
        (10, (0, 1, 2, 9), "it is wrong on 33 in 100 of the rest; on all photos it is wrong on 40 in 100."),
        (30, (), "makes no error on these 30 pictures"),
    ],
)
def test_the_sentence_counts_right(count, wrong, words):
    assert words in risk_words(curve(count, wrong))


def test_answers_that_cannot_be_told_apart_are_said_to_be_so():
    assert "equally certain" in risk_words(risk_coverage(torch.full((20,), 0.7), torch.arange(20) < 3))


def test_the_chart_ends_at_the_error_of_all():
    svg = risk_chart(curve(20, (19, 4)))
    titles = re.findall(r"<title>accepted answers, [^<]* (\S+): (\S+)</title>", svg)
    assert (float(titles[0][0]), float(titles[0][1])) == (5, 0)
    assert (float(titles[-1][0]), float(titles[-1][1])) == (100, 10)
    assert (float(titles[-2][0]), float(titles[-2][1])) == (95, pytest.approx(100 / 19, abs=0.01))
    assert len(titles) == 20
