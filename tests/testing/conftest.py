"""Central differences and small random mixtures for the oracle's tests."""

from typing import NamedTuple

import numpy as np
import pytest


class Mixture(NamedTuple):
    """The arguments of `moe`, in its order."""

    inputs: np.ndarray
    router_kernel: np.ndarray
    gate_kernel: np.ndarray | None
    up_kernel: np.ndarray
    down_kernel: np.ndarray


@pytest.fixture
def make_mixture():
    """Draw inputs and kernels, normal numbers of a size that keeps curvature.

    Odd and different sizes everywhere, so that a transposed axis cannot hide.
    """

    def make(num_experts=3, gated=True, shape=(2, 5, 3), inner=2, seed=0):
        rng = np.random.default_rng(seed)
        hidden = shape[-1]

        def draw(*sizes):
            return rng.standard_normal(sizes)

        return Mixture(
            draw(*shape),
            draw(hidden, num_experts),
            draw(num_experts, hidden, inner) if gated else None,
            draw(num_experts, hidden, inner),
            draw(num_experts, inner, hidden),
        )

    return make


@pytest.fixture
def numerical_gradient():
    """Differentiate a scalar function of an array by central differences."""

    def differentiate(function, array, step=1e-6):
        gradient = np.zeros(array.shape)
        for position in np.ndindex(*array.shape):
            above = array.copy()
            above[position] += step
            below = array.copy()
            below[position] -= step
            gradient[position] = (function(above) - function(below)) / (
                2 * step
            )
        return gradient

    return differentiate
