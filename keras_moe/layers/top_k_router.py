"""The router that sends each token to the experts it scores highest."""

import keras
from keras import ops

from keras_moe.balancing.get_rules import DEFAULT
from keras_moe.layers.configs_of_0_1 import router_config
from keras_moe.layers.router import Router
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.expert_groups import ExpertGroups
from keras_moe.routing.logit_noise import LogitNoise
from keras_moe.routing.logit_noise import draw_gumbel
from keras_moe.routing.logit_noise import draw_jitter
from keras_moe.routing.logit_noise import show_noise
from keras_moe.routing.optional_choices import OptionalChoices
from keras_moe.routing.score_functions import get_score_function
from keras_moe.routing.settings import check_settings
from keras_moe.routing.token_choice import choose_top_k
from keras_moe.routing.validation import check_not_negative
from keras_moe.routing.validation import check_top_k

_ARGUMENTS = (
    "top_k",
    "score_function",
    "combine_weights",
    "expert_groups",
    "jitter_noise",
    "logit_noise",
    "optional_choices",
    "use_bias",
    "use_expert_scale",
    "replay",
    "kernel_initializer",
    "kernel_regularizer",
    "seed",
)


@keras.saving.register_keras_serializable(package="keras_moe")
class TopKRouter(Router):
    """Sends each token to the experts it scores highest.

    A linear projection gives one logit per expert, the score function turns
    logits into probabilities, the `top_k` largest are chosen. A subclass may
    override one of these steps: `build_logits` and `compute_logits`,
    `noise_stddev`, `selection_logits`, `choose`, `adjust`.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 2.
        score_function: `"softmax"`, `"sigmoid"`, `"sqrt_softplus"` or a
            function of float32 logits (..., E).
        combine_weights: optional `keras_moe.routing.CombineWeights`, how the
            chosen scores become weights. `None` divides them by their sum if
            K > 1.
        expert_groups: optional `keras_moe.routing.ExpertGroups`: a token
            chooses among the experts of its best groups only.
        jitter_noise: float, amplitude of the multiplicative uniform noise
            `U(1 - jitter_noise, 1 + jitter_noise)` on the router's inputs
            while training (Switch, https://arxiv.org/abs/2101.03961,
            section 2.4). The experts do not see it.
        logit_noise: optional `keras_moe.routing.LogitNoise` while training.
        optional_choices: optional `keras_moe.routing.OptionalChoices`: which
            tokens do without their second and later choices.
        use_bias: bool, whether a learned bias is added to the logits.
        use_expert_scale: bool, whether the combine weights are multiplied by
            a learned number for each expert (Gemma 4), 1 at first.
        replay: bool, whether models ask for `routed_experts`, choices that
            were made before, and pass them on as `expert_indices`.
        balancing: as for `Router`. `ExpertBias` takes part in the choice.
        capacity: as for `Router`.
        kernel_initializer: initializer of the kernel (H, E).
        kernel_regularizer: optional regularizer of the kernel.
        seed: optional int, for jitter, noise and random choices.

    Call arguments:
        inputs: float tensor of shape (..., H).
        padding_mask: optional bool tensor of shape (...), True = real token.
        training: bool.
        expert_indices: optional int tensor of shape (..., K), choices that
            were made before: the router takes them again and computes their
            weights. E is nowhere, -1 throughout lets a token choose freely.

    Returns:
        `keras_moe.routing.TokenChoice`.

    Raises:
        ValueError: If `top_k` is larger than `num_experts`, a size is not
            positive, a name is unknown, or a mask or choices do not fit.

    Example:

    >>> import numpy as np
    >>> router = TopKRouter(3, top_k=2, kernel_initializer="identity")
    >>> probs = [[0.6, 0.2, 0.2], [0.2, 0.4, 0.4], [0.1, 0.225, 0.675]]
    >>> plan = router(np.log([probs]))  # (1, 3, 3)
    >>> np.array(plan.expert_indices)[0].tolist()
    [[0, 1], [1, 2], [2, 1]]
    >>> weights = keras.ops.convert_to_numpy(plan.combine_weights)
    >>> weights[0].round(2).tolist()
    [[0.75, 0.25], [0.5, 0.5], [0.75, 0.25]]

    References:
        Shazeer et al., 2017, https://arxiv.org/abs/1701.06538, section 2.
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961, section 2.
    """

    # Whether choices that were made before can be taken again.
    can_replay = True
    source = "Shazeer et al., 2017, section 2; Fedus et al., 2021, section 2"

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
        logit_noise=None,
        optional_choices=None,
        use_bias=False,
        use_expert_scale=False,
        replay=False,
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
        check_settings(LogitNoise, logit_noise=logit_noise)
        check_settings(OptionalChoices, optional_choices=optional_choices)
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
        self.logit_noise = logit_noise
        self.optional_choices = optional_choices
        self.use_bias = use_bias
        self.use_expert_scale = use_expert_scale
        self.replay = replay
        if replay:
            self._check_replay()
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, inputs_shape):
        self.build_logits(inputs_shape[-1])
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.num_experts,), initializer="zeros"
            )
        if self.use_expert_scale:
            self.expert_scale = self.add_weight(
                name="expert_scale",
                shape=(self.num_experts,),
                initializer="ones",
            )
        super().build(inputs_shape)

    def route(  # type: ignore[override]
        self, inputs, padding_mask=None, training=None, expert_indices=None
    ):
        replayed = {}
        if expert_indices is not None:
            self._check_replay()
            replayed["expert_indices"] = expert_indices
        seen = inputs
        if training and self.jitter_noise:
            seen = inputs * draw_jitter(
                ops.shape(inputs), self.jitter_noise, self.seed_generator
            )
        logits = self.compute_logits(seen)
        if self.use_bias:
            logits = logits + self.bias
        plan = self.choose(logits, seen, padding_mask, training, **replayed)
        return self.adjust(plan, inputs, training)

    def build_logits(self, hidden_dim):
        """Make the weights that `compute_logits` uses."""
        self.kernel = self.add_kernel("kernel", (hidden_dim, self.num_experts))

    def compute_logits(self, inputs):
        """Compute the logits (..., E) of inputs (..., H), without the bias."""
        return ops.matmul(inputs, self.kernel)

    def choose(
        self, logits, inputs, padding_mask, training, expert_indices=None
    ):
        """Make a plan from logits (..., E), with noise while training."""
        stddev = self.noise_stddev(inputs) if training else None
        noisy = logits
        if stddev is not None:
            noisy = logits + stddev * keras.random.normal(
                ops.shape(logits), dtype="float32", seed=self.seed_generator
            )
        plan = choose_top_k(
            noisy,
            self.top_k,
            self.score_function,
            self.combine_weights,
            expert_bias=self.selection_bias(),
            expert_groups=self.expert_groups,
            selection_logits=self.selection_logits(
                logits, padding_mask, training
            ),
            expert_indices=expert_indices,
        )
        if stddev is None:
            return plan
        return show_noise(plan, logits, stddev, self.score_function)

    def noise_stddev(self, inputs):
        """Return how large normal noise is: a number, (..., E), or `None`."""
        if self.logit_noise is None:
            return None
        return self.logit_noise.stddev_of(self.num_experts)

    def selection_logits(self, logits, padding_mask, training):
        """Return what decides in place of the logits (..., E), or `None`."""
        noise = self.logit_noise
        if training and noise is not None and noise.distribution == "gumbel":
            return logits + draw_gumbel(ops.shape(logits), self.seed_generator)
        return None

    def adjust(self, plan, inputs, training):
        """Scale a plan's weights, and leave out choices."""
        if self.optional_choices is not None:
            plan = self.optional_choices.limit(
                plan, self.num_experts, training, self.seed_generator
            )
        if self.use_expert_scale:
            # Nowhere is one past the last expert, with a weight of 0.
            last = self.num_experts - 1
            indices = ops.minimum(plan.expert_indices, last)
            scale = ops.take(self.expert_scale, indices)
            plan = plan._replace(combine_weights=plan.combine_weights * scale)
        return plan

    @property
    def routing_inputs(self):  # type: ignore[override]
        return ("expert_indices",) if self.replay else ()

    def _check_replay(self):
        if not self.can_replay or self.optional_choices is not None:
            raise ValueError(
                "Expected a router whose weights follow from its choice. "
                f"Received: {type(self).__name__} with "
                f"optional_choices={self.optional_choices}, which cannot "
                "replay one. Use `TopKRouter` without `optional_choices`."
            )

    def add_kernel(self, name, shape):
        """Add a weight with this router's initializer and regularizer."""
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer and self._regularize,
        )

    def _regularize(self, kernel):
        # The dtype of a model's own loss: TensorFlow adds no other to it.
        loss = self.kernel_regularizer(kernel)
        return ops.cast(loss, keras.config.floatx())

    def get_config(self):
        own = {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in _ARGUMENTS
        }
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        return super().from_config(router_config(config))
