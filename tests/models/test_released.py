"""Files as released, and as training programs leave them: other names, other heads, other wrappers."""

import json
import pickle
import re
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from resight.core.errors import ModelFileError, UsageError
from resight.models.foreign import read_state, what_it_is
from resight.models.initialization import shapes_only
from resight.models.loading import Card, fitting
from resight.models.modelfile import load_model
from resight.models.renaming import PREFIXES, our_names, without_prefixes
from resight.models.zoo import NETWORKS, create_model, list_options


def scattered(model):
    """Give batch normalizations statistics that differ from channel to channel."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def uncounted(state):
    """Published before batch normalization counted its batches."""
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def densenet(state):
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", k): v for k, v in state.items()}


def without_sides(state):
    return {k: v for k, v in state.items() if not k.startswith(("aux", "AuxLogits"))}


def cifar(state):
    names = {k: k.replace(".downsample.", ".shortcut.").replace("fc.", "linear.") for k in state}
    return {f"module.{names[k]}": v for k, v in state.items()}


def cadene(state):
    return {k.replace("classif.", "last_linear."): v for k, v in state.items()}


def same(state):
    return state


RELEASED = {
    "alexnet": same,
    "vgg11_bn": same,
    "googlenet": without_sides,
    "inception_v3": without_sides,
    "resnet18": same,
    "wide_resnet50_2": same,
    "resnext50_32x4d": same,
    "densenet121": densenet,
    "densenet161": densenet,
    "efficientnet_b0": same,
    "inception_v4": same,
    "inception_resnet_v2": cadene,
    "resnet20": cifar,
}
SLOW = ("vgg11_bn", "wide_resnet50_2", "densenet161", "inception_v4", "inception_resnet_v2", "alexnet")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in RELEASED]
)  # fmt: skip
def test_released_names_load_unchanged(name, tmp_path):
    options = {"shortcut": "B"} if name == "resnet20" else {}
    model = scattered(create_model(name, 7, **options))
    torch.save(RELEASED[name](uncounted(model.state_dict())), tmp_path / "w.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all of it is loaded, so nothing is said
        again = create_model(name, 7, weights=tmp_path / "w.pth", **options).eval()
    own, read = uncounted(without_sides(model.state_dict())), again.state_dict()
    assert all(torch.equal(read[k], v) for k, v in own.items()) and again.weights_note == ""


def test_official_densenets_are_torchvisions(monkeypatch):
    """The file that `zoo:densenet121` fetches has the old names; torchvision's own loader is the oracle."""
    from torchvision import models

    theirs = scattered(models.densenet121())
    published = densenet(uncounted(theirs.state_dict()))
    assert "features.denseblock1.denselayer1.norm.1.weight" in published
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: dict(published))
    loaded = models.densenet121(weights="DEFAULT").eval()
    ours = create_model("densenet121", weights="torchvision").eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), loaded(image), rtol=1e-5, atol=1e-5)


def timms(name, monkeypatch):
    timm = pytest.importorskip("timm", reason="timm is an extra")
    theirs = scattered(timm.create_model(name))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: theirs)
    return theirs


@pytest.mark.parametrize("name", ["efficientnet_b0", pytest.param("vgg11", marks=pytest.mark.slow)])
def test_timms_names_and_layers_load(name, monkeypatch):
    theirs = timms(name, monkeypatch)
    ours = create_model(name, weights="timm").eval()
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)


def test_timms_names_are_refused_where_they_do_not_say_what_is_computed(monkeypatch, tmp_path):
    theirs = timms("tf_efficientnet_b0", monkeypatch)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelFileError, match="ports from TensorFlow compute different things"):
        create_model("efficientnet_b0", weights=tmp_path / "w.pth")


def test_another_eps_is_refused(monkeypatch):
    timms("efficientnet_b0", monkeypatch)  # eps 1e-5, where B5's is 1e-3
    with pytest.raises(UsageError, match="another eps"):
        create_model("efficientnet_b5", 10, weights="timm")


HEADED = ["vgg11", "alexnet", "alexnet_2012", "lenet5_modern", "densenet40_12", "efficientnet_b0", "resnet20"]


