"""Every network has the parameters and multiply-adds of its paper's table, to the unit where one is known."""

import pytest
import torch

from resight.models import cost
from resight.models.families.googlenet import TABLE, Inception, NaiveInception
from resight.models.operators.convolution import conv3x3, conv_size
from resight.models.summary import summarize
from resight.models.zoo import NETWORKS, create_model

G = 10**9
# Parameters, multiply-adds at the paper's input size; a float is given to three digits of 10^9 only.
# Heads that only training uses are counted where the network has them.
COUNTS = {
    "lenet5": (60_000, None),
    "lenet5_modern": (61_706, 416_520),
    "alexnet_2012": (60_965_224, 724_406_816),
    "alexnet_2012_merged": (62_378_344, 1_135_256_096),
    "alexnet": (61_100_840, 714_188_480),
    "zfnet": (62_357_608, 1_168_032_896),
    "nin_cifar": (966_986, 222_486_528),
    "nin_imagenet": (7_595_176, 1_100_188_800),
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg13": (133_047_848, 11_308_466_176),
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg19": (143_667_240, 19_632_062_464),
    "vgg11_bn": (132_868_840, 7_609_090_048),
    "vgg13_bn": (133_053_736, 11_308_466_176),
    "vgg16_bn": (138_365_992, 15_470_264_320),
    "vgg19_bn": (143_678_248, 19_632_062_464),
    "vgg11_lrn": (132_863_336, 7_609_090_048),
    "vgg16_c": (133_638_952, 11_770_888_192),
    "googlenet_2014": (13_378_280, 1_582_671_872),
    "googlenet": (13_004_888, 1_498_376_192),
    "inception_v3": (27_161_264, 5_713_216_096),
    "inception_v4": (42_679_816, 12_253_974_624),
    "inception_resnet_v2": (55_843_464, 13_155_794_016),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnet200": (64_673_832, 15_007_481_856),
    "resnet50_v1": (25_557_032, 3_857_973_248),
    "resnet101_v1": (44_549_160, 7_570_194_432),
    "resnet152_v1": (60_192_808, 11_282_415_616),
    "resnet200_v1": (64_673_832, 14_776_270_848),
    "plain18": (11_515_688, None),
    "plain34": (21_623_848, None),
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
    "resnet110": (1_727_962, 252_887_680),
    "resnet1202": (19_421_274, 2_829_238_912),
    "plain20": (269_722, 40_551_040),
    "plain32": (464_154, 68_862_592),
    "plain44": (658_586, 97_174_144),
    "plain56": (853_018, 125_485_696),
    "plain110": (1_727_962, 252_887_680),
    "plain1202": (19_421_274, 2_829_238_912),
    "wide_resnet50_2": (68_883_240, 11_398_021_120),
    "wide_resnet101_2": (126_886_696, 22_753_050_624),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "resnext101_32x4d": (44_177_704, 7_969_996_800),
    "resnext101_32x8d": (88_791_336, 16_414_015_488),
    "resnext101_64x4d": (83_455_272, 15_460_270_080),
    "resnext29_8x64d": (34_426_698, 5.387),
    "resnext29_16x64d": (68_155_210, 10.689),
    "resnext29_1x64d": (4_914_250, 0.748),
    "resnext29_32x4d": (4_775_754, 0.774),
    "preact_resnet110": (1_730_522, None),  # by hand
    "preact_resnet164": (1_703_258, 244_500_992),
    "preact_resnet1001": (10_327_706, 1_487_849_984),
    "wrn16_4": (2_748_890, 0.393),
    "wrn16_8": (10_961_370, 1.548),
    "wrn22_8": (17_158_106, 2.454),
    "wrn28_2": (1_467_610, 0.214),
    "wrn28_10": (36_479_194, 5.243),
    "wrn28_12": (52_517_850, 7.544),
    "wrn40_1": (563_930, 0.083),
    "wrn40_2": (2_243_546, 0.328),
    "wrn40_4": (8_949_210, 1.299),
    "wrn40_10": (55_841_754, 8.074),
    "densenet121": (7_978_856, 2_834_161_664),
    "densenet169": (14_149_480, 3_359_843_328),
    "densenet201": (20_013_928, 4_291_365_888),
    "densenet161": (28_681_000, 7_727_907_072),
    "densenet264": (33_337_704, 5_751_653_376),
    "densenet40_12": (1_019_722, 0.265),
    "densenet100_12": (6_979_642, 1.770),
    "densenet100_24": (27_249_082, 6.889),
    "densenet_bc100_12": (769_162, 0.288),
    "densenet_bc250_24": (15_324_406, 5.419),
    "densenet_bc190_40": (25_624_430, 9.302),
    "efficientnet_b0": (5_288_548, 0.386),
    "efficientnet_b1": (7_794_184, 0.687),
    "efficientnet_b2": (9_109_994, 0.994),
    "efficientnet_b3": (12_233_232, 1.827),
    "efficientnet_b4": (19_341_616, 4.394),
    "efficientnet_b5": (30_389_784, 10.266),
    "efficientnet_b6": (43_040_704, 19.068),
    "efficientnet_b7": (66_347_960, 37.746),
    "efficientnet_lite0": (4_652_008, None),
    "efficientnet_lite1": (5_416_680, None),
    "efficientnet_lite2": (6_092_072, None),
    "efficientnet_lite3": (8_197_096, None),
    "efficientnet_lite4": (13_006_568, None),
    "squeezenet1_0": (1_248_424, None),
    "squeezenet1_1": (1_235_496, None),
    "highway19": (2_256_838, 330_826_728),
    "highway32": (1_206_790, None),
    "fitnet19": (2_742_102, 381_941_128),
    "maxout": (16_247_830, 732_290_696),
    "deepface": (118_923_774, 517_624_448),
    "face_resnet29": (6_573_053, 271_910_528),  # 5,607,488 of them released; 7,485 people of 128 + 1
    "cnn_flatten": (388_298, 27_520_768),
    "cnn_gap": (101_578, 27_234_048),
}
UNCOUNTED = {"bovw", "fisher", "vlad", "hog-svm", "dsn", "preact_resnet200", "speednet8", "speednet8_narrow"}
"""Of these no count is published."""


