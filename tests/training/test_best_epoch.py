"""The epoch that is kept: a later one, unless the validation pictures tell an earlier one to be better."""

import numpy as np
import pytest
import torch
from rich.console import Console

from resight.data.marks import ClassMarks
from resight.models.modelfile import load_model
from resight.service.train import job as jobs
from resight.service.train.train import train
from resight.training.best_epoch import tolerance
from support import make_folder


def upper(share, n, z=1.959964):
    """The upper end of Wilson's interval in percent, from its quadratic equation."""
    roots = np.roots([1 + z * z / n, -(2 * share + z * z / n), share * share])
    return 100 * max(roots.real)


def test_as_much_as_the_interval_of_few_pictures_and_nothing_of_many():
    for wrong, pictures in ((12, 25), (5, 25), (0, 16), (0, 24), (64, 80)):
        share = wrong / pictures
        assert tolerance(100 * share, pictures) == pytest.approx(
            upper(share, pictures) - 100 * share, abs=0.01
        )
    assert tolerance(0.0, 16) > 100 / 16, "one error of 16 is no worse than none"
    assert tolerance(20.0, 100) == tolerance(20.0, 2500) == tolerance(20.0, 0) == 0.0


@pytest.mark.parametrize(
    ("wrong", "pictures", "kept"),
    [
        ([12, 5, 9, 8, 10], 25, 4),  # 20 % and 19.1 points: 32 % is within, 40 % is not
        ([12, 5, 8, 10, 20], 25, 3),
        ([48, 20, 36, 28, 30], 100, 2),
        ([9, 9, 9, 9, 9], 25, 5),
        ([12, 5, 7, 6, 3], 25, 5),
    ],
)
def test_which_epoch_is_kept(tmp_path, monkeypatch, wrong, pictures, kept):
    left = iter(wrong)

    def judge(job, state):
        errors = next(left, wrong[-1])
        marks = ClassMarks.of(torch.zeros(pictures, dtype=torch.long))
        right = torch.arange(pictures) >= errors
        return torch.stack([right.float(), 1 - right.float(), torch.zeros(pictures)], 1), marks

    monkeypatch.setattr(jobs.Job, "judge", judge)
    train(
        str(make_folder(tmp_path / "d", count=8)), epochs=5, out="run", console=Console(quiet=True),
        changes=["model=resnet20", "image_size=16", "batch_size=8", "lr=0.02", "precision=fp32"],
    )  # fmt: skip
    assert load_model(tmp_path / "run" / "model.safetensors")[1]["best_epoch"] == kept