@pytest.mark.parametrize("name", HEADED)
@pytest.mark.parametrize("head", ["gap", "gmp", "flatten"])
def test_a_trunk_loads_whatever_the_head_is(name, head):
    with shapes_only():
        whole = create_model(name, 9)
        other = create_model(name, 4, head=head)
    state, wanted = whole.state_dict(), other.state_dict()
    trunk = tuple(f"{layer}." for layers in other.trunk_layers() for layer in layers)
    found, fresh = fitting(other, wanted, Card(state, (), None, "w"), any_head=True)
    assert {k for k in wanted if k.startswith(trunk)} == {k for k in found if k.startswith(trunk)}
    assert all(not f"{layer}.".startswith(trunk) for layer in fresh)
    default = list_options(name)["head"]
    pooled = {head, default} <= {"gap", "gmp"}
    assert bool(fresh) or pooled or head == default
    torn = {k: v for k, v in state.items() if k != next(k for k in state if k.startswith(trunk))}
    with pytest.raises(ModelFileError, match="1 missing"):
        fitting(other, wanted, Card(torn, (), None, "w"), any_head=True)


def test_every_network_has_its_head_named():
    """Heads are known by the first words of their names, of which none is a wrapper's."""
    from resight.models.loading import HEADS

    for name in {row.family: name for name, row in reversed(NETWORKS.items())}.values():
        with shapes_only():
            model = create_model(name)
        trunk = tuple(f"{layer}." for layers in model.trunk_layers() for layer in layers)
        heads = {k.partition(".")[0] for k in model.state_dict() if not k.startswith(trunk)}
        assert heads <= HEADS, name
        assert all(without_prefixes(k) == k for k in model.state_dict()), name


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    torch.manual_seed(3)
    model = create_model("lenet5_modern", 5).eval()
    path = tmp_path_factory.mktemp("lenet") / "w.safetensors"
    save_file(model.state_dict(), path)
    return model, path


def test_a_fresh_head_is_said_and_the_trunk_is_the_weights(lenet):
    model, path = lenet
    with pytest.warns(UserWarning, match="the trunk is loaded; its head has other layers"):
        other = create_model("lenet5_modern", 3, weights=path, head="gap")
    assert (
        other.num_classes == 3 and other.classes == () and "output is newly initialized" in other.weights_note
    )
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(other.eval().forward_features(image), model.forward_features(image))


def test_a_trunk_that_ends_earlier_takes_its_part(tmp_path):
    model = scattered(create_model("resnet20", 5))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    early = create_model("resnet20", 3, weights=tmp_path / "w.safetensors", last="layer2").eval()
    assert "loaded up to layer2; fc is newly initialized" in early.weights_note
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = nn.Sequential(*list(model.stages.values())[:-1])(image)
        assert torch.equal(early.forward_features(image), expected)


@pytest.mark.parametrize(
    "prefix",
    [*PREFIXES, "module._orig_mod.", "_orig_mod.module.", "model.backbone.net.", "network.encoder.model."],
)  # fmt: skip
def test_words_in_front_of_every_name_come_off(prefix, lenet, tmp_path):
    model, _ = lenet
    torch.save({f"{prefix}{k}": v for k, v in model.state_dict().items()}, tmp_path / "w.pt")
    again = create_model("lenet5_modern", 5, weights=tmp_path / "w.pt")
    assert torch.equal(again.output.weight, model.output.weight)


def test_two_networks_in_one_file_are_refused():
    with pytest.raises(ModelFileError, match=r"net\.a and model\.a both map to a"):
        our_names({"net.a": torch.zeros(1), "model.a": torch.ones(1)})


@pytest.mark.parametrize("averaged", ["state_dict_ema", "model_ema", "ema"])
@pytest.mark.parametrize("plain", ["state_dict", "model", "model_state_dict"])
def test_averaged_weights_come_first_and_that_is_said(plain, averaged, lenet, tmp_path):
    model, _ = lenet
    other = {k: v + 1 for k, v in model.state_dict().items()}
    checkpoint = {plain: other, averaged: {**model.state_dict(), "n_averaged": torch.tensor(3)}, "epoch": 9}
    torch.save(checkpoint, tmp_path / "c.pt")
    words = rf"{averaged} \(averaged weights\) used, {plain} ignored"
    with pytest.warns(UserWarning, match=words):
        again = create_model("lenet5_modern", 5, weights=tmp_path / "c.pt")
    assert torch.equal(again.output.weight, model.output.weight)
    torch.save({plain: other, averaged: None}, tmp_path / "c.pt")
    assert torch.equal(
        create_model("lenet5_modern", 5, weights=tmp_path / "c.pt").output.weight, other["output.weight"]
    )


