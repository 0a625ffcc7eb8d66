"""Initial values for stacked kernels, as if each expert stood alone."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.experts import PerExpertInitializer
from keras_moe.experts.per_expert_initializer import reseed

EXPERTS, FAN_IN, FAN_OUT = 8, 64, 96

# Standard deviations from the papers' formulae.
SCALES = {
    "glorot_uniform": (2 / (FAN_IN + FAN_OUT)) ** 0.5,
    "glorot_normal": (2 / (FAN_IN + FAN_OUT)) ** 0.5,
    "he_normal": (2 / FAN_IN) ** 0.5,
    "he_uniform": (2 / FAN_IN) ** 0.5,
    "lecun_normal": (1 / FAN_IN) ** 0.5,
}


def draw(initializer, *shape):
    return ops.convert_to_numpy(initializer(shape, dtype="float32"))


@pytest.mark.parametrize("name", SCALES)
def test_each_expert_has_the_spread_of_a_dense_kernel(name):
    kernels = draw(PerExpertInitializer(name), EXPERTS, FAN_IN, FAN_OUT)
    dense = draw(keras.initializers.get(name), FAN_IN, FAN_OUT)
    # 6144 numbers: their spread is known to about 1%.
    assert np.std(dense) == pytest.approx(SCALES[name], rel=0.05)
    for kernel in kernels:
        assert np.std(kernel) == pytest.approx(SCALES[name], rel=0.05)
        assert abs(np.mean(kernel)) < 0.1 * SCALES[name]


def test_two_branches_each_have_the_fans_of_their_own_kernel():
    initializer = PerExpertInitializer("glorot_uniform", num_branches=2)
    kernels = draw(initializer, EXPERTS, FAN_IN, 2 * FAN_OUT)
    gate, up = np.split(kernels, 2, axis=-1)
    for branch in (gate, up):
        assert np.std(branch) == pytest.approx(
            SCALES["glorot_uniform"], rel=0.05
        )


INITIALIZERS = [
    lambda: "glorot_uniform",
    lambda: keras.initializers.HeNormal(seed=3),
    lambda: keras.initializers.RandomNormal(seed=3),
    lambda: keras.initializers.TruncatedNormal(),
    lambda: keras.initializers.Orthogonal(),
    lambda: keras.initializers.Orthogonal(seed=3),
]


@pytest.mark.parametrize("make_initializer", INITIALIZERS)
def test_no_two_experts_and_no_two_branches_are_equal(make_initializer):
    initializer = PerExpertInitializer(make_initializer(), num_branches=2)
    kernels = draw(initializer, 3, 6, 10)
    pieces = [piece for kernel in kernels for piece in np.split(kernel, 2, -1)]
    for index, piece in enumerate(pieces):
        for other in pieces[:index]:
            assert np.max(np.abs(piece - other)) > 1e-3


def test_each_kernel_of_an_orthogonal_initializer_is_orthogonal():
    for kernel in draw(PerExpertInitializer("orthogonal"), 3, 8, 8):
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(8), atol=1e-5)


def test_an_int_seed_draws_the_same_values_again():
    def drawn(seed):
        initializer = keras.initializers.GlorotUniform(seed=seed)
        return draw(PerExpertInitializer(initializer, 2), 3, 4, 6)

    np.testing.assert_array_equal(drawn(7), drawn(7))
    assert np.max(np.abs(drawn(7) - drawn(8))) > 1e-3


def test_constants_and_functions_are_passed_through():
    np.testing.assert_array_equal(
        draw(PerExpertInitializer("zeros", 2), 2, 3, 4), np.zeros((2, 3, 4))
    )

    def halves(shape, dtype=None):
        return ops.full(shape, 0.5, dtype)

    np.testing.assert_array_equal(
        draw(PerExpertInitializer(halves), 2, 3, 4), np.full((2, 3, 4), 0.5)
    )


def test_the_config_rebuilds_the_initializer():
    initializer = PerExpertInitializer(keras.initializers.HeNormal(seed=5), 2)
    revived = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(initializer)
    )
    assert isinstance(revived, PerExpertInitializer)
    assert revived.get_config() == initializer.get_config()
    np.testing.assert_array_equal(
        draw(revived, 2, 4, 6), draw(initializer, 2, 4, 6)
    )


def test_reseeding_moves_an_int_seed_and_leaves_what_has_none():
    seeded = keras.initializers.HeNormal(seed=1)
    assert reseed(seeded, 0) is seeded
    assert reseed(seeded, 2).seed == 3
    zeros = keras.initializers.Zeros()
    assert reseed(zeros, 2) is zeros
