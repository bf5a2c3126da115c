"""Perception Visualization: a decoder is trained for a run, and shows what the run's network perceived."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from as_json import explain_paths
from resight.core.errors import ModelFileError, ResightError, TrainingError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.marks import ClassMarks
from resight.data.order import Order
from resight.data.prepare import Normalize
from resight.models.decoder import Decoder
from resight.models.modelfile import load_tensors, save_model
from resight.models.zoo import create_model
from resight.saliency.perception import Encoder, latent_residual, masked, perceive
from resight.service.explain.decoder import open_decoder
from resight.service.explain.train_decoder import train_decoder
from resight.service.run.run import open_run
from resight.training.decoder import DecoderSettings, dsim, feature_variance, fit, frozen, judge, objective
from support import COLOURS, TINY, one_line, picture, resight

WORDS = ("--set", "lr=0.003", "--set", "batch_size=8", "--set", "widest=16")
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def decoded_run(tiny_run, tmp_path_factory):
    """A run on the tiny run's pictures with a trained decoder, and what the command said.

    In float32, so that it is the same on every processor: how large residuals are depends on the weights of
    so small a network. Other decoders here are trained at the precision of users.
    """
    run, same = tmp_path_factory.mktemp("decoded") / "run", ("--set", "precision=fp32")
    resight("train", tiny_run.parent / "colours", "--out", run, *TINY, "--epochs", "4", *same, check=0)
    shutil.copy(run / "model.safetensors", run.parent / "before.safetensors")
    done = resight("train-decoder", run, "--epochs", "12", *WORDS, *same, "--json", check=0)
    return run, json.loads(done.stdout), done.stderr


def squares_of(count, seed=0, noise=False):
    if noise:
        return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), np.uint8))
    colours = [(30, 40, 210), (40, 190, 50), (200, 30, 30)]
    made = [np.asarray(picture(colours[i % 3], (16, 16), seed + i)) for i in range(count)]
    return torch.from_numpy(np.stack(made))


def small_model(card, channels=3):
    model = create_model("resnet20", 3, channels)
    model.classes, model.preprocessing = ("a", "b", "c"), card
    return model


def card_of(kind):
    card = Preprocessing(size=16, resize=16, mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))
    values = np.random.default_rng(0).normal(0, 0.1, 3 * 16 * 16).tolist()
    table = np.eye(768, dtype=np.float32) + 0.01
    return {
        "channel": card,
        "pixel-mean": replace(card, std=(1.0,) * 3, pixel_mean=tuple(0.5 + v for v in values)),
        "gcn": replace(card, contrast=55.0, pixel_mean=tuple(values)),
        "gcn-zca": replace(card, contrast=55.0, pixel_mean=tuple(values), whitening=table),
    }[kind]


@pytest.mark.parametrize("kind", ["channel", "pixel-mean", "gcn", "gcn-zca"])
def test_the_encoder_normalizes_as_training_does_and_lets_gradients_through(kind):
    card, squares = card_of(kind), squares_of(4)
    encoder = Encoder(small_model(card).eval())
    pictures = (squares.permute(0, 3, 1, 2) / 255).requires_grad_()
    expected = Normalize(card, torch.device("cpu"))(squares)
    assert torch.allclose(encoder.normalized(pictures), expected, atol=1e-4)
    (gradient,) = torch.autograd.grad(encoder(pictures).sum(), pictures)
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_a_network_of_one_channel_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"takes 1 channels; .* needs RGB"):
        Encoder(small_model(card_of("channel"), channels=1))


def test_the_loss_is_its_three_parts():
    model = small_model(card_of("channel")).eval()
    encoder, decoder = Encoder(model), Decoder(64, 4, 16, 8).eval()
    decoder.variance.fill_(0.5)
    pictures = squares_of(4).permute(0, 3, 1, 2) / 255

    def loss(**weights):
        values = {"rec": 0.0, "dsim": 0.0, "ssim": 0.0, **weights}
        return objective(encoder, decoder, pictures, DecoderSettings(**values)).item()

    parts = {name: loss(**{name: 1.0}) for name in ("rec", "dsim", "ssim")}
    with torch.no_grad():
        features = encoder(pictures)
        made = decoder(features)
        assert parts["rec"] == pytest.approx(((made - pictures) ** 2).mean().item(), rel=1e-5)
        assert parts["dsim"] == pytest.approx(((encoder(made) - features) ** 2).mean().item() / 0.5, rel=1e-5)
    whole = objective(encoder, decoder, pictures, DecoderSettings()).item()
    assert whole == pytest.approx(0.2 * parts["rec"] + 0.4 * parts["dsim"] + 0.4 * parts["ssim"], rel=1e-5)


def test_a_guess_of_the_mean_has_residual_one():
    encoder = Encoder(small_model(card_of("channel")).eval())
    images = Normalize(encoder.card, torch.device("cpu"))(squares_of(12))
    with torch.no_grad():
        features = encoder.model.forward_features(images)
    means = features.mean((1, 2, 3), keepdim=True).expand_as(features)
    residuals = latent_residual(features, means)
    assert residuals.shape == (12,) and torch.allclose(residuals, torch.ones(12), rtol=1e-4)
    assert torch.allclose(latent_residual(5 * features, 5 * means), residuals, rtol=1e-4)
    assert not latent_residual(features, features).any()
    decoder = Decoder(64, 4, 16, 8)
    decoder.variance.copy_(feature_variance(encoder, images))
    of_channels = features.mean((0, 2, 3), keepdim=True).expand_as(features)
    assert dsim(features, of_channels, decoder).mean().item() == pytest.approx(1, rel=1e-4)


def test_training_changes_nothing_of_the_network_and_frozen_gives_all_back():
    model = small_model(card_of("channel")).train()
    model.layer1.eval()
    model.conv1.weight.requires_grad_(requires_grad=False)

    def state():
        modes = {name: module.training for name, module in model.named_modules()}
        asked = {name: p.requires_grad for name, p in model.named_parameters()}
        return modes, asked, [p.grad for p in model.parameters()]

    before = {k: v.clone() for k, v in model.state_dict().items()}, state()
    random = torch.get_rng_state()
    encoder, decoder = Encoder(model), Decoder(64, 4, 16, 8)
    start = {k: v.clone() for k, v in decoder.state_dict().items()}
    torch.set_rng_state(random)

    class One:
        order = Order(1, 1, 0)

        def epoch(self, epoch, start=0):
            from resight.data.batches import Batch

            yield Batch(squares_of(4).permute(0, 3, 1, 2) / 255, ClassMarks.of(torch.zeros(4)))

    def stop(*_):
        raise KeyboardInterrupt

    settings = DecoderSettings(epochs=1, lr=0.01)
    fit(encoder, decoder, One(), settings, torch.float32, lambda *_: None, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        fit(encoder, decoder, One(), settings, torch.float32, stop, lambda *_: None)
    judge(encoder, decoder, squares_of(4), torch.zeros(4, dtype=torch.int64))
    perceive(model, decoder, encoder.normalized(squares_of(4).permute(0, 3, 1, 2) / 255))
    assert any(not torch.equal(v, start[k]) for k, v in decoder.state_dict().items())
    assert all(torch.equal(v, before[0][k]) for k, v in model.state_dict().items())
    assert state() == before[1]
    assert torch.equal(torch.get_rng_state(), random)
    with pytest.raises(ValueError, match="inside"), frozen(model):
        assert not any(p.requires_grad for p in model.parameters())
        raise ValueError("inside")
    assert state() == before[1]


def test_the_loss_falls_and_the_network_file_stays(decoded_run):
    run, answer, said = decoded_run
    losses = [float(line.split("loss ")[1].split()[0]) for line in said.splitlines() if "loss" in line]
    assert len(losses) == 12 and losses[-1] < 0.8 * losses[0]
    assert (run / "model.safetensors").read_bytes() == (run.parent / "before.safetensors").read_bytes()
    assert answer["epochs"] == 12 and answer["settings"]["lr"] == 0.003
    _, header = load_tensors(run / "decoder.safetensors")
    colours = np.array(list(COLOURS.values())) / 255
    grey = -10 * np.log10(np.mean((colours - colours.mean(0)) ** 2))  # one answer for all pictures: 9.9 dB
    assert header["validation"] == answer["validation"] and answer["validation"]["psnr"] > grey + 1
    assert not list(run.glob("*.tmp"))


def test_noise_has_a_larger_residual_than_most_training_pictures(decoded_run):
    opened = open_run(str(decoded_run[0]))
    decoder = open_decoder(opened)
    normalize = Normalize(opened.preprocessing, opened.device)
    seen, noise = (
        perceive(opened.model, decoder.decoder, normalize(s)).residual
        for s in (squares_of(12), squares_of(12, noise=True))
    )
    assert noise.median() > 3 * seen.median()
    assert decoder.percentile(1e6) == 100 and decoder.percentile(-1.0) == 0


def test_perceive_blends_where_the_map_is_high(decoded_run):
    opened = open_run(str(decoded_run[0]))
    decoder = open_decoder(opened).decoder
    images = Normalize(opened.preprocessing, opened.device)(squares_of(3))
    one = perceive(opened.model, decoder, images)
    assert one.reconstruction.shape == one.blended.shape == (3, 3, 16, 16)
    assert one.map.shape == (3, 16, 16) and one.residual.shape == (3,)
    assert torch.equal(one.blended, masked(one.reconstruction, one.map))
    assert (one.blended.movedim(1, -1)[one.map == 0] == 1).all() and (one.map == 0).any()
    two = perceive(opened.model, decoder, images, [[0, 1]] * 3, "layer_cam")
    assert two.blended.shape == (3, 2, 3, 16, 16) and two.residual.shape == (3,)
    with pytest.raises(UsageError, match="trained for 16 x 16"):
        perceive(opened.model, decoder, torch.zeros(1, 3, 32, 32))


def panels(row):
    with Image.open(row["image"]) as image:
        return np.asarray(image)


def test_explain_writes_three_panels_and_the_residual(decoded_run):
    run = decoded_run[0]
    picture((200, 30, 30), (24, 20)).save("red.png")
    Image.new("L", (20, 20), 90).save("grey.png")
    Path("broken.png").touch()
    words = ("explain", run, "red.png", "grey.png", "broken.png", "--method")
    rows = json.loads(resight(*words, "perception_visualization,cam", "--json", check=0).stdout)
    bad = [row for row in rows if "error" in row]
    mine = [row for row in rows if row.get("method") == "perception_visualization"]
    assert len(bad) == 1 and len(mine) == 2 and len(rows) == 5
    for row in mine:
        assert set(row) == {
            "path", "method", "layer", "target", "score", "image", "map", "residual", "residual_percentile",
        }  # fmt: skip
        assert row["residual"] >= 0 and 0 <= row["residual_percentile"] <= 100
        assert panels(row).shape == (224, 3 * 224 + 8, 3) and np.load(row["map"]).shape == (16, 16)
    red = panels(mine[0]).astype(int)
    cold = np.kron(np.load(mine[0]["map"]), np.ones((14, 14))) == 0
    assert (red[:, 228:452][cold] == 255).all() and (red[:, 456:][cold] == 255).all()
    assert (red[:, :224][cold] < 255).any()
    told = resight(*words, "perception_visualization", check=0).stdout
    assert "residual" in told and "percentile" in told


def test_the_command_prints_the_figures_and_can_stop_at_any_time(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    done = resight("train-decoder", run, "--epochs", "1", *WORDS, check=0)
    assert "PSNR" in done.stdout and "epoch 1 of 1" in done.stdout and "AUC" in done.stdout
    before = (run / "decoder.safetensors").read_bytes()

    class Interrupting(Console):
        def print(self, *objects, **options):
            if "epoch   1" in str(objects[0]):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_decoder(str(run), epochs=3, changes=WORDS[1::2], console=Interrupting(quiet=True))
    after = open_decoder(open_run(str(run)))
    assert after.facts["epochs"] == 1 and after.facts["settings"]["epochs"] == 3
    assert (run / "decoder.safetensors").read_bytes() != before


def test_the_same_seed_gives_the_same_decoder(tiny_run, tmp_path):
    states = []
    for name, more in (("a", []), ("b", []), ("c", ["memory_gib=0", "workers=0"])):
        shutil.copytree(tiny_run, tmp_path / name)
        torch.rand(len(states) + 1)
        words = [*WORDS[1::2], *more]
        train_decoder(str(tmp_path / name), epochs=1, changes=words, console=QUIET)
        states.append(load_tensors(tmp_path / name / "decoder.safetensors")[0])
    for other in states[1:]:
        assert all(torch.equal(v, other[k]) for k, v in states[0].items())


def test_stopped_and_resumed_by_its_name_alone_is_the_same_to_the_bit(tiny_run, tmp_path):
    for name in ("whole", "cut"):
        shutil.copytree(tiny_run, tmp_path / name)
    train_decoder(str(tmp_path / "whole"), epochs=3, changes=WORDS[1::2], console=QUIET)
    said = []

    class Interrupting(Console):
        def print(self, *objects, **options):
            said.append(str(objects[0]))
            if "epoch   1/" in said[-1]:
                raise KeyboardInterrupt

    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        train_decoder(str(cut), epochs=2, changes=WORDS[1::2], console=Interrupting(quiet=True))
    assert said[-1].endswith(f"; resume with: resight train-decoder --resume {cut}")
    with pytest.raises(ModelFileError, match=r"lr .* -> 0.5"):
        train_decoder(str(cut), changes=["lr=0.5"], resume=True, console=QUIET)
    train_decoder(str(cut), resume=True, console=QUIET)
    answer = train_decoder(str(cut), resume=True, epochs=3, console=QUIET)
    assert answer["epochs"] == 3 and answer["settings"]["epochs"] == 3
    whole, again = (load_tensors(tmp_path / name / "decoder.safetensors")[0] for name in ("whole", "cut"))
    assert all(torch.equal(v, again[k]) for k, v in whole.items())
    assert train_decoder(str(cut), resume=True, console=QUIET)["test"] == answer["test"]
    with pytest.raises(ModelFileError, match="has no decoder to resume"):
        train_decoder(str(tiny_run), resume=True, console=QUIET)


def test_what_is_missing_or_stale_is_one_line(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    picture().save("p.png")
    words = ("explain", run, "p.png", "--method", "perception_visualization")
    line = one_line(resight(*words), 1)
    assert f"has no decoder; train one with: resight train-decoder {run}" in line
    (run / "decoder.safetensors").write_bytes(b"\x00" * 100)
    assert "not a safetensors file" in one_line(resight(*words), 1)
    resight("train-decoder", run, "--epochs", "1", *WORDS, check=0)
    opened = open_run(str(run))
    opened.model.conv1.weight.data[0] += 0.1
    save_model(run / "model.safetensors", opened.model, opened.model.state_dict(), opened.facts)
    assert "was trained for other weights" in one_line(resight(*words), 1)


def test_words_that_cannot_work_are_one_line(tiny_run, tmp_path):
    assert "nearest: rec" in one_line(resight("train-decoder", tiny_run, "--set", "recc=1"), 2)
    assert "epochs=0 must be 1 or more" in one_line(resight("train-decoder", tiny_run, "--epochs", "0"), 2)
    for words in (["lr=-1"], ["rec=0", "dsim=0", "ssim=0"], ["precision=fp8"], ["lr"]):
        with pytest.raises(UsageError):
            train_decoder(str(tiny_run), changes=words, console=QUIET)
    model = small_model(card_of("channel"))
    save_model(tmp_path / "alone" / "model.safetensors", model, model.state_dict(), {})
    with pytest.raises(ResightError, match="give the data with --data"):
        train_decoder(str(tmp_path / "alone"), console=QUIET)
    with pytest.raises(ModelFileError, match="no decoder"):
        explain_paths(str(tmp_path / "alone"), ["p.png"], ["perception_visualization"])
    with pytest.raises(UsageError, match="nearest: perception_visualization"):
        explain_paths(str(tiny_run), ["p.png"], ["perception_visualisation"])


def test_other_data_train_a_decoder_and_say_what_the_auc_is_worth(tiny_run, folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    answer = train_decoder(str(run), str(folder), 1, WORDS[1::2], console=QUIET)
    assert (
        "AUC is too high" in answer["notes"][0] and answer["test"]["n"] > 0 and answer["validation"]["n"] > 0
    )


def test_a_decoder_that_diverged_is_not_kept(decoded_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(decoded_run[0], run)
    before = (run / "decoder.safetensors").read_bytes()
    with pytest.raises(TrainingError, match=r"the reconstruction became nan in epoch 1, .* cure: .* lr=3"):
        train_decoder(str(run), None, 1, ["lr=1e9", "widest=8"], console=QUIET)
    assert (run / "decoder.safetensors").read_bytes() == before
