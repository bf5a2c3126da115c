"""Pictures, folders and commands that tests share."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import copies


def picture(colour=(200, 30, 30), size=(24, 20), seed=0):
    """A noisy picture of mostly one colour."""
    noise = np.random.default_rng(seed).integers(-25, 25, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


COLOURS = {"blue": (30, 40, 210), "green": (40, 190, 50), "red": (200, 30, 30)}


def make_folder(root, classes=("blue", "green", "red"), count=12, splits=("",), start=0):
    """A folder of class folders with different noisy pictures; easy to learn."""
    for place, split in enumerate(splits):
        for number, name in enumerate(classes):
            folder = Path(root) / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                colour = COLOURS.get(name, (60 * number + 20,) * 3)
                seed = start + 10_000 * place + 1_000 * number + i
                picture(colour, seed=seed).save(folder / f"{i:03d}.png")
    return Path(root)


def resight(*words, check=None, env=None, timeout=300, cwd=None, **options):
    """Run the command in a process of its own."""
    words = list(map(str, words))
    if env or options:  # torch may read env when it is loaded
        done = subprocess.run(
            [sys.executable, "-m", "resight", *words], cwd=cwd, capture_output=True, text=True,
            timeout=timeout, env={**os.environ, **(env or {})}, **options,
        )  # fmt: skip
    else:
        done = copies.run(*words, cwd=cwd, timeout=timeout)
    if check is not None:
        assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def one_line(done, code):
    """Assert that a command failed with one clear line and no traceback; returns the line."""
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.strip().splitlines() if line.startswith("resight: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


TINY = (
    "--epochs",
    "2",
    "--set",
    "model=resnet20",
    "--set",
    "image_size=16",
    "--set",
    "batch_size=8",
)
"""At the precision that users get, which is bf16 where the processor multiplies it: see both kinds pass."""
