"""Finer-CAM and targets "A-B": differences of logits, how names are read, and which classes are near."""

import pytest
import torch
from torch import nn

from resight import create_model, explain
from resight.core.errors import UsageError
from resight.saliency.explanation import Versus, versus
from resight.saliency.methods import BASES


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(6)
    model = create_model("resnet20", 5).eval()
    model.classes = ("cat", "black", "black-white", "white", "white-cat")
    return model, torch.randn(3, 3, 32, 32)


class Curved(nn.Module):
    """A head that is no average and is not linear."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, 2, 1)
        self.hidden, self.head = nn.Linear(4 * 64, 8), nn.Linear(8, 6)

    def forward(self, x):
        return self.head(self.hidden(self.body(x).relu().flatten(1)).tanh())


LINEAR = ("cam", "grad_cam", "hires_cam", "xgrad_cam")


@pytest.mark.parametrize("method", LINEAR)
def test_why_a_and_not_b_is_the_difference_of_the_maps(case, method):
    """These methods are linear in the gradient."""
    model, images = case
    both = explain(model, images, method, "cat-white")
    first, second = (explain(model, images, method, name) for name in ("cat", "white"))
    torch.testing.assert_close(both.raw, first.raw - second.raw)
    torch.testing.assert_close(both.scores, first.scores - second.scores)
    assert both.targets.tolist() == [0] * 3 and both.against.tolist() == [3] * 3
    assert both.words == [[Versus(0, 3)]] * 3 and first.against is None


@pytest.mark.parametrize("method", [*BASES, "gradient", "smooth_grad", "integrated_gradients", "occlusion"])
def test_why_a_and_not_b_is_that_function_of_the_logits(method):
    """An independent way: a function of the network's output; here no closed form holds."""
    if method in ("cam", "gmp_cam"):
        return  # these need class targets
    torch.manual_seed(6)
    model, images = Curved().eval(), torch.randn(2, 3, 16, 16)
    options = {"samples": 3} if "smooth" in method else {"steps": 5} if "integrated" in method else {}
    found = explain(model, images, method, "4-1", **options)
    wanted = explain(model, images, method, lambda out: out[:, 4] - out[:, 1], **options)
    torch.testing.assert_close(found.raw, wanted.raw, atol=1e-6, rtol=1e-4)
    assert found.raw.abs().max() > 0


def test_a_pair_beside_single_classes(case):
    model, images = case
    found = explain(model, images[:1], "grad_cam", [["cat", "cat-white", Versus(3, 0)]])
    assert found.against.tolist() == [[-1, 3, 0]] and found.words == [[0, Versus(0, 3), Versus(3, 0)]]
    torch.testing.assert_close(found.raw[:, 1], -found.raw[:, 2])
    torch.testing.assert_close(found.raw[:, 0], explain(model, images[:1], "grad_cam", 0).raw)
    again = explain(model, images[:1], "grad_cam", found.words)
    assert torch.equal(again.raw, found.raw)


NAMES = ("a", "b", "a-b", "b-c", "c", "top-hat", "7")


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("a-b", None),  # the name of a class, first of all
        ("b-a", Versus(1, 0)),
        ("a-b-c", "'a' and not 'b-c' or 'a-b' and not 'c'; give class numbers, such as 0-3"),
        ("a-b-a", Versus(2, 0)),
        ("a-a-b", Versus(0, 2)),
        ("top-hat-c", Versus(5, 4)),
        ("c-top-hat", Versus(4, 5)),
        ("0-3", Versus(0, 3)),
        ("7-0", Versus(6, 0)),  # a name before a number
        ("a-a", "compares a class with itself"),
        ("a-0", "compares a class with itself"),
        ("a-violet", "'violet' is not a class of this network"),
        ("violet-a", "'violet' is not a class of this network"),
        ("a-99", "'99' is not a class of this network"),
        ("x-y", None),
        ("-a", None),
        ("a-", None),
    ],
)
def test_how_names_with_hyphens_are_read(word, wanted):
    if isinstance(wanted, str):
        with pytest.raises(UsageError, match=wanted):
            versus(word, NAMES, len(NAMES))
    else:
        assert versus(word, NAMES, len(NAMES)) == wanted


