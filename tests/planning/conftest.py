"""A program for four TPU chips, and a slice of as many that needs no libtpu."""

from pathlib import Path

import pytest

from keras_moe.planning.hlo import read_computations


@pytest.fixture(scope="session")
def program():
    """Return the computations of a small program, in libtpu's words."""
    text = Path(__file__).with_name("small_program.hlo").read_text()
    return read_computations(text)
