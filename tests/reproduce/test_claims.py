"""A claim holds, or does not, only where the intervals leave no doubt."""

import json
from pathlib import Path

import pytest

from resight.core.figures import to_json
from resight.metrics.accuracy import mean_interval, wilson_interval
from resight.reproduce.catalogue import NAMES, experiment
from resight.reproduce.claims import Figure, Figures, judge
from resight.reproduce.laboratory import interval_of
from resight.reproduce.record import Outcome, Part, ResultRow, judged
from resight.reproduce.results import read_record

RESULTS = Path(__file__).parents[2] / "results"


def result_row(name, measured):
    values = () if measured is None else (measured,)
    return ResultRow(name, "", None, None, None, measured, None, values, "%", "", (0,), "", None)


def below(limit):
    return lambda found: found["a"] < limit


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [(91.0, 93.0, True), (89.0, 93.0, None), (87.0, 89.9, False), (-float("inf"), float("inf"), None)],
)
def test_a_threshold_must_lie_outside_of_the_interval(low, high, holds):
    figure = Figure((low + high) / 2 if low > 0 else 92.0, low, high)
    verdict = judge(lambda found: found["a"] > 90, {"a": figure})
    assert verdict.holds is holds and not verdict.missing
    assert verdict.alone is (figure.mean > 90)


def test_two_figures_are_told_apart_by_the_interval_of_their_difference():
    """Newcombe 1998, table II (a): 56 of 70 and 48 of 80 differ by 0.2, 0.0524 to 0.3339, by method 10."""
    one, other = (Figure(100 * w / n, *wilson_interval(w, n)) for w, n in ((48, 80), (56, 70)))
    low = 20 - ((other.mean - other.low) ** 2 + (one.high - one.mean) ** 2) ** 0.5
    assert low == pytest.approx(5.24, abs=0.005)
    for shift, holds in ((0.0, True), (5.23, True), (5.25, None), (20.0, None), (33.3, None), (33.5, False)):
        moved = Figure(one.mean + shift, one.low + shift, one.high + shift)
        assert judge(lambda found: found["a"] < found["b"], {"a": moved, "b": other}).holds is holds, shift
        assert judge(lambda found: found["b"] > found["a"], {"a": moved, "b": other}).holds is holds, shift


def test_doubt_counts_against_a_claim_joined_of_several():
    sure, open_, wrong = Figure(1, 0.9, 1.1), Figure(1, 0.5, 2.5), Figure(3, 2.9, 3.1)

    def both(found):
        return found["a"] < 2 and found["b"] < 2

    def either(found):
        return found["a"] < 2 or found["b"] < 2

    table = [
        (sure, sure, True, True), (sure, open_, None, True), (open_, wrong, False, None),
        (open_, open_, None, None), (wrong, wrong, False, False),
    ]  # fmt: skip
    for a, b, joined, one in table:
        assert judge(both, {"a": a, "b": b}).holds is joined
        assert judge(either, {"a": a, "b": b}).holds is one


def test_multiples_and_counts():
    count = Figure(3, 3, 3)
    assert judge(lambda f: 0.5 * f["a"] < f["b"], {"a": count, "b": Figure(2, 1.6, 2.4)}).holds is True
    assert judge(lambda f: 0.5 * f["a"] < f["b"], {"a": count, "b": Figure(2, 1.4, 2.4)}).holds is None
    assert judge(lambda f: f["a"] <= f["a"], {"a": count}).holds is True


def test_what_was_not_measured_is_missing_whatever_the_doubt():
    verdict = judge(below(2), {"b": Figure(1)})
    assert verdict.missing and verdict.holds is None
    assert not Figures({})["a"] < 2 and not Figures({}, "possible")["a"] < 2


def test_one_seed_without_an_interval_decides_nothing():
    row = result_row("x/a", 1.0)
    chosen = type("E", (), {"holds": staticmethod(below(2)), "parts": (("it is below one", below(1)),)})
    outcome, parts = judged(chosen, [row], "full")
    assert outcome == Outcome(holds=None, alone=True)
    assert parts == (Part("it is below one", Outcome(holds=None, alone=False)),)
    assert outcome.words.startswith("not decided") and outcome.words.endswith("alone it holds")
    outcome, _ = judged(chosen, [row], "smoke")
    assert outcome.alone is None and outcome.words.startswith("not judged")


def test_an_epochs_training_error_has_wilsons_interval_over_what_it_saw():
    row = {"train_error": 25.0, "images_per_second": 40.0, "seconds": 5.0}
    assert interval_of(row) == wilson_interval(50, 200)


def test_the_mean_of_classes_has_the_interval_of_as_many_pictures_as_vary_alike():
    assert mean_interval(20.0, [25, 25, 25, 25]) == wilson_interval(20, 100)
    assert mean_interval(50.0, [10, 30]) == wilson_interval(15, 30)  # 4 / (1/10 + 1/30) = 30


@pytest.mark.parametrize("name", [n for n in NAMES if n != "imagenet-check"])
def test_claims_negate_no_comparison(name):
    """With doubt for a claim it can but gain: else `judge` would be wrong about it."""
    chosen = experiment(name)

    class Unknown(dict):
        def __contains__(self, key):
            return True

        def get(self, key, default=None):
            return Figure(1.0)

    for claim in (chosen.holds, *(part for _, part in chosen.parts)):
        verdict = judge(claim, Unknown())
        assert verdict.holds is None and not verdict.missing


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem[:30])
def test_what_is_recorded_is_judged_by_the_rule(file):
    record = read_record(file)
    said = judged(experiment(record.experiment), record.rows, record.scale.name)
    assert said == (record.outcome, record.parts)
    assert to_json(record) == json.loads(file.read_text())
