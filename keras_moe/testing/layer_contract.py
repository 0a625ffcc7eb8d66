"""The layer contract: what every Keras layer owes its users."""

import copy
import json
import os
import tempfile

import keras
import numpy as np

from keras_moe.testing.shape_contract import check_shapes
from keras_moe.testing.shape_contract import require
from keras_moe.testing.shape_contract import sample
from keras_moe.testing.shape_contract import shapes_of
from keras_moe.testing.shape_contract import tensors_of

DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def run_layer_test(
    layer_class,
    init_kwargs,
    input_shape,
    expected_output_shape=None,
    expected_num_trainable_weights=None,
    *,
    expected_output_dtype=None,
    dynamic_axes=None,
):
    """Check that a layer keeps the promises of a Keras layer.

    In this order: its config holds every argument and rebuilds the layer;
    symbolic calls, eager calls and `compute_output_shape` agree, also where
    axes are unknown; it follows the float32, mixed_bfloat16 and mixed_float16
    policies, with float32 weights and losses; a `.keras` file brings it back
    with identical outputs; one step of `fit` trains it and what lies before
    it. Outputs may be any structure of tensors and `None`, such as the
    `TokenChoice` of a router.

    Args:
        layer_class: the class, registered or not. Its layers take one tensor.
        init_kwargs: dict, its constructor's arguments. Layers among them are
            copied, so every check starts from a new one, and get the dtype
            policy under test.
        input_shape: tuple of two or more positive ints, batch first.
        expected_output_shape: tuple of ints, or the flat list of these tuples
            where the output has several tensors. `None` skips the check.
        expected_num_trainable_weights: int, variables to train once built.
            `None` skips the check.
        expected_output_dtype: str, the dtype of the floating outputs under
            every policy, `"float32"` for a router. `None` means the compute
            dtype of the policy.
        dynamic_axes: tuple of ints, the input axes that may be unknown. `None`
            means every axis but the last.

    Raises:
        ValueError: when `input_shape` is not as above.
        AssertionError: when the layer breaks a promise; the message says which.

    Example:

    >>> import keras
    >>> run_layer_test(
    ...     keras.layers.Dense,
    ...     {"units": 3, "activation": "relu"},
    ...     input_shape=(2, 5, 4),
    ...     expected_output_shape=(2, 5, 3),
    ...     expected_num_trainable_weights=2,
    ... )
    """
    input_shape = tuple(input_shape)
    if len(input_shape) < 2 or not all(
        isinstance(size, int) and size > 0 for size in input_shape
    ):
        raise ValueError(
            "Expected `input_shape` to hold two or more positive ints. "
            f"Received: input_shape={input_shape}. "
            "Give every axis a size, the batch included."
        )
    if dynamic_axes is None:
        dynamic_axes = tuple(range(len(input_shape) - 1))

    def new_layer(**changes):
        arguments = {
            name: _copy(value, **changes) for name, value in init_kwargs.items()
        }
        return layer_class(**{**arguments, **changes})

    with keras.saving.custom_object_scope({layer_class.__name__: layer_class}):
        check_config(new_layer, init_kwargs)
        check_shapes(
            new_layer, input_shape, dynamic_axes, expected_output_shape
        )
        check_weights(new_layer, input_shape, expected_num_trainable_weights)
        for policy in DTYPE_POLICIES:
            check_dtypes(new_layer, input_shape, policy, expected_output_dtype)
        check_saving(new_layer, input_shape)
        check_training(new_layer, input_shape)


def check_config(new_layer, init_kwargs):
    """Check that the config holds every argument and rebuilds the layer."""
    layer = new_layer()
    config = layer.get_config()
    for name, value in init_kwargs.items():
        require(
            name in config,
            f"Expected `get_config()` to hold the argument {name!r}. "
            f"Received: {sorted(config)}.",
        )
        # Numbers only: strings have aliases, objects are serialized. A number
        # may come back once per axis, as (3, 3) for 3.
        if isinstance(value, (bool, int, float)):
            require(
                all(v == value for v in keras.tree.flatten(config[name])),
                f"Expected `get_config()` to give {name}={value!r}. "
                f"Received: {config[name]!r}.",
            )
    # A copy: `from_config` may take the dictionary apart.
    revived = type(layer).from_config(copy.deepcopy(config)).get_config()
    require(
        revived == config,
        "Expected `from_config` to rebuild a layer of the same config, "
        f"{config}. Received: {revived}.",
    )
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    revived = keras.saving.deserialize_keras_object(json.loads(text))
    require(
        revived.get_config() == config,
        f"Expected the same config after a way through JSON, {config}. "
        f"Received: {revived.get_config()}.",
    )


