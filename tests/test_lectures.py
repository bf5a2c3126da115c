"""docs/lectures.md: every item is listed, every command exists with its options, the cheap ones run."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from resight.cli.main import app
from resight.core.networks import counted
from resight.core.registry import matching
from resight.reproduce.catalogue import NAMES
from resight.training.recipes import RECIPES

PAGE = Path(__file__).parents[1] / "docs" / "lectures.md"
COMMANDS = sorted(set(re.findall(r"`(resight [^`]+)`", PAGE.read_text(encoding="utf-8"))))
WITHOUT_DATA = ("models", "summary", "compare", "augment")
RUN = [c for c in COMMANDS if c.split()[1] in WITHOUT_DATA]


def test_all_items_are_listed_once():
    rows = re.findall(r"^\| (\d[\d, -]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    items: list[int] = []
    for part in ", ".join(rows).split(", "):
        first, _, last = part.partition("-")
        items += range(int(first), int(last or first) + 1)
    assert sorted(items) == list(range(1, 232))


def words_of(command: str) -> tuple[str, list[str]]:
    _, name, *words = shlex.split(command)
    return name, words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_with_its_options(command):
    name, words = words_of(command)
    group: Any = typer.main.get_command(app)
    assert name in group.commands
    group.commands[name].make_context(name, list(words), resilient_parsing=False)
    after = dict(pairwise(words))
    if name == "reproduce" and words:
        assert words[0] in NAMES
    if "--recipe" in after:
        assert after["--recipe"] in RECIPES
    if "--model" in after:
        assert matching(counted(), after["--model"])


@pytest.mark.parametrize("command", RUN)
def test_commands_without_data_run(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, words = words_of(command)
    done = CliRunner().invoke(app, [name, *words])
    assert done.exit_code == 0 and done.stdout
