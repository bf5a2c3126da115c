"""Each operator against its formula, written out as slow loops in float64."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.families.efficientnet import StochasticDepth
from resight.models.operators.activation import ACTIVATIONS, GROUPED, Maxout, activation
from resight.models.operators.convolution import (
    LocallyConnected2d,
    as_product,
    conv3x3,
    im2col,
)
from resight.models.operators.normalization import (
    NORMALIZATIONS,
    LocalContrastNorm,
    LocalResponseNorm,
    normalization,
)
from resight.models.operators.pooling import (
    POOLINGS,
    GlobalAveragePool,
    GlobalMaxPool,
    L2Pool,
    TrainableSubsample,
    pooling,
)
from resight.models.zoo import create_model

FORMULAS = {
    "step": lambda x: float(x >= 0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "scaled_tanh": lambda x: 1.7159 * math.tanh(2 * x / 3),
    "relu": lambda x: max(0.0, x),
    "leaky_relu": lambda x: max(x, 0.01 * x),
    "prelu": lambda x: max(x, 0.25 * x),
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = torch.randn(1, 2, 3, 3, dtype=torch.double)
    y = activation(name, 2).double()(x)
    wanted = [FORMULAS[name](v) for v in x.flatten().tolist()]
    torch.testing.assert_close(y.flatten(), torch.tensor(wanted, dtype=torch.double))


def test_scaled_tanh_passes_through_one():
    torch.testing.assert_close(
        activation("scaled_tanh", 1)(torch.tensor([1.0, -1.0])), torch.tensor([1.0, -1.0]), rtol=0, atol=1e-4
    )


def test_maxout_takes_the_largest_piece():
    x = torch.randn(2, 6, 2, 2)
    y = Maxout(3)(x)
    for b in range(2):
        for c in range(2):
            assert torch.equal(y[b, c], torch.stack([x[b, 3 * c + j] for j in range(3)]).max(0).values)


def test_local_response_norm_is_krizhevskys():
    x = torch.randn(1, 7, 2, 2)
    y = LocalResponseNorm()(x)
    for i in range(7):
        total = sum(x[0, j] ** 2 for j in range(max(0, i - 2), min(6, i + 2) + 1))
        torch.testing.assert_close(y[0, i], x[0, i] / (2 + 1e-4 * total) ** 0.75)


def test_googlenets_response_norm_is_caffes():
    """Caffe: x / (k + alpha / n * sum of squares)^beta, with local_size 5, alpha 1e-4 and k left at 1."""
    x = 30 * torch.randn(1, 7, 2, 2)
    model = create_model("googlenet_2014", 2, aux=False)
    old = create_model("googlenet_2014", 2, aux=False, lrn="krizhevsky")
    for i in range(7):
        total = sum(x[0, j] ** 2 for j in range(max(0, i - 2), min(6, i + 2) + 1))
        for norm in (model.norm1, model.norm2):
            torch.testing.assert_close(norm(x)[0, i], x[0, i] / (1 + 1e-4 / 5 * total) ** 0.75)
        torch.testing.assert_close(old.norm1(x)[0, i], x[0, i] / (2 + 1e-4 * total) ** 0.75)
    assert model.options["lrn"] == "caffe"


@pytest.mark.parametrize("name", ["alexnet_2012", "alexnet_2012_merged", "zfnet", "vgg11_lrn"])
def test_the_others_response_norms_are_krizhevskys(name):
    with torch.device("meta"):
        norms = [m for m in create_model(name, 2, head="gap").modules() if isinstance(m, LocalResponseNorm)]
    assert norms and {(m.size, m.alpha, m.beta, m.k) for m in norms} == {(5, 1e-4, 0.75, 2.0)}


def test_local_contrast_norm_is_jarretts():
    x = torch.randn(1, 3, 20, 20, dtype=torch.double)
    norm = LocalContrastNorm(3).double()
    y, w = norm(x), norm.window[0, 0].double()
    assert w.sum().item() == pytest.approx(1)

    def blur(z, i, j):  # away from the border the window is whole
        return sum(
            w[p, q] * z[0, c, i + p - 4, j + q - 4] / 3 for c in range(3) for p in range(9) for q in range(9)
        )

    v = x - norm._blur(x)
    s = norm._blur(v * v).sqrt()[0, 0]
    for i, j in ((5, 9), (10, 10)):
        torch.testing.assert_close(v[0, :, i, j], x[0, :, i, j] - blur(x, i, j))
        torch.testing.assert_close(s[i, j], blur(v * v, i, j).sqrt(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(
            y[0, :, i, j], v[0, :, i, j] / max(s.mean(), s[i, j]), rtol=1e-6, atol=1e-9
        )
    assert LocalContrastNorm(3)(torch.full((1, 3, 12, 12), 7.0)).abs().max() < 0.1  # flat: nothing to see


def test_poolings():
    x = torch.randn(1, 2, 6, 6, dtype=torch.double)
    window = x[0, 1, 2:4, 4:6]
    for name, wanted in (
        ("max", window.max()),
        ("average", window.mean()),
        ("l2", (window**2).mean().sqrt()),
        ("strided", window[0, 0]),
    ):
        torch.testing.assert_close(pooling(name, 2, 2)(x)[0, 1, 1, 2], wanted)
    assert set(POOLINGS) == {"max", "average", "l2", "strided"}
    torch.testing.assert_close(GlobalAveragePool()(x)[0, 0], x[0, 0].mean())
    torch.testing.assert_close(GlobalMaxPool()(x)[0, 0], x[0, 0].max())
    assert torch.isfinite(
        torch.autograd.grad(L2Pool(2, 2)(z := torch.zeros(1, 1, 2, 2, requires_grad=True)).sum(), z)[0]
    ).all()


def test_lenets_subsampling():
    layer = TrainableSubsample(2)
    layer.weight.data, layer.bias.data = (
        torch.tensor([0.3, 2.0]).view(2, 1, 1),
        torch.tensor([0.1, -1.0]).view(2, 1, 1),
    )
    x = torch.randn(1, 2, 4, 4)
    wanted = 1.7159 * math.tanh(2 / 3 * (float(x[0, 1, 2:, :2].sum()) * 2.0 - 1.0))
    assert layer(x)[0, 1, 1, 0].item() == pytest.approx(wanted, abs=1e-5)


def test_im2col_shows_alexnets_matrices():
    layer = nn.Conv2d(3, 96, 11, 4)
    columns = im2col(torch.randn(1, 3, 227, 227), (11, 11), 4)
    assert columns.shape == (1, 363, 3025) and layer.weight.flatten(1).shape == (96, 363)
    assert (layer.weight.flatten(1) @ columns).shape == (1, 96, 3025)


@pytest.mark.parametrize(
    "arguments",
    [
        (4, 6, 3), (4, 6, 5, 2, 1), (4, 6, 3, 1, 2, 2), (4, 6, 3, 2, 1, 1, 2), (4, 4, 3, 1, 1, 1, 4),
        (4, 6, (1, 7), 1, (0, 3)),
    ],
)  # fmt: skip
def test_a_matrix_product_is_torchs_convolution(arguments):
    conv = nn.Conv2d(*arguments).double()
    x = torch.randn(2, 4, 9, 11, dtype=torch.double)
    product, size = as_product(conv, x)
    torch.testing.assert_close(product, conv(x))
    assert size == (conv.weight[0].numel(), conv(x)[0, 0].numel())


def test_locally_connected_is_its_formula():
    layer = LocallyConnected2d(2, 3, 5, 3, 2).double()
    layer.bias.data.normal_()
    x = torch.randn(1, 2, 5, 5, dtype=torch.double)
    y = layer(x)
    for o in range(3):
        for i in range(2):
            for j in range(2):
                patch = x[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].flatten()
                wanted = layer.bias[o, i, j] + layer.weight[2 * i + j, o] @ patch
                torch.testing.assert_close(y[0, o, i, j], wanted)
    with pytest.raises(UsageError, match="needs maps of 5 x 5, not 6 x 5"):
        layer(torch.zeros(1, 2, 6, 5))


def test_shared_weights_make_it_a_convolution():
    layer, shared = LocallyConnected2d(2, 3, 6, 3), nn.Conv2d(2, 3, 3)
    layer.weight.data = shared.weight.flatten(1).detach().expand(16, 3, 18).contiguous()
    layer.bias.data = shared.bias.detach().view(3, 1, 1).expand(3, 4, 4).contiguous()
    x = torch.randn(2, 2, 6, 6)
    torch.testing.assert_close(layer(x), shared(x))


def test_a_dilated_convolution_skips_every_second_position():
    x, layer = torch.randn(1, 8, 7, 7), conv3x3(8, 4, kind="dilated")
    spread = torch.zeros(4, 8, 5, 5)
    spread[:, :, ::2, ::2] = layer.weight.detach()
    torch.testing.assert_close(layer(x), F.conv2d(x, spread, padding=2))


def test_a_group_sees_its_own_channels():
    x, layer = torch.randn(1, 8, 7, 7), conv3x3(8, 4, kind="grouped", bias=True)
    assert layer.weight.numel() == 8 * 4 * 9 // 4
    torch.testing.assert_close(
        layer(x)[:, 2:3], F.conv2d(x[:, 4:6], layer.weight[2:3], layer.bias[2:3], padding=1)
    )


def test_a_separable_convolution_is_a_product_of_two():
    """One kernel K_c for each channel, mixed by W: the whole kernel is W_oc K_c."""
    x, layer = torch.randn(1, 8, 7, 7), conv3x3(8, 4, 2, kind="separable")
    depthwise, mixed = (part.weight.detach() for part in layer)
    assert sum(p.numel() for p in layer.parameters()) == 9 * 8 + 8 * 4
    whole = mixed * depthwise[:, 0][None]
    torch.testing.assert_close(layer(x), F.conv2d(x, whole, stride=2, padding=1))


def test_kinds_that_do_not_exist_or_fit_are_refused():
    with pytest.raises(UsageError, match="conv=deformed is not one of dilated, grouped, separable"):
        conv3x3(8, 8, kind="deformed")
    with pytest.raises(UsageError, match="in 32 groups already"):
        conv3x3(64, 64, groups=32, kind="separable")


def test_l2_pooling_over_features_is_the_root_mean_square_of_a_group():
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    pooled = GROUPED["l2"](3)(x)
    assert pooled.shape == (2, 2, 3, 3)
    expected = math.sqrt(sum(float(x[1, c, 0, 2]) ** 2 for c in (3, 4, 5)) / 3)
    assert float(pooled[1, 1, 0, 2]) == pytest.approx(expected)


def test_a_step_answers_yes_or_no_and_teaches_nothing():
    x = torch.tensor([-0.1, 0.0, 2.0], requires_grad=True)
    out = activation("step", 1)(x)
    out.sum().backward()
    assert out.tolist() == [0, 1, 1] and x.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("make", "word"), [(activation, "an activation"), (normalization, "a normalization")]
)
def test_unknown_names_give_the_nearest(make, word):
    with pytest.raises(UsageError, match=f"is not {word}; (nearest|known): "):
        make("reluu", 3)


def test_normalizations_keep_the_shape():
    for name in NORMALIZATIONS:
        assert normalization(name, 6)(torch.randn(2, 6, 9, 9)).shape == (2, 6, 9, 9)


def test_stochastic_depth_is_torchvisions_of_rows():
    from torchvision.ops import StochasticDepth as Theirs

    branch, ours, theirs = torch.rand(64, 3, 4, 4), StochasticDepth(0.25), Theirs(0.25, "row")
    torch.manual_seed(1)
    made = ours(branch)
    torch.manual_seed(1)
    assert torch.equal(made, theirs(branch)) and (made == 0).flatten(1).all(1).any()
    assert ours.eval()(branch) is branch and StochasticDepth(0.0)(branch) is branch
