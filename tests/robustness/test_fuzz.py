"""Damaged and odd input is read right or refused in one line: no traceback, no hang, nothing silently wrong.

Every case is judged by another reader, see `kinds.py`. Some run by default; the long test runs 2,000.
"""

import random
import signal
import warnings
from collections import Counter

import pytest

from resight.core.errors import ResightError
from robustness.kinds import ANYTHING, KINDS

SECONDS = 30
FEW, MANY = 24, 2_000


def verdict(case):
    """Return "right", "refused" or what went wrong."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        answer = case.answer()
    except ResightError as error:
        text = str(error)
        return (
            "refused"
            if text and "\n" not in text and len(text) < 2_000
            else f"refused in no line: {text[:200]!r}"
        )
    except TimeoutError:
        return f"hangs: longer than {SECONDS} s"
    except Exception as error:  # noqa: BLE001 - whatever else comes out is the finding
        return f"traceback: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if answer in case.right or ANYTHING in case.right:
        return "right"
    return f"silently wrong: {str(answer)[:200]}"


def run(kind, numbers, place):
    """Return how often each verdict came, and the numbers of the cases that went wrong."""
    counts, wrong = Counter(), {}
    for number in numbers:
        folder = place / f"{kind}{number}"
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = verdict(KINDS[kind](number, folder))
        counts[found.split(":")[0]] += 1
        if found not in ("right", "refused"):
            wrong[number] = found
    return counts, wrong


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_odd_inputs_are_read_right_or_refused(kind, tmp_path):
    counts, wrong = run(kind, range(FEW), tmp_path)
    assert not wrong, f"{counts}: {wrong}"
    assert counts["right"] and counts["refused"], counts


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_2000_odd_inputs_are_read_right_or_refused(kind, tmp_path):
    numbers = random.Random(kind).sample(range(FEW, 10**6), MANY // len(KINDS))
    counts, wrong = run(kind, numbers, tmp_path)
    print(f"\n{kind}: {dict(counts)}")  # noqa: T201 - the figures of docs/robustness.md; shown with -s
    assert not wrong, f"{counts}: {list(wrong.items())[:5]}"
