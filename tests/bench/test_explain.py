"""The benchmark of maps: our maps beside the other libraries', on a small network, each in its own words."""

import json
from functools import cache

import numpy as np
import pytest
import torch

from as_json import bench, compare
from resight.bench import bench as benches
from resight.bench import explain as explaining
from resight.bench.bench import bench as service
from resight.bench.explain import Case, Looked, contests, spearman
from resight.bench.interleave import interleave
from resight.bench.peak import peak_of
from resight.cli.bench import benched
from resight.core.errors import ResightError, UsageError

SMALL = Case("resnet18", batch=2, side=96)
ONE = Case("resnet18", batch=1, side=64)
ALL = contests(SMALL, ONE)


@cache
def told(key, name):
    """What a candidate's first step tells, in this process; the layouts' race is left out."""
    block = ALL[key].candidates[name]()
    assert isinstance(block, Looked)
    block.layouts, block.trial = (torch.channels_last,), explaining.forward(SMALL)
    done, seconds = block(0.01)
    assert done == block.case.batch and seconds > 0
    return block.facts


def maps(key, name):
    return told(key, name)["maps"]


def gap(key, first, second):
    return np.abs(maps(key, first) - maps(key, second)).max()


@pytest.mark.parametrize("peer", ["pytorch-grad-cam", "torch-cam", "captum"])
def test_grad_cam_is_everyones(peer):
    ours = maps("explain", "resight")
    assert ours.shape == (2, 96, 96) and ours.min() == 0 and ours.max() == 1
    assert gap("explain", "resight", peer) < 1e-4


def test_ablation_cam_in_closed_form_is_pytorch_grad_cams_by_512_passes():
    assert gap("explain-ablation", "resight", "pytorch-grad-cam") < 1e-3


@pytest.mark.slow
def test_score_cam_of_all_classes_holds_torch_cams_map_of_one():
    # On 2 x 2 cells, where it does not matter that its masks are scaled before they are enlarged.
    assert gap("explain-score", "resight", "torch-cam") < 1e-4
    assert gap("explain-score", "resight", "pytorch-grad-cam") > 1e-3
    for peer in ("torch-cam", "pytorch-grad-cam"):
        assert "another formula" in ALL["explain-score"].notes[peer]


def test_maps_of_all_classes_hold_the_map_of_one():
    assert gap("explain-all", "resight", "torch-cam, one class") < 1e-4


class Loud(Case):
    """Gradients so large that pytorch-grad-cam's 1e-6 does not count."""

    def other(self, layout):
        model = super().other(layout)
        with torch.no_grad():
            model.fc.weight.mul_(1e3)
        return model


@pytest.mark.parametrize(("case", "agrees"), [(SMALL, False), (Loud("resnet18", 2, 96), True)])
def test_grad_cam_pp_is_pytorch_grad_cams_but_for_its_epsilon(case, agrees):
    both = contests(case)["explain-pp"].candidates
    last = (torch.channels_last,)
    ours, theirs = (Looked(both[name]().build, case, last) for name in ("resight", "pytorch-grad-cam"))
    for block in (ours, theirs):
        block(0.01)
    assert (np.abs(ours.facts["maps"] - theirs.facts["maps"]).max() < 1e-3) == agrees


def test_who_has_another_formula_is_named():
    for key, name in (
        ("explain-pp", "pytorch-grad-cam"),
        ("explain-pp", "torch-cam"),
        ("explain-smooth", "torch-cam"),
    ):
        assert "another formula" in ALL[key].notes[name]
        assert gap(key, "resight", name) > 1e-3


def test_bf16_has_nearly_the_maps_of_fp32():
    for key in ("explain", "explain-pp"):
        assert gap(key, "resight", "resight bf16") < 0.1
    assert told("explain-all", "resight bf16")["layout"] == "channels last"


@pytest.mark.slow
def test_reduced_score_cam_tells_its_rank_correlation():
    facts = {"resight": told("explain-score", "resight")}
    less = Looked(explaining.resight_all(ONE, "score_cam", reduced=64), ONE, (torch.channels_last,))
    less(0.01)
    facts["less"] = less.facts
    columns = compare(facts)
    assert columns["resight"]["difference"] is None and "spearman" not in columns["resight"]
    assert 0.5 < columns["less"]["spearman"] < 1 and columns["less"]["difference"] > 0


def test_spearman_by_hand():
    rows = np.array([[1.0, 2, 3], [1, 2, 3]])
    assert spearman(rows, np.array([[10.0, 20, 30], [3, 2, 1]])) == 0  # +1 and -1
    assert spearman(rows[:1], np.array([[1.0, 3, 2]])) == 0.5


def test_compare_takes_memory_to_the_forward_pass():
    facts = {"memory": 3.0, "layout": "NCHW", "maps": np.zeros((1, 2, 2))}
    columns = compare({"forward only": {"memory": 2.0, "layout": "NCHW"}, "resight": facts, "x": facts})
    assert columns["x"]["memory_ratio"] == 1.5 and columns["x"]["difference"] == 0
    assert columns["forward only"]["memory_ratio"] == 1 and columns["forward only"]["difference"] is None
    assert compare({"resight": facts})["resight"]["memory_ratio"] is None


