"""Initial values for stacked kernels, as if each expert stood alone."""

import keras
from keras import ops

from keras_moe.ops.plain_numbers import plain_numbers

# More than the kernels of one expert, so that no two experts share a seed.
SEEDS_PER_EXPERT = 16


@keras.saving.register_keras_serializable(package="keras_moe")
class PerExpertInitializer(keras.initializers.Initializer):
    """Draws each expert's kernel with the fans of its own (in, out).

    A variance-scaling initializer (Glorot, He, LeCun) given the stacked
    shape (E, in, out) takes the first axis for a convolution window and draws
    values that are too small by the square root of E. Here every expert gets
    the variance of a plain (in, out) kernel, and experts differ.

    Args:
        initializer: a Keras initializer, its name, or a function of a shape.
        num_branches: int. With 2, the last axis holds two kernels side by
            side (gate and up), each drawn as the separate kernel it is.

    Example:

    >>> initializer = PerExpertInitializer("glorot_uniform")
    >>> tuple(initializer((4, 16, 32)).shape)
    (4, 16, 32)
    """

    @plain_numbers
    def __init__(self, initializer, num_branches=1):
        self.initializer = keras.initializers.get(initializer)
        self.num_branches = num_branches

    def __call__(self, shape, dtype=None):
        width = shape[-1] // self.num_branches
        branches = [
            _draw(
                reseed(self.initializer, branch),
                (*shape[:-1], width),
                dtype,
            )
            for branch in range(self.num_branches)
        ]
        return ops.concatenate(branches, axis=-1)

    def get_config(self):
        return {
            "initializer": keras.initializers.serialize(self.initializer),
            "num_branches": self.num_branches,
        }


def reseed(initializer, offset):
    """Copy an initializer so that it draws other values.

    A Keras initializer draws the same values each time it is called, so
    kernels of one shape that share it would be equal.

    Args:
        initializer: a Keras initializer or a function.
        offset: int, added to a fixed seed; 0 returns the initializer itself.

    Returns:
        The copy; initializers without a seed are returned as they are.

    Example:

    >>> import keras
    >>> reseed(keras.initializers.HeNormal(seed=1), 2).seed
    3
    """
    if offset == 0 or not hasattr(initializer, "seed"):
        return initializer
    config = initializer.get_config()
    if isinstance(config["seed"], int):
        config["seed"] += offset
    return type(initializer).from_config(config)


def _draw(initializer, shape, dtype):
    num_experts, *kernel_shape = shape
    if isinstance(initializer, keras.initializers.VarianceScaling):
        # The fans of the stacked shape are E times too large.
        initializer = keras.initializers.VarianceScaling(
            scale=initializer.scale * num_experts,
            mode=initializer.mode,
            distribution=initializer.distribution,
            seed=initializer.seed,
        )
    elif isinstance(initializer, keras.initializers.Orthogonal):
        kernels = [
            reseed(initializer, SEEDS_PER_EXPERT * expert)(
                kernel_shape, dtype=dtype
            )
            for expert in range(num_experts)
        ]
        return ops.stack(kernels)
    return initializer(shape, dtype=dtype)
