"""From router logits to router probabilities.

Routing arithmetic is float32 whatever the dtype policy: the projection, the
scores, the selection and the losses. Half-precision logits flip the choice
of experts between nearly equal candidates and overflow in the z-loss
(Fedus et al., 2021, https://arxiv.org/abs/2101.03961, section 2.4).
"""

import keras
from keras import ops

# Where the largest score of a token is smaller, float32 has lost the others:
# it ends near 1e-38.
SMALLEST_PEAK = 1e-30


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


def sqrt_softplus(router_logits):
    """Score every expert on its own, without an upper end.

    `sqrt(log(1 + exp(logit)))` (DeepSeek-V4).

    Args:
        router_logits: float32 tensor of shape (..., E).

    Returns:
        float32 tensor of shape (..., E).

    Example:

    >>> import numpy as np
    >>> scores = sqrt_softplus(np.array([[100.0, 36.0]], "float32"))
    >>> np.array(scores).tolist()
    [[10.0, 6.0]]
    """
    # Far to the left it is exp(logit / 2). There the softplus underflows, and
    # the gradient of its root would be infinity times 0.
    far = router_logits < -20.0
    near = ops.where(far, 0.0, router_logits)
    left = ops.where(far, router_logits, 0.0)
    return ops.where(far, ops.exp(left / 2), ops.sqrt(ops.softplus(near)))


def log_sqrt_softplus(router_logits):
    """Return the logarithms of `sqrt_softplus`, also where it underflows.

    Args:
        router_logits: float32 tensor of shape (..., E).

    Returns:
        float32 tensor of shape (..., E).

    Example:

    >>> import numpy as np
    >>> float(log_sqrt_softplus(np.array(-400.0, "float32")))
    -200.0
    """
    far = router_logits < -20.0
    near = ops.where(far, 0.0, router_logits)
    return ops.where(far, router_logits, ops.log(ops.softplus(near))) / 2


def normalize(scores, router_logits, power=1.0):
    """Divide scores by their sum or p-norm, also where they underflow.

    Scores are divided by the largest of them first, so their size does not
    matter. Where all of them underflow, they are taken for `exp(logit)` up to
    a factor: so sigmoid ends on the left, to float32 accuracy below -16.

    Args:
        scores: float32 tensor of shape (..., X), not negative.
        router_logits: float32 tensor of shape (..., X) that they come from.
        power: float p of the norm `sum(scores ** p) ** (1 / p)`.

    Returns:
        float32 tensor of shape (..., X); with p = 1 it sums to 1 over the
        last axis.

    Example:

    >>> import numpy as np
    >>> scores = np.array([[3.0, 1.0]], "float32")
    >>> np.array(normalize(scores, np.log(scores))).tolist()
    [[0.75, 0.25]]
    """
    # Constants for the gradient: a common factor drops out.
    peak = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
    highest = ops.max(router_logits, axis=-1, keepdims=True)
    in_range = peak > SMALLEST_PEAK
    scores = ops.where(
        in_range,
        scores / ops.where(in_range, peak, 1.0),
        ops.exp(router_logits - ops.stop_gradient(highest)),
    )
    if power == 1:
        return scores / ops.sum(scores, axis=-1, keepdims=True)
    total = ops.sum(scores**power, axis=-1, keepdims=True)
    return scores / total ** (1 / power)


def normalize_logs(log_scores, power=1.0):
    """Divide scores by their sum or p-norm, given their logarithms.

    Args:
        log_scores: float32 tensor of shape (..., X): the logarithms, up to a
            constant for each token.
        power: float p of the norm `sum(scores ** p) ** (1 / p)`.

    Returns:
        float32 tensor of shape (..., X), the scores over their norm.

    Example:

    >>> import numpy as np
    >>> logs = np.log(np.array([[3.0, 1.0]], "float32")) - 1000
    >>> np.array(normalize_logs(logs)).round(4).tolist()
    [[0.75, 0.25]]
    """
    if power == 1:
        return softmax(log_scores)
    # Near 0 before anything is rounded; the gradient does not see it.
    highest = ops.max(log_scores, axis=-1, keepdims=True)
    log_scores = log_scores - ops.stop_gradient(highest)
    log_norm = ops.logsumexp(power * log_scores, axis=-1, keepdims=True)
    return ops.exp(log_scores - log_norm / power)


SCORE_FUNCTIONS = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "sqrt_softplus": sqrt_softplus,
}


def get_log_score_function(score_function):
    """Look up the function that gives the logarithms of the scores.

    Args:
        score_function: function that `get_score_function` returned.

    Returns:
        Function of the logits; its logarithms may miss a constant for each
        token. `None` for a function that is not of this module.

    Example:

    >>> import numpy as np
    >>> log_scores = get_log_score_function(sigmoid)
    >>> float(log_scores(np.array(-200.0, "float32")))  # sigmoid gives 0
    -200.0
    """
    if score_function is softmax:
        return lambda router_logits: router_logits
    if score_function is sigmoid:
        return ops.log_sigmoid
    return log_sqrt_softplus if score_function is sqrt_softplus else None


def get_score_function(identifier):
    """Look up a score function by name, or pass a callable through.

    Args:
        identifier: `"softmax"`, `"sigmoid"`, `"sqrt_softplus"`, or a function
            that maps float32 logits of shape (..., E) to scores of the same
            shape.

    Returns:
        The function. Keras' own softmax and sigmoid stand for those of this
        module, which are known by their logarithms as well.

    Raises:
        ValueError: If the name is unknown.

    Example:

    >>> get_score_function("sigmoid").__name__
    'sigmoid'
    """
    if callable(identifier):
        return _own(identifier)
    if identifier not in SCORE_FUNCTIONS:
        raise ValueError(
            "Expected `score_function` to be one of "
            f"{sorted(SCORE_FUNCTIONS)} or a function. "
            f"Received: score_function={identifier!r}"
        )
    return SCORE_FUNCTIONS[identifier]


def _own(function):
    if function in (ops.softmax, keras.activations.softmax):
        return softmax
    if function in (ops.sigmoid, keras.activations.sigmoid):
        return sigmoid
    return function
