"""How far the token alone, without its context, tells its expert."""

from typing import NamedTuple

import numpy as np

from keras_moe.analysis.choices import real_choices
from keras_moe.analysis.token_table import count_choices


class TokenInformation(NamedTuple):
    """What the token id says about the expert, by layer.

    Attributes:
        explained: float array (layers,), share of held-out first choices that
            are the token's most frequent expert elsewhere.
        baseline: float array (layers,), the same of the layer's most frequent
            expert, whatever the token.
        expert_entropy: float array (layers,), entropy of the first choices,
            in nats.
        conditional_entropy: float array (layers,), what is left of it once
            the token is known, in nats.
        mutual_information: float array (layers,), their difference, in nats.
    """

    explained: np.ndarray
    baseline: np.ndarray
    expert_entropy: np.ndarray
    conditional_entropy: np.ndarray
    mutual_information: np.ndarray


def token_information(
    token_ids, routed_experts, num_experts, vocabulary_size, mask=None
):
    """Measure how far the token id alone predicts the first choice.

    OpenMoE calls what it finds context-independent specialization. Every other
    row of the batch is held out: a token's most frequent expert is counted on
    the even rows, and is compared with the choices on the odd rows. Tokens
    that the even rows lack count as the layer's most frequent expert. Entropies
    are those of all rows' frequencies; on few tokens they overrate the
    information by about `(V - 1) (E - 1) / (2 T)` nats, with V tokens that
    occur.

    Args:
        token_ids: int array of shape (B, L), 0 to V - 1; B is 2 or more.
        routed_experts: int array of shape (B, L, layers, K), best first.
        num_experts: int E.
        vocabulary_size: int V.
        mask: optional bool array of shape (B, L), True = real token.

    Returns:
        `TokenInformation`.

    Raises:
        ValueError: If no row can be held out, or shapes do not fit together.

    Example:

    >>> token_ids = np.array([[3, 4, 3, 4], [4, 3, 3, 4]])
    >>> routed = (token_ids - 3)[:, :, None, None]  # The token decides.
    >>> found = token_information(token_ids, routed, 2, vocabulary_size=5)
    >>> found.explained.tolist(), found.baseline.tolist()
    ([1.0], [0.5])
    >>> round(float(found.mutual_information[0]), 4)  # log(2)
    0.6931

    References:
        Xue et al., 2024, https://arxiv.org/abs/2402.01739, section 4.
    """
    first = np.asarray(routed_experts)[..., :1]
    real = real_choices(first, num_experts, mask)
    if len(first) < 2:
        raise ValueError(
            "Expected two rows of text or more, of which one is held out. "
            f"Received: {len(first)}. Cut the text into shorter windows."
        )
    even, odd = (
        count_choices(
            np.asarray(token_ids)[start::2],
            first[start::2],
            num_experts,
            vocabulary_size,
            real[start::2].any((2, 3)),
        )
        for start in (0, 1)
    )
    # (layers, V, E) -> (layers, 1), (layers, V)
    common = even.sum(1).argmax(-1)[:, None]
    guess = np.where(even.any(-1), even.argmax(-1), common)
    total = np.maximum(odd.sum((1, 2)), 1)
    explained = np.take_along_axis(odd, guess[..., None], 2).sum((1, 2))
    baseline = np.take_along_axis(odd.sum(1), common, 1)[:, 0]
    counts = even + odd
    of_tokens = counts.sum(2)
    expert_entropy = entropy(counts.sum(1))
    shares = of_tokens / np.maximum(of_tokens.sum(1, keepdims=True), 1)
    conditional = np.sum(shares * entropy(counts), axis=1)
    return TokenInformation(
        explained / total,
        baseline / total,
        expert_entropy,
        conditional,
        # Rounding must not make it negative.
        np.maximum(expert_entropy - conditional, 0.0),
    )


def entropy(counts):
    """Compute the entropy of frequencies, in nats.

    Args:
        counts: array of shape (..., E), 0 or more.

    Returns:
        float64 array of shape (...); 0 where nothing was counted.

    Example:

    >>> entropy(np.array([[1, 1], [2, 0], [0, 0]])).round(4).tolist()
    [0.6931, 0.0, 0.0]
    """
    counts = np.asarray(counts, "float64")
    total = np.sum(counts, axis=-1, keepdims=True)
    shares = counts / np.where(total > 0, total, 1.0)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return np.abs(np.sum(shares * logs, axis=-1))
