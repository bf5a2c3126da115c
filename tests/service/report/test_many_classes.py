"""A report of very many classes: its work grows with the classes, not their square; its page stays small."""

import csv
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from resight.render.page import render_page
from resight.service.report.classes import ROWS, WORST, class_by_class, confusions
from resight.service.report.cues import rows_by_name
from resight.service.report.pictures import most_confident_errors, typical_right
from resight.tasks.classify import one_result
from resight.tasks.classify.one_result import OneClassResult

PICTURES = 300


class Elements(TorchDispatchMode):
    """Counts the elements of all tensors that are read or made."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        parts = [*args, *(out if isinstance(out, tuple | list) else [out])]
        self.count += sum(part.numel() for part in parts if isinstance(part, torch.Tensor))
        return out


class Steps:
    """Counts the bytecode instructions that the product's own code and templates run."""

    def __init__(self):
        self.count = 0

    def trace(self, frame, event, _):
        if "resight" not in frame.f_code.co_filename or "tests" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.count += event == "opcode"
        return self.trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)


def result_of(classes):
    """A test of `classes` classes, a third of the answers wrong."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (PICTURES,), generator=generator)
    said = torch.where(torch.arange(PICTURES) % 3 == 0, (labels + 1) % classes, labels)
    probabilities = torch.full((PICTURES, classes), 0.4 / (classes - 1), dtype=torch.float64)
    probabilities[torch.arange(PICTURES), said] = 0.6
    names = tuple(f"class {number}" for number in range(classes))
    return OneClassResult(probabilities, labels, torch.arange(PICTURES), names, ())


def sections(result, folder):
    tested = SimpleNamespace(result=result, figures=result.figures(), folder=folder)
    rows = most_confident_errors(tested), typical_right(tested), rows_by_name(result)
    return [*class_by_class(tested), *confusions(tested)], rows


def work(classes, folder):
    result = result_of(classes)
    with Elements() as elements, Steps() as steps:
        sections(result, folder)
    return elements.count, steps.count


def test_twice_the_classes_are_twice_the_work(tmp_path):
    few, many = work(1500, tmp_path), work(3000, tmp_path)
    assert few[0] > 1500 * PICTURES / 2 and few[1] > 1500 * 10  # the counters count
    for once, twice in zip(few, many, strict=True):
        assert twice < 2.2 * once


def test_the_count_sees_work_that_grows_with_the_square(tmp_path, monkeypatch):
    monkeypatch.setattr(one_result, "MATRIX", 10**6)
    counts = []
    for result in (result_of(600), result_of(1200)):
        with Elements() as elements:
            sections(result, tmp_path)
        counts.append(elements.count)
    assert counts[1] > 2.5 * counts[0]


def test_of_many_classes_the_worst_are_shown_and_a_file_has_all(tmp_path):
    result = result_of(2000)
    (table, confused), (errors, right, named) = sections(result, tmp_path)
    page = render_page("t", [table, confused])
    assert len(page) < 40_000 and table.html.count("<tr>") == 1 + WORST
    assert "the 30 worst of 2,000 classes; the file classes.csv" in " ".join(table.html.split())
    with (tmp_path / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(result.classes)
    assert sum(int(row["n"]) for row in rows) == PICTURES
    label = int(result.labels[0])
    share = int(((result.labels == label) & result.wrong()).sum()) / int((result.labels == label).sum())
    assert float(rows[label]["error"]) == pytest.approx(100 * share)
    assert (
        len(errors) == 24
        and all(result.wrong()[errors])
        and len(right) == 40
        and not any(result.wrong()[right])
    )
    assert sum(map(len, named.values())) == PICTURES
    said = result.probabilities.argmax(1)
    assert all((said[rows] == number).all() for number, rows in named.items())


def test_few_classes_are_all_listed_and_no_file_is_written(tmp_path):
    (table, _), _ = sections(result_of(ROWS), tmp_path)
    assert table.html.count("<tr>") == 1 + ROWS and not list(tmp_path.iterdir())


def test_the_surely_bad_come_first(tmp_path):
    """9 of 10 wrong is worse news than 1 of 1, and that than 1 of 10."""
    labels = torch.tensor([0] * 10 + [1] + [2] * 10)
    wrong = torch.tensor([True] + [False] * 9 + [True] + [True] * 9 + [False])
    said = torch.where(wrong, 3, labels)
    result = OneClassResult(
        torch.eye(4, dtype=torch.float64)[said], labels, torch.arange(21), tuple("abcd"), ()
    )
    (table, _), _ = sections(result, tmp_path)
    places = [table.html.index(f"<td>{name}</td>") for name in "cbad"]
    assert places == sorted(places)


def test_confusions_are_counted_sparsely_as_in_the_matrix():
    said = torch.tensor([1, 1, 2, 0, 0, 2, 1])
    labels = torch.tensor([0, 0, 0, 1, 0, 2, 0])
    result = OneClassResult(
        torch.eye(3, dtype=torch.float64)[said], labels, torch.arange(7), tuple("abc"), ()
    )
    figures = result.figures()
    assert figures["confused"] == [[0, 1, 3], [0, 2, 1], [1, 0, 1]]
    for true, named, count in figures["confused"]:
        assert figures["confusion"][true][named] == count
