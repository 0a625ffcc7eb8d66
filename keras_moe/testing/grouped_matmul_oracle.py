"""The grouped matmul oracle: rows sorted by group, one row at a time."""

import numpy as np


def grouped_matmul(inputs, kernels, group_sizes):
    """Multiply every row by the kernel of the group it belongs to.

    The first `group_sizes[0]` rows belong to group 0, the next
    `group_sizes[1]` to group 1, and so on. Rows past the sum belong to nobody
    and come back as zero.

    Args:
        inputs: float array of shape (R, D), rows sorted by group.
        kernels: float array of shape (E, D, F).
        group_sizes: int array of shape (E,), rows per group.

    Returns:
        A float64 array of shape (R, F).

    Raises:
        ValueError: when `group_sizes` has a negative entry, another length
            than E, or a sum above R.

    Example:

    >>> import numpy as np
    >>> rows = np.array([[1.0], [2.0], [3.0]])
    >>> kernels = np.array([[[10.0]], [[100.0]]])
    >>> grouped_matmul(rows, kernels, [1, 1])[:, 0]
    array([ 10., 200.,   0.])
    """
    inputs = np.asarray(inputs, dtype=np.float64)
    kernels = np.asarray(kernels, dtype=np.float64)
    outputs = np.zeros((inputs.shape[0], kernels.shape[2]))
    for row, e in _owners(inputs, kernels, group_sizes):
        outputs[row] = inputs[row] @ kernels[e]
    return outputs


def grouped_matmul_gradients(inputs, kernels, group_sizes, cotangent):
    """Derive `sum(grouped_matmul(...) * cotangent)` by hand.

    Args:
        inputs: float array of shape (R, D), rows sorted by group.
        kernels: float array of shape (E, D, F).
        group_sizes: int array of shape (E,), rows per group.
        cotangent: float array of shape (R, F), the gradient of the output.

    Returns:
        The gradients of inputs (R, D) and kernels (E, D, F), float64. Rows
        past the sum of `group_sizes` have zero gradient and give none, and an
        empty group's kernel has zero gradient.

    Example:

    >>> import numpy as np
    >>> rows = np.array([[1.0], [2.0], [3.0]])
    >>> kernels = np.array([[[10.0]], [[100.0]]])
    >>> ones = np.ones((3, 1))
    >>> d_inputs, d_kernels = grouped_matmul_gradients(
    ...     rows, kernels, [1, 1], ones
    ... )
    >>> d_inputs[:, 0]
    array([ 10., 100.,   0.])
    >>> d_kernels[:, 0, 0]
    array([1., 2.])
    """
    inputs = np.asarray(inputs, dtype=np.float64)
    kernels = np.asarray(kernels, dtype=np.float64)
    cotangent = np.asarray(cotangent, dtype=np.float64)
    d_inputs = np.zeros(inputs.shape)
    d_kernels = np.zeros(kernels.shape)
    for row, e in _owners(inputs, kernels, group_sizes):
        d_inputs[row] = kernels[e] @ cotangent[row]
        d_kernels[e] += np.outer(inputs[row], cotangent[row])
    return d_inputs, d_kernels


def _owners(inputs, kernels, group_sizes):
    """List a (row, group) pair for every row that belongs to a group."""
    sizes = [int(size) for size in group_sizes]
    if (
        len(sizes) != len(kernels)
        or any(size < 0 for size in sizes)
        or sum(sizes) > len(inputs)
    ):
        raise ValueError(
            f"Expected `group_sizes` to hold {len(kernels)} counts, one per "
            f"kernel, with a sum of at most {len(inputs)}, the number of "
            f"rows. Received: group_sizes={sizes}. "
            "Count the rows of every group."
        )
    owners = []
    row = 0
    for e, size in enumerate(sizes):
        for _ in range(size):
            owners.append((row, e))
            row += 1
    return owners