def test_lightnings_checkpoints_load(lenet, tmp_path):
    model, _ = lenet
    lightning = {
        "state_dict": {f"model.{k}": v for k, v in model.state_dict().items()},
        "epoch": 3, "global_step": 99, "pytorch-lightning_version": "2.4.0", "loops": {}, "callbacks": {},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}}], "hyper_parameters": {"lr": 0.1},
    }  # fmt: skip
    torch.save(lightning, tmp_path / "last.ckpt")
    again = create_model("lenet5_modern", 5, weights=tmp_path / "last.ckpt")
    assert torch.equal(again.output.weight, model.output.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_load(dtype, lenet, tmp_path):
    model, _ = lenet
    save_file({k: v.to(dtype) for k, v in model.state_dict().items()}, tmp_path / "w.bin")
    again = create_model("lenet5_modern", 5, weights=tmp_path / "w.bin")  # known by its content
    assert again.output.weight.dtype == torch.float32
    assert torch.equal(again.output.weight, model.output.weight.to(dtype).float())


def test_broken_values_are_refused_by_name(lenet, tmp_path):
    model, _ = lenet
    for change, words in (
        (lambda s: s.update({"c1.bias": torch.full((6,), torch.nan)}), "c1.bias holds NaN or infinity"),
        (lambda s: s.update({"c1.bias": torch.zeros(6, dtype=torch.int8)}), "c1.bias is of type int8"),
    ):
        state = dict(model.state_dict())
        change(state)
        torch.save(state, tmp_path / "w.pt")
        with pytest.raises(ModelFileError, match=words):
            create_model("lenet5_modern", 5, weights=tmp_path / "w.pt")


class Hostile:
    def __reduce__(self):
        return (open, ("ran.txt", "w"))


def write_zip(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


WRONG = {
    "an HDF5 file": lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)),
    "a Keras file": lambda p: write_zip(p, "config.json", "model.weights.h5"),
    "an ONNX file": lambda p: p.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.0.0" + bytes(99)),
    "a TensorFlow Lite file": lambda p: p.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(99)),
    "a TensorFlow checkpoint index": lambda p: p.write_text('model_checkpoint_path: "model.ckpt-1"'),
    "the index of several safetensors files": lambda p: p.write_text(json.dumps({"weight_map": {"a": "b"}})),
    "a JSON file": lambda p: p.write_text('{"a": 1}'),
    "an HTML or XML page": lambda p: p.write_text("<!DOCTYPE html><html></html>"),
    "a Git LFS pointer": lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid"),
    "a NumPy array": lambda p: p.write_bytes(b"\x93NUMPY\x01\x00" + bytes(40)),
    "a NumPy archive": lambda p: write_zip(p, "a.npy"),
    "a zip archive": lambda p: write_zip(p, "a.txt"),
    "a cut or damaged zip archive": lambda p: p.write_bytes(b"PK\x03\x04" + bytes(30)),
    "an empty file": lambda p: p.write_bytes(b""),
    "a folder": lambda p: p.mkdir(),
    "a TorchScript program": lambda p: torch.jit.save(torch.jit.script(nn.Linear(1, 1)), p),
    "a gzip archive": lambda p: p.write_bytes(b"\x1f\x8b" + bytes(40)),
    "a GGUF file": lambda p: p.write_bytes(b"GGUF" + bytes(40)),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("words", WRONG)
def test_a_file_of_another_kind_is_named(words, tmp_path):
    path = tmp_path / "weights.pth"
    WRONG[words](path)
    with pytest.raises(ModelFileError, match=f"weights.pth: is {words}") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    if path.is_file():
        assert what_it_is(path).startswith(words)
        with pytest.raises(ModelFileError, match=f"it is {words}"):
            load_model(path)


def test_code_in_a_pickle_is_named_and_not_run(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}, "args": Hostile()}, tmp_path / "w.pt")
    with pytest.raises(ModelFileError, match=r"holds more than tensors \(io.open|_io.open|builtins.open\)"):
        read_state(tmp_path / "w.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": Hostile()}))
    with pytest.raises(ModelFileError, match="not unpickled"):
        read_state(tmp_path / "old.pt")
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, {"state_dict": {"a": 3}}, [1, 2], {}, {3: torch.zeros(1)}])
def test_no_table_of_tensors_is_said(content, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelFileError, match="holds no table of tensors"):
        read_state(tmp_path / "w.pt")
