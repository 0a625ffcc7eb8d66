"""An optimizer that would see some of the experts is refused."""

import keras
import pytest

from keras_moe.distribution.check_optimizer import check_optimizer

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("optimizer", "received"),
    [
        (keras.optimizers.SGD(clipnorm=1.0), "clipnorm=1.0"),
        (keras.optimizers.SGD(global_clipnorm=2.0), "global_clipnorm=2.0"),
        (
            keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()),
            "a LossScaleOptimizer",
        ),
    ],
)
def test_an_optimizer_of_all_experts_is_refused(optimizer, received):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer, "mse")
    check_optimizer(model)  # Every process has all weights.
    model.weights[0].is_part = True
    with pytest.raises(NotImplementedError, match="Expected an opt") as error:
        check_optimizer(model)
    assert f"Received: {received}. Use `clipvalue`" in str(error.value)
