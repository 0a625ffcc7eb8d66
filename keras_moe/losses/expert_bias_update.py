"""Balance without a loss: the step of the router's selection bias."""

from keras import ops

from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.ops.plain_numbers import to_plain


def expert_bias_update(plan, update_rate):
    """Compute by how much each expert's selection bias should change.

    `update_rate * sign(mean(c) - c)`, where `c` are the (token, choice) pairs
    on each expert: an expert with more than an equal load becomes harder to
    choose, one with less easier (Wang et al., 2024,
    https://arxiv.org/abs/2408.15664, algorithm 1; DeepSeek-V3,
    https://arxiv.org/abs/2412.19437, section 2.1.2). No gradient flows.

    Args:
        plan: `TokenChoice`.
        update_rate: float, in units of a score.

    Returns:
        float32 tensor of shape (E,); 0 if there is no real token.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = np.array([[3, 2, 1], [3, 1, 2]], "float32")
    >>> plan = choose_top_k(logits, top_k=1)
    >>> np.array(expert_bias_update(plan, 0.5)).tolist()
    [-0.5, 0.5, 0.5]
    """
    return to_plain(update_rate) * missing_load(tokens_per_expert(plan))


def missing_load(load):
    """Tell which experts have less than an equal load, and which more.

    Args:
        load: float32 tensor of shape (E,), whole numbers.

    Returns:
        float32 tensor of shape (E,): 1 for less, -1 for more, else 0.

    Example:

    >>> import numpy as np
    >>> np.array(missing_load(np.array([3.0, 1.0, 2.0], "float32"))).tolist()
    [-1.0, 1.0, 0.0]
    """
    num_experts = load.shape[0]
    # Whole numbers: a mean that is rounded would call a balanced load uneven.
    return ops.sign(ops.sum(load) - num_experts * load)
