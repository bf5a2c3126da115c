"""The experiments as they stand in the catalogue: short, complete, and made of words that exist."""

import importlib
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.core import published
from resight.core.errors import DataError, UnknownNameError, UsageError
from resight.data.augment.operations import OPERATIONS
from resight.data.open import open_dataset
from resight.models.zoo import NETWORKS, create_model, list_options
from resight.reproduce.catalogue import NAMES, catalogue, experiment, reproduce, scale_of
from resight.reproduce.claims import Figure, Figures, judge
from resight.reproduce.experiment import Measure, Scale
from resight.reproduce.experiments import activations, gan_augmentation, imbalance
from resight.reproduce.heads import keep_classes, put_back
from resight.reproduce.laboratory import Laboratory
from resight.tasks.tasks import chosen
from resight.training.gan import GanSettings
from resight.training.recipe import Recipe
from resight.training.recipes import RECIPES
from support import make_folder

FOLDER = Path(reproduce.__code__.co_filename).parent / "experiments"


def test_every_file_is_an_experiment_under_80_lines():
    files = sorted(FOLDER.glob("[!_]*.py"))
    assert [f.stem for f in files] == sorted(name.replace("-", "_") for name in NAMES)
    assert not [f.name for f in files if len(f.read_text().splitlines()) >= 80]


@pytest.mark.parametrize("name", NAMES)
def test_its_words_exist(name):
    found = experiment(name)
    conditions = [t.condition for t in found.trainings]
    assert len(set(conditions)) == len(conditions)
    for place, training in enumerate(found.trainings):
        _, plain = chosen(training.task or "classify", training.words)  # refuses settings that its task lacks
        settings = dict(word.partition("=")[::2] for word in plain)
        assert training.recipe in (*RECIPES, "")
        model = settings.get("model", "resnet20")
        known = {*list_options(model), "model", "augment"} | set(Recipe.__dataclass_fields__)
        known |= {key for key in settings if key.partition("augment.")[2] in {*OPERATIONS, "gan"}}
        known = known if training.recipe else {"model"}
        known = known if training.command == "train" else set(GanSettings.__dataclass_fields__)
        assert model in NETWORKS and not settings.keys() - known
        named = [c for c in conditions if f"{{{c}}}" in " ".join(training.words)]
        assert all(conditions.index(c) < place for c in named), "it needs a training that comes later"


class Blank(Laboratory):
    """A laboratory in which nothing has run."""

    def __init__(self, found):
        super().__init__(found, Scale(), (0,), Path("none"), print, data=("none", "none"))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "imagenet-check"])
def test_published_figures_are_known_and_nothing_is_judged_without_figures(name):
    found = experiment(name)
    rows = list(found.rows(Blank(found)))
    known = {figure.id for figure in published.load()}
    assert rows and all(row.measure is None for row in rows)
    assert not [row.published for row in rows if row.published and row.published not in known]
    assert len({(row.condition, row.metric) for row in rows}) == len(rows)
    figures = Figures({})
    assert not found.holds(figures) and figures.missing
    asked = Asked()
    found.holds(asked)
    assert asked.names <= {f"{row.condition}/{row.metric}" for row in rows}


class Asked(Figures):
    """Notes which figures a claim is judged by."""

    def __init__(self):
        super().__init__({})
        self.names = set()

    def __getitem__(self, name):
        self.names.add(name)
        return 1.0


def test_the_catalogue_lists_all():
    rows = catalogue()
    assert [row.name for row in rows] == list(NAMES)
    assert all(row.claim and row.paper for row in rows)


def test_intervals():
    assert Measure((3.0,)).interval is None
    assert Measure((3.0,), (1.0, 5.0)).interval == (1.0, 5.0)
    low, high = Measure((8.0, 9.0, 10.0), (0.0, 1.0)).interval
    assert (low, high) == pytest.approx((9 - 4.303 / math.sqrt(3), 9 + 4.303 / math.sqrt(3)), abs=1e-3)
    assert Measure((8.0, 9.0, 10.0)).mean == 9
    low, high = Measure(tuple(range(11))).interval  # 10 degrees of freedom
    assert high - low == pytest.approx(2 * 2.228 * math.sqrt(11) / math.sqrt(11), abs=1e-3)


