"""Over which axes of a mesh a weight is split."""

SHARDS = (None, "full", "tensor")


def axes_of_expert_weight(variable, sizes, fully=False):
    """Split the experts over the expert axis.

    Args:
        variable: `keras.Variable` with E as its first axis.
        sizes: dict, the size of the axes `"data"` and `"expert"`.
        fully: bool, whether another axis is split over the data axis.

    Returns:
        tuple, the mesh axis of each dimension, or `None`.

    Raises:
        ValueError: If E is no multiple of the expert axis.

    Example:

    >>> from types import SimpleNamespace
    >>> kernel = SimpleNamespace(shape=(8, 16, 64), path="experts/up/kernel")
    >>> axes_of_expert_weight(kernel, {"data": 2, "expert": 4}, fully=True)
    ('expert', None, 'data')
    """
    num_experts = variable.shape[0]
    if num_experts % sizes["expert"]:
        raise ValueError(
            "Expected a number of experts that can be divided among the "
            f"devices of the expert axis. Received: {variable.path} with "
            f"{num_experts} experts, expert={sizes['expert']}. Choose an "
            "expert axis that divides it."
        )
    others = variable.shape[1:]
    axes = _split_largest(others, "data", sizes["data"]) if fully else None
    return ("expert", *(axes or [None] * len(others)))


def axes_of_weight(shape, sizes, fully=False):
    """Keep a weight whole, or split its largest axis over all devices.

    Where no axis can be divided among all, over one axis of the mesh: the
    larger one, if possible.

    Args:
        shape: tuple of ints.
        sizes: dict, the size of the axes `"data"` and `"expert"`.
        fully: bool, whether kernels, weights of two axes and more, are split.

    Returns:
        tuple, the mesh axes of each dimension, or `None`.

    Example:

    >>> axes_of_weight((16, 64), {"data": 2, "expert": 4}, fully=True)
    (None, ('data', 'expert'))
    >>> axes_of_weight((4, 6), {"data": 2, "expert": 4}, fully=True)
    ('expert', None)
    """
    ways = [
        (tuple(sizes), sizes["data"] * sizes["expert"]),
        *sorted(sizes.items(), key=lambda way: -way[1]),
    ]
    for way, size in ways if fully else ():
        axes = _split_largest(shape, way, size)
        if axes is not None:
            return tuple(axes)
    return (None,) * len(shape)


def axes_of_split_weight(shape, dimension, sizes):
    """Split heads, columns or the vocabulary over the expert axis.

    Args:
        shape: tuple of ints.
        dimension: optional int, the dimension of `shape` that they are in.
        sizes: dict, the size of the axes `"data"` and `"expert"`.

    Returns:
        tuple, the mesh axis of each dimension, or `None`: a weight without
        such a dimension, or with one that cannot be divided, stays whole.

    Example:

    >>> axes_of_split_weight((16, 8, 4), 1, {"data": 2, "expert": 4})
    (None, 'expert', None)
    >>> axes_of_split_weight((16, 2, 4), 1, {"data": 2, "expert": 4})
    (None, None, None)
    """
    axes: list[str | None] = [None] * len(shape)
    if dimension is not None and shape[dimension] % sizes["expert"] == 0:
        axes[dimension] = "expert"
    return tuple(axes)


def check_shard(shard):
    """Raise unless `shard` is one of the known ways to split weights.

    Args:
        shard: the name to check.

    Raises:
        ValueError: If it is unknown; the message lists the known ones.

    Example:

    >>> check_shard("full")
    """
    if shard not in SHARDS:
        raise ValueError(
            f"Expected `shard` to be one of {list(SHARDS)}. "
            f"Received: shard={shard!r}."
        )


def _split_largest(shape, axis, size):
    """Split the largest dimension that can be divided, if there is one."""
    fitting = [i for i, length in enumerate(shape) if length % size == 0]
    if len(shape) < 2 or not fitting:
        return None
    largest = max(fitting, key=lambda i: shape[i])
    return [axis if i == largest else None for i in range(len(shape))]
