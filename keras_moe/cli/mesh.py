"""The devices of a training run."""

import contextlib
import re

AXES = ("data", "expert")


def parse_mesh(mesh):
    """Read what `--mesh` says.

    Args:
        mesh: str, such as `"data=2,expert=4"`; an axis that is left out gets
            the devices that the other leaves.

    Returns:
        dict: name of an axis -> int.

    Raises:
        ValueError: If it says something else.

    Example:

    >>> parse_mesh("data=2,expert=4")
    {'data': 2, 'expert': 4}
    """
    sizes = {}
    for part in mesh.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*([1-9]\d*)\s*", part)
        if not match or match[1] not in AXES or match[1] in sizes:
            raise ValueError(
                "Expected the sizes of the axes data and expert, such as "
                f"data=2,expert=4. Received: mesh={mesh!r}. Give each axis "
                "once, with its number of devices."
            )
        sizes[match[1]] = int(match[2])
    return sizes


@contextlib.contextmanager
def distributed(mesh, batch_size):
    """Distribute what is made and trained inside over a mesh of devices.

    Args:
        mesh: str as for `parse_mesh`, or `None` for one device.
        batch_size: int, rows that the devices share.

    Yields:
        str, a few words about the devices.

    Raises:
        ValueError: If the mesh does not fit the devices, or the batch the
            mesh.
        NotImplementedError: If the backend cannot distribute experts.
    """
    import keras

    if mesh is None:
        yield keras.config.backend()
        return
    if keras.config.backend() != "jax":
        raise NotImplementedError(
            "Expected a backend that trains on a mesh in one process. "
            f"Received: KERAS_BACKEND={keras.config.backend()}. Train on JAX, "
            "or write a script: see Scale in the documentation."
        )
    from keras_moe.distribution import ExpertParallel

    distribution = ExpertParallel(**parse_mesh(mesh))
    # Raises before anything is made.
    distribution.get_data_layout((batch_size,))
    sizes = distribution.axis_sizes
    with distribution.scope():
        yield (
            f"{keras.config.backend()}, {distribution.num_model_replicas} "
            "devices: " + ", ".join(f"{x}={n}" for x, n in sizes.items())
        )