def test_scales():
    found = experiment("degradation")
    assert scale_of(found, "full", None, None) == Scale()
    assert scale_of(found, "smoke", None, None) == found.smoke
    part = scale_of(found, "smoke", 20, 5000)
    assert (part.name, part.epochs, part.pictures, part.tested) == ("part", 20, 5000, None)
    assert "20 epochs, 5,000 pictures; not the full protocol" in part.words()
    assert Scale().words() == "the full protocol"
    changed = scale_of(found, "full", None, None, ["lr=0.025"])
    assert (changed.name, changed.epochs, changed.pictures) == ("part", None, None)
    assert changed.words() == "part: lr=0.025; not the full protocol"
    with pytest.raises(UsageError, match="must be smoke or full"):
        scale_of(found, "small", None, None)
    with pytest.raises(UsageError, match="--set lr: is not KEY=VALUE"):
        scale_of(found, "full", None, None, ["lr"])


def test_settings_come_after_the_experiments_words_and_spare_what_has_no_recipe(tmp_path):
    found = experiment("bovw-vs-cnn")
    whole, changed = (
        Laboratory(found, Scale(settings=words), (0,), tmp_path, print, data=("mine",))
        for words in ((), ("epochs=3",))
    )
    words = changed.words(changed.training("mnist-cnn"), 0)
    assert words[-4:-2] == ["--set", "epochs=3"] and words != whole.words(whole.training("mnist-cnn"), 0)
    folders = [[lab.run_folder(t, 0).name for t in found.trainings] for lab in (whole, changed)]
    others = [a == b for a, b in zip(*folders, strict=True)]
    assert others == [not t.recipe for t in found.trainings]  # a run of other settings is another run
    assert changed.words(changed.training("mnist-bovw"), 0) == whole.words(whole.training("mnist-bovw"), 0)


def test_bad_words_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="gap-shift"):
        reproduce("gapshift")
    with pytest.raises(UsageError, match="needs --data: a folder of ImageNet's"):
        reproduce("imagenet-check")
    with pytest.raises(UsageError, match="--jobs"):
        reproduce("pooling", jobs=0)
    with pytest.raises(UsageError, match="gap-gmp-cam uses all pictures"):
        reproduce("gap-gmp-cam", data=[str(make_folder(tmp_path / "colours"))], pictures=100)
    with pytest.raises(DataError, match="none-such"):
        reproduce("imagenet-check", data=["none-such"])
    first, second = sorted((tmp_path / "colours").rglob("*.png"))[:2]
    (tmp_path / "listed.csv").write_text(f"path,labels\n{first},red; warm\n{second},warm\n")
    with pytest.raises(UsageError, match="is multi-label; imbalance needs one class per picture"):
        reproduce("imbalance", data=[str(tmp_path / "listed.csv")])


def test_a_run_is_shared_by_experiments_with_the_same_training(tmp_path):
    first, second = (
        Laboratory(experiment(name), Scale(), (0,), tmp_path, print)
        for name in ("degradation", "layer-responses")
    )
    folders = [lab.run_folder(lab.training("resnet-20"), 0) for lab in (first, second)]
    assert folders[0] == folders[1]
    assert folders[0] != first.run_folder(first.training("resnet-20"), 1)
    assert folders[0] != first.run_folder(first.training("plain-20"), 0)


def test_what_is_made_of_given_pictures_is_not_shared_with_what_is_made_of_others(tmp_path):
    first, second = (
        Laboratory(experiment("imbalance"), Scale(), (0,), tmp_path, print, data=(data,)) for data in "ab"
    )
    assert first.run_folder(first.training("none"), 0) != second.run_folder(second.training("none"), 0)


def test_a_run_that_goes_on_from_another_depends_on_what_that_was_trained_on(tmp_path):
    first, second = (
        Laboratory(experiment("forgetting"), Scale(), (0,), tmp_path, print, data=(old, "new"))
        for old in ("one", "other")
    )
    for condition in ("before", "fine-tuning"):
        folders = [lab.run_folder(lab.training(condition), 0) for lab in (first, second)]
        assert folders[0] != folders[1]


def test_a_set_that_an_experiment_makes_is_made_anew_when_its_file_has_changed(tmp_path, monkeypatch):
    """Whoever copies an experiment and changes a number must not get the pictures of before."""
    monkeypatch.syspath_prepend(tmp_path)
    source = "SIDE = 64\n\n\ndef write(lab, folder):\n    (folder / 'side').write_text(str(SIDE))\n"
    folders = []
    for text in (source, source.replace("64", "96")):
        (tmp_path / "own_experiment.py").write_text(text)
        sys.modules.pop("own_experiment", None)
        importlib.invalidate_caches()
        made = importlib.import_module("own_experiment").write
        own = replace(experiment("gap-shift"), sets={"centred": partial(made)})
        lab = Laboratory(own, Scale(), (0,), tmp_path / "runs", print)
        folders.append((lab.set_of("centred"), lab.run_folder(lab.training("cnn-gap"), 0)))
    (before, run), (after, other) = folders
    assert before != after and (after / "side").exists() and run != other


