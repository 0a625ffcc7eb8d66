"""The norms of published models, by name."""

import keras

NORMS = ("rms", "layer", "layer_without_bias")


def make_norm(kind, epsilon, dtype, name):
    """Make a norm over the last axis.

    Args:
        kind: `"rms"` (https://arxiv.org/abs/1910.07467, equation 4),
            `"layer"` (https://arxiv.org/abs/1607.06450) or
            `"layer_without_bias"`.
        epsilon: float, added to the mean square or variance.
        dtype: dtype policy or its name.
        name: of the layer.

    Returns:
        Keras layer.

    Raises:
        ValueError: If the kind is unknown.

    Example:

    >>> make_norm("rms", 1e-6, "float32", "norm").name
    'norm'
    """
    if kind not in NORMS:
        raise ValueError(f"Expected a norm, one of {NORMS}. Received: {kind!r}")
    if kind == "rms":
        norm = keras.layers.RMSNormalization(
            epsilon=epsilon, dtype=dtype, name=name
        )
        norm.supports_masking = True  # Each token by itself, like the others.
        return norm
    return keras.layers.LayerNormalization(
        epsilon=epsilon, center=kind == "layer", dtype=dtype, name=name
    )
