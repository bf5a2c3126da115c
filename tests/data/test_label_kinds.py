"""One class per picture and any number of them: two kinds that answer the same questions."""

import numpy as np
import pytest

from resight.data.label_kinds import ANY, ONE, kind_of

NUMBERS = np.array([2, 0, 2, 1, 0, 2])
COLUMNS = np.eye(3, dtype=np.float32)[NUMBERS]
MANY = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 1, 0]], np.float32)


def test_the_kind_follows_from_the_array():
    assert kind_of(NUMBERS) is ONE and kind_of(COLUMNS) is ANY


def test_one_class_written_as_columns_is_counted_alike():
    assert ONE.counts(NUMBERS, 3).tolist() == ANY.counts(COLUMNS, 3).tolist() == [2, 1, 3]
    assert [ONE.numbers(label) for label in NUMBERS] == [ANY.numbers(row) for row in COLUMNS]
    assert ONE.strata(NUMBERS, 3).tolist() == ANY.strata(COLUMNS, 3).tolist()
    assert ONE.examples(NUMBERS).tolist() == ANY.examples(COLUMNS).tolist() == [1, 3, 0]


@pytest.mark.parametrize("places", [(1, 0, 2), (3, 0, 1)])
def test_renumbered_alike(places):
    table = np.array([*places, -1])
    one, columns = ONE.renumbered(NUMBERS, table, 4), ANY.renumbered(COLUMNS, table, 4)
    assert one.tolist() == columns.argmax(1).tolist() and columns.shape == (6, 4)
    assert columns.sum() == 6 and columns.dtype == np.float32


def test_a_class_without_a_new_number_leaves_the_picture_without_it():
    table = np.array([0, -1, 1, -1])
    assert ANY.renumbered(MANY, table, 2).tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]
    assert ONE.renumbered(np.array([0, 1, 2, -1]), table, 2).tolist() == [0, -1, 1, -1]


def test_no_class_is_an_answer_and_an_unknown_one_is_none():
    assert ANY.numbers(MANY[1]) == ONE.numbers(np.array(-1)) == ()
    assert ANY.known(MANY).tolist() == [True] * 4
    assert ONE.known(np.array([0, -1])).tolist() == [True, False]


def test_of_several_classes_the_rarest_counts():
    assert ANY.strata(MANY, 3).tolist() == [0, -1, 2, 1]
