"""The router that looks at the token's id alone."""

import keras
import numpy as np
from keras import ops

from keras_moe.layers.router import Router
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.validation import check_positive
from keras_moe.routing.validation import check_top_k


@keras.saving.register_keras_serializable(package="keras_moe")
class HashRouter(Router):
    """Sends each token to the experts that a fixed table has for its id.

    Nothing is learned and no token is scored: the table is random, and each
    of a token's K different experts has the weight 1 / K.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 1, as in the paper.
        vocabulary_size: int V. Other ids are taken modulo V.
        seed: int, of the table.
        balancing: as for `Router`; `None` by default, as there is nothing to
            train, and no score for a loss to look at.
        **kwargs: as for `Router`.

    Call arguments:
        inputs: float tensor of shape (..., H).
        padding_mask: optional bool tensor of shape (...).
        training: bool.
        token_ids: int tensor of shape (...), or of as many ids. Give them to
            the sparse layer: `layer(inputs, token_ids=token_ids)`. Our models
            do so themselves.

    Weights: `table` int32 (V, K), not trained, saved with the model.

    Raises:
        ValueError: If a size is not positive, `top_k` is larger than
            `num_experts`, or there are no `token_ids`.

    Example:

    >>> import numpy as np
    >>> router = HashRouter(4, top_k=2, vocabulary_size=10)
    >>> token_ids = np.array([[7, 3, 7]])
    >>> plan = router(np.ones((1, 3, 5), "float32"), token_ids=token_ids)
    >>> indices = np.array(plan.expert_indices)[0]
    >>> indices[0].tolist() == indices[2].tolist()
    True
    >>> np.array(plan.combine_weights)[0].tolist()
    [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]

    References:
        Roller et al., 2021, https://arxiv.org/abs/2106.04426, section 3:
        random hash. With K > 1 outputs are averaged; the paper's MultiHash
        divides the experts' columns instead.
    """

    routing_inputs = ("token_ids",)
    source = "Roller et al., 2021, section 3"

    @plain_numbers
    def __init__(
        self,
        num_experts,
        top_k=1,
        *,
        vocabulary_size,
        seed=0,
        balancing=None,
        **kwargs,
    ):
        check_top_k(top_k, num_experts)
        check_positive(vocabulary_size=vocabulary_size)
        super().__init__(num_experts, balancing=balancing, **kwargs)
        self.top_k = top_k
        self.vocabulary_size = vocabulary_size
        self.seed = seed

    def build(self, inputs_shape):
        self.table = self.add_weight(
            name="table",
            shape=(self.vocabulary_size, self.top_k),
            dtype="int32",
            initializer=self._draw,
            trainable=False,
        )
        super().build(inputs_shape)

    def route(  # type: ignore[override]
        self, inputs, padding_mask=None, training=None, token_ids=None
    ):
        if token_ids is None:
            raise ValueError(
                "Expected `token_ids`, which experts are chosen by. Received: "
                "none. Call the layer as `layer(inputs, token_ids=token_ids)`."
            )
        token_ids = ops.reshape(token_ids, ops.shape(inputs)[:-1])
        token_ids = ops.mod(ops.cast(token_ids, "int32"), self.vocabulary_size)
        indices = ops.take(self.table, token_ids, axis=0)  # (..., K)
        weights = ops.full(ops.shape(indices), 1.0 / self.top_k, "float32")
        return TokenChoice(indices, weights)

    def _draw(self, shape, dtype=None):
        experts = np.arange(self.num_experts, dtype="int32")
        experts = np.tile(experts, (shape[0], 1))
        rng = np.random.default_rng(self.seed)
        table = rng.permuted(experts, axis=1)[:, : shape[1]]
        return ops.convert_to_tensor(table, dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "vocabulary_size": self.vocabulary_size,
            "seed": self.seed,
        }
