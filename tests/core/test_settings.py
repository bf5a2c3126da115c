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


def test_what_was_written_is_read_back_and_what_was_not_has_its_default():
    whole = Example(0.2, 5, "b", ("flip",), (0.5,))
    assert settings.from_dict(Example, settings.to_dict(whole)) == whole
    assert settings.from_dict(Example, {"lr": 1, "drops": [1]}) == Example(lr=1.0, drops=(1.0,))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"rate": 1}, "unknown setting 'rate'"),
        ({"lr": "high"}, "needs a number"),
        ({"lr": None}, "has the wrong type"),
        ({"drops": 3}, "has the wrong type"),
        ({"epochs": 2.5}, "needs a whole number"),
    ],
)
def test_a_damaged_document_is_refused_by_name(document, message):
    with pytest.raises(UsageError, match=message):
        settings.from_dict(Example, document)


def test_differences_are_named_one_by_one():
    assert settings.differences(Example(), Example()) == []
    found = settings.differences(Example(), Example(0.2, 4, "", ("flip", "crop")), leave_out=("epochs",))
    assert found == ["lr 0.1 -> 0.2", "model a -> none", "augment none -> flip,crop"]
    assert settings.differences({"a": 1}, {"a": 1, "b": [2]}) == ["b none -> 2"]
