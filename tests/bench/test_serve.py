"""The benchmark of a server counts answers, errors and what its clients take."""

import asyncio

import pytest

from resight.bench.serve import CANDIDATES, REFERENCE, bench_serve, load_of
from resight.core.figures import to_json
from serving import encoded, save_finder, serving, spotted


@pytest.mark.slow
def test_both_candidates_answer():
    rows = bench_serve(0.5, 1, "speednet8_narrow", 5)
    assert [row.candidate for row in rows] == list(CANDIDATES)
    alone, served = map(to_json, rows)
    assert alone["to"] == served["to"] == REFERENCE and alone["ratio"] == 1
    assert served["median"] > 0 and served["clients"] == 5 and served["errors"] == 0
    assert 0 < served["p50_ms"] <= served["p99_ms"] and served["client_cpu_seconds"] > 0
    assert "p50_ms" not in alone


def test_answers_and_errors_are_counted_apart(tmp_path):
    """Every second body is no picture."""
    with serving([save_finder(tmp_path / "net.safetensors")]) as client:
        found = asyncio.run(load_of(client.port, [encoded(spotted()), b"no picture"], 1, 0.5))
    assert found.answers > 0 and 0 <= found.answers - found.errors <= 1
    assert 0 < found.p50 <= found.p99 <= found.seconds


def test_a_server_that_is_gone_gives_errors(tmp_path):
    with serving([save_finder(tmp_path / "net.safetensors")]) as client:
        port = client.port
    found = asyncio.run(load_of(port, [encoded(spotted())], 2, 0.05))
    assert found.answers == 0 and found.errors >= 2
