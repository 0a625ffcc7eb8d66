"""Event files for TensorBoard, written without TensorFlow."""

import io
import os
import time

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util


class EventWriter:
    """Writes scalars, bar charts and images to one event file.

    Made of parts of the `tensorboard` package, the one that reads the file,
    so that nothing else is needed. The summary writers of TensorFlow and
    PyTorch come with one backend each, and `tensorboard.summary.Writer`
    knows only scalars.

    Args:
        log_dir: path of the folder; made if it does not exist.
    """

    def __init__(self, log_dir):
        self._writer = EventFileWriter(os.fspath(log_dir), flush_secs=10)

    def write_scalar(self, tag, value, step, description=None):
        """Write one number.

        Args:
            tag: str.
            value: float.
            step: int.
            description: optional str, Markdown; TensorBoard shows it with the
                chart.
        """
        self._write(scalar_pb(tag, float(value), description), step)

    def write_bars(self, tag, heights, step, description):
        """Write a histogram with one bucket for each height.

        Height n fills the bucket from n to n + 1, which puts TensorBoard's
        ticks on whole numbers.

        Args:
            tag: str.
            heights: float array of shape (N,).
            step: int.
            description: str, Markdown; TensorBoard shows it with the chart.
        """
        starts = np.arange(len(heights))
        # (left edge, right edge, count): the histogram plugin's format.
        buckets = np.stack([starts, starts + 1, heights], axis=1)
        value = Summary.Value(
            tag=tag,
            metadata=histogram_metadata.create_summary_metadata(
                display_name=None, description=description
            ),
            tensor=tensor_util.make_tensor_proto(buckets, np.float64),
        )
        self._write(Summary(value=[value]), step)

    def write_image(self, tag, image, step, description):
        """Write one image.

        Args:
            tag: str.
            image: `PIL.Image.Image`.
            step: int.
            description: str, Markdown.
        """
        png = io.BytesIO()
        image.save(png, "PNG")
        # Width, height, file: the image plugin's format.
        size = [str(pixels).encode() for pixels in image.size]
        value = Summary.Value(
            tag=tag,
            metadata=image_metadata.create_summary_metadata(
                display_name=None,
                description=description,
                converted_to_tensor=True,
            ),
            tensor=tensor_util.make_tensor_proto([*size, png.getvalue()]),
        )
        self._write(Summary(value=[value]), step)

    def flush(self):
        """Hand everything written so far to the file system."""
        self._writer.flush()

    def close(self):
        """Close the file."""
        self._writer.close()

    def _write(self, summary, step):
        self._writer.add_event(
            Event(wall_time=time.time(), step=step, summary=summary)
        )
