"""Layers come in the order in which they became attributes."""

import keras
import keras_hub

from keras_moe.models.creation_order import CreationOrder


class Model(CreationOrder, keras_hub.models.Backbone):
    """Makes its layers in another order than it uses them in."""

    def __init__(self):
        self.last = keras.layers.Dense(2, name="last")
        self.others = [keras.layers.Dense(2, name="first")]
        inputs = keras.Input((2,), name="inputs")
        super().__init__(inputs, self.last(self.others[0](inputs)))


def test_keras_and_keras_hub_still_have_what_decides_the_order():
    """If this fails: Keras or keras-hub tracks a model's layers otherwise.

    Remove `CreationOrder` from `keras_moe/models/sparse_model.py` and see
    whether `tests/models/test_sparse_model.py` finds the same order on every
    backend. If not, look at `__setattr__` of `keras_hub.models.Backbone` and
    `keras.layers.Layer`, and change `keras_moe/models/creation_order.py`.
    """
    model = Model()
    names = [weight.path for weight in model.weights]
    assert names == ["last/kernel", "last/bias", "first/kernel", "first/bias"]
    assert hasattr(model, "_tracker")
    assert hasattr(model, "_initialized")
