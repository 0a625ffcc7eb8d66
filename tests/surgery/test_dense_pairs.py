import keras
import pytest

from keras_moe.surgery import upcycle


def model_of(second_activation=None, extra=None):
    inputs = keras.Input((5, 8))
    hidden = keras.layers.Dense(12, "relu", name="up")(inputs)
    outputs = keras.layers.Dense(8, second_activation, name="down")(hidden)
    outputs = [outputs] if extra is None else [outputs, extra(hidden)]
    return keras.Model(inputs, outputs)


@pytest.mark.once
@pytest.mark.parametrize(
    ("model", "pair", "message"),
    [
        (model_of, ("up", "absent"), "Received: 'absent'"),
        (lambda: model_of("relu"), ("up", "down"), "Received: relu"),
        (
            lambda: model_of(extra=keras.layers.Dense(3)),
            ("up", "down"),
            "no other layer to see 'up'",
        ),
        (lambda: model_of(extra=lambda x: x), ("up", "down"), "to see 'up'"),
        (model_of, ("down", "down"), "to see 'down'"),
    ],
)
def test_layers_that_are_no_pair_are_refused(model, pair, message):
    with pytest.raises(ValueError, match=message):
        upcycle(model(), 4, layers=[pair])


@pytest.mark.once
def test_layers_of_a_sequential_model_follow_each_other():
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(12, name="up"),
            keras.layers.ReLU(),
            keras.layers.Dense(8, name="down"),
        ]
    )
    with pytest.raises(ValueError, match="follow each other directly"):
        upcycle(model, 4, layers=[("up", "down")])


@pytest.mark.once
def test_layers_that_are_called_twice_stay_shared():
    inputs = keras.Input((5, 8))
    up = keras.layers.Dense(12, "relu", name="up")
    down = keras.layers.Dense(8, name="down")
    x = down(up(inputs))
    model = keras.Model(inputs, down(up(x)) + x)
    sparse = upcycle(model, 4, layers=[("up", "down")])
    assert [each.name for each in sparse.layers if each.weights] == ["down"]