DEEPEST = ("resnet1202", "plain1202")  # half a minute each


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in DEEPEST)) for n in COUNTS])
def test_counts(name):
    row = NETWORKS[name]
    with torch.device("meta"):
        model = create_model(name, row.classes, row.channels)
    parameters, multiply_adds = COUNTS[name]
    assert cost.parameters(model) == parameters
    counted = cost.multiply_adds(model, row.input_size, row.channels)
    if isinstance(multiply_adds, float):
        assert abs(counted / G - multiply_adds) < 6e-4
    elif multiply_adds:
        assert counted == multiply_adds


def test_no_network_is_left_out():
    assert set(COUNTS) | UNCOUNTED == set(NETWORKS) and len(COUNTS) > 90


def test_side_heads_are_counted_apart():
    with torch.device("meta"):
        assert cost.parameters(create_model("googlenet_2014", aux=False)) == 6_998_552
        assert cost.parameters(create_model("googlenet", aux=False)) == 6_624_904
        assert cost.parameters(create_model("inception_v3", aux=False)) == 23_834_568
        sides = create_model("googlenet_2014")
    assert cost.parameters(sides.aux1) == 3_188_840 and cost.parameters(sides.aux2) == 3_190_888


@pytest.mark.parametrize(("option", "parameters"), [("A", 21_623_848), ("B", 21_797_672), ("C", 22_716_840)])
def test_shortcut_options_of_resnet34(option, parameters):
    with torch.device("meta"):
        assert cost.parameters(create_model("resnet34", shortcut=option)) == parameters


