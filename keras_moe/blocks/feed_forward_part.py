"""Calling the feed-forward layer of a block, whatever its class is."""


def call_feed_forward(
    layer, inputs, padding_mask=None, training=None, **routing_inputs
):
    """Call a layer with those of the arguments that it takes.

    Args:
        layer: layer from (B, L, H) to (B, L, H). Our layers call
            the mask `padding_mask`, Keras' own that support one `mask`.
        inputs: float tensor of shape (B, L, H).
        padding_mask: optional bool tensor of shape (B, L), True = real token.
        training: bool.
        **routing_inputs: tensors; the layer is given those that it names in
            its `routing_inputs`.

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
    return layer(inputs, **arguments, **taken_by(layer, routing_inputs))


def taken_by(layer, routing_inputs):
    """Pick what a layer's routers want besides the inputs.

    Args:
        layer: layer or block.
        routing_inputs: dict of tensors.

    Returns:
        dict, those that the layer names in its `routing_inputs`.

    Example:

    >>> import keras
    >>> taken_by(keras.layers.Dense(3), {"token_ids": 1})
    {}
    """
    names = getattr(layer, "routing_inputs", ())
    return {
        name: routing_inputs[name] for name in names if name in routing_inputs
    }
