"""The auxiliary loss that keeps the experts equally busy."""

from keras import ops

from keras_moe.losses.shares import shares_of_probability
from keras_moe.losses.token_means import mean_over_sequences
from keras_moe.losses.token_means import mean_over_tokens
from keras_moe.losses.token_means import num_real_tokens
from keras_moe.ops.replicas import sum_over_batch
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.plans import count_tokens
from keras_moe.routing.plans import get_scores

CHOICES = ("all", "first")


def load_balancing_loss(
    plan, *, normalize_top_k=True, choices="all", per_sequence=False
):
    """Compute how far the routing is from an equal load.

    `E * sum_e(f_e * P_e) / K`, where `f_e` is the number of (token, choice)
    pairs on expert e over the number of real tokens, a constant for the
    gradient, and `P_e` the mean router probability of expert e over the real
    tokens (Switch, https://arxiv.org/abs/2101.03961, equations 4 to 6).
    Divided by K, which the paper does not need at K = 1, it is 1.0 when
    perfectly balanced. Pairs count where they were routed, before any drop.
    Scores that do not sum to 1 (sigmoid) are normalized per token first
    (DeepSeek-V3, https://arxiv.org/abs/2412.19437, equations 17 to 20).

    Args:
        plan: `TokenChoice` with scores; or a plan in which experts choose,
            where K is how many of them see a token on average.
        normalize_top_k: bool, whether the loss is divided by K.
        choices: `"all"`, or `"first"`: only a token's first choice counts
            (GShard, https://arxiv.org/abs/2006.16668, algorithm 1). Then the
            plan is one before anything is dropped.
        per_sequence: bool, whether each row of the batch has a loss of its
            own, and they are averaged (DeepSeek-V3, equation 17).

    Returns:
        float32 scalar, dimensionless; 0 if there is no real token.

    Raises:
        ValueError: If `choices` is unknown.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(8 * np.eye(4, dtype="float32"), top_k=1)
    >>> round(float(load_balancing_loss(plan)), 4)  # one token per expert
    1.0
    """
    check_choices(choices)
    per_sequence = per_sequence and has_sequences(plan)
    mean_probs = mean_over_tokens(
        shares_of_probability(plan), plan.scores.padding_mask, per_sequence
    )
    if choices == "first":
        plan = _first_choices(plan)
    load = pairs_per_token(plan, per_sequence)
    balance = mean_probs.shape[-1] * ops.sum(load * mean_probs, -1)
    if normalize_top_k:
        balance = balance / _experts_per_token(plan, load)
    return mean_over_sequences(balance, plan.scores.padding_mask)


def pairs_per_token(plan, per_sequence=False):
    """Compute each expert's (token, choice) pairs over the real tokens.

    Args:
        plan: `TokenChoice` with scores.
        per_sequence: bool, whether each row of the batch is taken alone.

    Returns:
        float32 tensor of shape (E,), or (G, E).

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = np.array([[3, 2, 1], [3, 1, 2], [1, 2, 3]], "float32")
    >>> plan = choose_top_k(logits, top_k=1)
    >>> np.array(pairs_per_token(plan)).round(2).tolist()
    [0.67, 0.0, 0.33]
    """
    pairs = tokens_per_expert(plan, per_sequence)
    mask = get_scores(plan).padding_mask
    if per_sequence:
        return pairs / num_real_tokens(mask, per_sequence)[..., None]
    pairs, number = sum_over_batch(pairs, ops.sum(ops.cast(mask, "float32")))
    return pairs / ops.maximum(number, 1.0)


def tokens_per_expert(plan, per_sequence=False):
    """Count the (token, choice) pairs that the router sends to each expert.

    Args:
        plan: a plan, such as `TokenChoice`, before or after pairs were dropped.
        per_sequence: bool, whether each row of the batch is counted alone.

    Returns:
        float32 tensor of shape (E,), or (G, E), in pairs; padding does not
        count.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.array([[0.0, 1.0]], "float32"), top_k=1)
    >>> np.array(tokens_per_expert(plan)).tolist()
    [0.0, 1.0]
    """
    if plan.tokens_per_expert is None:
        plan = count_tokens(plan, get_scores(plan).probs.shape[-1])
    counts = ops.cast(plan.tokens_per_expert, "float32")
    if per_sequence or len(counts.shape) == 1:
        return counts
    return ops.sum(counts, axis=0)  # (G, E) -> (E,)


def has_sequences(plan):
    """Tell whether the rows of a plan are sequences, as in inputs of rank 3.

    Args:
        plan: `TokenChoice`; of inputs of rank 2 it is one sequence.

    Returns:
        bool.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> has_sequences(choose_top_k(np.zeros((3, 4), "float32"), top_k=1))
    False
    """
    return len(plan.expert_indices.shape) > 2


def check_choices(choices):
    """Raise unless `choices` says which choices of a token count.

    Args:
        choices: the name to check.

    Raises:
        ValueError: If it is unknown; the message lists the known ones.

    Example:

    >>> check_choices("first")
    """
    if choices not in CHOICES:
        raise ValueError(
            f"Expected `choices` to be one of {list(CHOICES)}. "
            f"Received: choices={choices!r}."
        )


def _first_choices(plan):
    return plan._replace(
        expert_indices=plan.expert_indices[..., :1], tokens_per_expert=None
    )


def _experts_per_token(plan, load):
    if isinstance(plan, TokenChoice):
        return plan.expert_indices.shape[-1]
    return ops.maximum(ops.sum(load, axis=-1), 1e-6)
