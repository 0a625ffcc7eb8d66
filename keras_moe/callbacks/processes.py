"""The processes that train one model together."""

import keras

from keras_moe.ops.replicas import num_replicas
from keras_moe.ops.replicas import sum_over_replicas


def num_processes():
    """Count the processes that train a model.

    Returns:
        int, 1 unless JAX' or PyTorch's distributed runtime is started.

    Example:

    >>> num_processes()
    1
    """
    if keras.config.backend() != "jax":
        return num_replicas()
    import jax

    return jax.process_count()


def is_first_process():
    """Tell whether this process writes what one alone writes.

    Returns:
        bool.

    Example:

    >>> is_first_process()
    True
    """
    if num_processes() == 1:
        return True
    if keras.config.backend() == "jax":
        import jax

        return jax.process_index() == 0
    from keras_moe.ops.backend import load

    return load("processes").rank() == 0


def any_process(flag):
    """Tell all processes of `torch.distributed` if one of them has a flag.

    Args:
        flag: bool, of this process.

    Returns:
        bool, the same in all of them.

    Example:

    >>> any_process(True)
    True
    """
    if num_replicas() == 1:
        return flag
    total = sum_over_replicas(keras.ops.convert_to_tensor(float(flag)))
    return float(keras.ops.convert_to_numpy(total)) > 0


def wait_for_processes():
    """Wait until all processes of `torch.distributed` have come here.

    Example:

    >>> wait_for_processes()
    """
    any_process(False)


def of_first_process(number):
    """Tell all processes of `torch.distributed` a number of the first one.

    Args:
        number: int, 0 or more, or `None`, of this process.

    Returns:
        int or `None`, the same in all of them.

    Example:

    >>> of_first_process(7)
    7
    """
    if num_replicas() == 1:
        return number
    # 0 for `None`, and from every other process.
    own = 1 + number if number is not None and is_first_process() else 0
    total = sum_over_replicas(keras.ops.convert_to_tensor(own, "int64"))
    return int(keras.ops.convert_to_numpy(total)) - 1 if total else None
