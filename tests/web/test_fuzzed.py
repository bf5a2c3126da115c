"""Schemathesis finds no fault: what the API's description allows is answered, the rest is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import serving, spotted

HERE = Path(__file__).parent

pytest.importorskip("schemathesis", reason="schemathesis is not installed")


@pytest.mark.parametrize(
    ("phases", "examples"),
    [("fuzzing", 5), pytest.param("examples,coverage,fuzzing", 60, marks=pytest.mark.slow)],
)
def test_schemathesis_finds_nothing(phases, examples, finder, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        spotted().save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    paths = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    with serving([finder], "photos", out=None) as client:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")), "run",
                f"http://127.0.0.1:{client.port}/openapi.json", "--no-color", "--seed", "1",
                "--phases", phases, "--max-examples", str(examples),
            ],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "fuzzed_pictures", "PYTHONPATH": paths},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "11/11" in done.stdout  # every operation was selected
