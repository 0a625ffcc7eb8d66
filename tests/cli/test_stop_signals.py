"""Ctrl-C and SIGTERM between two steps."""

import signal

import pytest

from keras_moe.cli.stop_signals import StopSignals

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def _usual_ctrl_c():
    """Lets Ctrl-C interrupt: a shell's background jobs start without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number, capsys):
    with StopSignals() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
    assert "Stopping after this step" in capsys.readouterr().err


def test_the_second_signal_acts_at_once():
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stop.requested


def test_afterwards_signals_mean_what_they_meant():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals():
        pass
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert after == before