def test_a_class_with_a_hyphen_is_itself(case):
    model, images = case
    assert explain(model, images, "grad_cam", "black-white").targets.tolist() == [2] * 3
    with pytest.raises(UsageError, match=r"can be read as 'black' and not 'white-cat' or 'black-white'"):
        explain(model, images, "grad_cam", "black-white-cat")
    with pytest.raises(UsageError, match="'x-y' is not a class of this network"):
        explain(model, images, "grad_cam", "x-y")
    with pytest.raises(UsageError, match="class 1 is compared with itself"):
        explain(model, images, "grad_cam", Versus(1, 1))


def by_hand(model, images, target, others, gamma):
    """The score of Finer-CAM with its weights, image by image, as a function that `explain` takes."""
    with torch.no_grad():
        logits = model(images)
    table = torch.zeros_like(logits)
    for row, own in zip(table, logits, strict=True):
        order = sorted((n for n in range(len(own)) if n != target), key=lambda n: abs(own[n] - own[target]))
        near = order[:others]
        weights = own[near].softmax(0)
        row[target] = 1
        row[near] = -gamma * weights
    return lambda output: (output * table).sum(1)


@pytest.mark.parametrize(("gamma", "others"), [(0.6, 3), (1.0, 1), (0.3, 9)])
def test_finer_cam_compares_with_the_nearest_classes(gamma, others):
    torch.manual_seed(6)
    model, images = Curved().eval(), torch.randn(3, 3, 16, 16)
    found = explain(model, images, "finer_cam", 2, gamma=gamma, others=others)
    wanted = explain(model, images, "grad_cam", by_hand(model, images, 2, others, gamma))
    torch.testing.assert_close(found.raw, wanted.raw)
    torch.testing.assert_close(found.scores, model(images)[:, 2].detach())  # the class's own logit
    assert [len(row[0]) for row in found.facts["against"]] == [min(others, 5)] * 3
    assert all(2 not in row[0] for row in found.facts["against"])


def test_finer_cam_with_one_class_is_pytorch_grad_cams():
    from pytorch_grad_cam import FinerCAM

    torch.manual_seed(6)
    model, images = Curved().eval(), torch.randn(3, 3, 16, 16)
    found = explain(model, images, "finer_cam", gamma=0.8, others=1, layer="body")
    peer = FinerCAM(model, [model.body])(images, alpha=0.8, comparison_categories=[1])
    torch.testing.assert_close(found.maps, torch.from_numpy(peer), atol=1e-4, rtol=1e-3)


def test_finer_cam_takes_the_class_that_is_named_and_any_base(case):
    model, images = case
    first, second = (explain(model, images, "layer_cam", name).raw for name in ("cat", "white"))
    found = explain(model, images, "finer_cam", "cat-white", gamma=0.5)
    one, two = (explain(model, images, "grad_cam", name).raw for name in ("cat", "white"))
    torch.testing.assert_close(found.raw, one - 0.5 * two)
    assert found.facts["against"] == [[[3]]] * 3
    plain = explain(model, images, "finer_cam", "cat-white", gamma=0.0, base="layer_cam").raw
    torch.testing.assert_close(plain, first)
    assert not torch.allclose(first, second)


def test_a_class_that_is_never_right_is_not_compared_with():
    class Never(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Curved()

        def forward(self, x):
            return torch.cat([self.inner(x)[:, :2], torch.full((len(x), 2), -torch.inf)], 1)

    torch.manual_seed(6)
    model, images = Never().eval(), torch.randn(2, 3, 16, 16)
    found = explain(model, images, "finer_cam", 0)
    wanted = explain(model, images, "grad_cam", lambda out: out[:, 0] - 0.6 * out[:, 1])
    torch.testing.assert_close(found.raw, wanted.raw)


def test_finer_cam_refuses_what_it_cannot_compare(case):
    model, images = case
    single = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 900, 1)).eval()
    for given, target in ((single, None), (model, lambda out: out[:, 0])):
        with pytest.raises(UsageError, match="finer_cam compares classes"):
            explain(given, images, "finer_cam", target)
    with pytest.raises(UsageError, match="some targets name a class to compare with"):
        explain(model, images[:1], "finer_cam", [["cat", "cat-white"]])
    with pytest.raises(UsageError, match="'finer_cam' is not a base method"):
        explain(model, images, "finer_cam", base="finer_cam")
