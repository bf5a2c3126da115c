from dataclasses import dataclass

import pytest

from resight.core import settings
from resight.core.errors import UsageError


@dataclass(frozen=True)
class Example:
    lr: float = 0.1
    epochs: int = 3
    model: str = "a"
    augment: tuple[str, ...] = ()
    drops: tuple[float, ...] = ()


def test_words_are_read_by_type():
    changed = settings.override(
        Example(), ["lr=1e-3", "epochs=7", "model=b=c", "augment=flip,crop", "drops=.5,.75"]
    )
    assert changed == Example(1e-3, 7, "b=c", ("flip", "crop"), (0.5, 0.75))


def test_an_empty_list_is_a_value():
    assert settings.override(Example(augment=("flip",)), ["augment="]).augment == ()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning=1", "unknown setting 'learning'"),
        ("epoch=1", "nearest: epochs"),
        ("lr", "is not key=value"),
        ("epochs=2.5", "needs a whole number"),
        ("lr=fast", "needs a number"),
        ("lr=nan", "needs a number"),
        ("lr=inf", "needs a number"),
        ("drops=.5,x", "needs a number"),
    ],
)
def test_bad_words_are_refused(word, message):
    with pytest.raises(UsageError, match=message):
        settings.override(Example(), [word])
