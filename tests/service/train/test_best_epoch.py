"""Which epoch is kept where validation pictures can tell: that of the lowest error, the later of equal ones.

How few pictures cannot tell epochs apart is in tests/training/test_best_epoch.py.
"""

import pytest
import torch
from safetensors.torch import load_file

import resight
from resight.models.modelfile import load_header
from resight.service.report import report as reporting
from resight.service.train.job import Job
from resight.training import best_epoch
from resight.training.journal import read_csv
from support import make_folder


def train(data, monkeypatch, wrong):
    """Train one epoch for each number of wrong validation answers; returns the weights of each epoch."""
    states, real = [], Job.judge

    def judge(job, state):
        states.append({k: v.clone() for k, v in state.items()})
        _, marks = real(job, state)
        labels = marks.labels
        places = torch.arange(len(labels))
        answers = torch.where(places < wrong[len(states) - 1], (labels + 1) % 3, labels)
        return torch.nn.functional.one_hot(answers, 3).float() * len(states), marks

    monkeypatch.setattr(Job, "judge", judge)
    monkeypatch.setattr(reporting, "write_report", lambda run, *_, **__: run.folder / "report.html")
    words = ("image_size=16", "batch_size=8", "precision=fp32", "val_share=0.3", "ema=0")
    resight.train(str(data), model="resnet20", epochs=len(wrong), changes=words, out="run")
    return states


@pytest.mark.parametrize("wrong, best", [((4, 2, 3, 2, 3, 5), 4), ((1, 2, 3), 1), ((3, 3, 3), 3)])
def test_the_lowest_validation_error_is_kept_and_nothing_stops_early(tmp_path, monkeypatch, wrong, best):
    monkeypatch.setattr(best_epoch, "FEW", 0)
    states = train(make_folder(tmp_path / "colours", count=10), monkeypatch, wrong)
    rows = read_csv(tmp_path / "run" / "metrics.csv")
    assert [row["epoch"] for row in rows] == list(range(1, len(wrong) + 1))
    assert load_header(tmp_path / "run" / "model.safetensors")["best_epoch"] == best
    kept = load_file(tmp_path / "run" / "model.safetensors")
    own = [all(torch.equal(kept[k], v) for k, v in state.items()) for state in states]
    assert own == [number == best for number in range(1, len(wrong) + 1)]
