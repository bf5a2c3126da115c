"""Verification: ROC, rates and folds against scikit-learn, sums by hand and plain loops."""

import itertools

import numpy as np
import pytest
from sklearn import metrics as sklearn

from resight.metrics import retrieval
from resight.metrics import verification as v


def some(people=7, each=4, dimensions=6, noise=0.6, seed=0):
    """Unit vectors of some people about a centre each, and who they are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, dimensions))
    who = np.repeat(np.arange(people), each)
    vectors = centres[who] + noise * rng.normal(size=(len(who), dimensions))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), who


def by_hand(vectors, who):
    """(distance, same, i, j) of every pair, in a loop."""
    rows = []
    for i, j in itertools.combinations(range(len(who)), 2):
        rows.append((np.sqrt(((vectors[i] - vectors[j]) ** 2).sum()), who[i] == who[j], i, j))
    return sorted(rows)


def test_pairs_are_all_pairs_nearest_first():
    vectors, who = some()
    pairs = v.pairs_of(v.distances_of(vectors, vectors), who)
    expected = by_hand(vectors, who)
    np.testing.assert_allclose(pairs.distances, [row[0] for row in expected], atol=1e-7)
    assert pairs.same.tolist() == [bool(row[1]) for row in expected]
    assert pairs.pictures.tolist() == [list(row[2:]) for row in expected]
    assert (pairs.people == who[pairs.pictures]).all()


@pytest.mark.parametrize("noise", [0.2, 0.6, 2.0])
def test_area_and_true_accepts_are_those_of_scikit_learn(noise):
    vectors, who = some(noise=noise)
    pairs = v.pairs_of(v.distances_of(vectors, vectors), who)
    false, true = v.roc(pairs)
    assert v.auc(false, true) == pytest.approx(sklearn.roc_auc_score(pairs.same, -pairs.distances))
    fpr, tpr, _ = sklearn.roc_curve(pairs.same, -pairs.distances, drop_intermediate=False)
    for rate in (0.3, 0.1, 0.01, 1e-3):
        assert v.true_accepts(false, true, rate) == pytest.approx(tpr[fpr <= rate].max())
        threshold, told = v.threshold_at(pairs, rate)
        accepted, matched = v.rates_at(pairs, threshold)
        assert matched <= rate and accepted == pytest.approx(tpr[fpr <= rate].max())
        assert told == max(rate, 1 / (~pairs.same).sum())


def test_equal_distances_are_one_step():
    distances = np.array([0.1, 0.5, 0.5, 0.5, 0.9])
    same = np.array([True, True, False, False, False])
    pairs = v.Pairs(distances, same, np.zeros((5, 2), np.int64), np.zeros((5, 2), np.int64))
    assert v.auc(*v.roc(pairs)) == pytest.approx(sklearn.roc_auc_score(same, -distances))
    false, true = v.roc(pairs)
    assert v.true_accepts(false, true, 0.3) == 0.5  # the step at 0.5 accepts two thirds of the others


def test_equal_error_by_hand():
    # Accepting up to each distance: (false, true) = (0, 1/2), (1/3, 1/2), (1/3, 1), (2/3, 1), (1, 1).
    same = np.array([True, False, True, False, False])
    pairs = v.Pairs(np.arange(5.0), same, np.zeros((5, 2), np.int64), np.zeros((5, 2), np.int64))
    assert v.equal_error(*v.roc(pairs)) == pytest.approx(1 / 3)
    # No crossing at a point: between (0, 1/2) and (1/2, 1/2) the refused are 1/2 everywhere.
    same = np.array([True, False, True, False])
    pairs = v.Pairs(np.arange(4.0), same, np.zeros((4, 2), np.int64), np.zeros((4, 2), np.int64))
    assert v.equal_error(*v.roc(pairs)) == pytest.approx(1 / 2)
    perfect = v.Pairs(np.arange(3.0), np.array([True, False, False]), pairs.people[:3], pairs.people[:3])
    assert v.equal_error(*v.roc(perfect)) == 0


def test_few_pairs_say_which_rate_they_can_tell():
    same = np.array([True] + [False] * 20)
    pairs = v.Pairs(np.arange(21.0), same, np.zeros((21, 2), np.int64), np.zeros((21, 2), np.int64))
    assert v.threshold_at(pairs, 1e-3) == (1.0, 1 / 20)
    assert v.threshold_at(pairs, 0.1) == (3.0, 0.1)  # the two at 1 and 2 may be accepted
    assert v.rates_at(pairs, 3.0) == (1.0, 0.1)


def test_rank_one_is_the_nearest_other_picture():
    distances = np.array([[0, 1, 2, 3], [1, 0, 5, 9], [2, 5, 0, 4], [3, 9, 4, 0]], float)
    right, able = v.rank1(distances, np.array([0, 0, 1, 2]))
    assert able.tolist() == [0, 1] and right.tolist() == [True, True]  # people 1 and 2 have one picture each
    right, able = v.rank1(distances, np.array([0, 1, 0, 1]))
    assert right.tolist() == [False, False, True, False]
    vectors, who = some(noise=1.0)
    all_ = v.distances_of(vectors, vectors)
    right, able = v.rank1(all_, who)
    slow = []
    for i in range(len(who)):
        others = [j for j in range(len(who)) if j != i]
        slow.append(who[min(others, key=lambda j, i=i: all_[i, j])] == who[i])
    assert right.tolist() == slow and len(able) == len(who)


def test_folds_are_of_people_and_the_threshold_comes_from_the_others():
    vectors, who = some(people=8, each=3, noise=0.5)
    names = [f"person {number}" for number in range(8)]
    pairs = v.pairs_of(v.distances_of(vectors, vectors), who)
    folds = v.ten_folds(pairs, names)
    assert folds is not None and folds.count == 4
    # The same by loops: people by the hash of their name in turn, thresholds from the pairs of other folds.
    from resight.core.files import digest

    order = sorted(range(8), key=lambda k: digest(names[k].encode()))
    fold = {person: place % 4 for place, person in enumerate(order)}
    rows = [r for r in by_hand(vectors, who) if fold[who[r[2]]] == fold[who[r[3]]]]
    accuracies = []
    for number in range(4):
        learned = [r for r in rows if fold[who[r[2]]] != number]
        tested = [r for r in rows if fold[who[r[2]]] == number]
        marks = sorted(r[0] for r in learned)
        cuts = [(a + b) / 2 for a, b in itertools.pairwise(marks)]

        def balanced(rows, cut):
            own, others = [r[0] < cut for r in rows if r[1]], [r[0] >= cut for r in rows if not r[1]]
            return (np.mean(own) + np.mean(others)) / 2

        best = max(balanced(learned, cut) for cut in cuts)
        cut = next(cut for cut in cuts if balanced(learned, cut) == best)
        accuracies.append(balanced(tested, cut))
    assert folds.accuracy == pytest.approx(np.mean(accuracies))
    assert folds.error == pytest.approx(np.std(accuracies, ddof=1) / 2)


def test_three_people_make_no_folds():
    vectors, who = some(people=3)
    assert v.ten_folds(v.pairs_of(v.distances_of(vectors, vectors), who), ["a", "b", "c"]) is None


def test_people_are_drawn_not_pairs():
    """Each draw is the area over the drawn people's pairs, written out one by one."""
    vectors, who = some(people=5, each=3, noise=1.0)
    pairs = v.pairs_of(v.distances_of(vectors, vectors), who)
    found = v.over_people(pairs, 5, [v.auc], draws=20)
    from resight.core import seeds

    drawn = (seeds.uniform(0, 0, np.arange(100), "people") * 5).astype(int).reshape(20, 5)
    expected = []
    for people in drawn:
        counts = np.bincount(people, minlength=5)
        own, others = [], []
        for distance, same, (a, b) in zip(pairs.distances, pairs.same, pairs.people, strict=True):
            if same:
                own += [distance] * counts[a]
            else:
                others += [distance] * (counts[a] * counts[b])
        labels = [1] * len(own) + [0] * len(others)
        expected.append(sklearn.roc_auc_score(labels, -np.array(own + others)))
    np.testing.assert_allclose(found[:, 0], expected)
    low, high = v.interval(found[:, 0])
    assert low < v.auc(*v.roc(pairs)) < high


