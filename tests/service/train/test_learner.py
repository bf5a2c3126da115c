"""What the loss of a task may use."""

from types import SimpleNamespace

import pytest

from resight.core.errors import UsageError
from resight.service.train.learner import aids_of
from resight.tasks.detect.task import Detect
from resight.tasks.pose.task import Pose
from resight.tasks.segment.task import Segment


@pytest.mark.parametrize("task", [Detect(), Pose(), Segment()], ids=lambda task: task.name)
@pytest.mark.parametrize("balance", ["loss", "sampling"])
def test_classes_of_parts_of_pictures_are_not_balanced(task, balance):
    choice = SimpleNamespace(recipe=SimpleNamespace(balance=balance))
    with pytest.raises(UsageError, match=rf"balance={balance}: .* leave it out with --task {task.name}"):
        aids_of(task, None, choice, None, None, None)
