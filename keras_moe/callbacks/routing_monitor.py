"""The callback that shows how the experts are used."""

import warnings

import numpy as np

from keras_moe.callbacks.periodic_callback import PeriodicCallback
from keras_moe.callbacks.routing_averages import averages_between
from keras_moe.callbacks.routing_averages import averages_over_layers
from keras_moe.callbacks.routing_logs import RoutingLogs
from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.ops.plain_numbers import plain_numbers


class RoutingMonitor(PeriodicCallback):
    """Shows how the experts are used: progress bar, history, TensorBoard.

    While `fit()` runs, every `SparseMoE` of the model records its routing,
    and `logs` gets six more entries, averages over the training steps since
    the epoch began:

    - `load_balancing_loss` (1.0 = balanced) and `router_z_loss` (nats
      squared), unweighted, mean over the layers;
    - `max_violation`, by how much the busiest expert exceeds its equal share
      (0 = balanced, E - 1 = one expert gets everything), of the worst layer;
    - `dropped_fraction` of the (token, choice) pairs, and `unrouted_fraction`
      of the tokens, mean over the layers;
    - `router_entropy` in nats (log E = undecided), mean over the layers.

    A name that a metric of the model already has gets the prefix `routing_`.
    Callbacks that read these entries come after the monitor in
    `fit(callbacks=[...])`.

    Recording is switched off when training ends, and the training step is
    compiled anew both times: without the monitor `fit()` pays nothing for it.

    Args:
        log_dir: optional path of a folder for TensorBoard. Per layer:
            `<layer>/expert_load`, a histogram with one bucket per expert,
            and as scalars `router_entropy`, `dropped_fraction`,
            `unrouted_fraction`, `max_violation`, `load_balancing_loss` and
            `router_z_loss`, all averaged over the steps since the previous
            report;
            `all_layers/<name>` for each entry of `logs`; and
            `all_layers/expert_load`, an image of the load of every expert
            since `fit()` began. Needs the package `tensorboard`, not
            TensorFlow.
        update_freq: `"epoch"`, `"batch"` or int n: report at the end of each
            epoch only, or after every batch or every n batches as well. A
            report waits for the training step to finish; a large n keeps
            accelerators busy. TensorBoard's horizontal axis counts epochs or
            training steps accordingly.

    Attributes:
        expert_load: dict: layer -> float32 array of shape (number of
            reports, E), fractions that sum to 1 (or all 0 if the layer was
            not used), since the latest `fit()` began.
        report_steps: list of int, the horizontal axis of the same reports.

    Raises:
        ValueError: If `update_freq` is none of the above, or, in `fit()`, the
            model has no `SparseMoE` layer.
        ImportError: If `log_dir` is given and `tensorboard` is missing.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from keras_moe.layers import SparseMoE
    >>> model = keras.Sequential([SparseMoE(num_experts=4, intermediate_dim=8)])
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((8, 3, 2), "float32")
    >>> history = model.fit(x, x, verbose=0, callbacks=[RoutingMonitor()])
    >>> history.history["max_violation"]  # all tokens to the same 2 of 4
    [1.0]

    References:
        `max_violation`: Wang et al., 2024, https://arxiv.org/abs/2408.15664,
        equation 4.
    """

    @plain_numbers
    def __init__(self, log_dir=None, update_freq="epoch"):
        super().__init__(update_freq)
        self.log_dir = log_dir
        if log_dir is not None:
            RoutingLogs.check_installed()
        self.report_steps = []
        self._loads = {}
        self._layers = {}
        self._names = None
        self._logs = None

    @property
    def expert_load(self):
        return {
            name: np.array(loads, "float32")
            for name, loads in self._loads.items()
        }

    def on_train_begin(self, logs=None):
        self._layers = find_sparse_layers(self.model)
        if not self._layers:
            raise ValueError(
                "Expected a model with at least one SparseMoE layer. "
                f"Received: model={self.model.name!r} without one. Leave "
                "RoutingMonitor out, or, if the model makes its layers when "
                "it is built, call it on a batch before `fit()`."
            )
        self._record(True)
        self._names = None
        super().on_train_begin()
        self.report_steps = []
        self._loads = {name: [] for name in self._layers}
        if self.log_dir is not None:
            self._logs = RoutingLogs(self.log_dir)

    def on_epoch_begin(self, epoch, logs=None):
        for layer in self._layers.values():
            layer.statistics.reset()
        super().on_epoch_begin(epoch)
        self._reported = {}

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if not self._reported:
            warnings.warn(
                "RoutingMonitor has nothing to report: no SparseMoE layer ran "
                "with training=True in this epoch.",
                stacklevel=2,
            )
        if self._logs:
            self._logs.flush()

    def on_train_end(self, logs=None):
        self._record(False)
        if self._logs:
            self._logs.close(self._loads, self.report_steps)
            self._logs = None

    def _record(self, enabled):
        for layer in self._layers.values():
            layer.statistics.enabled = enabled
        # The step may have been traced with recording off (or on).
        self.model.make_train_function(force=True)

    def report(self, step, logs):
        """Report the layers that ran in this epoch."""
        results = {
            name: layer.statistics.result()
            for name, layer in self._layers.items()
            if layer.statistics.built
        }
        results = {
            name: result for name, result in results.items() if result["steps"]
        }
        if logs is not None and results:
            self._update_logs(logs, averages_over_layers([*results.values()]))
        self._report_layers(step, results)
        if self._logs:
            self._logs.write_model(logs or {}, step)
        self._reported = results

    def _update_logs(self, logs, averages):
        if self._names is None:
            self._names = {
                name: f"routing_{name}" if name in logs else name
                for name in averages
            }
        for name, value in averages.items():
            logs[self._names[name]] = value

    def _report_layers(self, step, results):
        """Keep and write what happened since the previous report."""
        averages = {
            name: averages_between(self._reported.get(name), result)
            for name, result in results.items()
        }
        averages = {name: each for name, each in averages.items() if each}
        if not averages:
            return
        self.report_steps.append(step)
        for name, layer in self._layers.items():
            idle = {"expert_load": np.zeros(layer.num_experts)}
            self._loads[name].append(averages.get(name, idle)["expert_load"])
        if self._logs:
            for name, each in averages.items():
                self._logs.write_layer(name, each, step)
            self._logs.write_image(self._loads, self.report_steps)