def test_cifar_option_b():
    assert cost.parameters(create_model("resnet20", 10, shortcut="B")) == 272_474


def test_the_two_inception_modules_of_the_lecture():
    """854.2 M against 271.35 M; the 358 M that lectures print count the 3x3 of the reduced module twice."""
    naive = summarize(NaiveInception(256, 128, 192, 96), 28, 256)
    reduced = summarize(Inception(256, (128, 64, 192, 64, 96, 64)), 28, 256)
    assert naive.multiply_adds == 854_196_224 and reduced.multiply_adds == 271_351_808
    of_3x3 = next(layer.multiply_adds for layer in reduced.layers if layer.name == "branch2.1.conv")
    assert of_3x3 == 86_704_128 and reduced.multiply_adds + of_3x3 == 358_055_936
    assert naive.layers[-1].output == (672, 28, 28) and reduced.layers[-1].output == (480, 28, 28)


def test_a_bottleneck_costs_a_ninth_of_a_3x3():
    """About 600 K weights for a 3x3 on 256 channels against about 70 K for 1x1, 3x3, 1x1 through 64."""
    whole = torch.nn.Conv2d(256, 256, 3, bias=False)
    narrow = torch.nn.Sequential(
        torch.nn.Conv2d(256, 64, 1, bias=False),
        torch.nn.Conv2d(64, 64, 3, bias=False),
        torch.nn.Conv2d(64, 256, 1, bias=False),
    )
    assert cost.parameters(whole) == 589_824 and cost.parameters(narrow) == 69_632


def block_convolutions():
    """(channels, out) of the 18 convolutions in the blocks of ResNet-20."""
    return [(16, 16)] * 6 + [(16, 32)] + [(32, 32)] * 5 + [(32, 64)] + [(64, 64)] * 5


@pytest.mark.parametrize(("kind", "parts"), [("dilated", 1), ("grouped", 4)])
def test_kinds_of_convolution_in_resnet20(kind, parts):
    """Grouped: a quarter of the blocks' weights; dilated: as many as before."""
    saved = sum(9 * c * out * (parts - 1) // parts for c, out in block_convolutions())
    assert cost.parameters(create_model("resnet20", 10, conv=kind)) == 269_722 - saved


def test_separable_convolutions_in_resnet20():
    """The 18 convolutions of the blocks: 9 C + C C_out weights."""
    saved = sum(9 * c * out - (9 * c + c * out) for c, out in block_convolutions())
    assert cost.parameters(create_model("resnet20", 10, conv="separable")) == 269_722 - saved


def test_naive_inception_modules_never_have_fewer_channels():
    """Each adds its own 1x1, 3x3 and 5x5 to what it reads: 3a gives 192 + 64 + 128 + 32."""
    layers = {row.name: row for row in summarize(create_model("googlenet_2014", module="naive"), 224).layers}
    kept = [layers[f"inception{name}.branch1.conv"].output[0] for name in ("3a", "5b")]
    assert kept == [64, 384]
    network = create_model("googlenet_2014", module="naive")
    own = sum(out1 + out3 + out5 for out1, _, out3, _, out5, _ in TABLE.values())
    assert network.num_features == 192 + own


def test_separable_convolutions_save_what_the_formula_says():
    weights = sum(p.numel() for p in conv3x3(256, 256, kind="separable").parameters())
    assert weights / (256 * 256 * 9) == pytest.approx(1 / 256 + 1 / 9)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation"),
    [(227, 11, 4, 0, 1), (32, 3, 1, 2, 2), (7, 4, 3, 1, 1)],
)
def test_output_sizes(size, kernel, stride, padding, dilation):
    layer = torch.nn.Conv2d(1, 1, kernel, stride, padding, dilation, device="meta")
    out = layer(torch.empty(1, 1, size, size, device="meta"))
    assert out.shape[-1] == conv_size(size, kernel, stride, padding, dilation)
