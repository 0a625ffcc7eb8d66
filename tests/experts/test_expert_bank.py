"""What all banks of experts have in common."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.experts import ExpertBank
from keras_moe.experts import FeedForwardExperts
from keras_moe.experts import GatedExperts

EXPERTS, HIDDEN, INNER = 3, 5, 4
SIZES = np.array([2, 0, 3], "int32")
BANKS = [GatedExperts, FeedForwardExperts]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def kernels_of(bank):
    """Read gate (or `None`), up and down kernels."""
    *first, down = (ops.convert_to_numpy(part.kernel) for part in bank.parts())
    if isinstance(bank, GatedExperts):
        return *np.split(first[0], 2, axis=-1), down
    return None, *first, down


def expected_row(bank, row, expert):
    kernels = [
        None if kernel is None else kernel[expert].astype("float64")
        for kernel in kernels_of(bank)
    ]
    return testing.expert(row.astype("float64"), *kernels, "silu")


@pytest.mark.parametrize("bank_class", BANKS)
def test_rows_sorted_by_expert_go_through_their_own_expert(bank_class):
    bank = bank_class(EXPERTS, INNER)
    rows = draw(6, HIDDEN)
    outputs = ops.convert_to_numpy(bank(rows, SIZES))
    for row, expert in enumerate([0, 0, 2, 2, 2]):
        np.testing.assert_allclose(
            outputs[row], expected_row(bank, rows[row], expert), atol=1e-6
        )
    # A row of nobody.
    np.testing.assert_array_equal(outputs[5], np.zeros(HIDDEN))


@pytest.mark.parametrize("bank_class", BANKS)
def test_blocks_of_equal_height_go_through_their_own_expert(bank_class):
    bank = bank_class(EXPERTS, INNER)
    rows = draw(EXPERTS, 2, HIDDEN)
    outputs = ops.convert_to_numpy(bank(rows))
    for expert in range(EXPERTS):
        for row in range(2):
            np.testing.assert_allclose(
                outputs[expert, row],
                expected_row(bank, rows[expert, row], expert),
                atol=1e-6,
            )


@pytest.mark.parametrize("bank_class", BANKS)
def test_every_policy_computes_in_its_own_dtype(bank_class):
    for policy, dtype in (
        ("float32", "float32"),
        ("mixed_bfloat16", "bfloat16"),
        ("mixed_float16", "float16"),
    ):
        bank = bank_class(EXPERTS, INNER, dtype=policy)
        for arguments in (
            (draw(6, HIDDEN), SIZES),
            (draw(EXPERTS, 2, HIDDEN), None),
        ):
            outputs = bank(*arguments)
            assert keras.backend.standardize_dtype(outputs.dtype) == dtype
        for part in bank.parts():
            assert part.kernel.dtype == "float32"
        for tensor in bank.tensors():
            assert keras.backend.standardize_dtype(tensor.dtype) == dtype


@pytest.mark.parametrize("bank_class", BANKS)
def test_symbolic_shapes_are_those_of_the_rows(bank_class):
    bank = bank_class(EXPERTS, INNER)
    assert bank.compute_output_shape((None, HIDDEN)) == (None, HIDDEN)
    rows = keras.KerasTensor((None, HIDDEN))
    sizes = keras.KerasTensor((EXPERTS,), dtype="int32")
    assert bank(rows, sizes).shape == (None, HIDDEN)
    blocks = keras.KerasTensor((EXPERTS, None, HIDDEN))
    assert bank(blocks).shape == (EXPERTS, None, HIDDEN)


@pytest.mark.parametrize("bank_class", BANKS)
def test_the_config_rebuilds_the_bank(bank_class):
    bank = bank_class(
        EXPERTS,
        INNER,
        activation="gelu",
        kernel_initializer=keras.initializers.HeNormal(seed=2),
        kernel_regularizer=keras.regularizers.L2(0.5),
        kernel_constraint="non_neg",
        use_bias=True,
        implementation="auto",
        dtype="mixed_bfloat16",
        name="bank",
    )
    config = bank.get_config()
    revived = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(bank)
    )
    assert type(revived) is bank_class
    assert revived.get_config() == config
    assert revived.intermediate_dim == INNER
    assert revived.activation is keras.activations.gelu
    assert revived.kernel_regularizer.l2 == 0.5
    assert revived.use_bias is True


@pytest.mark.parametrize("bank_class", BANKS)
def test_all_kernels_start_different_with_an_int_seed_too(bank_class):
    bank = bank_class(
        4, HIDDEN, kernel_initializer=keras.initializers.Orthogonal(seed=1)
    )
    bank.build((None, HIDDEN))
    # hidden_dim == intermediate_dim, so that all kernels have one shape.
    kernels = [
        kernel
        for stacked in kernels_of(bank)
        if stacked is not None
        for kernel in stacked
    ]
    for index, kernel in enumerate(kernels):
        for other in kernels[:index]:
            assert np.max(np.abs(kernel - other)) > 1e-3


@pytest.mark.parametrize("bank_class", BANKS)
def test_an_int_seed_is_reproducible(bank_class):
    def weights(seed):
        bank = bank_class(
            2, 3, kernel_initializer=keras.initializers.HeNormal(seed=seed)
        )
        bank.build((None, 5))
        return [ops.convert_to_numpy(part.kernel) for part in bank.parts()]

    for first, again, other in zip(
        weights(1), weights(1), weights(9), strict=True
    ):
        np.testing.assert_array_equal(first, again)
        assert np.max(np.abs(first - other)) > 1e-3


@pytest.mark.parametrize("bank_class", BANKS)
def test_a_regularizer_adds_a_loss_for_each_stacked_kernel(bank_class):
    bank = bank_class(EXPERTS, INNER, kernel_regularizer="l2")
    bank.build((None, HIDDEN))
    expected = [
        0.01 * np.sum(ops.convert_to_numpy(part.kernel) ** 2)
        for part in bank.parts()
    ]
    np.testing.assert_allclose(
        [float(ops.stop_gradient(loss)) for loss in bank.losses],
        expected,
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", ["num_experts", "intermediate_dim"])
@pytest.mark.parametrize("size", [0, -3])
def test_sizes_must_be_positive(name, size):
    sizes = {"num_experts": 2, "intermediate_dim": 3, name: size}
    with pytest.raises(ValueError, match=f"`{name}` to be a positive integer"):
        GatedExperts(**sizes)


def test_the_bank_itself_computes_nothing():
    bank = ExpertBank(2, 3)
    with pytest.raises(NotImplementedError):
        bank.parts()
    with pytest.raises(NotImplementedError):
        bank.feed_forward(None, None)


@pytest.mark.parametrize("bank_class", BANKS)
def test_computing_is_a_function_of_tensors_for_some_of_the_experts(
    bank_class,
):
    bank = bank_class(EXPERTS, INNER, use_bias=True)
    rows = draw(EXPERTS, 2, HIDDEN)
    bank.build((None, HIDDEN))
    for index, part in enumerate(bank.parts()):
        part.bias.assign(draw(*part.bias.shape, seed=index))
    expected = ops.convert_to_numpy(ops.stop_gradient(bank(rows)))
    last_two = [tensor[1:] for tensor in bank.tensors()]
    outputs = bank.compute(ops.convert_to_tensor(rows[1:]), None, *last_two)
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.stop_gradient(outputs)),
        expected[1:],
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("bank_class", BANKS)
def test_biases_are_added_in_both_layers_of_an_expert(bank_class):
    bank = bank_class(EXPERTS, INNER, use_bias=True)
    rows = draw(6, HIDDEN)
    bank.build((None, HIDDEN))
    for index, part in enumerate(bank.parts()):
        part.bias.assign(draw(*part.bias.shape, seed=index))
    first, last = (
        [ops.convert_to_numpy(each).astype("float64") for each in weights]
        for weights in (
            (bank.parts()[0].kernel, bank.parts()[0].bias),
            (bank.parts()[1].kernel, bank.parts()[1].bias),
        )
    )

    def silu(x):
        return x / (1.0 + np.exp(-x))

    outputs = ops.convert_to_numpy(ops.stop_gradient(bank(rows, SIZES)))
    for row, expert in enumerate([0, 0, 2, 2, 2]):
        hidden = rows[row] @ first[0][expert] + first[1][expert]
        if bank_class is GatedExperts:
            hidden = silu(hidden[:INNER]) * hidden[INNER:]
        else:
            hidden = silu(hidden)
        expected = hidden @ last[0][expert] + last[1][expert]
        np.testing.assert_allclose(outputs[row], expected, atol=1e-6)
    # A row of nobody gets no bias either.
    np.testing.assert_array_equal(outputs[5], np.zeros(HIDDEN))
