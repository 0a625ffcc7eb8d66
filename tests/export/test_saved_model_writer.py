"""The endpoint that the child process traces, here on every backend."""

import keras
import numpy as np
import pytest

from keras_moe.export.saved_model_writer import make_endpoint
from keras_moe.export.saved_model_writer import track_tables


def test_the_endpoint_answers_in_float32_and_inference_mode(
    language_model, token_batch
):
    outputs = make_endpoint(language_model)(token_batch)
    expected = language_model(token_batch, training=False)
    for name in ("logits", "pooled"):
        dtype = keras.backend.standardize_dtype(outputs[name].dtype)
        assert dtype == "float32"
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(outputs[name]),
            keras.ops.convert_to_numpy(expected[name]).astype("float32"),
        )


def test_whole_numbers_stay_whole():
    inputs = keras.Input((3,), name="x")
    model = keras.Model(
        inputs,
        [
            keras.ops.argmax(inputs, axis=-1),
            inputs > 0,
            keras.ops.cast(inputs, "float16"),
        ],
    )
    outputs = make_endpoint(model)({"x": np.ones((2, 3), "float32")})
    dtypes = [
        keras.backend.standardize_dtype(x.dtype) for x in outputs.values()
    ]
    # argmax gives int32 or int64, by backend.
    assert dtypes[0].startswith("int")
    assert dtypes[1:] == ["bool", "float32"]


def test_lookup_tables_are_tracked_wherever_they_are():
    pytest.importorskip("tensorflow")

    class Archive(list):
        track = list.append

    lookup = keras.layers.IntegerLookup(vocabulary=[5, 6])
    inner = keras.Sequential([keras.Input((None,), dtype="int64"), lookup])
    model = keras.Sequential([inner, keras.layers.Embedding(4, 2)])
    archive = Archive()
    track_tables(archive, model)
    assert archive == [lookup]
