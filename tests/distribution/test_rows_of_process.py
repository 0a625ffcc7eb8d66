"""Each row of a batch is read once."""

import sys

import pytest

from keras_moe.distribution import rows_of_process

# With processes that are not there.
pytestmark = pytest.mark.once


class Engine:
    """What JAX says in one process of many."""

    def __init__(self, index, count):
        self.process_index = lambda: index
        self.process_count = lambda: count


@pytest.fixture
def become(monkeypatch):
    module = sys.modules["keras_moe.distribution.rows_of_process"]
    return lambda index, count: monkeypatch.setattr(
        module, "load_or", lambda *names: Engine(index, count)
    )


def test_the_parts_are_the_batch(become):
    parts = []
    for index in range(4):
        become(index, 4)
        parts += range(8)[rows_of_process(8)]
    assert parts == [*range(8)]


def test_a_rest_is_refused(become):
    become(0, 4)
    with pytest.raises(ValueError, match="batch_size=6 for 4 processes"):
        rows_of_process(6)
