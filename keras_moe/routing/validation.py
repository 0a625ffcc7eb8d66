"""Checks that say what was expected, what came, and the cure."""

import numbers


def check_positive(**sizes):
    """Raise if a size is not a positive integer.

    Args:
        **sizes: the sizes under their argument names.

    Raises:
        ValueError: Names the first argument that is not.

    Example:

    >>> check_positive(num_experts=8)
    """
    for name, size in sizes.items():
        whole = isinstance(size, numbers.Integral)
        if not whole or isinstance(size, bool) or size <= 0:
            raise ValueError(
                f"Expected `{name}` to be a positive integer. "
                f"Received: {name}={size!r}"
            )


def check_top_k(top_k, num_experts):
    """Raise unless `1 <= top_k <= num_experts`.

    Args:
        top_k: int K.
        num_experts: int E.

    Raises:
        ValueError: If K or E is not positive, or K is larger than E.

    Example:

    >>> check_top_k(2, num_experts=8)
    """
    check_positive(num_experts=num_experts, top_k=top_k)
    if top_k > num_experts:
        raise ValueError(
            "Expected `top_k` to be at most `num_experts`. "
            f"Received: top_k={top_k}, num_experts={num_experts}. "
            "Choose fewer experts per token or create more experts."
        )


def check_not_negative(**amounts):
    """Raise if an amount is negative.

    Args:
        **amounts: the numbers under their argument names.

    Raises:
        ValueError: Names the first argument that is negative.

    Example:

    >>> check_not_negative(jitter_noise=0.0)
    """
    for name, amount in amounts.items():
        if not amount >= 0:  # also NaN
            raise ValueError(
                f"Expected `{name}` to be 0 or more. "
                f"Received: {name}={amount!r}"
            )


def check_padding_mask(padding_mask, inputs):
    """Raise unless the mask has one entry for each token.

    Args:
        padding_mask: bool tensor that should have shape (...).
        inputs: float tensor of shape (..., H).

    Raises:
        ValueError: If the static shapes do not fit.

    Example:

    >>> import numpy as np
    >>> check_padding_mask(np.ones((2, 3), bool), np.ones((2, 3, 8)))
    """
    expected, received = tuple(inputs.shape[:-1]), tuple(padding_mask.shape)
    fits = len(expected) == len(received) and all(
        want is None or have is None or want == have
        for want, have in zip(expected, received, strict=True)
    )
    if not fits:
        raise ValueError(
            "Expected `padding_mask` to have one entry per token: the shape "
            f"of the inputs without the last axis, {expected}. "
            f"Received: padding_mask.shape={received}. An attention mask of "
            "shape (B, L, L) has to be reduced to (B, L), True = real token."
        )


def check_tokens(inputs):
    """Raise unless the inputs are a non-empty batch of vectors.

    Args:
        inputs: float tensor that should have shape (..., H).

    Raises:
        ValueError: If the rank is below 2 or there is no token.

    Example:

    >>> import numpy as np
    >>> check_tokens(np.ones((3, 8)))
    """
    shape = tuple(inputs.shape)
    if len(shape) < 2:
        raise ValueError(
            "Expected inputs of shape (..., hidden_dim) with rank 2 or more. "
            f"Received: inputs.shape={shape}. Add a batch axis: `inputs[None]`."
        )
    if 0 in shape:
        raise ValueError(
            "Expected at least one token to route. "
            f"Received: inputs.shape={shape}. Skip empty batches."
        )
