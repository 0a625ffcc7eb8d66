"""Calling the feed-forward layer of a block, whatever its class is."""


def call_feed_forward(layer, inputs, padding_mask=None, training=None):
    """Call a layer with those of the arguments that it takes.

    Args:
        layer: layer from (B, L, H) to (B, L, H). Our layers call
            the mask `padding_mask`, Keras' own that support one `mask`.
        inputs: float tensor of shape (B, L, H).
        padding_mask: optional bool tensor of shape (B, L), True = real token.
        training: bool.

    Returns:
        Tensor of shape (B, L, H).

    Example:

    >>> import keras
    >>> import numpy as np
    >>> x = np.ones((1, 2, 3), "float32")
    >>> tuple(call_feed_forward(keras.layers.Dense(3), x).shape)
    (1, 2, 3)
    """
    taken = layer.call_signature_parameters
    arguments = {}
    if "padding_mask" in taken:
        arguments["padding_mask"] = padding_mask
    elif "mask" in taken and layer.supports_masking:
        arguments["mask"] = padding_mask
    if "training" in taken:
        arguments["training"] = training
    return layer(inputs, **arguments)
