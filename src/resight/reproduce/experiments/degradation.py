"""The degradation problem (He et al. 2015, sections 1 and 4.2, figure 6, table 6).

Plain networks of 20, 32, 44 and 56 layers are trained on CIFAR-10, and residual ones of the same widths
with shortcuts that add no parameters. A deeper plain network could copy a shallower one, with identities in
the other layers, so its training error need not be larger; but it is. The residual networks' training error
falls with depth.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Plot, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

PLAIN, RESIDUAL = (20, 32, 44, 56), (20, 32, 44, 56, 110)
NETWORKS = {f"plain-{d}": f"plain{d}" for d in PLAIN} | {f"resnet-{d}": f"resnet{d}" for d in RESIDUAL}
PUBLISHED = {
    **{f"plain-{d}": f"cifar10-plain/plain-{d}/test-error-read-off" for d in PLAIN},
    **{f"resnet-{d}": f"cifar10-resnet-t6/resnet-{d}/test-error" for d in RESIDUAL},
    "resnet-110": "cifar10-mean/resnet-110/mean-test-error",
}


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in NETWORKS:
        yield Row(condition, "test-error", lab.error(condition), published=PUBLISHED[condition])
        yield Row(condition, "training-error", lab.training_error(condition))


def plain_suffers(found: Figures) -> bool:
    return found["plain-20/training-error"] < found["plain-56/training-error"]


def residual_gains(found: Figures) -> bool:
    return found["resnet-56/training-error"] < found["resnet-20/training-error"]


def holds(found: Figures) -> bool:
    return plain_suffers(found) and residual_gains(found)


def plots(lab: Laboratory) -> Iterator[Plot]:
    for family, title in (("plain", "Plain networks"), ("resnet", "Residual networks")):
        lines = []
        for condition in (c for c in NETWORKS if c.startswith(family)):
            curve = lab.curve(condition)
            steps = [row["step"] for row in curve]
            for column, word in (("train_error", ", training"), ("val_error", "")):
                if curve and column in curve[0]:
                    lines.append((condition + word, steps, [row[column] for row in curve]))
        yield Plot(
            f"{title} on CIFAR-10: validation (full) and training (dashed)", "steps", "error in %", lines
        )


EXPERIMENT = Experiment(
    paper="He et al. 2015, section 4.2, figure 6 and table 6",
    claim="plain-56 has a larger training error than plain-20, ResNet-56 a smaller one than ResNet-20",
    trainings=tuple(Training(condition=c, words=(f"model={model}",)) for c, model in NETWORKS.items()),
    rows=rows,
    holds=holds,
    parts=(
        ("plain-56 has a larger training error than plain-20", plain_suffers),
        ("ResNet-56 has a smaller training error than ResNet-20", residual_gains),
    ),
    plots=plots,
    smoke=Scale(name="smoke", epochs=2, pictures=640, tested=500),
)
