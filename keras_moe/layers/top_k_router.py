"""The layer that decides which experts see a token."""

import keras
from keras import ops

from keras_moe.layers.step_load import StepLoad
from keras_moe.losses.expert_bias_update import missing_load
from keras_moe.losses.load_balancing import load_balancing_loss
from keras_moe.losses.router_z import router_z_loss
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.expert_groups import check_groups
from keras_moe.routing.padding import join_masks
from keras_moe.routing.routing_plan import RoutingPlan
from keras_moe.routing.score_functions import get_score_function
from keras_moe.routing.token_choice import choose_top_k
from keras_moe.routing.validation import check_not_negative
from keras_moe.routing.validation import check_padding_mask
from keras_moe.routing.validation import check_tokens
from keras_moe.routing.validation import check_top_k


@keras.saving.register_keras_serializable(package="keras_moe")
class TopKRouter(keras.layers.Layer):
    """Sends each token to the experts it scores highest.

    A linear projection gives one logit per expert, the score function turns
    logits into probabilities, the `top_k` largest are chosen. Everything is
    float32 under every dtype policy: a `dtype` argument is accepted and has
    no effect. While training, the load-balancing loss and the router z-loss
    are added through `add_loss`.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 2.
        score_function: `"softmax"`, `"sigmoid"` or a function of float32
            logits (..., E).
        normalize_combine_weights: bool, whether a token's K weights are
            divided by their sum. `None` means `top_k > 1`.
        combine_weights_power: float p, normalizing divides by the p-norm of
            the K weights (DBRX). 1 is their sum.
        route_scale: float, multiplies the combine weights.
        use_expert_bias: bool, whether a bias that no gradient trains takes
            part in the choice, not in the weights (DeepSeek-V3).
        expert_bias_update_rate: float, by how much each optimizer step moves
            the bias towards a balanced load, see
            `keras_moe.losses.expert_bias_update`. 0 leaves it, and so does
            freezing the router (`trainable = False`).
        num_expert_groups: optional int: a token chooses among the experts of
            its `num_limited_groups` best groups only.
        num_limited_groups: optional int.
        group_score: `"max"` (DeepSeek-V2) or `"top2_sum"` (DeepSeek-V3).
        jitter_noise: float, amplitude of the multiplicative uniform noise
            `U(1 - jitter_noise, 1 + jitter_noise)` on the router's inputs
            while training (Switch, https://arxiv.org/abs/2101.03961,
            section 2.4). The experts do not see it.
        load_balancing_loss_weight: float, 0 turns the loss off.
        router_z_loss_weight: float, 0 turns the loss off.
        kernel_initializer: initializer of the kernel (H, E).
        kernel_regularizer: optional regularizer of the kernel.
        seed: optional int, for the jitter.

    Call arguments:
        inputs: float tensor of shape (..., H).
        padding_mask: optional bool tensor of shape (...), True = real token.
            A Keras mask that comes with the inputs is used as well.
        training: bool.

    Returns:
        A `keras_moe.routing.RoutingPlan`.

    Raises:
        ValueError: If `top_k` is larger than `num_experts`, a size is not
            positive, a name is unknown, or a mask does not fit.

    Example:

    >>> import numpy as np
    >>> router = TopKRouter(num_experts=8, top_k=2)
    >>> plan = router(np.ones((1, 5, 16), "float32"))
    >>> tuple(plan.expert_indices.shape), tuple(plan.router_probs.shape)
    ((1, 5, 2), (1, 5, 8))

    References:
        Shazeer et al., 2017, https://arxiv.org/abs/1701.06538, section 2.
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961, section 2.
    """

    @plain_numbers
    def __init__(
        self,
        num_experts,
        top_k=2,
        *,
        score_function="softmax",
        normalize_combine_weights=None,
        combine_weights_power=1.0,
        route_scale=1.0,
        use_expert_bias=False,
        expert_bias_update_rate=0.0,
        num_expert_groups=None,
        num_limited_groups=None,
        group_score="max",
        jitter_noise=0.0,
        load_balancing_loss_weight=0.01,
        router_z_loss_weight=0.001,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        check_top_k(top_k, num_experts)
        check_not_negative(
            expert_bias_update_rate=expert_bias_update_rate,
            jitter_noise=jitter_noise,
            load_balancing_loss_weight=load_balancing_loss_weight,
            router_z_loss_weight=router_z_loss_weight,
        )
        get_score_function(score_function)
        check_groups(
            num_experts,
            top_k,
            num_expert_groups,
            num_limited_groups,
            group_score,
        )
        if expert_bias_update_rate and not use_expert_bias:
            raise ValueError(
                "Expected `use_expert_bias=True` with an "
                "`expert_bias_update_rate`. Received: "
                f"expert_bias_update_rate={expert_bias_update_rate}, "
                f"use_expert_bias={use_expert_bias}."
            )
        self.num_experts = num_experts
        self.top_k = top_k
        self.score_function = score_function
        self.normalize_combine_weights = normalize_combine_weights
        self.combine_weights_power = combine_weights_power
        self.route_scale = route_scale
        self.use_expert_bias = use_expert_bias
        self.expert_bias_update_rate = expert_bias_update_rate
        self.num_expert_groups = num_expert_groups
        self.num_limited_groups = num_limited_groups
        self.group_score = group_score
        self.jitter_noise = jitter_noise
        self.load_balancing_loss_weight = load_balancing_loss_weight
        self.router_z_loss_weight = router_z_loss_weight
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        if use_expert_bias:
            self.step_load = StepLoad(num_experts, name="step_load")
        self.supports_masking = True

    def build(self, inputs_shape, padding_mask_shape=None):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(inputs_shape[-1], self.num_experts),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer and self._regularize,
        )
        self.expert_bias = None
        if self.use_expert_bias:
            self.expert_bias = self.add_weight(
                name="expert_bias",
                shape=(self.num_experts,),
                initializer="zeros",
                trainable=False,
                autocast=False,
            )
            self.step_load.build()

    def call(
        self,
        inputs,
        padding_mask=None,
        training=None,
        mask=None,
        inputs_mask=None,
    ):
        check_tokens(inputs)
        padding_mask = join_masks(padding_mask, mask, inputs_mask)
        if padding_mask is not None:
            check_padding_mask(padding_mask, inputs)
        inputs = clean_padding(inputs, padding_mask)
        if training and self.jitter_noise:
            inputs = inputs * self._jitter(ops.shape(inputs))
        plan = choose_top_k(
            ops.matmul(inputs, self.kernel),
            self.top_k,
            self.score_function,
            self.normalize_combine_weights,
            self.route_scale,
            padding_mask,
            combine_weights_power=self.combine_weights_power,
            expert_bias=self.expert_bias,
            num_expert_groups=self.num_expert_groups,
            num_limited_groups=self.num_limited_groups,
            group_score=self.group_score,
        )
        if training:
            # First: where replicas meet, losses of before would be lost.
            self._update_expert_bias(plan)
            self._add_losses(plan)
        return plan

    def _jitter(self, shape):
        return keras.random.uniform(
            shape,
            minval=1.0 - self.jitter_noise,
            maxval=1.0 + self.jitter_noise,
            dtype="float32",
            seed=self.seed_generator,
        )

    def _add_losses(self, plan):
        if self.load_balancing_loss_weight:
            loss = load_balancing_loss(plan)
            self._add_loss(self.load_balancing_loss_weight * loss)
        if self.router_z_loss_weight:
            self._add_loss(self.router_z_loss_weight * router_z_loss(plan))

    def _add_loss(self, loss):
        self.add_loss(_as_floatx(loss))

    def _regularize(self, kernel):
        return _as_floatx(self.kernel_regularizer(kernel))

    def _update_expert_bias(self, plan):
        if self.expert_bias_update_rate and self.trainable:
            load, is_last = self.step_load(plan)
            step = self.expert_bias_update_rate * missing_load(load)
            self.expert_bias.assign_add(ops.where(is_last, step, 0.0))

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # Recomputed, the losses would be added from inside the second pass,
        # and the bias would move twice.
        return layer_call

    def compute_output_shape(self, inputs_shape):
        tokens = tuple(inputs_shape[:-1])
        return RoutingPlan(
            expert_indices=(*tokens, self.top_k),
            combine_weights=(*tokens, self.top_k),
            router_logits=(*tokens, self.num_experts),
            router_probs=(*tokens, self.num_experts),
            padding_mask=tokens,
        )

    def compute_output_spec(self, inputs, *masks, training=None, **kwargs):
        check_tokens(inputs)
        dtypes = {"expert_indices": "int32", "padding_mask": "bool"}
        shapes = self.compute_output_shape(inputs.shape)
        return RoutingPlan(
            **{
                name: keras.KerasTensor(shape, dtypes.get(name, "float32"))
                for name, shape in shapes._asdict().items()
            }
        )

    def get_config(self):
        score_function = self.score_function
        if callable(score_function):
            score_function = keras.saving.serialize_keras_object(score_function)
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "top_k": self.top_k,
            "score_function": score_function,
            "normalize_combine_weights": self.normalize_combine_weights,
            "combine_weights_power": self.combine_weights_power,
            "route_scale": self.route_scale,
            "use_expert_bias": self.use_expert_bias,
            "expert_bias_update_rate": self.expert_bias_update_rate,
            "num_expert_groups": self.num_expert_groups,
            "num_limited_groups": self.num_limited_groups,
            "group_score": self.group_score,
            "jitter_noise": self.jitter_noise,
            "load_balancing_loss_weight": self.load_balancing_loss_weight,
            "router_z_loss_weight": self.router_z_loss_weight,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "kernel_regularizer": keras.regularizers.serialize(
                self.kernel_regularizer
            ),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("score_function"), dict):
            config["score_function"] = keras.saving.deserialize_keras_object(
                config["score_function"]
            )
        return cls(**config)


def _as_floatx(loss):
    # The dtype of a model's own loss: TensorFlow adds no other to it.
    return ops.cast(loss, keras.config.floatx())
