"""The layer contract passes good layers and catches each kind of broken one."""

from typing import Any
from typing import NamedTuple

import keras
import numpy as np
import pytest

from keras_moe.layers import TopKRouter
from keras_moe.testing import run_layer_test

SHAPE = (2, 3, 4)


class Projection(keras.layers.Layer):
    """A sound layer; the broken ones below change one thing each."""

    def __init__(self, units, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.scale = scale

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units)
        )

    def call(self, inputs):
        return self.scale * keras.ops.matmul(inputs, self.kernel)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "scale": self.scale,
        }


class Pair(NamedTuple):
    values: Any
    winners: Any


class PairLayer(Projection):
    """A sound layer with a record of a float32 and an int32 tensor."""

    def call(self, inputs):
        outputs = keras.ops.cast(super().call(inputs), "float32")
        winners = keras.ops.argmax(outputs, axis=-1)
        return Pair(outputs, keras.ops.cast(winners, "int32"))

    def compute_output_shape(self, input_shape):
        return Pair((*input_shape[:-1], self.units), input_shape[:-1])

    def compute_output_spec(self, inputs):
        values, winners = self.compute_output_shape(inputs.shape)
        return Pair(
            keras.KerasTensor(values, dtype="float32"),
            keras.KerasTensor(winners, dtype="int32"),
        )


class Optional(NamedTuple):
    values: Any
    extra: Any = None


class OptionalLayer(Projection):
    """A sound layer with a record, of which a part does not apply."""

    def call(self, inputs):
        return Optional(super().call(inputs))

    def __call__(self, *args, **kwargs):
        # A node of a functional model holds tensors alone.
        outputs = super().__call__(*args, **kwargs)
        return outputs if isinstance(outputs, Optional) else Optional(*outputs)

    def compute_output_spec(self, inputs):
        shape = (*inputs.shape[:-1], self.units)
        return (keras.KerasTensor(shape, self.compute_dtype),)


class ForgetsPartOfRecord(OptionalLayer):
    def compute_output_spec(self, inputs):
        return 2 * super().compute_output_spec(inputs)


