"""What a fit learns is what the libraries and the formulas say."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from resight.classic import svm
from resight.classic.fitting import fit_pipeline
from resight.classic.recipe import ClassicRecipe, default_recipe
from resight.classic.svm import (
    cross_validate,
    edge_of,
    gram_of,
    in_their_span,
    kernel_machine,
    linear_machine,
    make_folds,
)
from resight.core.errors import UsageError
from resight.models.operators.encoding import intersections
from resight.models.zoo import create_model, read_options


def clouds(count=30, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    return torch.rand(count, 6, generator=generator) + 2 * torch.eye(6)[labels], labels


def stripes(count=24, size=48, seed=0):
    """Pictures of stripes that lie, stand or lean: one class each."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    pictures = []
    for number in range(count):
        phase = 6 * float(torch.rand(1, generator=generator))
        wave = torch.sin((y, x, (x + y) * 0.7)[number % 3] * 0.9 + phase)
        noise = 0.3 * torch.randn(size, size, generator=generator)
        pictures.append((0.5 + 0.25 * wave + 0.1 * noise).clamp(0, 1).expand(3, -1, -1))
    return torch.stack(pictures), torch.arange(count) % 3


def recipe(model, *options, **changes):
    settings = {
        "image_size": 48,
        "mirror": False,
        "descriptors": 2000,
        "c": (1.0, 10.0),
        "folds": 2,
        **changes,
    }
    return ClassicRecipe(model=model, options=options, **settings)


def fitted(settings, pictures, labels, **rest):
    torch.manual_seed(0)
    model = create_model(settings.model, 3, **read_options(settings.model, settings.options)).eval()
    result = fit_pipeline(
        model, lambda: iter(pictures.split(5)), labels, torch.arange(len(labels)), settings, **rest
    )
    return model, result


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_machine_is_liblinears(classes):
    from sklearn.svm import LinearSVC

    vectors, labels = clouds(classes=classes)
    machine = linear_machine(vectors, labels, classes, 1.0)
    assert machine.weight.shape == (classes, 6) and machine.support is None
    scores = vectors @ machine.weight.T + machine.bias
    assert torch.equal(scores.argmax(1), labels)
    for number in range(classes):
        theirs = LinearSVC(C=1.0, tol=1e-6, max_iter=10_000).fit(vectors.numpy(), (labels == number).numpy())
        expected = theirs.decision_function(vectors.numpy())
        np.testing.assert_allclose(scores[:, number].numpy(), expected, atol=0.02)


def test_more_numbers_than_pictures_change_no_machine():
    vectors, labels = clouds()
    wide = torch.cat([vectors, 0.3 * torch.randn(30, 60, generator=torch.Generator().manual_seed(1))], 1)
    coordinates, basis = in_their_span(wide)
    assert coordinates.shape == (30, 30) and in_their_span(vectors)[1] is None
    torch.testing.assert_close((coordinates @ basis).float(), wide)
    from sklearn.svm import LinearSVC

    machine = linear_machine(wide, labels, 3, 1.0)
    theirs = LinearSVC(C=1.0, tol=1e-6, max_iter=10_000).fit(wide.double().numpy(), labels.numpy())
    np.testing.assert_allclose(machine.weight.numpy(), theirs.coef_, atol=0.01)


def test_a_kernel_machine_is_libsvms_one_against_all():
    from sklearn.svm import SVC

    vectors, labels = clouds()
    gram = gram_of(vectors)
    torch.testing.assert_close(gram, intersections(vectors, vectors))
    machine = kernel_machine(gram, labels, 3, 1.0)
    scores = gram[:, machine.support] @ machine.weight.T + machine.bias
    for number in range(3):
        theirs = SVC(C=1.0, kernel="precomputed").fit(gram.double().numpy(), (labels == number).numpy())
        expected = theirs.decision_function(gram.double().numpy())
        np.testing.assert_allclose(scores[:, number].numpy(), expected, atol=1e-3)


def test_folds_are_even_and_keep_copies_together():
    labels, groups = torch.arange(20) % 2, torch.arange(20)
    chosen, folds = make_folds(labels.repeat(2), groups.repeat(2), 5, 1, 100)
    assert chosen.tolist() == list(range(40)) and sorted(np.concatenate(folds).tolist()) == list(range(40))
    for fold in folds:
        assert len(fold) == 8 and {i % 20 for i in fold.tolist()} == {i for i in fold.tolist() if i < 20}
        assert labels.repeat(2)[fold].sum() == 4


def test_every_class_is_known_outside_of_each_fold():
    labels = torch.cat(
        [torch.zeros(300, dtype=torch.long), torch.arange(1, 40).repeat(2), torch.tensor([40])]
    )
    groups = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    chosen, folds = make_folds(labels.repeat(2), groups.repeat(2), 4, 0, 400)
    assert 300 < len(chosen) <= 400 and len(folds) == 4
    tested = set(np.concatenate(folds).tolist())
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(chosen)), fold)
        own, other = (set(groups.repeat(2)[chosen[part]].tolist()) for part in (fold, rest))
        assert not own & other, "copies of a picture stay together"
        assert set(labels.repeat(2)[chosen[rest]].tolist()) == set(range(41))
    assert {i for i in range(len(chosen)) if labels.repeat(2)[chosen[i]] == 40}.isdisjoint(tested)
    assert make_folds(torch.arange(5), torch.arange(5), 4, 0, 100)[1] == []


