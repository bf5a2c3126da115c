"""Places, real data and a finished run for every test."""

import os
import signal
import zipfile
from pathlib import Path

import pytest
import torch

from support import TINY, make_folder, resight

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell's background job ignores it; its children too
os.environ["RESIGHT_WEIGHTS"] = "none"
"""`weights=auto` finds nothing, whatever is installed here; a test that wants weights sets another value."""
DATA = Path(os.environ.get("RESIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def fonts(tmp_path_factory):
    """Where matplotlib keeps its list of fonts, which it takes a second to make."""
    return tmp_path_factory.mktemp("fonts")


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch, fonts):
    """Every test runs in a folder of its own, with no data root and a fixed seed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESIGHT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLCONFIGDIR", str(fonts))
    torch.manual_seed(0)


@pytest.fixture
def real_data():
    """The folder of real data sets, or a skip that says why."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}; set RESIGHT_DATA")
    return DATA


@pytest.fixture
def unzipped(real_data, tmp_path):
    def unzip(name):
        with zipfile.ZipFile(real_data / f"{name}.zip") as archive:
            archive.extractall(tmp_path / "unzipped")
        return tmp_path / "unzipped" / name

    return unzip


@pytest.fixture(scope="module")
def on_the_cpu():
    """Commands compute on the CPU: several processes would need a GPU each, and equality to the bit is not
    promised on GPUs, whose convolutions add up in no fixed order.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "pictures")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A finished run on three colours that names them right, made once."""
    place = tmp_path_factory.mktemp("tiny")
    make_folder(place / "colours", count=20)
    resight("train", "colours", "--out", "run", *TINY, "--epochs", "12", check=0, cwd=place)
    return place / "run"
