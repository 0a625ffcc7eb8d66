"""The description of a model's inputs, and what a signature may change."""

import keras
import numpy as np
import pytest

from keras_moe.export.model_inputs import ModelInput
from keras_moe.export.model_inputs import describe_model_inputs
from keras_moe.export.model_inputs import pack_model_inputs

INT_SPEC = keras.InputSpec(shape=(None, None), dtype="int32")


def scorer(custom_layers):
    """Subclassed model, built by a call on a dict."""
    model = custom_layers.TokenScorer(name="scorer")
    model(
        {
            "token_ids": np.ones((2, 3), "int32"),
            "padding_mask": np.ones((2, 3), "int32"),
        }
    )
    return model


def two_inputs():
    """Functional model that takes a list."""
    first = keras.Input((4,), name="first")
    second = keras.Input((None, 4), name="second")
    return keras.Model(
        [first, second], keras.ops.expand_dims(first, 1) + second
    )


def test_a_functional_model_keeps_names_shapes_and_dtypes(language_model):
    assert set(describe_model_inputs(language_model)) == {
        ModelInput("token_ids", (None, None), "int32"),
        ModelInput("padding_mask", (None, None), "int32"),
    }


def test_the_batch_size_is_left_open():
    inputs = keras.Input(batch_shape=(2, 4), name="features")
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    assert describe_model_inputs(model) == (
        ModelInput("features", (None, 4), "float32"),
    )


def test_an_unnamed_input_is_called_after_its_layer():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    [described] = describe_model_inputs(model)
    assert described.name == model.layers[0].name
    assert described.name.startswith("input_layer")


def test_a_sequential_model_keeps_the_name_of_its_input():
    model = keras.Sequential(
        [keras.Input((4,), name="features"), keras.layers.Dense(1)]
    )
    assert [x.name for x in describe_model_inputs(model)] == ["features"]


def test_a_sequential_model_without_a_name_takes_inputs():
    model = keras.Sequential([keras.layers.Dense(1)])
    model(np.ones((2, 4), "float32"))
    assert describe_model_inputs(model) == (
        ModelInput("inputs", (None, 4), "float32"),
    )


def test_a_signature_fixes_the_sizes_it_names(language_model):
    described = describe_model_inputs(
        language_model,
        {"token_ids": keras.InputSpec(shape=(None, 16))},
    )
    assert {x.name: x.shape for x in described} == {
        "token_ids": (None, 16),
        "padding_mask": (None, None),
    }
    assert {x.dtype for x in described} == {"int32"}


def test_one_spec_will_do_for_one_input():
    inputs = keras.Input((None,), dtype="int32", name="token_ids")
    model = keras.Model(inputs, keras.layers.Embedding(5, 2)(inputs))
    spec = keras.InputSpec(shape=(8, 4), dtype="int64")
    assert describe_model_inputs(model, spec) == (
        ModelInput("token_ids", (8, 4), "int64"),
    )


def test_a_subclassed_model_takes_its_dtypes_from_the_signature(
    custom_layers,
):
    described = describe_model_inputs(
        scorer(custom_layers),
        {"token_ids": INT_SPEC, "padding_mask": INT_SPEC},
    )
    assert [x.name for x in described] == ["token_ids", "padding_mask"]
    assert {x.shape for x in described} == {(None, None)}


def test_packing_follows_the_structure_of_the_model(
    language_model, custom_layers
):
    tokens_first = {"token_ids": 1, "padding_mask": 2}
    for named in (tokens_first, dict(reversed(tokens_first.items()))):
        assert pack_model_inputs(language_model, named) == named
        assert pack_model_inputs(scorer(custom_layers), named) == named
    for named in ({"first": 1, "second": 2}, {"second": 2, "first": 1}):
        assert pack_model_inputs(two_inputs(), named) == [1, 2]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    assert pack_model_inputs(model, {"inputs": 1}) == 1


def test_refuses_a_layer():
    with pytest.raises(ValueError, match="Expected a keras.Model.*Sequential"):
        describe_model_inputs(keras.layers.Dense(1))


@pytest.mark.parametrize("kind", ["sequential", "subclassed"])
def test_refuses_a_model_that_is_not_built(kind, custom_layers):
    model = {
        "sequential": lambda: keras.Sequential([keras.layers.Dense(1)]),
        "subclassed": custom_layers.TokenScorer,
    }[kind]()
    with pytest.raises(ValueError, match="Expected a built model.*Call it"):
        describe_model_inputs(model)


def test_refuses_a_subclassed_model_without_a_signature(custom_layers):
    message = "Expected an input_signature.*'scorer'.*input_signature={\""
    with pytest.raises(ValueError, match=message):
        describe_model_inputs(scorer(custom_layers))


def test_refuses_a_signature_that_forgets_an_input(custom_layers):
    message = r"\['padding_mask', 'token_ids'\].*Name every input"
    with pytest.raises(ValueError, match=message):
        describe_model_inputs(scorer(custom_layers), {"token_ids": INT_SPEC})


def test_refuses_several_inputs_for_a_model_of_one(custom_layers):
    class OneInput(keras.Model):
        def build(self, input_shape):
            self.built = True

        def call(self, inputs):
            return inputs

    model = OneInput()
    model(np.ones((2, 3), "float32"))
    with pytest.raises(ValueError, match="built on one tensor.*one dict"):
        describe_model_inputs(model, {"a": INT_SPEC, "b": INT_SPEC})


def test_refuses_an_unknown_name(language_model):
    with pytest.raises(ValueError, match=r"token_ids.*Received: \['tokens'\]"):
        describe_model_inputs(language_model, {"tokens": INT_SPEC})


def test_refuses_one_spec_for_several_inputs(language_model):
    with pytest.raises(ValueError, match="to be a dict from input name"):
        describe_model_inputs(language_model, INT_SPEC)


@pytest.mark.parametrize("shape", [(None,), (None, 3, 4), (None, 5)])
def test_refuses_a_shape_that_does_not_fit(shape):
    model = keras.Sequential(
        [keras.Input((4,), name="features"), keras.layers.Dense(1)]
    )
    spec = keras.InputSpec(shape=shape, dtype="float32")
    with pytest.raises(ValueError, match=r"'features'.*\(None, 4\)"):
        describe_model_inputs(model, spec)


@pytest.mark.parametrize(
    "spec",
    [keras.InputSpec(ndim=2, dtype="int32"), INT_SPEC.shape, None],
    ids=["unknown dimensions", "only a shape", "None"],
)
def test_refuses_a_spec_without_a_shape(language_model, spec):
    with pytest.raises(ValueError, match="state a shape of rank 1 or more"):
        describe_model_inputs(language_model, {"token_ids": spec})


def test_refuses_a_spec_without_a_dtype_for_a_subclassed_model(custom_layers):
    spec = keras.InputSpec(shape=(None, None))
    with pytest.raises(ValueError, match="and a dtype"):
        describe_model_inputs(
            scorer(custom_layers), {"token_ids": spec, "padding_mask": spec}
        )
