"""The table of tasks, and a task from what a user or a file says: its name and its settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from resight.core import settings
from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.models.classifier import Classifier
from resight.models.solver import Solver
from resight.tasks.classify.task import OneClass
from resight.tasks.detect.task import Detect
from resight.tasks.localize.task import Localize
from resight.tasks.pose.task import Pose
from resight.tasks.segment.task import Segment
from resight.tasks.task import Learned, SolverTask, Task
from resight.tasks.verify.task import Verify

TASKS: dict[str, type[Task]] = {
    "classify": OneClass,
    "localize": Localize,
    "verify": Verify,
    "pose": Pose,
    "detect": Detect,
    "segment": Segment,
}
"""Name to task. That a picture has several classes is said by the data set, see `of_labels`."""
CLASSIFY = "classify"


def chosen(name: str, words: Sequence[str]) -> tuple[Task, list[str]]:
    """Return the task of a name with its settings, and the words that are not about it.

    Args:
        name: in `TASKS`.
        words: `key=value`; those of a task begin with its name and a dot.

    Raises:
        UsageError: for an unknown task or setting, or a word about another task.
    """
    kind, own, rest = lookup(TASKS, name, "task"), [], []
    for word in words:
        prefix, dot, setting = word.partition("=")[0].strip().partition(".")
        if not dot or prefix not in TASKS:
            rest.append(word)
        elif prefix != name:
            raise UsageError(f"--set {word}: is a setting of --task {prefix}; this is --task {name}")
        elif setting not in (known := settings.to_dict(kind())):
            raise UsageError(
                f"--set {word}: --task {name} has no setting {setting!r}; its settings: "
                + (", ".join(f"{name}.{key}" for key in known) or "none")
            )
        else:
            own.append(word.strip().removeprefix(f"{name}."))
    return settings.override(kind(), own), rest


def header_of(task: Task) -> dict[str, Any]:
    """Return what recipe.json and a model file say of a task; nothing of classification."""
    if not isinstance(task, SolverTask):
        return {}
    return {"task": {"name": task.name, "settings": settings.to_dict(task)}}


def task_of(document: Mapping[str, Any]) -> Task:
    """Return the task that `header_of` wrote; classification where it wrote nothing.

    Raises:
        UsageError: if there is no such task, or it has other settings.
    """
    written = document.get("task")
    if not written:
        return OneClass()
    return settings.from_dict(lookup(TASKS, str(written["name"])[:80], "task"), written["settings"])


def identity_of(task: Task) -> dict[str, Any]:
    """Return what a resumed run must share of its task: name and settings; nothing of classification."""
    written = header_of(task).get("task")
    return {"task": {"task": written["name"], **written["settings"]}} if written else {}


def renewed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `identity_of` wrote, in an older version, with the defaults of settings that came later."""
    written = identity.get("task")
    if not isinstance(written, dict) or written.get("task") not in TASKS:
        return dict(identity)
    own = {key: value for key, value in written.items() if key != "task"}
    try:
        task = task_of({"task": {"name": written["task"], "settings": own}})
    except UsageError:  # what differs is named where the two are compared
        return dict(identity)
    return {**identity, **identity_of(task)}


def built(task: SolverTask, trunk: Classifier, learned: Learned) -> Solver:
    """Return a trunk under the head of a task.

    Args:
        task: makes the head.
        trunk: of the zoo; it is changed.
        learned: what the head answers about.
    """
    network = task.network(trunk, learned)
    network.classes, network.about = learned.classes, learned.about
    return network
