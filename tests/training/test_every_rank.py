"""After a training on several processes, every process holds the same tensors, whatever was trained.

Nothing is sent around to make it so: gradients are averaged and statistics synchronized at every step, so a
tensor that is left out (frozen when the processes were joined, learning later) drifts apart without a word.
The trainings run at the precision that users get: bf16 where the processor multiplies it.
"""

import json

import pytest

import copies
from support import make_folder

pytestmark = pytest.mark.usefixtures("on_the_cpu")

SCRIPT = """
import json, sys
import torch
from rich.console import Console
from resight.core.distributed import leave, world
from resight.service.train import train as training
from resight.service.train.job import Job

def tensors(job):
    found = dict(job.model.state_dict())
    found |= {f"average of {k}": v for k, v in (job.averages.state if job.averages else {}).items()}
    for number, state in enumerate(job.optimizer.state.values()):
        found |= {f"{k} {number}": v for k, v in state.items() if isinstance(v, torch.Tensor)}
    return {k: (v.full_tensor() if hasattr(v, "full_tensor") else v).clone() for k, v in found.items()}

def fit(self, stop):
    before = {k: v.clone() for k, v in self.model.state_dict().items() if not hasattr(v, "full_tensor")}
    plain(self, stop)
    first, *others = world().all_of(tensors(self))
    found["differ"] = [k for k in first if not all(torch.equal(first[k], other[k]) for other in others)]
    found["held"] = [k for k, v in before.items() if torch.equal(v, first[k])]
    found["tensors"], found["names"] = len(first), sorted(before)
    found["precision"] = str(self.precision)

plain, Job.fit, training.finish = Job.fit, fit, lambda *_, **__: {}
answers = {}
for name, (recipe, words) in json.loads(sys.argv[1]).items():
    found = answers[name] = {}
    quiet = Console(quiet=True)
    training.train("colours", recipe=recipe, changes=words, out=name, console=quiet)
if world().is_main:
    json.dump(answers, sys.stdout)
leave()
"""

SMALL = ("epochs=2", "batch_size=8", "image_size=16", "lr=0.02")
KINDS = {
    "fast": ("fast", (*SMALL, "model=speednet8_narrow")),
    "he2015-cifar": ("he2015-cifar", (*SMALL, "model=resnet20", "precision=auto")),
    "mixup": ("fast", (*SMALL, "model=speednet8_narrow", "augment=shift,mixup:0.2")),
    "distillation": ("fast", (*SMALL, "model=speednet8_narrow", "teacher=fast", "normalize=channel")),
    "trunk_lr=0": ("fine-tune", (*SMALL, "weights=fast", "trunk_lr=0")),
    "frozen_norm": ("fine-tune", (*SMALL, "weights=fast", "frozen_norm=true")),
    "measured_norm": ("fast", (*SMALL, "model=speednet8_narrow", "measured_norm=true")),
    "head_first": ("fine-tune", (*SMALL, "weights=fast", "head_first=0.5")),
    "photos": ("photos", (*SMALL, "weights=fast", "lr=0.003")),
    "li2016": ("li2016", (*SMALL, "weights=fast", "epochs=4")),
    "li2016 without a trunk": ("li2016", (*SMALL, "weights=fast", "trunk_lr=0")),
    "sharpen": ("fast", (*SMALL, "model=speednet8_narrow", "sharpen=0.5")),
    "balance=loss": ("fast", (*SMALL, "model=lenet5_modern", "image_size=32", "balance=loss")),
    "parts=2": ("fast", (*SMALL, "model=speednet8_narrow", "parts=2")),
}
"""What is trained, and how: recipe, words. The first run is the weights and the teacher of others."""
PAPERS = {
    "teacher": ("maxout2013-cifar", ("epochs=1", "batch_size=32", "precision=auto", "normalize=gcn")),
    "hints": (
        "fitnet2014-cifar",
        ("epochs=8", "batch_size=32", "precision=auto", "normalize=gcn", "teacher=teacher"),
    ),
    "nin2013-cifar": ("nin2013-cifar", (*SMALL, "image_size=32", "epochs=1", "precision=auto")),
    "dsn2014-cifar": ("dsn2014-cifar", (*SMALL, "image_size=32", "epochs=1", "precision=auto")),
    "highway2015-cifar": ("highway2015-cifar", (*SMALL, "image_size=32", "epochs=1", "precision=auto")),
    "he2016-cifar": ("he2016-cifar", (*SMALL, "epochs=1", "model=preact_resnet110", "precision=auto")),
    "wrn2016-cifar": ("wrn2016-cifar", (*SMALL, "epochs=1", "model=wrn40_1", "precision=auto")),
    "resnext2016-cifar": ("resnext2016-cifar", (*SMALL, "epochs=1", "precision=auto")),
    "densenet2016-cifar": ("densenet2016-cifar", (*SMALL, "epochs=1", "precision=auto")),
    "googlenet": ("fast", (*SMALL, "model=googlenet", "image_size=64", "epochs=1")),
    "he2015-imagenet": ("he2015-imagenet", (*SMALL, "model=resnet18", "image_size=64", "epochs=1")),
    "stochastic depth": ("fast", (*SMALL, "model=efficientnet_b0", "image_size=32", "epochs=1")),
    "balance=sampling": ("fast", (*SMALL, "model=speednet8_narrow", "balance=sampling")),
    "shard": ("fast", (*SMALL, "model=speednet8_narrow", "shard=true")),
}


def trained(kinds, place):
    """What every training left on two processes: names of tensors that differ, and that never moved."""
    make_folder(place / "colours", count=16)
    done = copies.together(2, json.dumps(kinds), program=SCRIPT, cwd=place, timeout=900)
    assert done.returncode == 0, done.stderr[:3000]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return trained(KINDS, tmp_path_factory.mktemp("kinds"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_process_ends_with_the_same_tensors(answers, kind):
    assert answers[kind]["tensors"] > 10 and answers[kind]["differ"] == []


@pytest.mark.slow
def test_every_process_ends_with_the_same_tensors_of_the_papers(tmp_path):
    found = trained(PAPERS, tmp_path)
    assert {kind: answer["differ"] for kind, answer in found.items()} == {kind: [] for kind in PAPERS}
