"""What a message suggests: what is like the name asked for, and nothing else."""

import pytest

from resight.core import settings
from resight.core.errors import UnknownNameError, UsageError
from resight.core.registry import lookup, nearest, suggestion
from resight.training.machine import Machine, of_record
from resight.training.recipe import Recipe

FIELDS = {"lr", "augment", "balance", "batch_size", "epochs", "weight_decay", "timeout", "image_size"}


def test_only_names_that_are_alike_are_suggested():
    assert nearest("resnet51", ["resnet50", "vgg16"]) == ["resnet50"]
    assert nearest("zebra", ["resnet50", "vgg16"]) == []
    assert suggestion("resnet51", ["resnet50", "vgg16"]) == "nearest: resnet50"
    assert suggestion("zebra", ["resnet50", "vgg16"]) == "known: resnet50, vgg16"
    assert suggestion("zebra", [f"net{i}" for i in range(9)]).endswith("net5 and 3 more")
    with pytest.raises(UnknownNameError, match=r"^'zebra' is not a model; known: vgg16. All: x$"):
        lookup({"vgg16": 1}, "zebra", "model", "All: x")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("learning_rate", "lr"), ("learning-rate", "lr"), ("batch", "batch_size"), ("wd", "weight_decay"),
        ("img_size", "image_size"), ("num_epochs", "epochs"), ("pretrained", "weights"),
    ],
)  # fmt: skip
def test_a_setting_by_another_programs_name_is_told_ours(word, meant):
    recipe = {"model": "m", "image_size": 32, "epochs": 1, "batch_size": 2, "lr": 0.1, "schedule": "constant"}
    with pytest.raises(UsageError, match=f"unknown setting '{word}'; here it is {meant}. All: "):
        settings.override(Recipe(**recipe, augment=(), normalize="channel"), [f"{word}=1"])


def test_every_synonym_means_a_setting():
    known = {*Recipe.__dataclass_fields__, *Machine.__dataclass_fields__}
    assert set(settings.SYNONYMS.values()) <= known
    assert not known & {*settings.SYNONYMS, *settings.EARLY_STOPPING}


def test_nobody_takes_a_hanging_worker_for_early_stopping():
    with pytest.raises(
        UsageError, match="'patience'; training never stops early, and the best epoch is kept"
    ):
        settings.override(Machine(), ["patience=5"])
    assert of_record({"patience": 15.0, "workers": 2}) == {"timeout": 15.0, "workers": 2}
    assert settings.replace(Machine(), of_record({"patience": 15.0})).timeout == 15.0


def test_an_unlike_setting_is_not_guessed():
    with pytest.raises(UsageError, match=r"^unknown setting 'zzz'\. All: compile, "):
        settings.override(Machine(), ["zzz=5"])
