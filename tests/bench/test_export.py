"""The bench of exported networks runs every candidate."""

import subprocess
import sys

import pytest

from resight.bench.export import CANDIDATES, REFERENCE, Network, bench_export
from resight.core.figures import to_json


@pytest.mark.slow
def test_every_candidate_answers_and_says_what_it_took():
    rows = bench_export(0.05, 1, (Network("speednet8_narrow", 32, 2),))
    assert [row.candidate for row in rows] == list(CANDIDATES)
    for row in rows:
        document = to_json(row)
        assert document["bench"] == "export speednet8_narrow, batch 2" and document["to"] == REFERENCE
        assert document["median"] > 0 and document["first_answer_seconds"] > 0
        assert document["peak_mb"] is None or document["peak_mb"] > 10
    assert rows[0].rates.ratio == 1


def test_what_measures_a_file_without_torch_loads_none():
    code = "import sys, resight.bench.export; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
