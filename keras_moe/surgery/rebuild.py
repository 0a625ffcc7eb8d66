"""New models like given ones, with the weights of what has not changed."""

import collections

import keras
import numpy as np

from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.ops.all_layers import all_layers


def rebuild(model, config, changed):
    """Make a model of a configuration, with another model's weights.

    The given model stays as it is. The new one is not compiled.

    Args:
        model: built `keras.Model` or `keras.layers.Layer`.
        config: dict, the model's configuration with some layers exchanged.
        changed: function of a layer of `model` and the new model's layer in
            its place that tells whether they differ.

    Returns:
        The new model, and a list of pairs (layer of `model`, new layer) that
        differ and whose weights are still to be filled.

    Raises:
        ValueError: If other layers differ too.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    >>> twin, pairs = rebuild(model, model.get_config(), lambda a, b: False)
    >>> bool(keras.ops.all(twin.layers[0].kernel == model.layers[0].kernel))
    True
    """
    with keras.saving.custom_object_scope(_unregistered(model)):
        new = type(model).from_config(config)
    if not new.built:
        new.build_from_config(model.get_build_config())
    pairs, seen = [], []
    for old_layer, new_layer in _pair(model, new, changed):
        if changed(old_layer, new_layer):
            pairs.append((old_layer, new_layer))
            seen += all_layers(old_layer)
        else:
            copy_state(old_layer, new_layer)
            seen.append(old_layer)
    _check_not_shared(seen)
    return new, pairs


def check_model(model):
    """Raise unless a model can be rebuilt.

    Args:
        model: what should be a built model or layer without adapters.

    Raises:
        ValueError: If it is not.

    Example:

    >>> check_model(keras.Sequential([keras.Input((2,))]))
    """
    if not isinstance(model, keras.layers.Layer) or not model.built:
        raise ValueError(
            "Expected a built Keras model or layer. Received: "
            f"{model!r}. Call it once on data."
        )
    for each in all_layers(model):
        if getattr(each, "lora_enabled", False):
            raise ValueError(
                "Expected a model without adapters. Received: one on "
                f"{each.path}. Save and load the model, which merges them."
            )


def check_can_change(layer):
    """Raise unless a layer's weights are floats that are trained.

    Args:
        layer: built `keras.layers.Layer`, to be exchanged.

    Raises:
        ValueError: If it, or a part of it, is quantized or frozen.

    Example:

    >>> layer = keras.layers.Dense(2)
    >>> layer.build((None, 3))
    >>> check_can_change(layer)
    """
    for each in all_layers(layer):
        if each.quantization_mode is not None:
            raise ValueError(
                "Expected a layer that is not quantized. Received: "
                f"{each.path} with {each.quantization_mode!r}. Change the "
                "model first, and quantize the result."
            )
        if not each.trainable:
            raise ValueError(
                f"Expected a layer that is not frozen. Received: {each.path} "
                "with trainable=False. Set `trainable = True`, and freeze the "
                "result."
            )


def copy_state(old, new):
    """Copy a layer's own weights, and whether it is trained.

    Args:
        old: built `keras.layers.Layer`; layers inside are left out.
        new: built layer of the same class.

    Raises:
        ValueError: If weights have other shapes.

    Example:

    >>> old, new = keras.layers.Dense(2), keras.layers.Dense(2)
    >>> old.build((None, 3)), new.build((None, 3))
    (None, None)
    >>> copy_state(old, new)
    >>> bool(keras.ops.all(old.kernel == new.kernel))
    True
    """
    if new.trainable != old.trainable:
        new.trainable = old.trainable
    store: dict = {}
    old.save_own_variables(store)
    # JAX gives the memory of variables away when it trains: share none.
    store = {
        name: np.array(keras.ops.convert_to_numpy(value))
        for name, value in store.items()
    }
    try:
        if store:
            new.load_own_variables(store)
    except ValueError as error:
        raise ValueError(
            "Expected only the layers to change to have other sizes. Received: "
            f"{old.path} too ({error}). Leave its sizes as they are."
        ) from error


def copy_layer(old, new):
    """Copy the state of a layer and of all layers inside.

    Args:
        old: built `keras.layers.Layer`, or `None`.
        new: built layer of the same configuration, or `None`.

    Example:

    >>> copy_layer(None, None)
    """
    if old is not None:
        for pair in _pair(old, new, lambda *layers: False):
            copy_state(*pair)


def have_other_experts(old, new):
    """Tell whether two layers are sparse and have other numbers of experts.

    Args:
        old: `keras.layers.Layer`.
        new: `keras.layers.Layer`.

    Returns:
        bool.

    Example:

    >>> have_other_experts(SparseMoE(4, 8), SparseMoE(5, 8))
    True
    """
    return (
        isinstance(old, SparseMoE)
        and isinstance(new, SparseMoE)
        and old.num_experts != new.num_experts
    )


def _pair(old, new, changed):
    """Yield each layer of `old` with the layer of `new` in its place.

    What is below a pair that is `changed` is left out.
    """
    _check_pair(old, new, changed)
    yield old, new
    if changed(old, new):
        return
    if type(old).__name__ in ("Functional", "Sequential"):
        # By name: the order follows from the graph, which may have changed.
        for each in new.layers:
            yield from _pair(old.get_layer(each.name), each, changed)
        return
    olds, news = all_layers(old)[1:], all_layers(new)[1:]
    below: set = set()
    while True:
        olds = [each for each in olds if id(each) not in below]
        news = [each for each in news if id(each) not in below]
        if not olds or not news:
            break
        pair = olds.pop(0), news.pop(0)
        _check_pair(*pair, changed)
        yield pair
        if changed(*pair):
            below = {id(each) for part in pair for each in all_layers(part)}
    if olds or news:
        raise _not_alike((olds or [old])[0], (news or [new])[0])


def _check_pair(old, new, changed):
    if type(old) is not type(new) and not changed(old, new):
        raise _not_alike(old, new)


def _not_alike(old, new):
    return ValueError(
        "Expected a model of the same layers but for those to change. "
        f"Received: {type(new).__name__} {new.name!r} in the place of "
        f"{type(old).__name__} {old.name!r}. Leave out what the given model "
        "has no weights for, such as shared experts."
    )


def _check_not_shared(layers):
    """Raise if a layer is part of several: a configuration knows nothing of it.

    Args:
        layers: list of all layers.
    """
    once = {id(each): each for each in layers}
    if len(once) < len(layers):
        counts = collections.Counter(map(id, layers))
        names = [once[key].path for key in counts if counts[key] > 1]
        raise ValueError(
            "Expected layers that are part of one layer each. Received: "
            f"{sorted(names)}, shared by several. Give each a copy."
        )


def _unregistered(model):
    """Return the classes of a model's layers that Keras cannot look up."""
    classes = {type(each) for each in all_layers(model)}
    return {
        each.__name__: each
        for each in classes
        if not each.__module__.startswith("keras.")
        and keras.saving.get_registered_name(each) == each.__name__
    }
