"""Quantized models have other weights than a published format."""

from keras_moe.checkpoints.checkpoint_folder import shorten
from keras_moe.ops.all_layers import all_layers


def refuse_quantized(model):
    """Raise if layers of a model are quantized.

    Args:
        model: backbone.

    Raises:
        ValueError: If there are such layers; names their weights.

    Example:

    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    >>> refuse_quantized(model)
    """
    quantized = [
        variable.path
        for layer in all_layers(model)
        if layer.quantization_mode is not None
        for variable in layer.weights
    ]
    if quantized:
        raise ValueError(
            "Expected floating-point weights. Received: a model that is "
            f"quantized in {shorten(quantized)}. Call `save_pretrained` or "
            "load a checkpoint before `quantize`; `save` keeps a quantized "
            "model."
        )
