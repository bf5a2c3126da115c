"""SVHN's .mat files, from files written here in its format."""

import numpy as np
import pytest
from scipy.io import savemat

from resight.core.errors import DataError
from resight.data.open import open_dataset


@pytest.fixture
def root(tmp_path):
    """Three training and two test pictures; channel c of picture n is 10 n + c, so that any turn shows."""
    folder = tmp_path / "svhn"
    folder.mkdir()
    for name, labels in (("train", [10, 1, 7]), ("test", [9, 10])):
        pixels = np.zeros((32, 32, 3, len(labels)), np.uint8)
        for n in range(len(labels)):
            for c in range(3):
                pixels[:, :, c, n] = 10 * n + c
            pixels[0, 5, 0, n] = 255  # row 0, column 5
        savemat(folder / f"{name}_32x32.mat", {"X": pixels, "y": np.array(labels)[:, None]})
    return tmp_path


def test_pictures_and_digits_are_read(root):
    svhn = open_dataset("svhn", str(root), whole=True)
    train, test = svhn.splits["train"], svhn.splits["test"]
    assert svhn.classes == tuple("0123456789") and not svhn.mirrors
    assert train.labels.tolist() == [0, 1, 7] and test.labels.tolist() == [9, 0]  # 10 stands for the digit 0
    pixels = np.asarray(train.decode(2))
    assert pixels.shape == (32, 32, 3) and pixels[3, 3].tolist() == [20, 21, 22]
    assert pixels[0, 5, 0] == 255 and pixels[5, 0, 0] == 20


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "holds no variable 'y'"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[0], [3]])}, "not a label from 1 to 10"),
        (
            {"X": np.zeros((2, 32, 32, 3), np.uint8), "y": np.array([[1], [3]])},
            "not uint8 \\(32, 32, 3, N\\)",
        ),
    ],
)
def test_other_contents_are_refused(root, content, words):
    savemat(root / "svhn" / "train_32x32.mat", content)
    with pytest.raises(DataError, match=words):
        open_dataset("svhn", str(root))


def test_a_damaged_and_a_missing_file_are_named(root):
    file = root / "svhn" / "test_32x32.mat"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError, match=r"test_32x32\.mat: cannot be read as a MATLAB file"):
        open_dataset("svhn", str(root))
    file.unlink()
    with pytest.raises(DataError, match=r"lacks test_32x32\.mat"):
        open_dataset("svhn", str(root))
