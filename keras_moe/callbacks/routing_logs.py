"""What `RoutingMonitor` writes for TensorBoard, and what it says about it."""

import importlib.util
import math

import numpy as np

from keras_moe.metrics.table import ROUTING_METRICS

_EXPERT_LOAD = (
    "Bucket n to n + 1 belongs to expert n: its share of the routed (token, "
    "choice) pairs times the number of experts. Flat is balanced."
)
_IMAGE = (
    "One panel per layer, one row per expert, time to the right: an expert's "
    "share of the routed (token, choice) pairs. White is the equal share, red "
    "is more, blue is less; a row that stays dark blue learns nothing."
)
# Every report up to here has its image, and of a longer run about one in a
# hundred of its reports: each image holds all reports before it.
_IMAGES = 100


class RoutingLogs:
    """Writes the reports of a `RoutingMonitor` to an event file.

    Args:
        log_dir: path of the folder; made if it does not exist.
    """

    def __init__(self, log_dir):
        from keras_moe.callbacks.event_writer import EventWriter

        self._writer = EventWriter(log_dir)
        self._drawn = 0

    @staticmethod
    def check_installed():
        """Raise if `tensorboard` is missing.

        Raises:
            ImportError: With the line that installs it.
        """
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "log_dir needs the package tensorboard, which writes the event "
                "files: pip install 'keras-moe[tensorboard]'"
            )

    def write_model(self, logs, step):
        """Write the numbers among the logs of `fit()`.

        Args:
            logs: dict: name -> value.
            step: int.
        """
        for name, value in logs.items():
            if np.ndim(value) == 0:
                self._writer.write_scalar(
                    f"all_layers/{name}", value, step, _describe(name)
                )

    def write_layer(self, name, averages, step):
        """Write the numbers of one layer.

        Args:
            name: str.
            averages: dict from `averages_between`.
            step: int.
        """
        load = averages["expert_load"]
        self._writer.write_bars(
            f"{name}/expert_load", load * len(load), step, _EXPERT_LOAD
        )
        for scalar, metric in ROUTING_METRICS.items():
            self._writer.write_scalar(
                f"{name}/{scalar}", averages[scalar], step, metric.description
            )

    def write_image(self, loads, steps):
        """Write the image of all reports so far, if its turn has come.

        Args:
            loads: dict: layer -> list of float arrays of shape (E,).
            steps: list of int, of the same length.
        """
        if len(steps) % math.ceil(len(steps) / _IMAGES) == 0:
            self._draw(loads, steps)

    def flush(self):
        """Hand everything written so far to the file system."""
        self._writer.flush()

    def close(self, loads, steps):
        """Write the image of all reports, if it is not there, and close."""
        if len(steps) > self._drawn:
            self._draw(loads, steps)
        self._writer.close()

    def _draw(self, loads, steps):
        from keras_moe.visualization import expert_load_image

        self._drawn = len(steps)
        self._writer.write_image(
            "all_layers/expert_load",
            expert_load_image(loads, steps),
            steps[-1],
            _IMAGE,
        )


def _describe(name):
    """Describe an entry of the logs of `fit()`."""
    scalar = name.removeprefix("routing_")
    if scalar in ROUTING_METRICS:
        metric = ROUTING_METRICS[scalar]
        largest = metric.over_layers is np.max
        over = "Largest of all layers." if largest else "Mean over the layers."
        return f"{metric.description} {over}"
    if name.startswith("val_"):
        return f"`{name.removeprefix('val_')}` on the validation data."
    return f"`{name}` on the training data, as `fit()` reports it."
