from types import SimpleNamespace

import pytest

from keras_moe.planning.collectives import Traffic
from keras_moe.visualization import plot_training_plan

# matplotlib alone.
pytestmark = pytest.mark.once
GIB = 1024**3


def test_draws_memory_up_to_what_there_is_and_every_collective():
    pytest.importorskip("matplotlib")
    figure = plot_training_plan(
        SimpleNamespace(
            title="Mixtral on 64 chips",
            memory={"weights and slots": 10 * GIB, "temporary": 20 * GIB},
            available=95 * GIB,
            collectives={
                "all-to-all": Traffic(12, 3 * GIB),
                "all-reduce": Traffic(4, GIB),
            },
        )
    )
    memory, traffic = figure.axes
    # Side by side: the second begins where the first ends.
    edges = [(each.get_x(), each.get_width()) for each in memory.patches]
    assert edges == [(0, 10), (10, 20)]
    assert memory.get_xlim()[1] >= 95
    labels = [text.get_text() for text in traffic.texts]
    assert labels == ["3 GiB, 12 times", "1 GiB, 4 times"]
