"""Work that Ctrl-C can end before it is done."""

import os
import signal
import threading
import time

import pytest

from keras_moe.cli.in_thread import in_thread

pytestmark = pytest.mark.once


@pytest.fixture
def ctrl_c():
    """Lets SIGINT interrupt, also in tests that a shell has put behind."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_error_of_the_thread_is_raised():
    with pytest.raises(ValueError, match="invalid literal"):
        in_thread(int, "x")


def test_a_signal_is_answered_while_the_thread_works(ctrl_c):
    started, end = threading.Event(), threading.Event()

    def work():
        started.set()
        end.wait(60)

    def interrupt():
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_thread(work)
    end.set()
    assert time.monotonic() - begun < 30
