"""The model's own answers, with which an export is compared."""

import keras
import numpy as np

from keras_moe.export.inference_function import make_inference_function


def test_runs_in_inference_mode(language_model, token_batch):
    outputs = make_inference_function(language_model)(token_batch)
    expected = language_model(token_batch, training=False)
    assert set(outputs) == {"logits", "pooled"}
    np.testing.assert_allclose(
        outputs["logits"],
        keras.ops.convert_to_numpy(expected["logits"]),
        atol=1e-6,
    )


def test_follows_weights_that_change():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    run = make_inference_function(model)
    inputs = {"inputs": np.ones((1, 2), "float32")}
    for value in (1.0, 3.0):
        model.set_weights([np.full((2, 2), value), np.zeros(2)])
        [outputs] = run(inputs).values()
        np.testing.assert_allclose(outputs, [[2 * value, 2 * value]])


def test_a_model_with_state_keeps_it():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.BatchNormalization()]
    )
    before = [np.copy(x) for x in model.get_weights()]
    make_inference_function(model)({"inputs": np.ones((4, 2), "float32")})
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_runs_a_subclassed_model_on_a_dict(custom_layers, token_batch):
    model = custom_layers.TokenScorer()
    model(token_batch)
    [outputs] = make_inference_function(model)(token_batch).values()
    assert outputs.shape == (2, 5, 3)
    # The call multiplies by the padding mask, except in training.
    np.testing.assert_array_equal(outputs[1, 2:], 0.0)
    assert np.abs(outputs[1, :2]).min() > 0
