"""The faults of scripts/plant: each can still be planted, and the script says truly what tests see of it."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "plant"


def load():
    loader = importlib.machinery.SourceFileLoader("plant", str(SCRIPT))
    spec = importlib.util.spec_from_loader("plant", loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["plant"] = module  # where dataclasses look
    loader.exec_module(module)
    return module


plant = load()


def test_every_fault_can_still_be_planted(capsys):
    """Where code has moved, mend the entry in scripts/faults.toml that is named here."""
    faults = plant.read_faults([])
    assert len(faults) >= 30
    assert plant.stale(faults, plant.ROOT) == 0, capsys.readouterr().out
    for fault in faults:
        assert fault.old != fault.new, fault.name
    places = {fault.file.partition("/")[0] for fault in faults}
    assert places >= {"data", "training", "metrics", "saliency", "localize", "models"}


@pytest.fixture
def place(tmp_path):
    """A tree of one file and its tests."""
    (tmp_path / "src/resight").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "src/resight/sums.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "tests/test_sums.py").write_text(
        "import importlib.util, pathlib\n"
        "spec = importlib.util.spec_from_file_location('sums', pathlib.Path('src/resight/sums.py'))\n"
        "sums = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(sums)\n"
        "def test_good():\n    assert sums.add(1, 2) == 3\n"
        "def test_blind():\n    assert sums.add(0, 0) == 0\n"
        "def test_wrong():\n    assert False\n"
        "def test_slow():\n    import time\n    time.sleep(60)\n"
    )
    return tmp_path


def fault(old="a + b", new="a - b", test="good", file="sums.py"):
    return plant.Fault("a fault", file, old, new, ("test_sums.py", "-k", test))


def test_a_fault_is_caught_or_missed_and_the_tree_stays_as_it_was(place):
    before = (place / "src/resight/sums.py").read_text()
    assert plant.verdict(fault(), place, {}, 60)
    assert not plant.verdict(fault(test="blind"), place, {}, 60)
    assert (place / "src/resight/sums.py").read_text() == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"old": "a * b"}, "its text is 0 times in sums.py, not once"),
        ({"old": "a"}, "its text is 3 times in sums.py, not once"),
        ({"file": "none.py"}, "there is no file none.py"),
        ({"test": "wrong"}, "its tests do not pass without it"),
        ({"test": "none_such"}, "its tests do not pass without it"),
    ],
)
def test_what_cannot_be_planted_says_why(place, words, why):
    with pytest.raises(plant.CannotPlantError, match=why):
        plant.verdict(fault(**words), place, {}, 60)


@pytest.mark.slow
def test_tests_that_do_not_end_or_do_not_run_are_no_verdict(place):
    with pytest.raises(plant.CannotPlantError, match="took longer than 2 s"):
        plant.verdict(fault(test="slow"), place, {}, 2)
    with pytest.raises(plant.CannotPlantError, match="its tests did not run"):
        plant.verdict(fault(new="a +"), place, {}, 60)
