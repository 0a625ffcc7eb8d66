"""Noise while training: on a router's logits, and on its inputs."""

import dataclasses

import keras
from keras import ops

from keras_moe.routing.score_functions import get_score_function
from keras_moe.routing.settings import Settings
from keras_moe.routing.validation import check_not_negative

DISTRIBUTIONS = ("normal", "gumbel")


@keras.saving.register_keras_serializable(package="keras_moe")
@dataclasses.dataclass(frozen=True)
class LogitNoise(Settings):
    """Noise that is added to the logits while training.

    Args:
        distribution: `"normal"`: experts are chosen by the noisy logits and
            weighted with them (V-MoE, https://arxiv.org/abs/2106.05974).
            `"gumbel"`: the choice alone is noisy, so that
            experts are drawn without replacement in proportion to their
            softmax probabilities (Kool et al., 2019,
            https://arxiv.org/abs/1903.06059, the Gumbel-top-k trick).
        stddev: optional float, the standard deviation of normal noise. `None`
            means 1 / E, as in V-MoE.

    Raises:
        ValueError: If the distribution is unknown, or `stddev` is negative
            or given for Gumbel noise.

    Example:

    >>> LogitNoise().stddev_of(num_experts=8)
    0.125
    """

    distribution: str = "normal"
    stddev: float | None = None

    def check(self):
        if self.distribution not in DISTRIBUTIONS:
            raise ValueError(
                f"Expected `distribution` to be one of {DISTRIBUTIONS}. "
                f"Received: {self}."
            )
        if self.stddev is None:
            return
        check_not_negative(stddev=self.stddev)
        if self.distribution == "gumbel":
            raise ValueError(
                "Expected `stddev` with normal noise alone. "
                f"Received: {self}. Leave it out."
            )

    def stddev_of(self, num_experts):
        """Return the standard deviation of normal noise.

        Args:
            num_experts: int E.

        Returns:
            float; `None` for Gumbel noise.
        """
        if self.distribution == "gumbel":
            return None
        return 1.0 / num_experts if self.stddev is None else self.stddev


def draw_gumbel(shape, seed):
    """Draw standard Gumbel noise.

    Args:
        shape: tuple of ints and scalar tensors.
        seed: `keras.random.SeedGenerator`, or an int.

    Returns:
        float32 tensor of this shape, finite.

    Example:

    >>> tuple(draw_gumbel((2, 3), seed=0).shape)
    (2, 3)
    """
    uniform = keras.random.uniform(
        shape, minval=1e-30, maxval=1.0, dtype="float32", seed=seed
    )
    # Rounded, the interval may hold its upper end, whose noise is infinite.
    uniform = ops.minimum(uniform, 1.0 - 2.0**-24)
    return -ops.log(-ops.log(uniform))


def draw_jitter(shape, amplitude, seed):
    """Draw uniform factors around 1, for a router's inputs.

    Args:
        shape: tuple of ints and scalar tensors.
        amplitude: float, how far they are from 1 at most.
        seed: `keras.random.SeedGenerator`, or an int.

    Returns:
        float32 tensor of this shape.

    Example:

    >>> tuple(draw_jitter((2, 3), amplitude=0.01, seed=0).shape)
    (2, 3)
    """
    return keras.random.uniform(
        shape,
        minval=1.0 - amplitude,
        maxval=1.0 + amplitude,
        dtype="float32",
        seed=seed,
    )


def show_noise(plan, router_logits, stddev, score_function):
    """Say in a plan that was made from noisy logits how large the noise is.

    Args:
        plan: `TokenChoice` with scores.
        router_logits: float32 tensor of shape (..., E), without noise.
        stddev: float, or float32 tensor of shape (..., E).
        score_function: as for `choose_top_k`.

    Returns:
        `TokenChoice` with scores without noise and, apart, noisy logits.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = np.zeros((3, 2), "float32")
    >>> plan = choose_top_k(logits + np.array([0, 0.5], "float32"), top_k=1)
    >>> scores = show_noise(plan, logits, 0.1, "softmax").scores
    >>> np.array(scores.probs)[0].tolist()
    [0.5, 0.5]
    >>> np.array(scores.noisy_logits)[0].tolist()
    [0.0, 0.5]
    """
    scores = plan.scores._replace(
        logits=router_logits,
        probs=get_score_function(score_function)(router_logits),
        noisy_logits=plan.scores.logits,
        noise_stddev=ops.convert_to_tensor(stddev, "float32"),
    )
    return plan._replace(scores=scores)
