"""Our best settings learn as much per epoch as a plain float32 loop over PIL transforms."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision import transforms

from resight import create_model, open_dataset, train
from resight.metrics.accuracy import wilson_interval

EPOCHS, BATCH, LR, SEEDS = 8, 64, 0.05, (0, 1, 2)


class PlainDigits(torch.utils.data.Dataset):
    def __init__(self, split, *steps):
        self.split = split
        self.transform = transforms.Compose([transforms.Resize(32), *steps, transforms.ToTensor()])

    def __len__(self):
        return len(self.split)

    def __getitem__(self, index):
        return self.transform(self.split.decode(index)), int(self.split.labels[index])


def plain_wrong(dataset, seed):
    """What the tutorials do: DataLoader, PIL transforms, SGD, MultiStepLR; float32, NCHW."""
    torch.manual_seed(seed)
    model = create_model("resnet20", 10)
    steps = torch.utils.data.DataLoader(
        PlainDigits(dataset.train, transforms.RandomCrop(32, padding=4)),
        batch_size=BATCH, shuffle=True, drop_last=True,
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), LR, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [EPOCHS // 2, EPOCHS * 3 // 4], 0.1)
    for _ in range(EPOCHS):
        for images, labels in steps:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
        schedule.step()
    model.eval()
    test = torch.utils.data.DataLoader(PlainDigits(dataset.split("test")), batch_size=BATCH)
    with torch.no_grad():
        return sum(int((model(x).argmax(1) != y).sum()) for x, y in test)


def our_wrong(seed):
    changes = [
        f"batch_size={BATCH}", f"lr={LR}", "schedule=steps", "drops=.5,.75", "optimizer=sgd",
        "weight_decay=1e-4", "label_smoothing=0", "ema=0", "val_share=0", "augment=pad-crop",
    ]  # fmt: skip
    answer = train("digits", model="resnet20", epochs=EPOCHS, seed=seed, changes=changes, out=f"run{seed}")
    return answer["wrong"]


@pytest.mark.slow
def test_error_after_equal_epochs_is_not_worse():
    dataset = open_dataset("digits")
    count = len(SEEDS) * len(dataset.split("test"))
    ours = sum(our_wrong(seed) for seed in SEEDS)
    plain = sum(plain_wrong(dataset, seed) for seed in SEEDS)
    print("wrong of", count, "ours", ours, "plain", plain)  # noqa: T201 - for docs/experiments.md
    assert wilson_interval(ours, count)[0] <= wilson_interval(plain, count)[1]
    assert np.mean([ours, plain]) / count < 0.1
