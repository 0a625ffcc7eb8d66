"""Which tokens end a text."""

import numpy as np


def find_stop_token_ids(stop_token_ids, preprocessor):
    """Return the tokens that end a text, whatever form they were given in.

    Args:
        stop_token_ids: ints in any form, `None`, or `"auto"` for those of the
            tokenizer. Negative ones mean no token.
        preprocessor: optional preprocessor with a `tokenizer`.

    Returns:
        tuple of ints, or `None` if there are none.

    Raises:
        ValueError: If the tokenizer is asked for and there is none.

    Example:

    >>> find_stop_token_ids([5, -1], preprocessor=None)
    (5,)
    """
    if stop_token_ids is None:
        return None
    if isinstance(stop_token_ids, str):
        stop_token_ids = _of_tokenizer(stop_token_ids, preprocessor)
    stop_token_ids = np.atleast_1d(stop_token_ids).ravel().tolist()
    # No token is negative; some write -1 for none.
    return tuple(int(each) for each in stop_token_ids if each >= 0) or None


def _of_tokenizer(wish, preprocessor):
    if wish != "auto" or preprocessor is None:
        raise ValueError(
            'Expected a tokenizer for `stop_token_ids="auto"`. Received: '
            f"stop_token_ids={wish!r}, preprocessor={preprocessor}. "
            "Without a `preprocessor`, pass token ids, or `None` to fill "
            "the whole length."
        )
    tokenizer = preprocessor.tokenizer
    token_ids = getattr(tokenizer, "stop_token_ids", None)
    if token_ids is None:
        names = ("end_token_id", "end_token2_id")
        token_ids = [getattr(tokenizer, name, None) for name in names]
    return [each for each in token_ids if each is not None]
