"""A dense feed-forward layer's weights, and experts made of them."""

from typing import Any
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_moe.ops.gated_activation import gate_branches


class DenseWeights(NamedTuple):
    """What a dense feed-forward layer has learned, or one expert of it.

    Attributes:
        up: float array (H, n, I), n branches: a gate comes first.
        up_bias: float array (n, I).
        down: float array (I, H).
        down_bias: float array (H,).
    """

    up: Any
    up_bias: Any
    down: Any
    down_bias: Any

    @classmethod
    def of(cls, *layers):
        """Read a `FeedForward`, or two layers that follow each other.

        Args:
            *layers: built `keras_moe.layers.FeedForward`; or two built
                `keras.layers.Dense`.

        Returns:
            `DenseWeights`.
        """
        if len(layers) == 2:
            return cls._of_pair(*layers)
        layer = layers[0]
        up, down = _floats(layer.up.kernel), _floats(layer.down.kernel)
        branches = up[:, None]
        if layer.gated:
            gate = _floats(layer.gate.kernel)
            shape = len(up), gate_branches(layer.activation), up.shape[1]
            branches = np.concatenate([gate.reshape(shape), branches], axis=1)
        up_bias = np.zeros(branches.shape[1:], up.dtype)
        down_bias = np.zeros(len(up), up.dtype)
        if layer.use_bias:
            if layer.gated:
                up_bias[:-1] = _floats(layer.gate.bias).reshape(-1, len(down))
            up_bias[-1] = _floats(layer.up.bias)
            down_bias = _floats(layer.down.bias)
        return cls(branches, up_bias, down, down_bias)

    @classmethod
    def _of_pair(cls, up, down):
        kernel = _floats(up.kernel)
        biases = [
            _floats(each.bias)
            if each.use_bias
            else np.zeros(each.units, kernel.dtype)
            for each in (up, down)
        ]
        return cls(
            kernel[:, None], biases[0][None], _floats(down.kernel), biases[1]
        )

    def part(self, index, num_parts):
        """Take some of the hidden columns.

        Args:
            index: int, which part.
            num_parts: int, a divisor of I.

        Returns:
            `DenseWeights`. The parts' outputs add up to the whole's.
        """
        width = len(self.down) // num_parts
        columns = slice(index * width, (index + 1) * width)
        return DenseWeights(
            self.up[..., columns],
            self.up_bias[..., columns],
            self.down[columns],
            self.down_bias / num_parts,
        )

    def scaled(self, factor):
        """Multiply the outputs.

        Args:
            factor: float.

        Returns:
            `DenseWeights`.
        """
        return self._replace(
            down=self.down * factor, down_bias=self.down_bias * factor
        )

    def with_noise(self, noise, rng):
        """Add normal noise to the kernels.

        Args:
            noise: float, its standard deviation over that of the kernel.
            rng: `numpy.random.Generator`.

        Returns:
            `DenseWeights`.
        """
        return self._replace(
            up=add_noise(self.up, noise, rng, axis=(0, 2)),
            down=add_noise(self.down, noise, rng),
        )

    def reinitialized(self, ratio, rng):
        """Draw some hidden columns again, with their mean and deviation.

        Args:
            ratio: float, the share of columns.
            rng: `numpy.random.Generator`.

        Returns:
            `DenseWeights`.
        """
        width = len(self.down)
        columns = rng.permutation(width)[: round(ratio * width)]
        if not len(columns):
            return self
        up, up_bias, down = self.up.copy(), self.up_bias.copy(), self.down
        down = down.copy()
        up[..., columns] = _like(up[..., columns], (0, 2), rng)
        up_bias[..., columns] = _like(up_bias[..., columns], 1, rng)
        down[columns] = _like(down[columns], None, rng)
        return DenseWeights(up, up_bias, down, self.down_bias)


def fill_experts(bank, experts):
    """Assign the weights of a bank's experts.

    Args:
        bank: built `GatedExperts` or `FeedForwardExperts`.
        experts: list of `DenseWeights`, one for each expert.
    """
    first, down = bank.parts()
    kernels = [each.up.reshape(len(each.up), -1) for each in experts]
    first.kernel.assign(np.stack(kernels))
    down.kernel.assign(np.stack([each.down for each in experts]))
    if bank.use_bias:
        first.bias.assign(np.stack([each.up_bias.ravel() for each in experts]))
        down.bias.assign(np.stack([each.down_bias for each in experts]))


def add_noise(kernel, noise, rng, axis=None):
    """Add normal noise to an array.

    Args:
        kernel: float array.
        noise: float, its standard deviation over that of the array.
        rng: `numpy.random.Generator`.
        axis: int or tuple of ints along which the deviation is taken; `None`
            for all.

    Returns:
        Array of the same shape and dtype.

    Example:

    >>> kernel = np.ones((2, 3), "float32")
    >>> bool((add_noise(kernel, 0.5, np.random.default_rng(0)) == 1).all())
    True
    """
    stddev = noise * kernel.std(axis=axis, keepdims=True)
    drawn = stddev * rng.standard_normal(kernel.shape)
    return (kernel + drawn).astype(kernel.dtype)


def _like(values, axis, rng):
    """Draw normal numbers with the mean and deviation of an array's."""
    mean = values.mean(axis=axis, keepdims=True)
    stddev = values.std(axis=axis, keepdims=True)
    return mean + stddev * rng.standard_normal(values.shape)


def _floats(variable):
    values = ops.convert_to_numpy(variable)
    return values.astype(np.promote_types(values.dtype, "float32"))
