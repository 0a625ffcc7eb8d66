"""The sparse Mixture-of-Experts layer."""

import math

import keras
from keras import ops

from keras_moe.dispatch.choose_dispatcher import check_dispatcher
from keras_moe.dispatch.choose_dispatcher import choose_dispatcher
from keras_moe.experts.feed_forward_experts import FeedForwardExperts
from keras_moe.experts.gated_experts import GatedExperts
from keras_moe.layers.routing_statistics import RoutingStatistics
from keras_moe.layers.sublayers import build_sublayer
from keras_moe.layers.sublayers import compute_once
from keras_moe.layers.sublayers import revive_sublayers
from keras_moe.layers.sublayers import serialize_sublayer
from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.capacity import check_capacity
from keras_moe.routing.capacity import expert_capacity
from keras_moe.routing.capacity import fixed_capacity
from keras_moe.routing.padding import join_masks
from keras_moe.routing.slot_assignment import assign_slots
from keras_moe.routing.slot_assignment import check_priority
from keras_moe.routing.slot_assignment import keep_all
from keras_moe.routing.validation import check_padding_mask
from keras_moe.routing.validation import check_tokens


@keras.saving.register_keras_serializable(package="keras_moe")
class SparseMoE(keras.layers.Layer):
    """Feeds each token to a few of many experts and adds up their outputs.

    A drop-in for the feed-forward block of a Transformer whose cost follows
    `top_k`, not `num_experts`. A router chooses the experts of each token;
    the tokens are sorted by expert, each expert multiplies its own rows, and
    the results return to their tokens, weighted by the router's
    probabilities. The load-balancing loss and the router z-loss reach
    `fit()` through `add_loss`.

    Without a capacity factor no token is ever dropped. With one, each expert
    takes at most `ceil(factor * S * K / E)` tokens of each group (a row of
    the batch; the whole batch if the inputs have rank 2), and a token that
    finds no slot gets 0, to be carried by the residual connection.

    Args:
        num_experts: int E.
        intermediate_dim: int I, width inside one expert.
        top_k: int K, experts per token. Defaults to 2. Unused with a
            `router` of your own.
        activation: name or function. Defaults to `"silu"`.
        router: optional layer that returns a `RoutingPlan` when called as
            `router(inputs, padding_mask=..., training=...)`. `None` means
            `TopKRouter(num_experts, top_k)`.
        capacity_factor: optional float, for training. 1.0 is exactly
            balanced; `None` is dropless.
        eval_capacity_factor: optional float, for inference; `None` is
            dropless.
        expert_capacity: optional int, slots per expert and group whatever
            its size, instead of both factors.
        gated: bool. `True` for `(act(x W_gate) * (x W_up)) W_down` (SwiGLU),
            `False` for `act(x W_up) W_down`.
        priority: `"position"` or `"score"`: which tokens of a full expert
            keep their place.
        dispatcher: `"auto"`, `"sorted"`, `"capacity"` or `"dense"`.
        implementation: of the grouped product, as for
            `keras_moe.ops.grouped_matmul`.
        kernel_initializer: drawn per expert, with the fans of one expert.
        kernel_regularizer: optional regularizer of the experts' kernels.

    Call arguments:
        inputs: float tensor of shape (..., H), rank 2 or more.
        padding_mask: optional bool tensor of shape (...), True = real token.
            A Keras mask that comes with the inputs is used as well. Padding
            gets 0, takes no slot and does not count in the losses.
        training: bool.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Weights: `router.kernel` (H, E), always float32; `experts.gate_up_kernel`
    (E, H, 2I), gate first, and `experts.down_kernel` (E, I, H); if not
    gated, `experts.up_kernel` (E, H, I) and `experts.down_kernel`.

    Raises:
        ValueError: If a size is not positive, `top_k` is larger than
            `num_experts`, a name is unknown, a capacity is given in two
            ways, the inputs have rank 1 or no token, or a mask does not fit.

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
        intermediate_dim,
        top_k=2,
        activation="silu",
        router=None,
        capacity_factor=None,
        eval_capacity_factor=None,
        *,
        expert_capacity=None,
        gated=True,
        priority="position",
        dispatcher="auto",
        implementation="auto",
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_priority(priority)
        check_dispatcher(dispatcher)
        check_capacity(capacity_factor, eval_capacity_factor, expert_capacity)
        self.num_experts = num_experts
        self.top_k = top_k
        self.capacity_factor = capacity_factor
        self.eval_capacity_factor = eval_capacity_factor
        self.expert_capacity = expert_capacity
        self.gated = gated
        self.priority = priority
        self.dispatcher = dispatcher
        self.router = router or TopKRouter(num_experts, top_k, name="router")
        self._check_router()
        compute_once(self.router)
        experts_class = GatedExperts if gated else FeedForwardExperts
        self.experts = experts_class(
            num_experts,
            intermediate_dim,
            activation,
            kernel_initializer,
            kernel_regularizer,
            implementation=implementation,
            dtype=self.dtype_policy,
            name="experts",
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
    ):
        # Keras puts the inputs' own mask in `mask`, or in `inputs_mask` if
        # the inputs are not the only tensor.
        tokens, padding_mask = self._group(
            inputs, padding_mask, mask, inputs_mask
        )
        plan = self.router(tokens, padding_mask=padding_mask, training=training)
        assignment = self._assign(plan, training)
        dispatcher = choose_dispatcher(
            self.dispatcher, plan, assignment, self.num_experts
        )
        rows, group_sizes = dispatcher.dispatch(tokens)
        rows = self.experts(rows, group_sizes)
        outputs = dispatcher.combine(rows)
        if training:
            self.statistics(plan, assignment.kept)
        return ops.reshape(outputs, ops.shape(inputs))

    def _group(self, inputs, *masks):
        """Reshape (..., H) to (G, S, H) and join all kinds of mask."""
        check_tokens(inputs)
        for each in masks:
            if each is not None:
                check_padding_mask(each, inputs)
        padding_mask = join_masks(*masks)
        shape = ops.shape(inputs)
        grouped = (1, -1) if len(shape) == 2 else (shape[0], _size(shape[1:-1]))
        tokens = ops.reshape(inputs, (*grouped, shape[-1]))
        if padding_mask is None:
            return tokens, None
        padding_mask = ops.reshape(padding_mask, grouped)
        return clean_padding(tokens, padding_mask), padding_mask

    def _assign(self, plan, training):
        """Decide which (token, choice) pairs are carried."""
        factor = self.capacity_factor if training else self.eval_capacity_factor
        _, group_size, top_k = ops.shape(plan.expert_indices)
        if self.expert_capacity is not None:
            capacity = fixed_capacity(self.expert_capacity, group_size)
        elif factor is not None:
            capacity = expert_capacity(
                factor, group_size, top_k, self.num_experts
            )
        else:
            return keep_all(plan)
        return assign_slots(plan, self.num_experts, capacity, self.priority)

    def build(self, inputs_shape):
        if len(inputs_shape) < 2:
            check_tokens(keras.KerasTensor(inputs_shape))
        grouped = (None, None, inputs_shape[-1])
        with keras.RematScope(mode=None):
            build_sublayer(self.router, grouped)
        self.experts.build((None, inputs_shape[-1]))
        self.statistics.build()

    def _check_router(self):
        theirs = getattr(self.router, "num_experts", self.num_experts)
        if theirs != self.num_experts:
            raise ValueError(
                "Expected the router to choose among the layer's experts. "
                f"Received: num_experts={self.num_experts}, "
                f"router.num_experts={theirs}. Make them equal."
            )

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # The experts rematerialize themselves. Recomputing the whole layer
        # would add its losses and count its tokens a second time.
        return layer_call

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def get_config(self):
        experts = self.experts.get_config()
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "intermediate_dim": experts["intermediate_dim"],
            "top_k": self.top_k,
            "activation": experts["activation"],
            "router": serialize_sublayer(self.router),
            "capacity_factor": self.capacity_factor,
            "eval_capacity_factor": self.eval_capacity_factor,
            "expert_capacity": self.expert_capacity,
            "gated": self.gated,
            "priority": self.priority,
            "dispatcher": self.dispatcher,
            "implementation": experts["implementation"],
            "kernel_initializer": experts["kernel_initializer"],
            "kernel_regularizer": experts["kernel_regularizer"],
        }

    @classmethod
    def from_config(cls, config):
        return cls(**revive_sublayers(config, "router"))


def _size(dimensions):
    """Multiply dimensions; -1 if one is unknown and nothing else is."""
    return dimensions[0] if len(dimensions) == 1 else math.prod(dimensions)
