"""Balance without a loss: the step of the router's selection bias."""

from keras import ops

from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.ops.plain_numbers import to_plain

BIAS_RULES = ("sign", "proportional")


def expert_bias_update(plan, update_rate, rule="sign", centered=False):
    """Compute by how much each expert's selection bias should change.

    `update_rate * sign(mean(c) - c)`, where `c` are the (token, choice) pairs
    on each expert: an expert with more than an equal load becomes harder to
    choose, one with less easier (Wang et al., 2024,
    https://arxiv.org/abs/2408.15664, algorithm 1; DeepSeek-V3,
    https://arxiv.org/abs/2412.19437, section 2.1.2). No gradient flows.

    Args:
        plan: `TokenChoice`.
        update_rate: float, in units of a score.
        rule: `"sign"`, or `"proportional"`: `update_rate * (mean(c) - c) /
            mean(c)`. Divided by the mean, which the paper leaves out, the
            rate is independent of the size of the batch.
        centered: bool, whether the steps' mean is taken off, so that the
            biases keep their sum.

    Returns:
        float32 tensor of shape (E,); 0 if there is no real token.

    Raises:
        ValueError: If the rule is unknown.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = np.array([[3, 2, 1], [3, 1, 2]], "float32")
    >>> plan = choose_top_k(logits, top_k=1)
    >>> np.array(expert_bias_update(plan, 0.5)).tolist()
    [-0.5, 0.5, 0.5]
    """
    load = tokens_per_expert(plan)
    return to_plain(update_rate) * missing_load(load, rule, centered)


def missing_load(load, rule="sign", centered=False):
    """Tell which experts have less than an equal load, and which more.

    Args:
        load: float32 tensor of shape (E,), whole numbers.
        rule: `"sign"` or `"proportional"`.
        centered: bool, whether the mean is taken off.

    Returns:
        float32 tensor of shape (E,): 1 for less, -1 for more, else 0; or what
        is missing as a fraction of an equal load.

    Raises:
        ValueError: If the rule is unknown.

    Example:

    >>> import numpy as np
    >>> load = np.array([3, 1, 2], "float32")
    >>> np.array(missing_load(load)).tolist()
    [-1.0, 1.0, 0.0]
    >>> np.array(missing_load(load, "proportional")).tolist()
    [-0.5, 0.5, 0.0]
    """
    check_bias_rule(rule)
    num_experts = load.shape[0]
    # Whole numbers: a mean that is rounded would call a balanced load uneven.
    total = ops.sum(load)
    missing = total - num_experts * load
    if rule == "sign":
        missing = ops.sign(missing)
    else:
        missing = missing / ops.maximum(total, 1.0)
    return missing - ops.mean(missing) if centered else missing


def check_bias_rule(rule):
    """Raise unless `rule` says how far a bias moves.

    Args:
        rule: the name to check.

    Raises:
        ValueError: If it is unknown; the message lists the known ones.

    Example:

    >>> check_bias_rule("proportional")
    """
    if rule not in BIAS_RULES:
        raise ValueError(
            f"Expected `rule` to be one of {list(BIAS_RULES)}. "
            f"Received: rule={rule!r}."
        )
