"""Layers that come as arguments of other layers."""

import keras

from keras_moe.ops.all_layers import all_layers


def serialize_sublayer(layer):
    """Serialize a layer for the configuration of its parent.

    Parents that share the layer will share it again. The configuration is
    the same whether the layer is built or not.

    Args:
        layer: `keras.layers.Layer`, or `None`.

    Returns:
        dict for a configuration, or `None`.

    Example:

    >>> serialize_sublayer(keras.layers.Dense(4))["class_name"]
    'Dense'
    """
    # While a model is saved, Keras writes an object's identity from the
    # second time on, and the configuration of the first one is copied before.
    keras.saving.serialize_keras_object(layer)
    return _without_build_shapes(keras.saving.serialize_keras_object(layer))


def revive_sublayers(config, *names):
    """Deserialize the layers that a layer's configuration holds, unbuilt.

    Keras builds a layer as soon as it is deserialized, which is before its
    parent exists: its variables would not have the parent's path, and layers
    of the same name in different parents would share one. Left unbuilt, it is
    built by its parent, as in a model made by hand.

    Args:
        config: dict from `get_config`.
        *names: keys of `config` that hold serialized layers. A key may be
            missing, so that the constructor's default applies.

    Returns:
        A copy of `config` with layers, or `None`, at these keys.

    Example:

    >>> router = keras.layers.Dense(4, name="router")
    >>> config = {"router": serialize_sublayer(router)}
    >>> revive_sublayers(config, "router", "experts")["router"].name
    'router'
    """
    config = dict(config)
    for name in names:
        if isinstance(config.get(name), dict):
            config[name] = keras.saving.deserialize_keras_object(
                _without_build_shapes(config[name])
            )
    return config


def build_sublayer(layer, inputs_shape):
    """Build a layer in the scope of its parent, unless it is built already.

    Args:
        layer: `keras.layers.Layer`. Without a `build` of its own it is called
            on a symbolic tensor, if it holds layers to build.
        inputs_shape: tuple of ints and `None`.

    Example:

    >>> layer = keras.layers.Dense(4)
    >>> build_sublayer(layer, (None, 3))
    >>> tuple(layer.kernel.shape)
    (3, 4)
    """
    if layer.built:
        return
    has_build = type(layer).build is not keras.layers.Layer.build
    parts = all_layers(layer)[1:]
    if has_build or all(part.built for part in parts):
        layer.build(inputs_shape)
    else:
        layer(keras.KerasTensor(inputs_shape, layer.compute_dtype))


def build_parts(layer, inputs_shape):
    """Build the layers that a layer holds, in its `build`.

    Where one of them is not built, the layer is called on a symbolic tensor,
    so that each gets the shape it will see. They compute in the layer's own
    dtype, whatever the global policy.

    Args:
        layer: `keras.layers.Layer` whose outputs a symbolic call can tell.
        inputs_shape: tuple of ints and `None`, of its inputs.

    Example:

    >>> class Halves(keras.layers.Layer):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.dense = keras.layers.Dense(2)
    ...     def call(self, inputs):
    ...         return self.dense(inputs) / 2
    >>> layer = Halves()
    >>> build_parts(layer, (None, 3))
    >>> layer.dense.built
    True
    """
    parts = all_layers(layer)[1:]
    unbuilt = [part for part in parts if not part.built]
    for part in unbuilt:
        part.dtype_policy = layer.dtype_policy
    if unbuilt:
        inputs = keras.KerasTensor(inputs_shape, layer.compute_dtype)
        layer.compute_output_spec(inputs)


def compute_once(layer):
    """Keep a layer and what it holds out of `keras.RematScope`.

    Losses and state of a recomputed layer would leak from the backward pass
    on JAX, be lost on TensorFlow and count twice on PyTorch.

    Args:
        layer: `keras.layers.Layer` of any class.

    Example:

    >>> with keras.RematScope(mode="full"):
    ...     layer = keras.layers.Dense(4)
    >>> compute_once(layer)
    >>> layer.rematerialized_call(len) is len
    True
    """
    for each in all_layers(layer):
        each.rematerialized_call = _as_it_is


def without_identity(config):
    """Leave out of a configuration which objects are shared.

    While a model is saved or loaded, Keras numbers the objects that it meets.
    A copy that is made in between would take an object for another.

    Args:
        config: nested dictionaries and lists.

    Returns:
        The same without these numbers.

    Example:

    >>> without_identity([{"class_name": "Dense", "shared_object_id": 7}])
    [{'class_name': 'Dense'}]
    """
    if isinstance(config, (list, tuple)):
        return type(config)(without_identity(each) for each in config)
    if not isinstance(config, dict):
        return config
    return {
        key: without_identity(value)
        for key, value in config.items()
        if key != "shared_object_id"
    }


def _as_it_is(layer_call, *args, **kwargs):
    return layer_call


def _without_build_shapes(value):
    """Remove from a serialized object what would make Keras build it."""
    if isinstance(value, (list, tuple)):
        return type(value)(_without_build_shapes(each) for each in value)
    if not isinstance(value, dict):
        return value
    value = {key: _without_build_shapes(value[key]) for key in value}
    if "class_name" in value:
        value.pop("build_config", None)
    if value.get("class_name") == "Sequential":
        value["config"] = _without_input(value["config"])
    return value


def _without_input(config):
    # A `keras.Sequential` adds an input layer to itself when it is built.
    config.pop("build_input_shape", None)
    layers = config["layers"]
    if layers and layers[0]["class_name"] == "InputLayer":
        config["layers"] = layers[1:]
    return config
