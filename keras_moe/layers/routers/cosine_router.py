"""The router that compares directions."""

import math

import keras
from keras import ops

from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_positive

# Below, a vector has no direction.
SMALLEST_NORM = 1e-12


@keras.saving.register_keras_serializable(package="keras_moe")
class CosineRouter(TopKRouter):
    """Scores an expert by the angle between a token and the expert.

    Tokens are projected to few dimensions, and the logit of an expert is the
    cosine between a projected token and the expert's embedding, over a
    learned temperature. How large a token is plays no part, which keeps
    tokens from collapsing towards the experts' embeddings.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 2.
        projection_dim: int, width of the projection.
        temperature: float, the temperature at first.
        min_temperature: float, the least temperature that is used.
        **kwargs: as for `TopKRouter`.

    Weights: `kernel` (H, P) and `projection_bias` (P,), `expert_embeddings`
    (P, E), `log_scale` (), the logarithm of 1 / temperature.

    Raises:
        ValueError: As `TopKRouter`, and unless
            `temperature >= min_temperature > 0`.

    Example:

    >>> import numpy as np
    >>> router = CosineRouter(
    ...     2, 1, projection_dim=2, kernel_initializer="identity"
    ... )
    >>> tokens = np.array([[[1.0, 0.0], [9.0, 0.0], [0.0, 3.0]]], "float32")
    >>> router.build(tokens.shape)
    >>> _ = router.expert_embeddings.assign([[5.0, 0.0], [0.0, 1.0]])
    >>> logits = router(tokens).scores.logits  # cosine 1 or 0, over 0.5
    >>> keras.ops.convert_to_numpy(logits)[0].round(3).tolist()
    [[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]

    References:
        Chi et al., 2022, https://arxiv.org/abs/2204.09179, equation 4.
        Hwang et al., 2022 (Tutel), https://arxiv.org/abs/2206.03382, whose
        initial values, projection bias and least temperature these are.
    """

    source = "Chi et al., 2022, equation 4"

    @plain_numbers
    def __init__(
        self,
        num_experts,
        top_k=2,
        *,
        projection_dim=256,
        temperature=0.5,
        min_temperature=0.01,
        **kwargs,
    ):
        super().__init__(num_experts, top_k, **kwargs)
        check_positive(projection_dim=projection_dim)
        if not temperature >= min_temperature > 0:
            raise ValueError(
                "Expected `temperature >= min_temperature > 0`. Received: "
                f"temperature={temperature}, "
                f"min_temperature={min_temperature}. Raise the temperature."
            )
        self.projection_dim = projection_dim
        self.temperature = temperature
        self.min_temperature = min_temperature

    def build_logits(self, hidden_dim):
        self.kernel = self.add_kernel(
            "kernel", (hidden_dim, self.projection_dim)
        )
        self.projection_bias = self.add_weight(
            name="projection_bias",
            shape=(self.projection_dim,),
            initializer="zeros",
        )
        self.expert_embeddings = self.add_weight(
            name="expert_embeddings",
            shape=(self.projection_dim, self.num_experts),
            initializer=keras.initializers.RandomNormal(0.0, 0.01, self.seed),
        )
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(),
            initializer=keras.initializers.Constant(
                -math.log(self.temperature)
            ),
        )

    def compute_logits(self, inputs):
        tokens = ops.matmul(inputs, self.kernel) + self.projection_bias
        embeddings = ops.convert_to_tensor(self.expert_embeddings)
        cosine = ops.matmul(_unit(tokens, -1), _unit(embeddings, 0))
        largest = -math.log(self.min_temperature)
        return cosine * ops.exp(ops.minimum(self.log_scale, largest))

    def get_config(self):
        return {
            **super().get_config(),
            "projection_dim": self.projection_dim,
            "temperature": self.temperature,
            "min_temperature": self.min_temperature,
        }


def _unit(vectors, axis):
    # The root of a 0 has an infinite gradient.
    squares = ops.sum(ops.square(vectors), axis=axis, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(squares, SMALLEST_NORM**2))
