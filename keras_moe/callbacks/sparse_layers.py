"""Where a model keeps its sparse layers."""

import keras

from keras_moe.layers.sparse_moe import SparseMoE


def find_sparse_layers(model):
    """Find every `SparseMoE` inside a model, however deeply nested.

    A layer that is reached by several ways is found once.

    Args:
        model: `keras.Model` or `keras.layers.Layer`.

    Returns:
        dict of `SparseMoE` layers in the model's order. The keys are the
        names of the layers on the way, joined by slashes and unique, such as
        `"decoder_block_0/sparse_moe"`; a beginning that all of them share is
        left out, except for the last two names.

    Example:

    >>> import keras
    >>> from keras_moe.layers import SharedExpertMoE
    >>> model = keras.Sequential([SharedExpertMoE(4, 8, name="shared_moe")])
    >>> list(find_sparse_layers(model))
    ['shared_moe/routed_experts']
    """
    found = list(_walk(model, (), {id(model): model}))
    if isinstance(model, SparseMoE):
        found = [((model.name,), model)]
    shared = _shared_names([path for path, _ in found])
    layers = {}
    for path, layer in found:
        name = unique = "/".join(path[shared:])
        count = 1
        while unique in layers:
            unique = f"{name}_{count}"
            count += 1
        layers[unique] = layer
    return layers


def _walk(layer, path, seen):
    # Keras tells the layers of a model, not those of a layer: they are looked
    # for among the attributes, in lists and in dictionaries.
    attributes = list(vars(layer).values())
    if isinstance(layer, keras.Model):
        attributes.insert(0, layer.layers)
    for child in _layers_in(attributes, seen):
        child_path = (*path, child.name)
        if isinstance(child, SparseMoE):
            yield child_path, child
        else:
            yield from _walk(child, child_path, seen)


def _layers_in(value, seen):
    """Yield the layers not seen before in nested lists and dictionaries."""
    if not isinstance(value, (keras.layers.Layer, dict, list, tuple, set)):
        return
    if id(value) in seen:
        return
    # Kept, so that no later object can get the same id.
    seen[id(value)] = value
    if isinstance(value, keras.layers.Layer):
        yield value
        return
    for item in value.values() if isinstance(value, dict) else value:
        yield from _layers_in(item, seen)


def _shared_names(paths):
    """Count the first names that may be left out of every path."""
    shared = 0
    for names in zip(*(path[:-2] for path in paths), strict=False):
        if len(set(names)) > 1:
            break
        shared += 1
    return shared
