"""Masks that come by several ways."""

import numpy as np
import pytest
from keras import ops

from keras_moe.routing.padding import join_masks


def test_no_mask_stays_no_mask():
    assert join_masks() is None
    assert join_masks(None, None) is None


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
def test_a_token_is_real_where_all_masks_say_so(dtype):
    first = np.array([[1, 1, 0, 0]], dtype)
    second = np.array([[1, 0, 1, 0]])
    joined = ops.convert_to_numpy(join_masks(first, None, second))
    assert joined.dtype == bool
    assert joined.tolist() == [[True, False, False, False]]
