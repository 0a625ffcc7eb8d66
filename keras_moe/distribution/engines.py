"""Which distributions Keras heeds on which backend."""

import warnings

import keras

from keras_moe.ops.replicas import in_multi_worker_strategy


def keras_distributes():
    """Tell whether Keras heeds `keras.distribution` on this backend.

    Returns:
        bool: always on JAX, never on TensorFlow, and on PyTorch as soon as
        Keras knows its devices, which 3.15 does not.

    Example:

    >>> import keras
    >>> keras_distributes() or keras.config.backend() != "jax"
    True
    """
    if keras.config.backend() != "torch":
        return keras.config.backend() == "jax"
    try:
        keras.distribution.list_devices()
    except AttributeError:
        return False
    return True


def check_is_heeded(distribution):
    """Raise if Keras would ignore a distribution without a word.

    Args:
        distribution: the `keras.distribution.Distribution` that is set, or
            `None`.

    Raises:
        NotImplementedError: If the backend ignores it.

    Example:

    >>> check_is_heeded(None)
    """
    if distribution is None or keras_distributes():
        return
    if hasattr(distribution, "engine"):  # Our own, which need not Keras.
        return
    cure = {
        "tensorflow": "Make the model in the scope of a "
        "`tf.distribute.MirroredStrategy`",
        "torch": "Leave it out, and use `keras_moe.distribution.replicate`",
    }[keras.config.backend()]
    raise NotImplementedError(
        f"Expected a distribution that Keras {keras.__version__} heeds on "
        f"{keras.config.backend()}. Received: "
        f"{type(distribution).__name__}, which it ignores. {cure}, or train "
        "on JAX."
    )


def warn_of_broken_fit():
    """Warn where Keras' own `fit` fails, whatever the model.

    Example:

    >>> warn_of_broken_fit()
    """
    version = tuple(int(part) for part in keras.__version__.split(".")[:2])
    if version < (3, 16) and in_multi_worker_strategy():
        warnings.warn(
            f"Keras {keras.__version__} cannot `fit` any model under a "
            "MultiWorkerMirroredStrategy of several workers: it takes a "
            "worker's part of a batch (`PerReplica`) for a tensor. Write the "
            "loop with `strategy.run`, which trains right, or train on JAX.",
            stacklevel=2,
        )
