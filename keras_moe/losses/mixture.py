"""The two losses of the mixture of 1991."""

import keras
from keras import ops


def blend(mixture):
    """Average the experts' outputs with their weights.

    Args:
        mixture: float tensor of shape (..., E, D + 1), as
            `keras_moe.layers.ExpertMixture` returns it: the outputs, and last
            the logarithm of the weight.

    Returns:
        Float tensor of shape (..., D).

    Example:

    >>> import numpy as np
    >>> mixture = np.array([[[3.0, np.log(0.5)], [5.0, np.log(0.5)]]])
    >>> float(blend(mixture)[0, 0])
    4.0
    """
    weights = ops.exp(mixture[..., -1:])
    return ops.sum(ops.multiply(weights, mixture[..., :-1]), axis=-2)


@keras.saving.register_keras_serializable(package="keras_moe")
class BlendError(keras.losses.Loss):
    """Squared error of the experts' weighted average.

    `||d - sum_i p_i o_i||^2`: each expert learns what the others leave, so
    they cooperate.

    Args:
        reduction: as for `keras.losses.Loss`.
        name: of the loss.

    Call arguments:
        y_true: float tensor of shape (..., D).
        y_pred: float tensor of shape (..., E, D + 1), as for `blend`.

    Returns:
        float32 tensor, reduced from shape (...).

    Example:

    >>> import numpy as np
    >>> mixture = np.array([[[3.0, np.log(0.5)], [5.0, np.log(0.5)]]])
    >>> round(float(BlendError()(np.array([[7.0]]), mixture)), 4)
    9.0

    References:
        Jacobs et al., 1991, "Adaptive mixtures of local experts", equation
        1.1.
    """

    def __init__(
        self, reduction="sum_over_batch_size", name="blend_error", **kwargs
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        return ops.sum(ops.square(y_true - blend(y_pred)), axis=-1)


@keras.saving.register_keras_serializable(package="keras_moe")
class MixtureNegativeLogLikelihood(keras.losses.Loss):
    """Negative logarithm of the targets' likelihood under the mixture.

    `-log sum_i p_i exp(-||d - o_i||^2 / 2)`: each expert is the mean of a
    normal distribution of variance 1, without its constant. An expert learns
    the more of a case the better it does compared with the others, so they
    compete, and split the cases among themselves. Scale the targets so that
    the error they can have is near 1.

    Args:
        reduction: as for `keras.losses.Loss`.
        name: of the loss.

    Call arguments:
        y_true: float tensor of shape (..., D).
        y_pred: float tensor of shape (..., E, D + 1), as for `blend`.

    Returns:
        float32 tensor, in nats, reduced from shape (...).

    Example:

    >>> import numpy as np
    >>> mixture = np.array([[[3.0, np.log(0.5)], [5.0, np.log(0.5)]]])
    >>> loss = MixtureNegativeLogLikelihood()
    >>> round(float(loss(np.array([[4.0]]), mixture)), 4)
    0.5

    References:
        Jacobs et al., 1991, "Adaptive mixtures of local experts", equation
        1.3.
    """

    def __init__(
        self,
        reduction="sum_over_batch_size",
        name="mixture_negative_log_likelihood",
        **kwargs,
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        outputs, log_weights = y_pred[..., :-1], y_pred[..., -1]
        errors = ops.square(y_true[..., None, :] - outputs)
        return -ops.logsumexp(
            log_weights - 0.5 * ops.sum(errors, axis=-1), axis=-1
        )
