"""Experts whose kernels are kept as 8-bit integers."""

from keras_moe.experts.grouped_dense import GroupedDense
from keras_moe.ops.all_layers import all_layers

WEIGHTS = (None, "int8")


def check_weights(model, weights):
    """Refuse weights that a model's experts cannot have.

    Args:
        model: a `keras.Model`.
        weights: `None` or `"int8"`.

    Raises:
        ValueError: if they are none of these, or the model has no experts
            that can be rounded.
    """
    if weights not in WEIGHTS:
        raise ValueError(
            f"Expected weights to be one of {WEIGHTS}. Received: "
            f"weights={weights!r}. Pass None to leave them as they are."
        )
    if weights is None:
        return
    experts = _experts(model)
    if not experts or any(layer.lora_enabled for layer in experts):
        cause = "adapters" if experts else "no GroupedDense"
        raise ValueError(
            f"Expected a model with experts, without adapters, for weights="
            f"{weights!r}. Received: model={model.name!r} with {cause}. "
            "Save and load a model with adapters to merge them, or pass "
            "weights=None."
        )


def quantize_experts(model):
    """Round the experts' kernels to 8 bits, a scale for each output.

    Args:
        model: a built `keras.Model`. Routers and all other layers stay as
            they are.
    """
    for layer in _experts(model):
        layer.quantize("int8")


def has_int8_experts(model):
    """Tell whether a model's experts are kept as integers.

    Args:
        model: a `keras.Model`.

    Returns:
        bool.
    """
    return any(layer.is_int8 for layer in _experts(model))


def _experts(model):
    return [x for x in all_layers(model) if isinstance(x, GroupedDense)]
