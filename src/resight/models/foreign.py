"""Third-party weight files: their format is recognized, and they are read without running code.

The format follows from a file's content, never from its name.
"""

import tarfile
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resight.core.errors import ModelFileError

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""Keys of weights averaged over the training. They come first, as in timm: they are the tested weights."""
PLAIN = ("state_dict", "model_state_dict", "model")
"""Keys of the weights of the last step."""
COUNTERS = ("n_averaged", "decay", "num_updates", "updates")
"""Entries of averaged weights that are not weights."""

STARTS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as written by Keras"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file (fetch it with: git lfs pull)"),
    (b"model_checkpoint_path:", "a TensorFlow checkpoint index"),
)
CURE = "convert it to .safetensors with the program that wrote it"


def what_it_is(path: Path) -> str:
    """Return a file's format in words, such as "an ONNX file"; "" if it may be safetensors or torch's.

    Raises:
        OSError: if it cannot be read.
    """
    if path.is_dir():
        return "a folder"
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "an empty file"
    for mark, words in STARTS:
        if start.startswith(mark):
            return words
    if start[4:8] == b"TFL3":
        return "a TensorFlow Lite file"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"<":
        return "an HTML or XML page, perhaps from a failed download"
    if text[:1] in b"{[" and not is_safetensors(path):
        return _json(path)
    if start[:2] == b"PK":
        return _zip(path)
    if start[:1] in b"\x08\x0a" and (b"onnx" in start or b"pytorch" in start or path.suffix == ".onnx"):
        return "an ONNX file"
    if start[:1] in b"\x08\x0a" and (b"saved_model" in start or path.suffix == ".pb"):
        return "a TensorFlow graph"
    if start[:4] != b"\x80\x02\x8a\x0a" and tarfile.is_tarfile(path):
        return "a tar archive"
    return ""


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins like safetensors: the length of a JSON header, then the header."""
    with path.open("rb") as file:
        start = file.read(9)
    return (
        len(start) == 9
        and start[8:9] == b"{"
        and int.from_bytes(start[:8], "little") + 8 <= path.stat().st_size
    )


def _json(path: Path) -> str:
    with path.open("rb") as file:
        index = b'"weight_map"' in file.read(1 << 20)
    return "the index of several safetensors files (join them into one)" if index else "a JSON file"


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a cut or damaged zip archive"
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends and any("/code/" in f"/{name}" for name in names):
        return "a TorchScript program, which contains code (save its state_dict)"
    if "data.pkl" in ends:
        return ""  # torch's own
    if "model.weights.h5" in ends:
        return "a Keras file"
    return "a NumPy archive" if any(n.endswith(".npy") for n in names) else "a zip archive (unpack it)"


def read_state(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read tensors by name from a file, without running any code that it may hold.

    Returns:
        The tensors, and a text that says which of several tables they are; "" if there is only one.

    Raises:
        ModelFileError: if the file does not exist or holds anything but tensors, naming its format.
    """
    if not path.exists():
        raise ModelFileError(f"{path}: there is no such weight file; give a path, torchvision or timm")
    try:
        if words := what_it_is(path):
            raise ModelFileError(f"{path}: is {words}, not a weight file; {CURE}")
        if path.suffix == ".safetensors" or is_safetensors(path):
            return load_file(path), ""
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelFileError(f"{path}: is not a safetensors file ({reason}); do not trust it") from error
    return _chosen(_unpickled(path), path)


def _unpickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols; they load or they are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError,
        MemoryError, OSError,
    ) as error:  # fmt: skip
        raise ModelFileError(
            f"{path}: holds more than tensors{_code_in(path)}, or is damaged, and is not unpickled; "
            "if you trust it, save its state_dict, or convert it to .safetensors"
        ) from error


def _code_in(path: Path) -> str:
    """Return the names of what a pickle would call, found without running it; "" if unknown."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001 - a damaged file fails in ways of its own
        return ""
    return f" ({', '.join(sorted(names)[:3])[:100]})" if names else ""


def _chosen(content: Any, path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the table of tensors in a checkpoint, and a text that says which were used and ignored."""
    taken: list[str] = []
    left: list[str] = []
    while isinstance(content, dict):
        tables = [key for key in (*AVERAGED, *PLAIN) if isinstance(content.get(key), dict)]
        if not tables:
            break
        taken.append(tables[0])
        left += tables[1:]
        content = content[tables[0]]
    if isinstance(content, dict) and taken:
        content = {k: v for k, v in content.items() if k not in COUNTERS}
    if not isinstance(content, dict) or not content or not _are_tensors(content.items()):
        found = f" but {', '.join(map(str, list(content)[:4]))[:100]}" if isinstance(content, dict) else ""
        raise ModelFileError(f"{path}: holds no table of tensors{found}; save a state_dict")
    averaged = " (averaged weights)" if taken and taken[0] in AVERAGED else ""
    words = f"{'.'.join(taken)}{averaged} used, {', '.join(left)} ignored" if left else ""
    return dict(content), words


def _are_tensors(items: Iterable[tuple[Any, Any]]) -> bool:
    return all(isinstance(k, str) and isinstance(v, Tensor) for k, v in items)
