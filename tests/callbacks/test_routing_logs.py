"""When the image of the expert load is written, and what is said of it."""

import numpy as np
import pytest

pytest.importorskip("tensorboard")

from keras_moe.callbacks import routing_logs
from keras_moe.callbacks.routing_logs import RoutingLogs

# Files and NumPy, no tensor of a backend.
pytestmark = pytest.mark.once


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """Logs that keep the steps of their images in `drawn`."""
    logs = RoutingLogs(tmp_path)
    logs.drawn = []
    monkeypatch.setattr(
        logs._writer,
        "write_image",
        lambda tag, image, step, description: logs.drawn.append(step),
    )
    return logs


def test_a_long_run_does_not_draw_every_report(logs):
    loads, steps = {"moe": []}, []
    for step in range(1, 312):
        loads["moe"].append(np.array([0.5, 0.5]))
        steps.append(step)
        logs.write_image(loads, steps)
    # All of the first hundred, every second of the next, and so on.
    assert logs.drawn[:102] == [*range(1, 101), 102, 104]
    assert logs.drawn[150:153] == [201, 204, 207]
    assert logs.drawn[-2:] == [304, 308]
    logs.close(loads, steps)
    assert logs.drawn[-1] == 311


def test_the_last_image_is_not_drawn_twice(logs):
    loads, steps = {"moe": [np.array([0.5, 0.5])]}, [1]
    logs.write_image(loads, steps)
    logs.close(loads, steps)
    assert logs.drawn == [1]


def test_no_report_has_no_image(logs):
    logs.close({"moe": []}, [])
    assert logs.drawn == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("max_violation", "Largest of all layers"),
        ("routing_router_entropy", "Mean over the layers"),
        ("loss", "`loss` on the training data"),
        ("val_loss", "`loss` on the validation data"),
    ],
)
def test_every_entry_of_the_logs_is_described(name, words):
    assert words in routing_logs._describe(name)
