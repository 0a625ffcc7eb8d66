"""A function of a model as one program gives what it gives as it is."""

import keras
import numpy as np
from keras import ops

from keras_moe.export.signatures.compiled import compiled


def make_model():
    return keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, use_bias=False)]
    )


def test_it_follows_weights_that_change():
    model = make_model()
    run = compiled(lambda model, tensors: {"y": model(tensors["x"])})
    for value in (1.0, 3.0):
        model.set_weights([np.full((2, 1), value)])
        [y] = run(model, {"x": ops.ones((1, 2))}).values()
        np.testing.assert_allclose(ops.convert_to_numpy(y), [[2 * value]])


def test_the_number_of_new_tokens_has_a_value():
    def count(model, tensors):
        size = int(tensors["max_new_tokens"][0])
        return {"zeros": ops.zeros((size,)) * tensors["x"]}

    tensors = {"max_new_tokens": ops.convert_to_tensor([3]), "x": ops.ones(1)}
    [zeros] = compiled(count)(make_model(), tensors).values()
    assert tuple(zeros.shape) == (3,)


def test_what_looks_at_other_values_runs_as_it_is():
    def look(model, tensors):
        return {"y": tensors["x"] * float(tensors["x"][0])}

    def to_numpy(model, tensors):
        return {"y": ops.convert_to_numpy(tensors["x"]) ** 2}

    for function in (look, to_numpy):
        outputs = compiled(function)(
            make_model(), {"x": ops.convert_to_tensor([3.0])}
        )
        assert ops.convert_to_numpy(outputs["y"]).tolist() == [9.0]