class OuterLayer(keras.layers.Layer):
    """A sound layer that takes another layer as an argument."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, input_shape):
        # Keras builds the inner layer of a file before the outer one.
        if not self.inner.built:
            self.inner.build(input_shape)

    def call(self, inputs):
        return self.inner(inputs)

    def compute_output_shape(self, input_shape):
        return self.inner.compute_output_shape(input_shape)

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "inner": inner}

    @classmethod
    def from_config(cls, config):
        config["inner"] = keras.saving.deserialize_keras_object(config["inner"])
        return cls(**config)


class BuildsInnerLayerTwice(OuterLayer):
    def build(self, input_shape):
        self.inner.build(input_shape)


class ConfigForgetsArgument(Projection):
    def get_config(self):
        config = super().get_config()
        del config["scale"]
        return config


class ConfigInventsNumber(Projection):
    def get_config(self):
        return {**super().get_config(), "scale": 1.0}


class ConfigGrows(Projection):
    def __init__(self, units, label="a", **kwargs):
        super().__init__(units, **kwargs)
        self.label = label + "a"

    def get_config(self):
        return {**super().get_config(), "label": self.label}


class ConfigIsLostInJson(Projection):
    def __init__(self, units, limits=((0, 1.0),), **kwargs):
        super().__init__(units, **kwargs)
        self.limits = dict(limits)

    def get_config(self):
        # JSON turns the keys of a dictionary into strings.
        return {**super().get_config(), "limits": self.limits}


class NoOutputShape(Projection):
    compute_output_shape = keras.layers.Layer.compute_output_shape


class WrongOutputShape(Projection):
    def call(self, inputs):
        return super().call(inputs)[..., :1]


class OutputShapeRemembersBuild(Projection):
    def build(self, input_shape):
        super().build(input_shape)
        self.length = input_shape[1]

    def call(self, inputs):
        return super().call(inputs)[:, : self.length]


class OutputShapeRemembersBatch(Projection):
    def compute_output_shape(self, input_shape):
        batch = 2 if input_shape[0] is None else input_shape[0]
        return (batch, *input_shape[1:-1], self.units)


class OutputShapeRemembersLength(Projection):
    def compute_output_shape(self, input_shape):
        length = 3 if input_shape[1] is None else input_shape[1]
        return (input_shape[0], length, self.units)


class WrongSymbolicCall(Projection):
    def compute_output_spec(self, inputs):
        return keras.KerasTensor(
            (2, *inputs.shape[1:-1], self.units), self.compute_dtype
        )


class WrongSymbolicStructure(Projection):
    def compute_output_spec(self, inputs):
        return [super().compute_output_spec(inputs)]


class WrongSymbolicDtype(PairLayer):
    compute_output_spec = keras.layers.Layer.compute_output_spec


class FloatsOutOfPolicy(Projection):
    def call(self, inputs):
        return keras.ops.cast(super().call(inputs), "float32")

    def compute_output_spec(self, inputs):
        shape = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, dtype="float32")


class SymbolicDtypeOutOfPolicy(FloatsOutOfPolicy):
    compute_output_spec = keras.layers.Layer.compute_output_spec


class HalfPrecisionWeights(Projection):
    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            dtype=self.compute_dtype,
        )


class Overflows(Projection):
    def call(self, inputs):
        return super().call(1e5 * inputs)  # float16 ends at 65504


class HalfPrecisionLoss(Projection):
    def call(self, inputs):
        outputs = super().call(inputs)
        self.add_loss(keras.ops.mean(outputs))
        return outputs


class LossPerToken(Projection):
    def call(self, inputs):
        outputs = super().call(inputs)
        self.add_loss(keras.ops.cast(keras.ops.mean(outputs, -1), "float32"))
        return outputs


class InfiniteLoss(Projection):
    def call(self, inputs):
        outputs = super().call(inputs)
        self.add_loss(keras.ops.cast(float("inf"), "float32"))
        return outputs


class StateOutsideTheFile(Projection):
    def build(self, input_shape):
        super().build(input_shape)
        self.offset = float(np.random.default_rng().random())

    def call(self, inputs):
        return super().call(inputs) + self.offset


class WeightOutsideTheFile(Projection):
    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


class ConstantWeightOutsideTheFile(WeightOutsideTheFile):
    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer="ones",
        )


class BlocksGradient(Projection):
    def call(self, inputs):
        outputs = super().call(inputs)
        return keras.ops.stop_gradient(outputs) + 0.0 * outputs


class BlocksInputGradient(Projection):
    def call(self, inputs):
        return super().call(keras.ops.stop_gradient(inputs) + 0.0 * inputs)


class TrainsToNaN(Projection):
    def call(self, inputs):
        # sqrt has no derivative at 0, and 0 * inf is NaN.
        zeros = 0.0 * super().call(inputs)
        return super().call(inputs) + keras.ops.sqrt(zeros)


class TrainingLossOverflows(Projection):
    def call(self, inputs):
        # Finite, but its square is not. Not in float16, where it is not finite.
        large = 1e30 if self.compute_dtype == "float32" else 1.0
        return large * super().call(inputs)


KWARGS = {"units": 5, "scale": 2.0}


def test_keras_dense_keeps_the_contract():
    run_layer_test(
        keras.layers.Dense,
        {"units": 5, "activation": "relu", "use_bias": False},
        SHAPE,
        expected_output_shape=(2, 3, 5),
        expected_num_trainable_weights=1,
    )
    run_layer_test(keras.layers.Dense, {"units": 5}, (2, 4))


def test_layers_without_weights_or_with_fixed_axes_are_fine():
    run_layer_test(
        keras.layers.Reshape,
        {"target_shape": (4, 3)},
        SHAPE,
        expected_output_shape=(2, 4, 3),
        expected_num_trainable_weights=0,
        dynamic_axes=(0,),
    )


def test_random_layers_are_fine_when_inference_is_not_random():
    run_layer_test(keras.layers.Dropout, {"rate": 0.5, "seed": 1}, SHAPE)


def test_an_unregistered_layer_keeps_the_contract():
    run_layer_test(Projection, KWARGS, SHAPE, (2, 3, 5), 1)


def test_a_record_of_tensors_keeps_the_contract():
    run_layer_test(
        PairLayer,
        KWARGS,
        SHAPE,
        expected_output_shape=[(2, 3, 5), (2, 3)],
        expected_num_trainable_weights=1,
        expected_output_dtype="float32",
    )


def test_a_record_may_lack_parts():
    run_layer_test(OptionalLayer, KWARGS, SHAPE, (2, 3, 5), 1)


@pytest.mark.sweep
def test_the_plan_of_a_router_keeps_the_contract():
    run_layer_test(
        TopKRouter,
        {"num_experts": 3, "top_k": 2},
        SHAPE,
        # Indices, weights and counts; logits, probabilities and mask.
        [(2, 3, 2), (2, 3, 2), (2, 3), (2, 3, 3), (2, 3, 3), (2, 3)],
        expected_num_trainable_weights=1,
        expected_output_dtype="float32",
    )


def test_a_layer_among_the_arguments_is_copied():
    inner = keras.layers.Dense(5)
    run_layer_test(OuterLayer, {"inner": inner}, SHAPE, (2, 3, 5), 2)
    assert not inner.built


@pytest.mark.once
@pytest.mark.parametrize(
    ("layer_class", "message"),
    [
        (ConfigForgetsArgument, "hold the argument 'scale'"),
        (ConfigInventsNumber, "scale=2.0. Received: 1.0"),
        (ConfigGrows, "`from_config` to rebuild .*'aaa'"),
        (ConfigIsLostInJson, "through JSON"),
        (NoOutputShape, "define `compute_output_shape`"),
        (WrongOutputShape, r"\[\(2, 3, 1\)\].*Received: \[\(2, 3, 5\)\]"),
        (OutputShapeRemembersBuild, r"\(3, 4, 4\).*\[\(3, 3, 5\)\], the shape"),
        (
            OutputShapeRemembersBatch,
            r"compute_output_shape to allow .*\(3, 3, 5\).* for inputs of "
            r"shape \(None, 3, 4\).*Received: \[\(2, 3, 5\)\]",
        ),
        (
            OutputShapeRemembersLength,
            r"allow .*\(3, 4, 5\).*Received: \[\(None, 3, 5\)\]",
        ),
        (WrongSymbolicCall, r"a symbolic call to allow .*\(3, 3, 5\)"),
        (WrongSymbolicStructure, "structure and dtypes"),
        (WrongSymbolicDtype, "structure and dtypes.*int32.*float32"),
        (ForgetsPartOfRecord, "structure and dtypes"),
        (FloatsOutOfPolicy, "dtype bfloat16 under mixed_bfloat16.*float32"),
        (SymbolicDtypeOutOfPolicy, "as a symbolic call says.*float32"),
        (HalfPrecisionWeights, "kernel in float32 under mixed_bfloat16"),
        (Overflows, "finite outputs under mixed_float16"),
        (HalfPrecisionLoss, "scalar float32 losses.*bfloat16 of shape"),
        (LossPerToken, r"scalar float32 losses.*of shape \(2, 3\)"),
        (InfiniteLoss, "finite losses under float32"),
        (StateOutsideTheFile, "identical outputs"),
        (WeightOutsideTheFile, "identical outputs"),
        (ConstantWeightOutsideTheFile, "identical outputs"),
        (BlocksGradient, "move a weight of the layer.*kernel"),
        (BlocksInputGradient, "move a weight of a layer before it"),
        (TrainingLossOverflows, "finite training loss.*inf"),
        (TrainsToNaN, "finite weights in the layer after a training"),
    ],
)
def test_a_broken_layer_is_caught(layer_class, message):
    kwargs = {"units": 5} if layer_class is ConfigGrows else KWARGS
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        run_layer_test(layer_class, kwargs, SHAPE)


def test_an_inner_layer_that_cannot_be_loaded_is_caught():
    # The message is that of Keras.
    with pytest.raises(ValueError, match="already built"):
        run_layer_test(
            BuildsInnerLayerTwice, {"inner": keras.layers.Dense(5)}, SHAPE
        )


def test_wrong_expectations_are_caught():
    with pytest.raises(AssertionError, match=r"\(2, 3, 6\).*\(2, 3, 5\)"):
        run_layer_test(Projection, KWARGS, SHAPE, (2, 3, 6))
    with pytest.raises(AssertionError, match="2 trainable weights.*1"):
        run_layer_test(Projection, KWARGS, SHAPE, (2, 3, 5), 2)
    with pytest.raises(AssertionError, match="dtype float32 under mixed_bf"):
        run_layer_test(
            Projection, KWARGS, SHAPE, expected_output_dtype="float32"
        )


@pytest.mark.parametrize("shape", [(), (4,), (None, 4), (2, 0)])
def test_an_input_shape_without_sizes_is_refused(shape):
    with pytest.raises(ValueError, match="two or more positive ints.*Received"):
        run_layer_test(Projection, KWARGS, shape)