def check_weights(new_layer, input_shape, expected_num_trainable_weights):
    """Check the number of variables to train."""
    if expected_num_trainable_weights is None:
        return
    layer = new_layer()
    layer(sample(input_shape))
    names = [weight.path for weight in layer.trainable_weights]
    require(
        len(names) == expected_num_trainable_weights,
        f"Expected {expected_num_trainable_weights} trainable weights. "
        f"Received: {len(names)}, {names}.",
    )


def check_dtypes(new_layer, input_shape, policy, expected_output_dtype):
    """Check outputs, weights and losses under one dtype policy."""
    layer = new_layer(dtype=policy)
    outputs = tensors_of(layer(sample(input_shape), training=True))
    symbols = tensors_of(
        new_layer(dtype=policy)(keras.KerasTensor(input_shape, dtype="float32"))
    )
    expected = expected_output_dtype or layer.dtype_policy.compute_dtype
    for output, symbol in zip(outputs, symbols, strict=True):
        dtype = _dtype(output)
        require(
            dtype == symbol.dtype,
            f"Expected dtype {symbol.dtype} under {policy}, as a symbolic call "
            f"says. Received: {dtype}.",
        )
        if not keras.backend.is_float_dtype(dtype):
            continue
        require(
            dtype == expected,
            f"Expected outputs of dtype {expected} under {policy}. "
            f"Received: {dtype}.",
        )
        require(_is_finite(output), f"Expected finite outputs under {policy}.")
    for weight in layer.weights:
        dtype = _dtype(weight)
        require(
            dtype == "float32" or not keras.backend.is_float_dtype(dtype),
            f"Expected weight {weight.path} in float32 under {policy}. "
            f"Received: {dtype}.",
        )
    for loss in layer.losses:
        require(
            _dtype(loss) == "float32" and tuple(loss.shape) == (),
            f"Expected scalar float32 losses under {policy}. "
            f"Received: {_dtype(loss)} of shape {tuple(loss.shape)}.",
        )
        require(_is_finite(loss), f"Expected finite losses under {policy}.")


def check_saving(new_layer, input_shape):
    """Check that a `.keras` file brings back identical outputs."""
    layer = new_layer()
    symbol = keras.Input(input_shape[1:], dtype="float32")
    model = keras.Model(symbol, tensors_of(layer(symbol)))
    for seed, weight in enumerate(layer.trainable_weights):
        # Away from the initial values, which a new layer might have as well.
        noise = 0.1 * sample(weight.shape, seed)
        weight.assign(keras.ops.convert_to_numpy(weight.value) + noise)
    inputs = sample(input_shape)
    expected = _to_numpy(model(inputs, training=False))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "layer.keras")
        model.save(path)
        loaded = keras.saving.load_model(path)
    received = _to_numpy(loaded(inputs, training=False))
    for before, after in zip(expected, received, strict=True):
        difference = np.abs(before.astype("float64") - after.astype("float64"))
        require(
            np.array_equal(before, after),
            "Expected identical outputs from the layer of a `.keras` file. "
            f"Received: a largest difference of {np.max(difference)}.",
        )


def check_training(new_layer, input_shape):
    """Check that a step of `fit` trains the layer and what lies before it."""
    before, layer = keras.layers.Dense(input_shape[-1]), new_layer()
    inputs = keras.Input(input_shape[1:], dtype="float32")
    outputs = [
        output
        for output in tensors_of(layer(before(inputs)))
        if keras.backend.is_float_dtype(output.dtype)
    ]
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1), loss=["mse"] * len(outputs))
    batch = sample(input_shape)
    targets = [sample(shape, seed=1) for shape in shapes_of(model(batch))]
    owners = {
        "the layer": layer.trainable_weights,
        "a layer before it": before.trainable_weights,
    }
    old = {owner: _to_numpy(weights) for owner, weights in owners.items()}
    history = model.fit(batch, targets, batch_size=len(batch), verbose=0)
    loss = history.history["loss"][-1]
    require(
        np.isfinite(loss), f"Expected a finite training loss. Received: {loss}."
    )
    for owner, weights in owners.items():
        new = _to_numpy(weights)
        require(
            all(np.all(np.isfinite(value)) for value in new),
            f"Expected finite weights in {owner} after a training step.",
        )
        moved = [
            not np.array_equal(a, b)
            for a, b in zip(old[owner], new, strict=True)
        ]
        require(
            any(moved) or not weights,
            f"Expected a training step to move a weight of {owner}. "
            f"Received: {[weight.path for weight in weights]}, all as before.",
        )


def _copy(value, **changes):
    """Copy a layer, which two owners must not share; pass anything else on."""
    if isinstance(value, keras.Layer):
        return type(value).from_config({**value.get_config(), **changes})
    return value


def _dtype(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)


def _is_finite(tensor):
    return bool(keras.ops.all(keras.ops.isfinite(tensor)))


def _to_numpy(tensors):
    return [
        # A copy: on torch the array would share the weight's memory.
        np.array(keras.ops.convert_to_numpy(tensor))
        for tensor in keras.tree.flatten(tensors)
    ]
