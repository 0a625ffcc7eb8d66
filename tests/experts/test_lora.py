"""Adapters of grouped kernels: they start at nothing and train alone."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.experts import GatedExperts
from keras_moe.experts import GroupedDense
from keras_moe.layers import SparseMoE

EXPERTS, HIDDEN, UNITS, RANK = 3, 5, 4, 2
SIZES = np.array([2, 0, 3], "int32")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


def make_layer(**arguments):
    layer = GroupedDense(EXPERTS, UNITS, use_bias=True)
    layer.build((None, HIDDEN))
    layer.bias.assign(draw(EXPERTS, UNITS))
    layer.enable_lora(RANK, **arguments)
    return layer


def train_adapters(layer):
    layer.lora_kernel_a.assign(draw(EXPERTS, HIDDEN, RANK, seed=1))
    layer.lora_kernel_b.assign(draw(EXPERTS, RANK, UNITS, seed=2))


def make_model():
    inputs = keras.Input((3, HIDDEN))
    layer = SparseMoE(EXPERTS, UNITS, name="sparse")
    return keras.Model(inputs, layer(inputs)), layer


def test_an_adapter_changes_nothing_at_first_and_draws_each_expert():
    layer = GroupedDense(EXPERTS, UNITS)
    rows = draw(5, HIDDEN)
    before = numpy(layer(rows, SIZES))
    layer.enable_lora(RANK)
    np.testing.assert_array_equal(numpy(layer(rows, SIZES)), before)
    first, second, _ = numpy(layer.lora_kernel_a)
    assert np.max(np.abs(first - second)) > 1e-3
    # he_uniform of one expert's fan of 5 reaches to sqrt(6 / 5).
    drawn = numpy(layer.lora_kernel_a)
    assert 0.5 * (6 / HIDDEN) ** 0.5 < np.max(np.abs(drawn))
    assert np.max(np.abs(drawn)) <= (6 / HIDDEN) ** 0.5


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (6.0, 3.0)])
def test_the_kernel_is_the_sum_of_frozen_kernel_and_adapter(alpha, scale):
    layer = make_layer(lora_alpha=alpha)
    frozen = numpy(layer.kernel)
    train_adapters(layer)
    a, b = numpy(layer.lora_kernel_a), numpy(layer.lora_kernel_b)
    kernel = np.stack(
        [
            frozen[expert] + scale * a[expert] @ b[expert]
            for expert in range(EXPERTS)
        ]
    )
    np.testing.assert_allclose(
        numpy(layer.kernel), kernel, rtol=1e-5, atol=1e-6
    )
    rows = draw(5, HIDDEN, seed=3)
    outputs = numpy(layer(rows, SIZES))
    for row, expert in enumerate([0, 0, 2, 2, 2]):
        expected = rows[row] @ kernel[expert] + numpy(layer.bias)[expert]
        # Sums of numbers up to about 30.
        np.testing.assert_allclose(outputs[row], expected, rtol=1e-5, atol=1e-5)


def test_only_adapters_and_bias_train():
    model, layer = make_model()
    for part in layer.experts.parts():
        part.enable_lora(RANK)
    names = [weight.name for weight in layer.experts.trainable_weights]
    assert names == ["lora_kernel_a", "lora_kernel_b"] * 2
    assert len(layer.experts.non_trainable_weights) == 2
    frozen = [numpy(weight) for weight in layer.experts.non_trainable_weights]
    adapters = [numpy(weight) for weight in layer.experts.trainable_weights]
    model.compile(keras.optimizers.SGD(0.5), "mse")
    inputs, targets = draw(4, 3, HIDDEN), draw(4, 3, HIDDEN, seed=1)
    losses = [float(model.train_on_batch(inputs, targets)) for _ in range(3)]
    assert losses[-1] < losses[0]
    for weight, before in zip(
        layer.experts.non_trainable_weights, frozen, strict=True
    ):
        np.testing.assert_array_equal(numpy(weight), before)
    for weight, before in zip(
        layer.experts.trainable_weights, adapters, strict=True
    ):
        assert np.max(np.abs(numpy(weight) - before)) > 0.0, weight.path


@pytest.mark.parametrize("adapted", [False, True])
def test_a_saved_adapter_is_merged_and_loads_with_and_without_one(
    adapted, tmp_path
):
    model, layer = make_model()
    for index, part in enumerate(layer.experts.parts()):
        part.enable_lora(RANK)
        part.lora_kernel_b.assign(draw(*part.lora_kernel_b.shape, seed=index))
    inputs = draw(4, 3, HIDDEN)
    expected = numpy(model(inputs))
    path = tmp_path / "merged.weights.h5"
    model.save_weights(path)
    other, of_other = make_model()
    if adapted:
        for part in of_other.experts.parts():
            part.enable_lora(RANK)
            part.lora_kernel_b.assign(ops.ones(part.lora_kernel_b.shape))
    other.load_weights(path)
    # The adapter is a sum before or after the product of 5 numbers.
    np.testing.assert_allclose(
        numpy(other(inputs)), expected, rtol=1e-5, atol=1e-5
    )
    if adapted:
        part = of_other.experts.down
        assert not numpy(part.lora_kernel_b).any()
        assert len(of_other.experts.trainable_weights) == 4


def test_a_model_with_adapters_survives_a_keras_file(tmp_path):
    model, layer = make_model()
    part = layer.experts.gate_up
    part.enable_lora(RANK)
    part.lora_kernel_b.assign(draw(*part.lora_kernel_b.shape))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inputs = draw(4, 3, HIDDEN)
    np.testing.assert_allclose(
        numpy(loaded(inputs)), numpy(model(inputs)), rtol=1e-5, atol=1e-5
    )
    revived = loaded.get_layer("sparse").experts
    assert not revived.gate_up.lora_enabled
    assert len(revived.trainable_weights) == 2


@pytest.mark.parametrize(
    ("layer", "received"),
    [
        (lambda: GroupedDense(EXPERTS, UNITS), "built=False"),
        (make_layer, "lora_enabled=True"),
    ],
)
def test_an_adapter_needs_a_built_layer_without_one(layer, received):
    with pytest.raises(ValueError, match=received):
        layer().enable_lora(RANK)


def test_a_constrained_kernel_gets_no_adapter():
    layer = GroupedDense(EXPERTS, UNITS, kernel_constraint="non_neg")
    layer.build((None, HIDDEN))
    with pytest.raises(ValueError, match="kernel_constraint=.*NonNeg"):
        layer.enable_lora(RANK)


def test_another_number_of_variables_is_refused():
    layer = GroupedDense(EXPERTS, UNITS, use_bias=True)
    layer.build((None, HIDDEN))
    kernel = np.zeros((EXPERTS, HIDDEN, UNITS), "float32")
    with pytest.raises(ValueError, match="Expected 2 variables .* Received: 1"):
        layer.load_own_variables({"0": kernel})


def test_experts_with_adapters_are_recomputed_under_a_remat_scope(vjp, backend):
    rows, cotangent = draw(5, HIDDEN), draw(5, HIDDEN, seed=1)
    results = []
    for mode in (None, "full"):
        keras.utils.set_random_seed(0)
        with keras.RematScope(mode=mode):
            bank = GatedExperts(EXPERTS, UNITS, name="experts")
        bank.build((None, HIDDEN))
        for part in bank.parts():
            part.enable_lora(RANK)
            part.lora_kernel_b.assign(draw(*part.lora_kernel_b.shape, seed=2))
        results.append(
            vjp(lambda rows, bank=bank: bank(rows, SIZES), (rows,), cotangent)
        )
    (plain, (wanted,)), (again, (gradient,)) = results
    np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-5)
