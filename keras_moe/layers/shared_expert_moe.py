"""Routed experts next to experts that every token sees."""

import keras
from keras import ops

from keras_moe.layers.configs_of_0_1 import sparse_moe_config
from keras_moe.layers.feed_forward import FeedForward
from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.layers.sublayers import revive_sublayers
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.padding import join_masks
from keras_moe.routing.validation import check_positive

# Arguments that go on to `SparseMoE`.
_OF_ROUTED = (
    "router",
    "capacity",
    "experts",
    "strategy",
    "implementation",
    "kernel_regularizer",
    "output_dropout",
)


@keras.saving.register_keras_serializable(package="keras_moe")
class SharedExpertMoE(keras.layers.Layer):
    """Adds `num_shared_experts` always-on experts to a `SparseMoE`.

    The shared experts take what every token needs, so that the routed ones
    can specialize (DeepSeekMoE, https://arxiv.org/abs/2401.06066,
    equation 9). Side by side they are one feed-forward block of
    `num_shared_experts * shared_intermediate_dim` columns. With
    `use_shared_expert_gate` their output is multiplied by
    `sigmoid(x w)` (Qwen1.5-MoE).

    Args:
        num_experts: int E, routed experts.
        intermediate_dim: int I, width of one routed expert.
        top_k: int K, routed experts per token.
        num_shared_experts: int. Defaults to 1.
        shared_intermediate_dim: int, width of one shared expert. `None`
            means `intermediate_dim`.
        use_shared_expert_gate: bool. Defaults to `False`.
        activation: name or function, for all experts.
        gated: bool, for all experts.
        kernel_initializer: for all experts.
        **kwargs: `router`, `capacity`, `experts`, `strategy`,
            `implementation`, `kernel_regularizer`, `output_dropout` as for
            `SparseMoE`; `name`, `dtype`, `trainable` as for any layer.

    Call arguments:
        inputs: float tensor of shape (..., H).
        padding_mask: optional bool tensor of shape (...), True = real token.
            A Keras mask that comes with the inputs is used as well.
        training: bool.
        **routing_inputs: what the router wants besides, such as token ids.

    Returns:
        Tensor of the shape of `inputs`. Padding gets what the shared experts
        give it, which costs nothing extra and nobody reads.

    Example:

    >>> import numpy as np
    >>> layer = SharedExpertMoE(num_experts=8, intermediate_dim=32)
    >>> tuple(layer(np.ones((2, 5, 16), "float32")).shape)
    (2, 5, 16)
    """

    @plain_numbers
    def __init__(
        self,
        num_experts,
        intermediate_dim=None,
        top_k=2,
        *,
        num_shared_experts=1,
        shared_intermediate_dim=None,
        use_shared_expert_gate=False,
        activation="silu",
        gated=True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        routed = {
            name: kwargs.pop(name) for name in _OF_ROUTED if name in kwargs
        }
        super().__init__(**kwargs)
        shared_width = (
            intermediate_dim
            if shared_intermediate_dim is None
            else shared_intermediate_dim
        )
        check_positive(
            num_shared_experts=num_shared_experts,
            shared_intermediate_dim=shared_width,
        )
        self.num_shared_experts = num_shared_experts
        self.shared_intermediate_dim = shared_intermediate_dim
        self.use_shared_expert_gate = use_shared_expert_gate
        self.routed_experts = SparseMoE(
            num_experts,
            intermediate_dim,
            top_k,
            activation,
            gated=gated,
            kernel_initializer=kernel_initializer,
            **routed,
            dtype=self.dtype_policy,
            name="routed_experts",
        )
        self.shared_experts = FeedForward(
            num_shared_experts * shared_width,
            activation,
            gated,
            kernel_initializer,
            dtype=self.dtype_policy,
            name="shared_experts",
        )
        if use_shared_expert_gate:
            with keras.RematScope(mode=None):  # A row of H: nothing to save.
                self.shared_expert_gate = keras.layers.Dense(
                    1,
                    use_bias=False,
                    dtype=self.dtype_policy,
                    name="shared_expert_gate",
                )
        self.supports_masking = True

    def call(
        self,
        inputs,
        padding_mask=None,
        mask=None,
        training=None,
        inputs_mask=None,
        **routing_inputs,
    ):
        padding_mask = join_masks(padding_mask, mask, inputs_mask)
        inputs = clean_padding(inputs, padding_mask)
        shared = self.shared_experts(inputs)
        if self.use_shared_expert_gate:
            shared = shared * ops.sigmoid(self.shared_expert_gate(inputs))
        routed = self.routed_experts(
            inputs,
            padding_mask=padding_mask,
            training=training,
            **routing_inputs,
        )
        return routed + shared

    def build(self, inputs_shape, padding_mask_shape=None, mask_shape=None):
        self.routed_experts.build(inputs_shape)
        self.shared_experts.build(inputs_shape)
        if self.use_shared_expert_gate:
            self.shared_expert_gate.build(inputs_shape)

    @property
    def routing_inputs(self):
        """tuple of str: what the router wants besides the inputs."""
        return self.routed_experts.routing_inputs

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # The parts rematerialize themselves, except the routing.
        return layer_call

    def compute_output_shape(
        self, inputs_shape, padding_mask_shape=None, mask_shape=None
    ):
        return inputs_shape

    def get_config(self):
        routed = self.routed_experts.get_config()
        shared = self.shared_experts.get_config()
        own = super().get_config()
        return {
            # What is missing where the routed experts were given.
            "activation": shared["activation"],
            "kernel_initializer": shared["kernel_initializer"],
            **{name: routed[name] for name in routed if name not in own},
            **own,
            "num_shared_experts": self.num_shared_experts,
            "shared_intermediate_dim": self.shared_intermediate_dim,
            "use_shared_expert_gate": self.use_shared_expert_gate,
        }

    @classmethod
    def from_config(cls, config):
        config = sparse_moe_config(config)
        return cls(**revive_sublayers(config, "router", "experts"))
