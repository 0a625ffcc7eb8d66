"""From router logits to router probabilities.

Routing arithmetic is float32 whatever the dtype policy: the projection, the
scores, the selection and the losses. Half-precision logits flip the choice
of experts between nearly equal candidates and overflow in the z-loss
(Fedus et al., 2021, https://arxiv.org/abs/2101.03961, section 2.4).
"""

from keras import ops

# Keeps a division finite when every score underflows to 0, and in float32 the
# square of the divisor, by which its gradient divides.
SMALLEST_SUM = 1e-18


def softmax(router_logits):
    """Turn logits into probabilities that sum to 1 over the experts.

    Args:
        router_logits: float32 tensor of shape (..., E).

    Returns:
        float32 tensor of shape (..., E).

    Example:

    >>> import numpy as np
    >>> softmax(np.zeros((1, 4), "float32")).shape == (1, 4)
    True
    """
    if router_logits.shape[-1] == 1:
        # What `ops.softmax` gives for a single expert, but with a warning.
        return 1.0 + 0.0 * router_logits
    return ops.softmax(router_logits, axis=-1)


def sigmoid(router_logits):
    """Score every expert on its own, between 0 and 1.

    Used by DeepSeek-V3 (https://arxiv.org/abs/2412.19437, equation 15); the
    scores of one token do not sum to 1.

    Args:
        router_logits: float32 tensor of shape (..., E).

    Returns:
        float32 tensor of shape (..., E).

    Example:

    >>> import numpy as np
    >>> float(sigmoid(np.zeros((1, 1), "float32"))[0, 0])
    0.5
    """
    return ops.sigmoid(router_logits)


def normalize(scores, power=1.0):
    """Divide scores by their sum or p-norm; all zeros stay zeros.

    Args:
        scores: float32 tensor of shape (..., X), not negative.
        power: float p of the norm `sum(scores ** p) ** (1 / p)`.

    Returns:
        float32 tensor of shape (..., X); with p = 1 it sums to 1 over the
        last axis.

    Example:

    >>> import numpy as np
    >>> shares = normalize(np.array([[3.0, 1.0]], "float32"))
    >>> np.array(shares).tolist()
    [[0.75, 0.25]]
    """
    if power == 1:
        total = ops.sum(scores, axis=-1, keepdims=True)
    else:
        total = ops.sum(scores**power, axis=-1, keepdims=True) ** (1 / power)
    return scores / (total + SMALLEST_SUM)


SCORE_FUNCTIONS = {"softmax": softmax, "sigmoid": sigmoid}


def get_score_function(identifier):
    """Look up a score function by name, or pass a callable through.

    Args:
        identifier: `"softmax"`, `"sigmoid"`, or a function that maps float32
            logits of shape (..., E) to scores of the same shape.

    Returns:
        The function.

    Raises:
        ValueError: If the name is unknown.

    Example:

    >>> get_score_function("sigmoid").__name__
    'sigmoid'
    """
    if callable(identifier):
        return identifier
    if identifier not in SCORE_FUNCTIONS:
        raise ValueError(
            "Expected `score_function` to be one of "
            f"{sorted(SCORE_FUNCTIONS)} or a function. "
            f"Received: score_function={identifier!r}"
        )
    return SCORE_FUNCTIONS[identifier]
