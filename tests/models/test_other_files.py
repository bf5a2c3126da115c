"""Files of decoders and GANs from outside: refused in one line, or what was written."""

import json
import random

import pytest
import torch
from safetensors.torch import save_file

from mutation import mutated
from resight.core.errors import ModelFileError, ResightError
from resight.models.decoder import RESIDUALS, Decoder, load_decoder
from resight.models.gan import Generator, load_gan


def decoder_file(path, change=lambda *_: None):
    """As the first version wrote it."""
    torch.manual_seed(2)
    tensors = {**Decoder(4, 4, 8, 4).state_dict(), RESIDUALS: torch.tensor([0.1, 0.2])}
    options = {"channels": 4, "side": 4, "size": 8, "widest": 4}
    document = {"format": 1, "decoder": options, "network": "abc"}
    change(tensors, document)
    save_file(tensors, path, metadata={"resight": json.dumps(document)})
    return path


def gan_file(path, change=lambda *_: None):
    """As the first version wrote it."""
    torch.manual_seed(2)
    options = {"classes": 2, "side": 16, "noise": 3, "width": 2, "channels": 1}
    tensors = Generator(**options).state_dict()
    document = {"format": 1, "kind": "gan", "generator": options, "classes": ["a", "b"], "range": [-1, 1]}
    change(tensors, document)
    save_file(tensors, path, metadata={"resight": json.dumps(document)})
    return path


def read_decoder(path):
    decoder, residuals, _ = load_decoder(path)
    with torch.no_grad():
        return decoder(torch.ones(1, decoder.options["channels"], 4, 4)), residuals


def read_gan(path):
    generator, classes, _ = load_gan(path)
    with torch.no_grad():
        return generator(torch.ones(1, generator.noise), torch.tensor([0])), torch.tensor([len(classes)])


KINDS = {"decoder": (decoder_file, read_decoder), "gan": (gan_file, read_gan)}


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("decoder", lambda t, d: d["decoder"].update(channels=10**9), "decoder.channels"),
        ("decoder", lambda t, d: d["decoder"].update(size=4096, side=1, channels=60_000), "is damaged"),
        ("decoder", lambda t, d: d["decoder"].update(more=1), "is damaged"),
        ("decoder", lambda t, d: d["decoder"].update(side="4"), 'decoder.side is "4"'),
        ("decoder", lambda t, d: t["variance"].fill_(0), "variance is not above 0"),
        ("decoder", lambda t, d: t["last.bias"].fill_(torch.nan), "last.bias holds NaN"),
        ("decoder", lambda t, d: t.update({RESIDUALS: torch.tensor([0.2, 0.1])}), "not sorted"),
        ("decoder", lambda t, d: t.update({RESIDUALS: torch.tensor([0.2, torch.nan])}), "not sorted"),
        ("decoder", lambda t, d: t.update({RESIDUALS: torch.zeros(2, 2)}), "has no residuals"),
        ("gan", lambda t, d: d["generator"].update(noise=10**12), "generator.noise"),
        ("gan", lambda t, d: d["generator"].update(noise=65_000, width=4096), "is damaged"),
        ("gan", lambda t, d: d["generator"].update(side=17), "pictures of 17 pixels"),
        ("gan", lambda t, d: d.update(classes=["a", "a"]), "a class is listed twice"),
        ("gan", lambda t, d: d.update(classes=["a", 3]), "classes[1] is 3"),
        ("gan", lambda t, d: d.update(classes=["a"]), "1 class names"),
        ("gan", lambda t, d: t["last.bias"].fill_(torch.inf), "last.bias holds NaN or infinity"),
        ("gan", lambda t, d: t.update({"last.bias": t["last.bias"].int()}), "of type int32, not float32"),
    ],
)  # fmt: skip
def test_what_no_training_leaves_is_refused(kind, change, words, tmp_path):
    write, read = KINDS[kind]
    with pytest.raises(ModelFileError) as caught:
        read(write(tmp_path / "f.safetensors", change))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def fuzz(kind, path, count):
    write, read = KINDS[kind]
    content = write(path).read_bytes()
    expected = read(path)
    chance, taken = random.Random(5), 0
    for _ in range(count):
        path.write_bytes(changed := mutated(content, chance))
        try:
            found = read(path)
        except ResightError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000
            continue
        taken += 1
        assert all(part.isfinite().all() for part in found)
        if changed[-len(content) // 2 :] == content[-len(content) // 2 :] and len(changed) == len(content):
            assert found[0].shape == expected[0].shape
    assert 0 < taken < count


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_refused_or_usable(kind, tmp_path):
    fuzz(kind, tmp_path / "f.safetensors", 100)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutated_files_are_refused_or_usable(kind, tmp_path):
    fuzz(kind, tmp_path / "f.safetensors", 2000)
