import io
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("tensorboard")

from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from keras_moe.callbacks import event_writer

# Files and NumPy, no tensor of a backend.
pytestmark = pytest.mark.once


@pytest.fixture
def events(tmp_path):
    writer = event_writer.EventWriter(tmp_path / "new" / "folder")
    writer.write_scalar("block/entropy", np.float32(0.5), step=3)
    writer.write_scalar("block/entropy", 0.25, step=7)
    writer.write_scalar("described", 1.0, step=3, description="**Nats**")
    writer.write_bars("block/load", np.array([0.5, 2.5, 0.0]), 3, "**Words**")
    writer.write_image("map", Image.new("RGB", (5, 2), "red"), 3, "**Map**")
    writer.close()
    events = event_accumulator.EventAccumulator(
        str(tmp_path / "new" / "folder")
    )
    return events.Reload()


def test_scalars_come_back(events):
    written = events.Tensors("block/entropy")

    assert [event.step for event in written] == [3, 7]
    assert [
        tensor_util.make_ndarray(event.tensor_proto).item() for event in written
    ] == [0.5, 0.25]
    assert events.PluginTagToContent("scalars").keys() == {
        "block/entropy",
        "described",
    }
    assert events.SummaryMetadata("described").summary_description == "**Nats**"


def test_bars_come_back_as_a_histogram_with_a_bucket_each(events):
    (written,) = events.Tensors("block/load")

    assert written.step == 3
    # left edge, right edge, height
    assert tensor_util.make_ndarray(written.tensor_proto).tolist() == [
        [0.0, 1.0, 0.5],
        [1.0, 2.0, 2.5],
        [2.0, 3.0, 0.0],
    ]
    assert events.PluginTagToContent("histograms").keys() == {"block/load"}
    assert (
        events.SummaryMetadata("block/load").summary_description == "**Words**"
    )


def test_an_image_comes_back(events):
    (written,) = events.Tensors("map")

    width, height, png = tensor_util.make_ndarray(written.tensor_proto)
    assert (written.step, width, height) == (3, b"5", b"2")
    image = Image.open(io.BytesIO(png))
    assert image.size == (5, 2)
    assert image.getpixel((0, 0)) == (255, 0, 0)
    assert events.PluginTagToContent("images").keys() == {"map"}
    assert events.SummaryMetadata("map").summary_description == "**Map**"


def test_what_is_flushed_can_be_read_before_the_end(tmp_path):
    writer = event_writer.EventWriter(tmp_path)
    writer.write_scalar("loss", 1.0, step=0)
    writer.flush()

    events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()

    assert len(events.Tensors("loss")) == 1
    writer.close()


def test_works_without_tensorflow(tmp_path):
    # `None` in sys.modules makes every import of TensorFlow fail.
    program = f"""
import importlib.util, sys
sys.modules["tensorflow"] = None
spec = importlib.util.spec_from_file_location("w", {event_writer.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
writer = module.EventWriter({str(tmp_path)!r})
writer.write_scalar("loss", 1.5, step=2)
writer.write_bars("load", [1.0, 3.0], 2, "")
writer.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)

    events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Tensors("loss")] == [2]
    assert [event.step for event in events.Tensors("load")] == [2]
