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
