"""The order of samples: a function of seed, epoch and position; shared, windowed and balanced."""

import numpy as np
import pytest

from resight.core.errors import UsageError
from resight.data.order import WINDOW, Order, balanced, draw_keys, sample_of, windowed


def test_every_sample_comes_once_in_an_order_of_each_epoch():
    order = Order(100, 10, 3)
    first, second = order.epoch(0), order.epoch(1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert not np.array_equal(first, second) and not np.array_equal(first, Order(100, 10, 4).epoch(0))
    assert np.array_equal(np.concatenate(list(order.batches(0))), first)


def test_an_incomplete_last_batch_is_left_out():
    order = Order(25, 10, 0)
    assert order.steps == 2 and [len(b) for b in order.batches(0)] == [10, 10]


def test_fewer_samples_than_a_batch_make_one_step():
    assert Order(5, 10, 0).steps == 1 and len(next(Order(5, 10, 0).batches(0))) == 5
    shared = [next(Order(5, 10, 0, rank=rank, processes=2).batches(0)) for rank in range(2)]
    assert [len(s) for s in shared] == [2, 2] and len(set(np.concatenate(shared))) == 4


@pytest.mark.parametrize("start", [0, 1, 3])
def test_it_goes_on_from_any_step(start):
    order = Order(40, 8, 1)
    whole, rest = list(order.batches(2))[start:], list(order.batches(2, start))
    assert len(whole) == len(rest) == 5 - start
    assert all(np.array_equal(a, b) for a, b in zip(whole, rest, strict=True))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_the_same_steps(processes):
    parts = [list(Order(50, 8, 1, rank=r, processes=processes).batches(3)) for r in range(processes)]
    steps = [np.concatenate(step) for step in zip(*parts, strict=True)]
    assert all(np.array_equal(a, b) for a, b in zip(steps, Order(50, 8, 1).batches(3), strict=True))
    assert Order(50, 8, 1, processes=processes).share == 8 // processes


def test_a_step_that_cannot_be_shared_is_refused():
    with pytest.raises(
        UsageError, match="batch_size=9 cannot be shared by 2 processes; take a multiple of 2"
    ):
        Order(50, 9, 0, processes=2)


def test_windowed_reads_few_blocks_at_a_time_and_leaves_nothing_out():
    starts = np.arange(0, 1000, 10)
    order = windowed(starts, 1000, 0, 0)
    assert sorted(order) == list(range(1000))
    for first in range(0, 1000, 10 * WINDOW):
        assert len(np.unique(order[first : first + 10 * WINDOW] // 10)) <= WINDOW
    assert len(np.unique(order[:40] // 10)) > 10  # mixed inside a window
    assert not np.array_equal(order, windowed(starts, 1000, 0, 1))
    assert np.array_equal(Order(1000, 10, 0, blocks=starts).epoch(0), order)
    uneven = windowed(np.array([0, 3, 50]), 60, 0, 0)
    assert sorted(uneven) == list(range(60))


def test_balanced_draws_every_class_equally_often():
    labels = np.array([0] * 90 + [1] * 9 + [2] * 1)
    order = balanced(labels, 0, 0)
    counts = np.bincount(labels[order])
    assert len(order) == 100 and counts.max() - counts.min() <= 1
    rare = np.bincount(order, minlength=100)
    assert rare[99] in (33, 34) and rare[90:99].max() - rare[90:99].min() <= 1 and rare[:90].max() == 1
    assert not np.array_equal(order, balanced(labels, 0, 1))
    assert np.array_equal(Order(100, 10, 0, labels=labels).epoch(0), order)
    seen = set()
    for epoch in range(12):
        seen |= set(balanced(labels, 0, epoch).tolist())
    assert len(seen) == 100


def test_a_draw_key_counts_how_often_a_sample_came_before():
    keys, turn = draw_keys(np.array([3, 1, 3, 3, 0, 1])), 2**40
    assert keys.tolist() == [3, 1, 3 + turn, 3 + 2 * turn, 0, 1 + turn]
    assert sample_of(keys).tolist() == [3, 1, 3, 3, 0, 1] and sample_of(int(keys[3])) == 3
    assert next(Order(40, 8, 1).keys(0)).tolist() == next(Order(40, 8, 1).batches(0)).tolist()


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_keys_are_the_same_for_any_number_of_processes_and_from_any_step_on(processes):
    labels = np.array([0] * 36 + [1] * 3 + [2] * 1)
    whole = list(Order(40, 8, 1, labels=labels).keys(3))
    assert len(set(np.concatenate(whole).tolist())) == 40  # no key twice
    assert np.array_equal(sample_of(np.concatenate(whole)), balanced(labels, 1, 3))
    parts = [
        list(Order(40, 8, 1, labels=labels, rank=rank, processes=processes).keys(3, 2))
        for rank in range(processes)
    ]
    for step, shares in zip(whole[2:], zip(*parts, strict=True), strict=True):
        assert np.array_equal(step, np.concatenate(shares))
