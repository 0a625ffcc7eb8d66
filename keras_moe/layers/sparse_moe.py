"""The sparse Mixture-of-Experts layer."""

import keras
from keras import ops

from keras_moe.dispatch.carry import carry
from keras_moe.dispatch.carry import check_strategy
from keras_moe.experts.feed_forward_experts import FeedForwardExperts
from keras_moe.experts.gated_experts import GatedExperts
from keras_moe.layers.check_parts import check_experts
from keras_moe.layers.check_parts import check_num_experts
from keras_moe.layers.check_parts import check_router
from keras_moe.layers.configs_of_0_1 import sparse_moe_config
from keras_moe.layers.group_tokens import group_tokens
from keras_moe.layers.routing_statistics import RoutingStatistics
from keras_moe.layers.sublayers import build_sublayer
from keras_moe.layers.sublayers import revive_sublayers
from keras_moe.layers.sublayers import serialize_sublayer
from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_tokens


@keras.saving.register_keras_serializable(package="keras_moe")
class SparseMoE(keras.layers.Layer):
    """Feeds each token to a few of many experts and adds up their outputs.

    A drop-in for the feed-forward block of a Transformer whose cost follows
    `top_k`, not `num_experts`. A router chooses the experts of each token;
    the tokens are sorted by expert, each expert multiplies its own rows, and
    the results return to their tokens, weighted by the router's
    probabilities. The router's balancing losses reach `fit()` through
    `add_loss`.

    Without a capacity no token is ever dropped. With one, each expert takes
    a limited number of tokens of each group (a row of the batch; the whole
    batch if the inputs have rank 2), and a token that finds no slot gets 0,
    to be carried by the residual connection.

    Args:
        num_experts: int E, those of the router that compute nothing included.
        intermediate_dim: int I, width inside one expert. Unused with
            `experts` of your own.
        top_k: int K, experts per token. Defaults to 2. Unused with a
            `router` of your own.
        activation: name or function. Defaults to `"silu"`.
        router: optional `keras_moe.layers.Router`. `None` means
            `TopKRouter(num_experts, top_k, capacity=capacity)`.
        capacity: optional `keras_moe.routing.Capacity` of that router. A
            router of your own is given its capacity itself.
        experts: optional `keras_moe.experts.ExpertBank`. `None` means
            `GatedExperts`, or `FeedForwardExperts` if not `gated`.
        shared_experts: optional layer (..., H) -> (..., H) whose outputs are
            added for every token.
        gated: bool. `True` for `(act(x W_gate) * (x W_up)) W_down` (SwiGLU),
            `False` for `act(x W_up) W_down`.
        strategy: `"auto"`, `"sorted"`, `"slots"` or `"dense"`, how tokens are
            carried, see `keras_moe.dispatch.carry`.
        implementation: of the grouped product, as for
            `keras_moe.ops.grouped_matmul`.
        kernel_initializer: drawn per expert, with the fans of one expert.
        kernel_regularizer: optional regularizer of the experts' kernels.
        output_dropout: float, which part of the experts' outputs, weighted
            and added up, is set to 0 while training. `shared_experts` keep
            theirs.

    Call arguments:
        inputs: float tensor of shape (..., H), rank 2 or more.
        padding_mask: optional bool tensor of shape (...), True = real token.
            A Keras mask that comes with the inputs is used as well. Padding
            gets 0, or what the `shared_experts` give it; it takes no slot and
            does not count in the losses.
        training: bool.
        **routing_inputs: what the router wants besides, such as token ids.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Weights: `router.kernel` (H, E), always float32; `experts.gate_up.kernel`
    (E, H, 2I), gate first, and `experts.down.kernel` (E, I, H); if not
    gated, `experts.up.kernel` (E, H, I) and `experts.down.kernel`.

    Raises:
        ValueError: If a size is not positive, `top_k` is larger than
            `num_experts`, a name is unknown, parts do not fit together, the
            inputs have rank 1 or no token, or a mask does not fit.

    Example:

    >>> import numpy as np
    >>> layer = SparseMoE(num_experts=8, intermediate_dim=32)
    >>> tuple(layer(np.ones((2, 5, 16), "float32")).shape)
    (2, 5, 16)

    References:
        Shazeer et al., 2017, https://arxiv.org/abs/1701.06538, equation 1.
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961, section 2.
        Gale et al., 2022, https://arxiv.org/abs/2211.15841 (dropless).
    """

    @plain_numbers
    def __init__(
        self,
        num_experts,
        intermediate_dim=None,
        top_k=2,
        activation="silu",
        router=None,
        *,
        capacity=None,
        experts=None,
        shared_experts=None,
        gated=True,
        strategy="auto",
        implementation="auto",
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        output_dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_strategy(strategy)
        check_router(router, capacity)
        check_experts(experts)
        self.num_experts = num_experts
        self.top_k = top_k
        self.gated = gated
        self.strategy = strategy
        self.router = router
        if router is None:
            self.router = TopKRouter(
                num_experts, top_k, capacity=capacity, name="router"
            )
        self._own_experts = experts is None
        self.experts = experts
        if experts is None:
            experts_class = GatedExperts if gated else FeedForwardExperts
            self.experts = experts_class(
                num_experts - self.router.num_free_experts,
                intermediate_dim,
                activation,
                kernel_initializer,
                kernel_regularizer,
                implementation=implementation,
                dtype=self.dtype_policy,
                name="experts",
            )
        check_num_experts(num_experts, self.router, self.experts)
        self.shared_experts = shared_experts
        self.output_dropout = output_dropout
        # Under a RematScope, random state must not move twice.
        with keras.RematScope(mode=None):
            self.dropout = keras.layers.Dropout(
                output_dropout, dtype=self.dtype_policy, name="dropout"
            )
        self.statistics = RoutingStatistics(num_experts, name="statistics")
        self.supports_masking = True

    def call(
        self,
        inputs,
        padding_mask=None,
        mask=None,
        inputs_mask=None,
        training=None,
        **routing_inputs,
    ):
        # Keras puts the inputs' own mask in `mask`, or in `inputs_mask` if
        # the inputs are not the only tensor.
        tokens, padding_mask = group_tokens(
            inputs, padding_mask, mask, inputs_mask
        )
        plan = self.router(
            tokens,
            padding_mask=padding_mask,
            training=training,
            **routing_inputs,
        )
        outputs = carry(tokens, plan, self.experts, self.strategy)
        if self.output_dropout:
            outputs = self.dropout(outputs, training=training)
        if self.shared_experts is not None:
            outputs = outputs + self.shared_experts(tokens)
        if training:
            self.statistics(plan)
        return ops.reshape(outputs, ops.shape(inputs))

    def build(self, inputs_shape):
        if len(inputs_shape) < 2:
            check_tokens(keras.KerasTensor(inputs_shape))
        hidden_dim = inputs_shape[-1]
        with keras.RematScope(mode=None):
            build_sublayer(self.router, (None, None, hidden_dim))
        build_sublayer(self.experts, (None, hidden_dim))
        if self.shared_experts is not None:
            build_sublayer(self.shared_experts, (None, None, hidden_dim))
        self.statistics.build()

    @property
    def routing_inputs(self):
        """tuple of str: what the router wants besides the inputs."""
        return self.router.routing_inputs

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # The experts rematerialize themselves. Recomputing the whole layer
        # would add its losses and count its tokens a second time.
        return layer_call

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def get_config(self):
        config = {
            **super().get_config(),
            "num_experts": self.num_experts,
            "top_k": self.top_k,
            "router": serialize_sublayer(self.router),
            "gated": self.gated,
            "strategy": self.strategy,
            "output_dropout": self.output_dropout,
        }
        if self.shared_experts is not None:
            config["shared_experts"] = serialize_sublayer(self.shared_experts)
        if not self._own_experts:
            return {**config, "experts": serialize_sublayer(self.experts)}
        experts = self.experts.get_config()
        own = (
            "intermediate_dim",
            "activation",
            "implementation",
            "kernel_initializer",
            "kernel_regularizer",
        )
        return {**config, **{name: experts[name] for name in own}}

    @classmethod
    def from_config(cls, config):
        config = sparse_moe_config(config)
        parts = ("router", "experts", "shared_experts")
        return cls(**revive_sublayers(config, *parts))
