"""What is shown while a run goes on."""

import io

import pytest
from rich.console import Console

from keras_moe.cli import progress
from keras_moe.cli.progress import Progress

pytestmark = pytest.mark.once


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test winds: `clock[0]` is the time in seconds."""
    time = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def report(step):
    return {
        "step": step,
        "loss": 2.5,
        "val_loss": 2.75,
        "load_balancing_loss": 1.024,
    }


def test_milestones_show_loss_balance_speed_and_time_left(clock):
    out = io.StringIO()
    console = Console(file=out, width=80)
    with Progress(console, 900, 0, 2048) as shown:
        clock[0] = 40.0  # The first step compiles and does not count.
        shown.advance(1, 5.0, None)
        clock[0] = 140.0
        shown.advance(101, 2.5, 1.02)
        shown.milestone(report(101))
    # 100 steps of 1 s: 2048 tokens/s, and 799 s = 13:19 for the others.
    assert out.getvalue() == (
        "101/900  loss 2.500  held-out 2.750  balance 1.02  2,048 tokens/s  "
        "13:19 left\n"
    )
    assert len(out.getvalue()) <= 80


def test_a_resumed_run_counts_its_own_steps_only(clock):
    out = io.StringIO()
    with Progress(Console(file=out, width=80), 900, 500, 10) as shown:
        shown.advance(501, 2.5, None)
        clock[0] = 20.0
        shown.advance(511, 2.5, None)
        shown.milestone(report(511))
    # 10 steps in 20 s: 389 more take 778 s.
    assert "5 tokens/s  12:58 left" in out.getvalue()


def test_on_a_terminal_a_line_moves(clock):
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with Progress(console, 900, 0, 10) as shown:
        shown.advance(1, 2.5, 1.0)
    assert "1/900" in out.getvalue()
    assert "balance 1.00" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0:00"), (61, "1:01"), (7325, "2:02:05")]
)
def test_time_is_written_as_on_a_clock(seconds, words):
    assert progress._minutes(seconds) == words
