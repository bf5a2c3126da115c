"""The lecture's table of CIFAR-10: networks before, at and after residual learning (He et al. 2015, table 6).

Every network is trained by the recipe of its own paper, augmented by shifts and mirroring, on all 50,000
pictures; the residual ones also on 45,000, with 5,000 held out to choose the epoch. If the paper gives both
the mean and the best of its runs, the mean is the published figure here.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

T6, MEAN_110 = "cifar10-resnet-t6", "cifar10-mean/resnet-110/mean-test-error"
BEFORE = {  # condition: network, recipe, id of the published figure
    "maxout": ("maxout", "maxout2013-cifar", f"{T6}/maxout/test-error"),
    "nin": ("nin_cifar", "nin2013-cifar", f"{T6}/nin/test-error"),
    "dsn": ("dsn", "dsn2014-cifar", f"{T6}/dsn/test-error"),
    "fitnet": ("fitnet19", "fitnet2014-cifar", f"{T6}/fitnet/test-error"),
    "highway-19": ("highway19", "highway2015-cifar", "cifar10-mean/highway-19/mean-test-error"),
    "highway-32": ("highway32", "highway2015-cifar", f"{T6}/highway-32/test-error"),
}
DEPTHS = (20, 32, 44, 56, 110, 1202)


def trainings() -> Iterator[Training]:
    for condition, (model, recipe, _) in BEFORE.items():
        teacher = ("teacher={maxout}",) if condition == "fitnet" else ()
        yield Training(condition=condition, recipe=recipe, words=(f"model={model}", "val_share=0", *teacher))
    for depth in DEPTHS:
        yield Training(condition=f"resnet-{depth}", words=(f"model=resnet{depth}",))
        yield Training(condition=f"resnet-{depth}-50k", words=(f"model=resnet{depth}", "val_share=0"))


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition, (_, _, published) in BEFORE.items():
        yield Row(condition, "test-error", lab.error(condition), published=published)
    for depth in DEPTHS:
        published = f"{T6}/resnet-{depth}/test-error" if depth != 110 else MEAN_110
        for condition in (f"resnet-{depth}", f"resnet-{depth}-50k"):
            yield Row(condition, "test-error", lab.error(condition), published=published)


def holds(found: Figures) -> bool:
    ours = found["resnet-110-50k/test-error"]
    return all(ours < found[f"{condition}/test-error"] for condition in BEFORE)


EXPERIMENT = Experiment(
    paper="He et al. 2015, table 6",
    claim="ResNet-110 has a smaller test error than every network before it",
    trainings=tuple(trainings()), rows=rows, holds=holds,
    smoke=Scale(name="smoke", epochs=1, pictures=60, tested=60),
)  # fmt: skip
