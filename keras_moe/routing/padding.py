"""Masks that come by several ways."""

from keras import ops


def join_masks(*masks):
    """Join padding masks: a token is real if every mask says so.

    A layer is given a `padding_mask`, and Keras hands it the mask of its
    inputs in `mask`, or in `inputs_mask` where the inputs are not the only
    tensor.

    Args:
        *masks: tensors of one shape (...), True or 1 = real token, or `None`.

    Returns:
        bool tensor of shape (...), or `None` if there is no mask.

    Example:

    >>> import numpy as np
    >>> np.array(join_masks(np.array([1, 1, 0]), None, np.array([1, 0, 0])))
    array([ True, False, False])
    """
    given = [ops.cast(mask, "bool") for mask in masks if mask is not None]
    if not given:
        return None
    joined = given[0]
    for mask in given[1:]:
        joined = ops.logical_and(joined, mask)
    return joined