def test_never_is_later_than_any_epoch():
    """Where tanh does not reach the error at all, ReLU is judged the faster."""
    metric = activations.METRIC
    reached = {f"relu/{metric}": 5.0, "relu/least-training-error": 9.0}
    holds = activations.EXPERIMENT.holds
    assert holds(Figures({**reached, "tanh/least-training-error": 40.0}))
    for epochs, faster in ((7.0, False), (8.0, True)):
        tanh = {"tanh/least-training-error": 20.0, f"tanh/{metric}": epochs}
        assert holds(Figures({**reached, **tanh})) is faster
        sure = {name: Figure(value, value, value) for name, value in {**reached, **tanh}.items()}
        assert judge(holds, sure).holds is faster
    both = Figures({"relu/least-training-error": 40.0, "tanh/least-training-error": 40.0})
    assert not holds(both) and not both.missing


class Curves(Blank):
    """A laboratory whose curves are known."""

    def curves(self, condition):
        name, _, rate = condition.rpartition("-")
        if name != "tanh" or rate not in ("0.03", "0.1"):
            return []
        falls = {"0.03": (20.0, 30.0), "0.1": (18.0, 16.0)}[rate]  # of both seeds, in the first epoch
        return [[{"epoch": 1, "train_error": error}, {"epoch": 2, "train_error": 10.0}] for error in falls]


def test_the_best_rate_is_that_of_all_seeds():
    rate, epochs = activations.fastest(Curves(experiment("activations")), "tanh")
    assert rate == 0.1 and epochs == pytest.approx((65 / 72, 65 / 74))
    assert activations.fastest(Curves(experiment("activations")), "relu")[1] == ()


def test_where_no_rate_gets_there_the_lowest_end_is_drawn():
    class High(Blank):
        def curves(self, condition):
            end = {"sigmoid-0.03": 60.0, "sigmoid-0.1": 50.0}.get(condition)
            return [] if end is None else [[{"epoch": 1, "train_error": end}]]

    rate, epochs = activations.fastest(High(experiment("activations")), "sigmoid")
    assert rate == 0.1 and math.isnan(epochs[0])


def test_two_sets_are_taken_in_their_order(tmp_path):
    lab = Laboratory(experiment("forgetting"), Scale(), (0,), tmp_path, print, data=("old", "new"))
    assert (lab.given(), lab.given("--data 2")) == ("old", "new")
    assert lab.words(lab.training("fine-tuning"), 0)[:2] == ["train", "new"]
    with pytest.raises(UsageError, match=r"forgetting needs --data twice: .* then those of the new task"):
        reproduce("forgetting", data=["old"])


def test_a_long_tail_falls_from_class_to_class(folder):
    split = open_dataset(folder).train
    before = np.bincount(split.labels)
    counts = np.bincount(imbalance.long_tail(split, 4.0).labels)
    assert counts[0] == before[0] and counts[0] > counts[1] > counts[2]
    assert counts[2] == max(2, round(before[2] / 4))


def test_a_share_of_the_labels_is_one_of_every_class(folder):
    split = open_dataset(folder).train
    expected = [round(n / 2) for n in np.bincount(split.labels)]
    assert np.array_equal(np.bincount(gan_augmentation.share_of(split, 0.5).labels), expected)


def test_heads_that_are_changed_answer_for_their_own_classes():
    torch.manual_seed(0)
    model = create_model("resnet20", 5).eval()
    model.classes = ("0-a", "0-b", "1-a", "1-b", "1-c")
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        whole = model(images)
        keep_classes(model, ["1-a", "1-c"], ("a", "c"))
        assert torch.allclose(model(images), whole[:, [2, 4]], atol=1e-6) and model.classes == ("a", "c")
        before = create_model("resnet20", 3).eval()
        before.classes = ("x", "y", "z")
        put_back(model, before)
        features = model.forward_features(images)
        assert torch.allclose(model(images), before.forward_head(features), atol=1e-6)
    assert model.classes == ("x", "y", "z") and model.num_classes == 3
