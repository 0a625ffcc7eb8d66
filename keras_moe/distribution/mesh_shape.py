"""How many devices each axis of a mesh has."""

from keras_moe.ops.plain_numbers import to_plain


def mesh_shape(data, expert, num_devices):
    """Fill in what is left open, and check that the axes fit the devices.

    Args:
        data: optional int, size of the data axis.
        expert: optional int, size of the expert axis.
        num_devices: int.

    Returns:
        A pair of ints, the sizes of the data and the expert axis.

    Raises:
        ValueError: If a size is not positive, or they are not as many as the
            devices.

    Example:

    >>> mesh_shape(None, 4, num_devices=8), mesh_shape(None, None, 8)
    ((2, 4), (1, 8))
    """
    data, expert = to_plain(data), to_plain(expert)
    received = f"Received: data={data}, expert={expert}, {num_devices} devices."
    for size in (data, expert):
        if size is not None and size < 1:
            raise ValueError(
                f"Expected axes of at least 1 device. {received} Leave an "
                "axis out to give it the devices that the other leaves."
            )
    if expert is None:
        expert = num_devices // (data or 1)
    if data is None:
        data = num_devices // expert
    if data * expert != num_devices:
        raise ValueError(
            f"Expected data * expert to be the number of devices. {received} "
            "Choose other sizes, or name the devices in `devices`."
        )
    return data, expert