def test_groups_join_by_their_mean_distance_not_by_a_chain():
    points = np.array([0.0, 1.0, 2.0, 9.0])
    distances = np.abs(points[:, None] - points)
    # 0 and 1 join at 1; their mean distance to 2 is 1.5.
    assert v.groups_of(distances, 1.4).tolist() == [0, 0, 1, 2]
    assert v.groups_of(distances, 1.6).tolist() == [0, 0, 0, 1]
    assert v.groups_of(distances, 0.5).tolist() == [0, 1, 2, 3]
    assert v.groups_of(np.zeros((1, 1)), 1.0).tolist() == [0]


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_groups_are_those_of_scikit_learn(threshold):
    from sklearn.cluster import AgglomerativeClustering

    vectors, _ = some(people=6, each=3, noise=0.4)
    distances = v.distances_of(vectors, vectors)
    found = v.groups_of(distances, threshold)
    model = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=threshold
    )
    expected = model.fit_predict(distances)
    together = lambda g: g[:, None] == g  # noqa: E731
    assert (together(found) == together(expected)).all()
    first = [found.tolist().index(number) for number in range(found.max() + 1)]
    assert first == sorted(first)


def test_average_precision_by_hand_and_by_scikit_learn():
    assert retrieval.average_precision(np.array([1, 0, 1, 0, 0, 1], bool)) == pytest.approx(
        (1 + 2 / 3 + 1 / 2) / 3
    )
    rng = np.random.default_rng(1)
    for _ in range(20):
        relevant = rng.random(30) < 0.3
        relevant[rng.integers(30)] = True
        expected = sklearn.average_precision_score(relevant, -np.arange(30))
        assert retrieval.average_precision(relevant) == pytest.approx(expected)


@pytest.mark.parametrize(("relevant", "count"), [(1, 1), (1, 4), (2, 5), (3, 6), (6, 6)])
def test_guessing_is_the_mean_over_all_orders(relevant, count):
    places = itertools.combinations(range(count), relevant)
    found = [retrieval.average_precision(np.isin(np.arange(count), chosen)) for chosen in places]
    assert retrieval.guessed_precision(relevant, count) == pytest.approx(np.mean(found))
