"""Where a generated sequence ends."""

from keras import ops


def until_stop(token_ids, prompt_mask, stop_token_ids):
    """Mark the tokens up to and including the first generated stop token.

    Args:
        token_ids: int32 tensor of shape (B, X).
        prompt_mask: bool tensor of shape (B, X), True = token of the prompt,
            which never counts as a stop.
        stop_token_ids: optional tuple of ints.

    Returns:
        bool tensor of shape (B, X).

    Example:

    >>> import numpy as np
    >>> token_ids = np.array([[9, 5, 9, 7]], "int32")
    >>> prompt = np.array([[True, False, False, False]])
    >>> np.array(until_stop(token_ids, prompt, (9,))).tolist()
    [[True, True, True, False]]
    """
    if stop_token_ids is None:
        return ops.ones_like(token_ids, dtype="bool")
    stops = ops.zeros_like(prompt_mask)
    for stop_token_id in stop_token_ids:
        stops = ops.logical_or(stops, token_ids == stop_token_id)
    stops = ops.logical_and(stops, ops.logical_not(prompt_mask))
    stops = ops.cast(stops, "int32")
    stops_before = ops.cumsum(stops, axis=-1) - stops
    return stops_before == 0
