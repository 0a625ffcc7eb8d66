"""Which experts each token of a batch goes to, in every layer."""

import keras
from keras import ops

from keras_moe.layers.record_choices import record_choices


class RoutedExperts(keras.Model):
    """Tells which experts a model's tokens are routed to.

    A model around another one, with the same inputs and weights: `predict`
    and `predict_on_batch` run it compiled. What it returns can be given back
    as the input `routed_experts` of a model whose router has `replay=True`:
    each token then goes to the same experts, with weights of the scores of
    that moment (reinforcement learning trains so with the choices that were
    made while generating).

    Args:
        model: `keras.Model` with sparse layers in which tokens choose. Inputs
            are those of the model after its preprocessor.

    Inputs: those of the model.

    Outputs: int32 tensor of shape (B, L, layers, K): the sparse layers in
    their order, the best choice first, E for padding; before a capacity drops
    anything. Of a model with an encoder and a decoder, a dictionary of
    `encoder_routed_experts` and `decoder_routed_experts`.

    Raises:
        ValueError: If no token is routed, or layers differ in tokens or K.

    Example:

    >>> import numpy as np
    >>> from keras_moe.models import MixtralBackbone
    >>> backbone = MixtralBackbone(
    ...     vocabulary_size=20, num_layers=3, num_query_heads=2,
    ...     num_key_value_heads=1, hidden_dim=8, intermediate_dim=8,
    ...     num_experts=4, router={"replay": True},
    ... )
    >>> inputs = {
    ...     "token_ids": np.array([[3, 4, 5]]),
    ...     "padding_mask": np.ones((1, 3), "int32"),
    ...     "routed_experts": np.full((1, 3, 3, 2), -1),  # chosen freely
    ... }
    >>> routed = RoutedExperts(backbone).predict(inputs, verbose=0)
    >>> routed.shape
    (1, 3, 3, 2)
    >>> hidden_states = backbone({**inputs, "routed_experts": routed})

    References:
        Ma et al., 2025, https://arxiv.org/abs/2510.11370 (rollout routing
        replay).
    """

    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.model = model

    def call(self, inputs):
        with record_choices() as choices:
            self.model(inputs, training=False)
        backbone = getattr(self.model, "backbone", self.model)
        sizes = getattr(backbone, "sparse_layers_of_stacks", None)
        if not sizes:
            return _stack(choices)
        stacked = {}
        for name, size in sizes.items():
            stacked[f"{name}_routed_experts"] = _stack(choices[:size])
            choices = choices[size:]
        return stacked


def _stack(choices):
    shapes = sorted({tuple(each.shape) for each in choices}, key=str)
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ValueError(
            "Expected sparse layers that route the same tokens (B, L), each "
            f"to K experts. Received: choices of shapes {shapes}. Record parts "
            "of the model by themselves with `record_choices`."
        )
    return ops.stack(choices, axis=2)