def test_the_faster_layout_is_taken(monkeypatch):
    seconds = {torch.contiguous_format: 1.0, torch.channels_last: 2.0}
    monkeypatch.setattr(Looked, "_seconds", lambda self, layout: seconds[layout])
    block = Looked(explaining.forward(SMALL), SMALL)
    block(0.01)
    assert block.facts["layout"] == "NCHW"
    seconds[torch.contiguous_format] = 3.0
    block = Looked(explaining.forward(SMALL), SMALL)
    block(0.01)
    assert block.facts["layout"] == "channels last"


def test_peak_memory_counts_what_is_freed_again():
    _, some = peak_of(lambda: torch.ones(16 << 20).sum(), torch.device("cpu"))
    if some is None:
        pytest.skip("the kernel keeps no high-water mark here")
    assert 60 < some < 120  # 64 Mi
    _, little = peak_of(lambda: 1, torch.device("cpu"))
    assert little is not None and little < 5


FAKE = """
import sys
from resight.bench.interleave import answer
class Block:
    facts = {"name": sys.argv[1]}
    def __call__(self, seconds):
        print("words that are no answer")
        if sys.argv[1] == "broken":
            sys.exit("out of order")
        return 6, 2.0 if sys.argv[1] == "slow" else 1.0
answer(Block())
"""


@pytest.mark.parametrize(("once", "count"), [(False, 3), (True, 3)])
def test_candidates_take_turns_in_processes_of_their_own(once, count):
    found = interleave(FAKE, ["slow", "fast"], 0.1, 3, once=once)
    assert found["slow"].rates == [3.0] * count and found["fast"].rates == [6.0] * count
    assert found["fast"].facts == {"name": "fast"}


def test_a_candidate_that_dies_is_one_line():
    with pytest.raises(ResightError, match="bench broken: its process died"):
        interleave(FAKE, ["fast", "broken"], 0.1, 1)


@pytest.mark.parametrize("missing", [["captum"], ["torchcam", "captum"]])
def test_a_missing_library_names_the_extra(monkeypatch, missing):
    monkeypatch.setattr(benches, "find_spec", lambda name: None if name in missing else name)
    with pytest.raises(UsageError) as caught:
        bench("explain", 0.1, 1)
    assert all(name in str(caught.value) for name in missing) and "resight[bench]" in str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_all_leaves_explain_out_where_the_others_are_missing(monkeypatch):
    asked = []
    monkeypatch.setattr(benches, "_rows", lambda key, *_: asked.append(key) or [])
    bench("", 0.1, 1)
    assert asked == ["load", "train", "train50", "predict", "explain"]
    asked.clear()
    monkeypatch.setattr(benches, "find_spec", lambda _: None)
    bench("", 0.1, 1)
    assert asked == ["load", "train", "train50", "predict"]


@pytest.fixture
def measured(monkeypatch):
    """Rows without running anything."""
    facts = {"memory": 2e3, "layout": "NCHW", "maps": np.zeros((1, 2, 2))}

    def fake(code, names, seconds, rounds, *, once):
        from resight.bench.interleave import Measured

        return {name: Measured([2.0, 4.0], dict(facts)) for name in names}

    monkeypatch.setattr(benches, "interleave", fake)
    return lambda key: bench(key, 0.1, 2)


def test_bf16_is_left_out_with_a_reason_where_the_hardware_has_none(measured, monkeypatch):
    monkeypatch.setattr(benches, "pick_precision", lambda *_: torch.float32)
    rows = {row["candidate"]: row for row in measured("explain")}
    assert list(rows) == list(benches.CONTESTS["explain"].candidates)
    assert (
        rows["resight bf16"]["median"] is None
        and "has no bf16 multiplication" in rows["resight bf16"]["note"]
    )
    assert rows["resight"]["median"] == 3 and rows["resight"]["to"] == "pytorch-grad-cam"
    monkeypatch.setattr(benches, "pick_precision", lambda *_: torch.bfloat16)
    assert all(row["median"] == 3 for row in measured("explain"))


def test_the_table_and_the_json_of_maps(measured, capsys):
    assert measured("explain-pp")  # nothing runs
    rows = service("explain-pp", 0.1, 2)
    benched(rows, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed == measured("explain-pp") and list(printed[0]) == [
        "bench", "candidate", "unit", "to", "median", "lowest", "highest", "ratio", "note", "layout",
        "memory_mb", "memory_ratio", "difference",
    ]  # fmt: skip
    benched(rows, as_json=False)
    text = capsys.readouterr().out
    assert "peak MB" in text and "another formula" in text and "2,000" in text
    benched(service("predict", 0.1, 2), as_json=False)
    assert "peak MB" not in capsys.readouterr().out


@pytest.mark.slow
def test_bench_explain_measures_every_candidate():
    rows = bench("explain", 0.05, 1)
    measured = [row for row in rows if row["median"] is not None]
    assert len(measured) >= 5 and all(row["median"] > 0 for row in measured)
    assert {row["ratio"] for row in rows if row["candidate"] == "pytorch-grad-cam"} == {1}
    assert all(row["difference"] < 1e-4 for row in measured if row["difference"] is not None)
    memory = {row["candidate"]: row["memory_ratio"] for row in measured}
    if memory["forward only"] is not None:  # ours keeps nothing of the trunk, autograd all
        assert memory["resight"] < 1.5 < memory["torch-cam"]
