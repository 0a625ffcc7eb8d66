"""Every layer below a layer. The one file that calls `_flatten_layers`.

Keras has no public way to list the layers that a layer of any class holds:
`layers` is of models, and lists direct children alone. Walking attributes
instead finds other layers than Keras does: on PyTorch they are not in
`vars(layer)`, and an attribute that Keras was told not to track is no part.
"""

import keras


def all_layers(layer):
    """List a layer and all layers below it, each once.

    Layers in lists, dictionaries, tuples and attributes of other layers
    count, whatever their depth.

    Args:
        layer: `keras.layers.Layer` or `keras.Model`.

    Returns:
        list of `keras.layers.Layer`, `layer` first.

    Raises:
        TypeError: If `layer` is not a Keras layer.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.layers.Dense(4), keras.layers.Dropout(0.1)]
    ... )
    >>> [type(each).__name__ for each in all_layers(model)]
    ['Sequential', 'Dense', 'Dropout']
    """
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(
            "Expected `layer` to be a Keras layer or model. Received: "
            f"{type(layer).__name__}. Build one from `keras.layers.Layer`."
        )
    layers = layer._flatten_layers()
    # A layer that one below it refers to would come twice.
    return list({id(each): each for each in layers}.values())
