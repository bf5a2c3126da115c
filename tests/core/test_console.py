"""Long loops say how far they are: where somebody asked for it, and only if they are long."""

import io

import pytest
from rich.console import Console

from resight.core import console
from resight.core.console import counted, shown_on


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def run(clock, count, seconds, *, terminal=False, within=None, **options):
    """Go through `count` things that take so many seconds each; returns what was shown."""
    said = io.StringIO()
    shown = Console(file=said, force_terminal=terminal, width=80)
    with shown_on(shown):
        for thing in counted(range(count), "reading pictures", **options):
            clock.now += seconds
            if within:
                within(thing)
    return said.getvalue()


def test_things_pass_through_unchanged_and_nothing_is_shown_where_nobody_asked(capfd):
    assert list(counted(iter("abc"), "reading")) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


def test_a_short_loop_says_nothing(clock):
    assert run(clock, 10, 0.1) == "" and run(clock, 10, 0.1, terminal=True) == ""


def test_a_long_loop_says_a_line_every_half_minute_where_no_terminal_is(clock):
    assert run(clock, 100, 1).splitlines() == [f"reading pictures: {n} of 100" for n in (30, 60, 90)]


def test_a_long_loop_has_a_bar_on_a_terminal(clock):
    shown = run(clock, 100, 1, terminal=True)
    assert "reading pictures" in shown and "/100" in shown


def test_steps_are_counted_in_pictures_and_never_above_the_total(clock):
    assert run(clock, 4, 20, total=100, step=32).splitlines() == ["reading pictures: 64 of 100"]


def test_a_loop_inside_of_another_has_no_bar_of_its_own(clock):
    def within(_):
        for _ in counted(range(10), "looking"):
            clock.now += 1

    shown = run(clock, 5, 3, terminal=True, within=within)
    assert "reading pictures" in shown


def test_a_loop_that_is_left_takes_its_bar_away(clock):
    said = io.StringIO()
    shown = Console(file=said, force_terminal=True, width=80)
    with shown_on(shown):
        things = counted(range(100), "reading")
        for _ in range(10):
            next(things)
            clock.now += 1
        things.close()
        assert not getattr(shown, "_live", None) and not getattr(shown, "_live_stack", None)


def test_a_quiet_console_says_nothing(clock, capfd):
    with shown_on(Console(stderr=True, quiet=True)):
        for _ in counted(range(100), "reading"):
            clock.now += 1
    assert capfd.readouterr() == ("", "")
