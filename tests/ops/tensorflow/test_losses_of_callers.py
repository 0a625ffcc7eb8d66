"""Losses of a call outlive what other replicas add meanwhile.

If this fails: see `keras.layers.Layer.add_loss` for where a layer keeps its
losses; `tests/integration/test_replicas.py` shows whether it still matters.
"""

import keras
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("replicas that are threads", allow_module_level=True)

from keras_moe.ops.tensorflow.losses_of_callers import losses_of_callers


class WithLoss(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(keras.ops.ones(()))
        return inputs


class Interrupted(keras.Model):
    """Meets other replicas between two losses."""

    def __init__(self):
        super().__init__()
        self.first, self.second = WithLoss(), WithLoss()

    def call(self, inputs):
        inputs = self.first(inputs)
        with losses_of_callers():
            # What a call by another replica does, from its own thread.
            for layer in self.layers:
                layer(inputs)
                layer.add_loss(7 * keras.ops.ones(()))
        return self.second(inputs)


def test_losses_are_kept_where_other_replicas_interrupt():
    model = Interrupted()
    model(keras.ops.ones((1, 2)))
    assert [float(loss) for loss in model.losses] == [1.0, 1.0]
