"""The same model in every process, each with its part of the batch."""

import keras
from keras import ops

from keras_moe.distribution.check_optimizer import check_optimizer
from keras_moe.distribution.engines import keras_distributes
from keras_moe.ops.backend import load_or
from keras_moe.ops.replicas import check_group
from keras_moe.ops.replicas import num_replicas
from keras_moe.ops.replicas import sum_over_replicas


def replicate(model):
    """Train a model in all processes of `torch.distributed`.

    For PyTorch, where Keras 3.15 trains each process by itself. Call it after
    the model is made, and then train as on one device, with the same lines in
    every process: all read the same batches (`batch_size` is that of all
    processes together), and each computes its part of the rows. Gradients are
    averaged, and metrics and the logged loss are those of the whole batch,
    also in `evaluate`. Weights and the order of shuffled data are those of
    the first process. Under `ExpertParallel`, each process keeps the experts
    that are its own.

    A batch whose rows cannot be divided, such as the last one, is computed
    whole by every process, and counts once.

    In a loop of your own, gradients are averaged at the end of `backward`;
    reading different data in each process is up to you. The mean over
    processes is that of the batch if each has equally many rows. A loss that
    divides by the number of unmasked tokens or by the sum of weights does so
    for each process, as with `DistributedDataParallel`.

    It does nothing in a single process, on JAX (set a distribution), on
    TensorFlow (use a strategy), and where Keras itself distributes on
    PyTorch.

    Args:
        model: `keras.Model`; built, if you write the loop yourself.

    Returns:
        `model`.

    Raises:
        RuntimeError: If several processes were launched without a process
            group.
        NotImplementedError: If the optimizer looks at all experts at once,
            under `ExpertParallel`.

    Example:

    >>> import keras
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> replicate(model) is model
    True
    """
    engine = load_or("processes", None)
    if engine is None or keras_distributes():
        return model
    check_group()
    if num_replicas() > 1 and not _Replica.of(model):
        _Replica(model, engine)
    return model


class _Replica:
    """Replaces a model's steps by those of one process among others."""

    def __init__(self, model, engine):
        self.model = model
        self.engine = engine
        self.shared = {}
        self.averaged = {}
        # Of the metrics, before a batch that every process computes.
        self.before = None
        self._train_step = model.train_step
        self._test_step = model.test_step
        self._get_metrics_result = model.get_metrics_result
        model.train_step = self.train_step
        model.test_step = self.test_step
        model.get_metrics_result = self.get_metrics_result
        engine.share_random_state()
        self.synchronize()

    @classmethod
    def of(cls, model):
        return isinstance(getattr(model.train_step, "__self__", None), cls)

    def synchronize(self):
        """Share the variables that have come since the last time."""
        new = {
            id(variable): variable
            for variable in self.model.weights
            if id(variable) not in self.shared
        }
        for variable in new.values():
            self.engine.share_value(variable)
        self.shared |= new
        if new:
            check_optimizer(self.model)
        for variable in self.model.trainable_weights:
            if id(variable.value) not in self.averaged:
                self.engine.average_gradient(variable)
                self.averaged[id(variable.value)] = variable.value

    def train_step(self, data):
        return self._step(self._train_step, data)

    def test_step(self, data):
        return self._step(self._test_step, data)

    def get_metrics_result(self):
        """Compute the metrics from the sums and counts of all processes."""
        variables = self._metric_variables()
        own = [ops.copy(variable.value) for variable in variables]
        for variable in variables:
            variable.assign(sum_over_replicas(self._counted(variable)))
        result = self._get_metrics_result()
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
        return result

    def _step(self, step, data):
        self.synchronize()
        part = self._part(data)
        if part is not data:
            return step(part)
        self.before = {
            id(variable): ops.copy(variable.value)
            for variable in self._metric_variables()
        }
        result = step(data)
        for variable in self._metric_variables():
            variable.assign(self._counted(variable))
        self.before = None
        return result

    def _part(self, data):
        """Take this process' rows, or all if they cannot be divided."""
        arrays = [x for x in keras.tree.flatten(data) if x is not None]
        lengths = {array.shape[0] for array in arrays}
        if len(lengths) != 1 or (length := lengths.pop()) % num_replicas():
            return data
        size = length // num_replicas()
        start = self.engine.rank() * size
        return keras.tree.map_structure(
            lambda x: None if x is None else x[start : start + size], data
        )

    def _metric_variables(self):
        return [v for metric in self.model.metrics for v in metric.variables]

    def _counted(self, variable):
        """Return a sum, to which a batch that all compute adds a part."""
        if self.before is None:
            return variable.value
        before = self.before.get(id(variable), 0)
        return before + (variable.value - before) / num_replicas()
