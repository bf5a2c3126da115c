"""One class per picture and any number of them are two tasks, each with its own loss, answers and result."""

import math

import numpy as np
import pytest
import torch

from resight.core.errors import DataError, UsageError
from resight.data.dataset import ArrayPictures, Dataset, Split
from resight.models.activations import KEY, activation_in
from resight.models.zoo import create_model
from resight.service.report.kinds import KINDS
from resight.tasks.classify.task import ANY_CLASSES, ONE_CLASS, of_labels, of_network
from resight.tasks.task import Learned

BOTH = (ONE_CLASS, ANY_CLASSES)


def opened(labels):
    pixels = np.zeros((len(labels), 4, 4, 3), np.uint8)
    split = Split("train", ArrayPictures(pixels, "p"), np.arange(len(labels)), np.array(labels), ("a", "b"))
    return Dataset("drawn", ("a", "b"), {"train": split})


@pytest.mark.parametrize(("labels", "task"), [([0, 1], ONE_CLASS), ([[1.0, 1.0], [0.0, 0.0]], ANY_CLASSES)])
def test_labels_choose_the_task_and_the_network_keeps_it(labels, task):
    data, trunk = opened(labels), create_model("speednet8", 2)
    assert of_labels(data) == of_labels(data.train) == task
    network = task.network(trunk, Learned(data.classes))
    assert of_network(network) == task and network.probabilities == task.activation


def test_the_two_tasks_differ_and_each_has_a_result_that_the_report_knows():
    assert ONE_CLASS != ANY_CLASSES
    assert {task.result for task in BOTH} == {*KINDS}


@pytest.mark.parametrize("task", BOTH)
def test_files_say_the_kind_and_are_read_again(task):
    assert activation_in(task.said()) == task.activation
    assert activation_in({}) == ONE_CLASS.activation and ANY_CLASSES.said() == {KEY: True}


def test_only_one_class_per_picture_is_taken_where_it_is_needed():
    ONE_CLASS.require_one("d", "a GAN needs it")
    with pytest.raises(DataError, match="d: is multi-label; a GAN needs it"):
        ANY_CLASSES.require_one("d", "a GAN needs it")
    with pytest.raises(UsageError):
        ANY_CLASSES.require_one("d", "a GAN needs it", UsageError)


def test_doubt_labels_and_guesses():
    likely = torch.tensor([0.9, 0.45], dtype=torch.float64)
    assert ONE_CLASS.doubt(likely) == pytest.approx(0.1) and ANY_CLASSES.doubt(likely) == pytest.approx(0.9)
    assert ONE_CLASS.labels(likely, ("a", "b")) == {}
    assert ANY_CLASSES.labels(likely, ("a", "b")) == {"labels": ["a"]}
    assert ANY_CLASSES.labels(torch.tensor([0.1, 0.5]), ("a", "b")) == {"labels": ["b"]}
    assert ONE_CLASS.guess(8) == math.log(8) and ANY_CLASSES.guess(8) == math.log(2)
    assert [task.chance("loss") for task in BOTH] == [True, False] and not ONE_CLASS.chance("none")


def test_the_result_says_how_sure_an_answer_is_only_where_there_is_one():
    likely = torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=torch.float64)
    one = ONE_CLASS.result(likely, torch.tensor([0, 0]), torch.arange(2), ("a", "b"), ())
    several = ANY_CLASSES.result(
        likely, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.arange(2), ("a", "b"), ()
    )
    assert one.confidence().tolist() == [0.7, 0.6] and one.wrong().tolist() == [False, True]
    assert several.confidence() is several.risk_coverage() is None
    assert several.wrong().tolist() == [False, True] and several.truth().tolist() == [1, -1]
    assert one.figures()[KEY] is False and several.figures()[KEY] is True
    assert type(several.part(torch.tensor([0]))) is ANY_CLASSES.result
