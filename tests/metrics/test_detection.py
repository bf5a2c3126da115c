"""Average precision equals the COCO API's, VOC's its definition; intervals hold what they promise."""

import contextlib
import io

import numpy as np
import pytest

from resight.metrics.detection import (
    FIFTY,
    SEVENTY_FIVE,
    intervals,
    matches_of,
    precision_of,
    voc_average,
)  # fmt: skip
from resight.metrics.detection_errors import errors_by_class, judge
from resight.metrics.matching import AREAS, Detections, Truths, match

CLASSES = 4
CANVAS = 200


def boxes_of(chance, count):
    low = chance.uniform(0, 140, (count, 2))
    return np.concatenate(
        [low, low + chance.uniform(4, 130, (count, 2)) * chance.choice([0.2, 1], (count, 1))], 1
    )


def pictures(seed, count=12, *, crowds=True):
    """Pictures with objects that are found more or less well; some without objects, some without finds."""
    chance = np.random.default_rng(seed)
    truths, found = [], []
    for number in range(count):
        objects = 0 if number % 5 == 1 else int(chance.integers(1, 7))
        boxes, labels = boxes_of(chance, objects), chance.integers(0, CLASSES - 1, objects)
        crowd = (chance.random(objects) < 0.25) & crowds
        truths.append(Truths(boxes, labels, crowd, crowd))
        if number % 5 == 2:
            found.append(Detections(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0)))
            continue
        again = np.repeat(np.arange(objects), 3)
        near = boxes[again] + chance.normal(0, 6, (len(again), 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        wrong = np.where(
            chance.random(len(again)) < 0.2, chance.integers(0, CLASSES, len(again)), labels[again]
        )
        all_boxes = np.concatenate([near, boxes_of(chance, 4)])
        all_labels = np.concatenate([wrong, chance.integers(0, CLASSES, 4)])
        scores = np.round(chance.random(len(all_labels)), 1)  # many are equal
        found.append(Detections(all_boxes, all_labels, scores))
    return found, truths


def drawn(boxes):
    """Masks (N, CANVAS, CANVAS) of boxes with a corner cut off."""
    y, x = np.mgrid[:CANVAS, :CANVAS] + 0.5
    inside = [(x > b[0]) & (x < b[2]) & (y > b[1]) & (y < b[3]) & (x + y > b[0] + b[1] + 8) for b in boxes]
    return np.array(inside, bool).reshape(len(boxes), CANVAS, CANVAS)


def coco_json(found, truths, mask_of=None):
    images = [{"id": i, "width": CANVAS, "height": CANVAS} for i in range(len(truths))]
    annotations, results = [], []
    for i, t in enumerate(truths):
        for g, (box, label) in enumerate(zip(t.boxes, t.labels, strict=True)):
            x0, y0, x1, y1 = box.tolist()
            row = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
            if mask_of:
                row |= {"segmentation": mask_of(t.masks[g]), "area": float(t.masks[g].sum())}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": int(label),
                    "iscrowd": int(t.crowd[g]),
                }
                | row
            )
    for i, d in enumerate(found):
        for k in range(len(d.scores)):
            x0, y0, x1, y1 = d.boxes[k].tolist()
            row = {"image_id": i, "category_id": int(d.labels[k]), "score": float(d.scores[k])}
            row |= {"segmentation": mask_of(d.masks[k])} if mask_of else {"bbox": [x0, y0, x1 - x0, y1 - y0]}
            results.append(row)
    names = [{"id": i, "name": str(i)} for i in range(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": names, "info": {}}, results


def peers(found, truths, masks=False):
    """The precision (T, R, classes, A) and recall (T, classes, A) that the COCO API gives."""
    api = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    from pycocotools import mask as codes

    def run_lengths(mask):
        code = codes.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": code["size"], "counts": code["counts"].decode()}

    document, results = coco_json(found, truths, run_lengths if masks else None)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = api.COCO()
        truth.dataset = document
        truth.createIndex()
        judged = evaluation.COCOeval(truth, truth.loadRes(results), "segm" if masks else "bbox")
        judged.evaluate()
        judged.accumulate()
    assert list(judged.params.areaRngLbl) == list(AREAS)
    return judged.eval["precision"][..., -1], judged.eval["recall"][..., -1]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_precision_equals_the_coco_api(seed, masks):
    found, truths = pictures(seed)
    if masks:
        found = [Detections(d.boxes, d.labels, d.scores, drawn(d.boxes)) for d in found]
        truths = [Truths(t.boxes, t.labels, t.ignored, t.crowd, drawn(t.boxes)) for t in truths]
    own = precision_of(matches_of(found, truths, CLASSES))
    precision, recall = peers(found, truths, masks)
    assert np.abs(own.at - precision.transpose(2, 3, 0, 1)).max() < 1e-12
    assert np.abs(own.recall - recall.transpose(1, 2, 0)).max() < 1e-12
    assert (own.at[CLASSES - 1] == -1).all() and 0.03 < own.average(overlap=FIFTY) < 0.9
    for area, name in enumerate(AREAS):
        wanted = precision[..., area]
        counted = wanted[wanted > -1]
        assert own.average(name) == (pytest.approx(counted.mean(), abs=1e-12) if counted.size else None)


def test_precision_equals_the_faster_api():
    faster = pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    found, truths = pictures(7)
    document, results = coco_json(found, truths)
    truth = faster.COCO(document)
    judged = faster.COCOeval_faster(truth, truth.loadRes(results), "bbox", print_function=lambda *_: None)
    judged.evaluate()
    judged.accumulate()
    own = precision_of(matches_of(found, truths, CLASSES))
    theirs = judged.eval["precision"][..., -1].transpose(2, 3, 0, 1)
    assert np.abs(own.at - theirs).max() < 1e-12


def box(*edges):
    return np.array([edges], float).reshape(-1, 4)


def found_at(boxes, scores, labels=None):
    return Detections(
        box(*boxes), np.zeros(len(scores), np.int64) if labels is None else np.array(labels), np.array(scores)
    )


def test_nothing_is_none_not_a_number():
    nothing = Detections(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    empty = Truths(np.zeros((0, 4)), np.zeros(0, np.int64))
    own = precision_of(matches_of([nothing, nothing], [empty, empty], 2))
    assert own.average() is None and own.average_recall() is None and own.curve(0) is None
    assert voc_average([nothing], [empty], 0) is None
    assert intervals(matches_of([nothing], [empty], 1), [lambda p: p.average()], rounds=5) == [None]
    one = Truths(box(0, 0, 10, 10), np.array([0]))
    own = precision_of(matches_of([nothing, nothing], [one, empty], 2))
    assert own.average() == 0.0 and own.average(label=1) is None and own.average(area="large") is None
    assert own.average_recall() == 0.0 and voc_average([nothing, nothing], [one, empty], 0) == 0.0
    assert precision_of(matches_of([], [], 1)).average() is None
    rows = errors_by_class([nothing], [one], ("a", "b"), 0.5)
    assert rows[0]["missed"] == 1 and rows[1]["objects"] == 0


def test_by_hand():
    """Two objects; the best guess is right, the second wrong, the third right at an overlap of 0.6."""
    truths = [Truths(box(0, 0, 10, 10, 20, 20, 30, 30), np.array([0, 0]))]
    found = [found_at((0, 0, 10, 10, 50, 50, 60, 60, 20, 20, 26, 30), [0.9, 0.8, 0.7])]
    own = precision_of(matches_of(found, truths, 1))
    fifty = (51 * 1.0 + 50 * 2 / 3) / 101  # recalls to 0.5, then to 1
    assert own.average(overlap=FIFTY) == pytest.approx(fifty, abs=1e-12)
    assert own.average(overlap=SEVENTY_FIVE) == pytest.approx(51 / 101, abs=1e-12)
    assert own.average() == pytest.approx((3 * fifty + 7 * 51 / 101) / 10, abs=1e-12)
    assert voc_average(found, truths, 0) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert voc_average(found, truths, 0, eleven=True) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_a_difficult_object_counts_neither_way():
    both = box(0, 0, 10, 10, 20, 20, 30, 30)
    truths = [Truths(both, np.array([0, 0]), np.array([False, True]))]
    found = [found_at((0, 0, 10, 10, 20, 20, 30, 30, 20, 20, 30, 29), [0.5, 0.9, 0.8])]
    assert precision_of(matches_of(found, truths, 1)).average(overlap=FIFTY) == pytest.approx(1.0)
    assert voc_average(found, truths, 0) == 1.0 == voc_average(found, truths, 0, eleven=True)
    assert judge(found[0], truths[0]).kinds == ["right", "ignored", "ignored"]
    plain = [Truths(both, np.array([0, 0]))]
    assert voc_average(found, plain, 0) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_voc_equals_its_definition_on_random_pictures():
    """Slowly: for each recall the highest precision at it or beyond."""
    found, truths = pictures(3, crowds=False)
    for label in range(CLASSES - 1):
        rows = []
        for d, t in zip(found, truths, strict=True):
            own, free = t.boxes[t.labels == label], {*range(int((t.labels == label).sum()))}
            for k in sorted(np.flatnonzero(d.labels == label), key=lambda k, d=d: -d.scores[k]):
                a = d.boxes[k]
                shared = []
                for b in own:
                    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
                    inter = max(w, 0) * max(h, 0)
                    area = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
                    shared.append(inter / (sum(area) - inter))
                best = int(np.argmax(shared)) if shared else -1
                right = best in free and shared[best] >= 0.5
                free -= {best} if right else set()
                rows.append((d.scores[k], right))
        rows.sort(key=lambda row: -row[0])
        total = sum(int((t.labels == label).sum()) for t in truths)
        hits = [sum(right for _, right in rows[: n + 1]) for n in range(len(rows))]
        points = [(hit / total, hit / (n + 1)) for n, hit in enumerate(hits)]

        def best_at(recall, points=points):
            return max([p for r, p in points if r >= recall], default=0.0)

        levels = sorted({r for r, _ in points})
        area = sum((r - before) * best_at(r) for before, r in zip([0.0, *levels], levels, strict=False))
        assert voc_average(found, truths, label) == pytest.approx(area, abs=1e-12)
        eleven = sum(best_at(k / 10 - 1e-12) for k in range(11)) / 11
        assert voc_average(found, truths, label, eleven=True) == pytest.approx(eleven, abs=1e-12)


def test_every_wrong_detection_has_its_kind():
    truths = Truths(box(0, 0, 10, 10, 20, 20, 30, 30, 40, 40, 50, 50), np.array([0, 1, 0]))
    edges = (0, 0, 10, 10, 0, 0, 10, 9, 20, 20, 30, 30, 44, 40, 54, 50, 80, 80, 90, 90)
    found = found_at(edges, [0.9, 0.8, 0.7, 0.6, 0.5], [0, 0, 0, 0, 1])
    judged = judge(found, truths)
    assert judged.kinds == ["right", "doubled", "confused", "misplaced", "background"]
    assert judged.others.tolist() == [-1, -1, 1, -1, -1] and judged.missed.tolist() == [False, True, True]
    rows = errors_by_class([found], [truths], ("a", "b"), 0.55)
    assert rows[0] == {
        "class": "a", "objects": 2, "found": 1, "missed": 1, "doubled": 1, "confused": 1, "misplaced": 1,
        "background": 0, "confused_with": {"b": 1},
    }  # fmt: skip
    assert rows[1]["background"] == 0 and rows[1]["missed"] == 1  # its score is below


def test_weights_stand_for_repeated_pictures():
    found, truths = pictures(5)
    times = np.random.default_rng(0).integers(0, 3, len(found))
    repeated = np.repeat(np.arange(len(found)), times)
    again = matches_of([found[i] for i in repeated], [truths[i] for i in repeated], CLASSES)
    weighted = precision_of(matches_of(found, truths, CLASSES), times)
    assert np.abs(weighted.recall - precision_of(again).recall).max() < 1e-12
    apart = [1e-6 * np.arange(len(d.scores)) + 1e-4 * i for i, d in enumerate(found)]
    distinct = [Detections(d.boxes, d.labels, d.scores + a) for d, a in zip(found, apart, strict=True)]
    again = matches_of([distinct[i] for i in repeated], [truths[i] for i in repeated], CLASSES)
    weighted = precision_of(matches_of(distinct, truths, CLASSES), times)
    assert np.abs(weighted.at - precision_of(again).at).max() < 1e-12


def test_an_interval_holds_its_figure_and_is_the_same_again():
    matches = matches_of(*pictures(1, 30), CLASSES)
    (first,), (second,) = (
        intervals(matches, [lambda p: p.average(overlap=FIFTY)], rounds=60) for _ in range(2)
    )
    assert first == second and first.low < first.value < first.high


@pytest.mark.slow
def test_intervals_cover_what_they_promise():
    """Of many small tests out of a large one, about 95 % hold the large one's figure."""
    population = [pictures(1000 + n, 5) for n in range(240)]
    found = [d for f, _ in population for d in f]
    truths = [t for _, t in population for t in t]
    classes = [match(found, truths, label) for label in range(CLASSES - 1)]
    wanted = precision_of(classes).average(overlap=FIFTY)
    chance, held, trials = np.random.default_rng(0), 0, 120
    for _ in range(trials):
        drawn_pictures = chance.choice(len(found), 60)
        own = matches_of([found[i] for i in drawn_pictures], [truths[i] for i in drawn_pictures], CLASSES - 1)
        (got,) = intervals(own, [lambda p: p.average(overlap=FIFTY)], rounds=150)
        held += got.low <= wanted <= got.high
    assert 0.88 <= held / trials <= 0.99, held / trials
