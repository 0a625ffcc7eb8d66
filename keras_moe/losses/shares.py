"""How each token's probability is shared out among the experts."""

from keras_moe.ops.padding import zero_padding
from keras_moe.routing.plans import get_scores
from keras_moe.routing.score_functions import normalize


def shares_of_probability(plan):
    """Return the router's probabilities, summing to 1 for each token.

    Those of softmax are as they are. Scores that do not sum to 1 (sigmoid)
    are divided by their sum (DeepSeek-V3, https://arxiv.org/abs/2412.19437,
    equation 19).

    Args:
        plan: `TokenChoice` with scores.

    Returns:
        float32 tensor of shape (..., E).

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((1, 4), "float32"), 1, "sigmoid")
    >>> np.array(shares_of_probability(plan)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    scores = get_scores(plan)
    return normalize(
        zero_padding(scores.probs, scores.padding_mask),
        zero_padding(scores.logits, scores.padding_mask),
    )