def test_rare_classes_do_not_spoil_the_choice_of_c(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(100).repeat(6)
    vectors = F.one_hot(labels).float() + 0.05 * torch.randn(600, 100, generator=generator)
    monkeypatch.setattr(svm, "CHOOSE_ON", 250)
    for kernel in (False, True):
        found = cross_validate(vectors.abs(), labels, torch.arange(600), 100, (1.0,), 4, 0, kernel=kernel)
        assert found[1.0] < 2


@pytest.mark.parametrize("kernel", [False, True])
def test_cross_validation_judges_unseen_pictures(kernel):
    vectors, labels = clouds(60)
    noise = labels[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    learned = cross_validate(vectors, labels, torch.arange(60), 3, (1.0,), 3, 0, kernel=kernel)
    guessed = cross_validate(vectors, noise, torch.arange(60), 3, (1.0,), 3, 0, kernel=kernel)
    assert learned[1.0] < 10 and guessed[1.0] > 40


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("bovw", ("words=20", "patch=8", "step=4")),
        ("bovw", ("words=20", "patch=8", "step=4", "kernel=intersection")),
        ("bovw", ("words=20", "patch=8", "step=4", "encoding=soft", "reduce=6")),
        ("fisher", ("words=4", "patch=8", "step=4", "scales=1", "pca=8")),
        ("vlad", ("words=4", "patch=8", "step=4", "scales=2", "pca=8", "scaling=standard")),
        ("hog-svm", ("cells=6",)),
    ],
)
def test_every_pipeline_learns(model, options):
    pictures, labels = stripes()
    network, result = fitted(recipe(model, *options), pictures, labels)
    fresh, _ = stripes(36, seed=1)
    with torch.no_grad():
        scores = network(pictures)
        torch.testing.assert_close(scores, result.scores, atol=2e-3, rtol=1e-3)
        assert (scores.argmax(1) == labels).all()
        wrong = (network(fresh).argmax(1) != torch.arange(36) % 3).float().mean()
    assert wrong < 0.1
    assert result.c in (1.0, 10.0) and set(result.errors) == {1.0, 10.0}
    assert network.options.get("support", 0) == result.support


def test_it_is_the_same_with_little_memory_and_again():
    pictures, labels = stripes()
    words = ("words=10", "patch=8", "step=4")
    said = []
    first, _ = fitted(recipe("bovw", *words), pictures, labels)
    second, _ = fitted(recipe("bovw", *words, memory_gib=0.0), pictures, labels, say=said.append)
    assert any("recomputed" in line for line in said)
    for key, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[key], value, msg=key)


def test_global_random_state_is_left_alone():
    pictures, labels = stripes(9)
    torch.manual_seed(0)
    create_model("vlad", 3, words=4, patch=8)
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fitted(recipe("vlad", "words=4", "patch=8"), pictures, labels)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numbers).all()  # noqa: NPY002


def test_principal_components_are_those_of_the_descriptors():
    pictures, labels = stripes(9)
    model, _ = fitted(recipe("vlad", "words=2", "patch=8", "scales=1", "pca=5"), pictures, labels)
    basis = model.pca.basis
    torch.testing.assert_close(basis @ basis.T, torch.eye(5), atol=1e-5, rtol=0)
    maps = model.sift(pictures).permute(0, 2, 3, 1).flatten(0, 2)
    kept = ((maps - model.pca.mean) @ basis.T).var(0).sum() / maps.var(0).sum()
    assert kept > 0.6


def test_a_stop_ends_the_fit():
    pictures, labels = stripes(9)

    def check():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fitted(recipe("bovw", "words=4", "patch=8"), pictures, labels, check=check)


def test_more_words_than_descriptors_are_refused():
    pictures, labels = stripes(3)
    with pytest.raises(UsageError, match="words=5000"):
        fitted(recipe("bovw", "words=5000"), pictures, labels)
    with pytest.raises(UsageError, match="reduce=40"):
        fitted(recipe("hog-svm", "reduce=40"), pictures, labels)


@pytest.mark.parametrize(
    "changes", [{"c": ()}, {"c": (0.0,)}, {"folds": 1}, {"image_size": 8}, {"val_share": 1.0}, {"seed": -1}]
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(UsageError):
        recipe("bovw", **changes)


def test_defaults_follow_the_pictures():
    digits = default_recipe("bovw", 60_000, 28, mirrors=False)
    assert (digits.image_size, digits.mirror, digits.options) == (
        28,
        False,
        ("patch=8", "step=2", "scales=1"),
    )
    photos = default_recipe("bovw", 600, 500, mirrors=True)
    assert (photos.image_size, photos.mirror, photos.options) == (
        256, True, ("words=400", "scales=3", "kernel=intersection"),
    )  # fmt: skip
    assert "words=16" in default_recipe("fisher", 60_000, 28, mirrors=False).options
    assert default_recipe("hog-svm", 60_000, 28, mirrors=False).options == ("cells=7",)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({0.1: 9.0, 1.0: 5.0, 10.0: 7.0}, ""),
        ({0.1: 3.0, 1.0: 5.0, 10.0: 7.0}, "a smaller one may be better; compare it with --set c=0.1,0.01"),
        ({10.0: 4.0, 0.1: 9.0, 1.0: 5.0}, "C = 10 is at the edge of the compared values: a larger one"),
        ({0.1: 9.0, 1.0: 5.0, 10.0: 5.0}, ""),  # C does not matter from 1 on
        ({1.0: 5.0}, ""),
        ({}, ""),
    ],
)
def test_a_best_c_at_the_edge_of_its_grid_is_said(errors, words):
    assert words in edge_of(errors) and bool(words) is bool(edge_of(errors))
