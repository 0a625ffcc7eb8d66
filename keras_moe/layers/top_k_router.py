"""The router that sends each token to the experts it scores highest."""

import keras
from keras import ops

from keras_moe.balancing.get_rules import DEFAULT
from keras_moe.layers.configs_of_0_1 import router_config
from keras_moe.layers.router import Router
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.expert_groups import ExpertGroups
from keras_moe.routing.score_functions import get_score_function
from keras_moe.routing.settings import check_settings
from keras_moe.routing.token_choice import choose_top_k
from keras_moe.routing.validation import check_not_negative
from keras_moe.routing.validation import check_top_k


@keras.saving.register_keras_serializable(package="keras_moe")
class TopKRouter(Router):
    """Sends each token to the experts it scores highest.

    A linear projection gives one logit per expert, the score function turns
    logits into probabilities, the `top_k` largest are chosen.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 2.
        score_function: `"softmax"`, `"sigmoid"` or a function of float32
            logits (..., E).
        combine_weights: optional `keras_moe.routing.CombineWeights`, how the
            chosen scores become weights. `None` divides them by their sum if
            K > 1.
        expert_groups: optional `keras_moe.routing.ExpertGroups`: a token
            chooses among the experts of its best groups only.
        jitter_noise: float, amplitude of the multiplicative uniform noise
            `U(1 - jitter_noise, 1 + jitter_noise)` on the router's inputs
            while training (Switch, https://arxiv.org/abs/2101.03961,
            section 2.4). The experts do not see it.
        balancing: as for `Router`. `ExpertBias` takes part in the choice.
        capacity: as for `Router`.
        kernel_initializer: initializer of the kernel (H, E).
        kernel_regularizer: optional regularizer of the kernel.
        seed: optional int, for the jitter.

    Call arguments:
        inputs: float tensor of shape (..., H).
        padding_mask: optional bool tensor of shape (...), True = real token.
        training: bool.

    Returns:
        `keras_moe.routing.TokenChoice`.

    Raises:
        ValueError: If `top_k` is larger than `num_experts`, a size is not
            positive, a name is unknown, or a mask does not fit.

    Example:

    >>> import numpy as np
    >>> router = TopKRouter(num_experts=8, top_k=2)
    >>> plan = router(np.ones((1, 5, 16), "float32"))
    >>> tuple(plan.expert_indices.shape), tuple(plan.scores.probs.shape)
    ((1, 5, 2), (1, 5, 8))

    References:
        Shazeer et al., 2017, https://arxiv.org/abs/1701.06538, section 2.
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961, section 2.
    """

    source = "Shazeer et al., 2017, equations 3 to 5"

    @plain_numbers
    def __init__(
        self,
        num_experts,
        top_k=2,
        *,
        score_function="softmax",
        combine_weights=None,
        expert_groups=None,
        jitter_noise=0.0,
        balancing=DEFAULT,
        capacity=None,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        seed=None,
        **kwargs,
    ):
        check_top_k(top_k, num_experts)
        check_not_negative(jitter_noise=jitter_noise)
        get_score_function(score_function)
        check_settings(CombineWeights, combine_weights=combine_weights)
        check_settings(ExpertGroups, expert_groups=expert_groups)
        if expert_groups is not None:
            expert_groups.check_experts(num_experts, top_k)
        super().__init__(
            num_experts, balancing=balancing, capacity=capacity, **kwargs
        )
        self.top_k = top_k
        self.score_function = score_function
        self.combine_weights = combine_weights or CombineWeights()
        self.expert_groups = expert_groups
        self.jitter_noise = jitter_noise
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, inputs_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(inputs_shape[-1], self.num_experts),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer and self._regularize,
        )
        super().build(inputs_shape)

    def route(  # type: ignore[override]
        self, inputs, padding_mask=None, training=None
    ):
        if training and self.jitter_noise:
            inputs = inputs * self._jitter(ops.shape(inputs))
        return choose_top_k(
            ops.matmul(inputs, self.kernel),
            self.top_k,
            self.score_function,
            self.combine_weights,
            expert_bias=self.selection_bias(),
            expert_groups=self.expert_groups,
        )

    def _jitter(self, shape):
        return keras.random.uniform(
            shape,
            minval=1.0 - self.jitter_noise,
            maxval=1.0 + self.jitter_noise,
            dtype="float32",
            seed=self.seed_generator,
        )

    def _regularize(self, kernel):
        # The dtype of a model's own loss: TensorFlow adds no other to it.
        loss = self.kernel_regularizer(kernel)
        return ops.cast(loss, keras.config.floatx())

    def get_config(self):
        score_function = self.score_function
        if callable(score_function):
            score_function = keras.saving.serialize_keras_object(score_function)
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "score_function": score_function,
            "combine_weights": keras.saving.serialize_keras_object(
                self.combine_weights
            ),
            "expert_groups": keras.saving.serialize_keras_object(
                self.expert_groups
            ),
            "jitter_noise": self.jitter_noise,
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
        return super().from_config(router_config(config))
