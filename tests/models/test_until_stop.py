"""Where generated sequences end."""

import numpy as np
from keras import ops

from keras_moe.models.until_stop import until_stop


def test_stop_tokens_in_the_prompt_do_not_count():
    token_ids = np.array([[9, 5, 9, 7]], "int32")
    prompt_mask = np.array([[True, False, False, False]])
    mask = ops.convert_to_numpy(until_stop(token_ids, prompt_mask, (9,)))
    assert mask.tolist() == [[True, True, True, False]]


def test_without_stop_tokens_every_token_counts():
    token_ids = np.array([[9, 5]], "int32")
    mask = until_stop(token_ids, np.zeros((1, 2), bool), None)
    assert ops.convert_to_numpy(mask).tolist() == [[True, True]]
