"""What the documents say is so: links, commands, names, versions."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

import resight as package
from resight.cli.main import app
from resight.training.machine import Machine
from resight.training.recipe import Recipe
from resight.training.recipes import RECIPES
from support import resight

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / n for n in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
COMMANDS = get_command(app).commands


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_quoted_commands_have_words_that_exist(document):
    text = document.read_text()
    for line in re.findall(
        r"\bresight ((?:[a-z0-9-]+)(?: [^`|\n]*)?)",
        "\n".join(re.findall(r"`[^`\n]+`|^ {4}.*$", text, re.M)),
    ):
        words = line.split()
        if words[0] not in COMMANDS:
            continue
        known = {o for p in COMMANDS[words[0]].params for o in p.opts}
        for word in words[1:]:
            if word.startswith("--"):
                assert word.split("=")[0].rstrip(",.;:)") in known, f"{line}: {word}"


def test_files_named_in_the_architecture_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    source = {p.name for p in (ROOT / "src").rglob("*.py")} | {p.name for p in (ROOT / "tests").rglob("*.py")}
    named = set(re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", text))
    assert len(named) > 25 and not named - source


def test_readme_names_every_command_and_recipe():
    text = (ROOT / "README.md").read_text()
    assert not [c for c in COMMANDS if f"resight {c}" not in text]
    assert not [r for r in RECIPES if f"`{r}`" not in text]


def test_the_settings_are_counted_right_and_all_are_listed():
    recipe, machine = ([f.name for f in fields(kind)] for kind in (Recipe, Machine))
    numbers = {"six": 6, "seven": 7, "eight": 8, "nine": 9}
    found = re.search(
        r"(\d+) settings of a recipe, and (\w+) of the machine", (ROOT / "README.md").read_text()
    )
    assert found and (int(found[1]), numbers[found[2]]) == (len(recipe), len(machine))
    page = (ROOT / "docs/training.md").read_text()
    listed = re.search(r"Of the recipe \(.*?\): (.*?)\.\nOf the machine \(.*?\): (.*?)\.\n", page, re.S)
    assert listed
    for names, known in zip(listed.groups(), (recipe, machine), strict=True):
        assert sorted(re.split(r",\s+", names)) == sorted(known)


HOOKING = (
    "atrous.py", "layers.py", "sanity.py", "depth.py", "graph.py", "drawn.py", "limit.py", "votes.py",
    "layer_responses.py",
)  # fmt: skip


def test_the_files_that_set_hooks_are_named():
    """All of them by `hooked`, which takes them off again."""
    source = {p: p.read_text() for p in (ROOT / "src").rglob("*.py")}
    setting = {
        p
        for p, text in source.items()
        if re.search(r"\.register_(forward|full_backward|module)\w*hook", text)
    }
    assert {p.name for p in setting} == {"capture.py", *HOOKING}
    assert all("hooked(" in source[p] for p in setting)
    assert not [p for p, text in source.items() if ".register_hook(" in text]
    text = (ROOT / "ARCHITECTURE.md").read_text()
    *most, last = (f"`{name}`" for name in HOOKING)
    assert f"nine other files use it, {', '.join(most)} and {last}" in text


def test_versions_agree():
    assert resight("--version", check=0).stdout.strip() == package.__version__
    assert f"## {package.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_lock_file_and_no_data():
    import subprocess

    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    wrong = [
        f
        for f in done.stdout.splitlines()
        if f.endswith((".lock", ".parquet", ".safetensors", ".th", ".zip", ".npz"))
    ]
    assert not wrong
