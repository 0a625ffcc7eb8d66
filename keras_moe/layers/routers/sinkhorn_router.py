"""The router that prices experts while training."""

import keras

from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.sinkhorn import sinkhorn_logits
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class SinkhornRouter(TopKRouter):
    """Chooses experts by their logits less a price that evens the load.

    While training, the logits of a group (a row of the batch) are balanced by
    Sinkhorn's iterations, and a token chooses by the balanced ones. The
    weights come from the logits as they are: sigmoid for one expert per
    token, softmax over all experts for more, not divided by their sum.
    Outside training the logits decide alone. Shares are even up to the
    iterations' error; the load, which follows from the best of them, nearly.
    Training looks at later tokens: not for a decoder.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 1.
        num_iterations: int, of Sinkhorn. 16 leave the shares uneven by 1e-6
            of themselves where logits are near 1, by a tenth where near 10.
        score_function: as for `TopKRouter`; `None` is sigmoid if K = 1, and
            softmax otherwise.
        combine_weights: as for `TopKRouter`; `None` leaves weights as they
            are.
        balancing: as for `Router`; no rule that evens the load.
        **kwargs: as for `TopKRouter`.

    Raises:
        ValueError: As `TopKRouter`; also if `num_iterations` is not positive,
            or a rule has nothing to do.

    Example:

    Three tokens prefer expert 0; the one that prefers it least goes to 1:

    >>> import numpy as np
    >>> router = SinkhornRouter(2, kernel_initializer="identity")
    >>> tokens = np.array([[[3, 0], [1, 0], [4, 1]]], "float32")
    >>> plan = router(tokens, training=True)
    >>> np.array(plan.expert_indices)[0, :, 0].tolist()
    [0, 1, 0]
    >>> np.array(router(tokens).expert_indices)[0, :, 0].tolist()
    [0, 0, 0]

    References:
        Clark et al., 2022, https://arxiv.org/abs/2202.01169 (S-BASE).
        Megatron-LM's `sinkhorn` routing, whose weights these are; it iterates
        until the change is below 1e-4, over all tokens of a micro-batch.
    """

    source = "Clark et al., 2022, S-BASE; Megatron's weights"
    is_causal = False
    has_equal_load = True

    @plain_numbers
    def __init__(
        self,
        num_experts,
        top_k=1,
        *,
        num_iterations=16,
        score_function=None,
        combine_weights=None,
        balancing="router_z_loss",
        **kwargs,
    ):
        check_positive(num_iterations=num_iterations)
        super().__init__(
            num_experts,
            top_k,
            score_function=score_function
            or ("sigmoid" if top_k == 1 else "softmax"),
            combine_weights=combine_weights or CombineWeights(normalize=False),
            balancing=balancing,
            **kwargs,
        )
        self.num_iterations = num_iterations

    def selection_logits(self, logits, padding_mask, training):
        noisy = super().selection_logits(logits, padding_mask, training)
        if not training:
            return noisy
        logits = logits if noisy is None else noisy
        return sinkhorn_logits(logits, self.num_iterations, padding_mask)

    def get_config(self):
        return {**super().get_config(), "num_iterations": self.num_iterations}
