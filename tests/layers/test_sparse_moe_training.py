"""Training by `fit`, compiled where the backend compiles, with any lengths."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity

# XLA; on TensorFlow it takes seconds to compile, hence where it matters only.
JIT = keras.config.backend() != "torch"
HIDDEN, EXPERTS = 6, 5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def make_model(layer, learning_rate=0.0, **arguments):
    inputs = keras.Input((None, HIDDEN))
    model = keras.Model(inputs, layer(inputs))
    optimizer = keras.optimizers.SGD(learning_rate)
    model.compile(optimizer, "mse", **arguments)
    return model


def oracle_of(layer, inputs, capacity_factor):
    gate_up, down = (
        ops.convert_to_numpy(part.kernel) for part in layer.experts.parts()
    )
    return testing.moe(
        inputs,
        ops.convert_to_numpy(layer.router.kernel.value),
        *np.split(gate_up, 2, axis=-1),
        down,
        top_k=2,
        capacity_factor=capacity_factor,
    )


def test_fit_reports_the_task_loss_plus_the_weighted_router_losses():
    router = TopKRouter(
        EXPERTS,
        2,
        balancing=[LoadBalancingLoss(0.5), RouterZLoss(0.25)],
        capacity=Capacity(0.5, eval_factor=2.0),
    )
    layer = SparseMoE(EXPERTS, 4, router=router)
    model = make_model(layer, jit_compile=JIT)
    inputs, targets = draw(4, 7, HIDDEN), draw(4, 7, HIDDEN, seed=1)
    history = model.fit(inputs, targets, batch_size=4, verbose=0).history
    training = oracle_of(layer, inputs, 0.5)
    assert not training.kept.all()
    expected = (
        np.mean((training.outputs - targets) ** 2)
        + 0.5 * training.load_balancing_loss
        + 0.25 * training.router_z_loss
    )
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)
    # Without losses, and with the capacity for inference.
    inference = oracle_of(layer, inputs, 2.0)
    expected = np.mean((inference.outputs - targets) ** 2)
    assert model.evaluate(inputs, targets, verbose=0) == pytest.approx(
        expected, rel=1e-5
    )
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0),
        inference.outputs,
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.sweep
def test_fit_takes_a_smaller_last_batch_and_other_lengths_and_learns():
    layer = SparseMoE(EXPERTS, 8, capacity=Capacity(1.25))
    model = make_model(layer, learning_rate=0.5)
    for num_rows, length in ((5, 5), (2, 3)):
        inputs = draw(num_rows, length, HIDDEN)
        targets = np.tanh(inputs[..., ::-1])
        history = model.fit(
            inputs, targets, batch_size=2, epochs=15, verbose=0
        ).history
        assert history["loss"][-1] < 0.9 * history["loss"][0]


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_fit_in_half_precision_moves_every_weight(policy):
    layer = SparseMoE(EXPERTS, 4, capacity=Capacity(1.0), dtype=policy)
    inputs, targets = draw(4, 7, HIDDEN), draw(4, 7, HIDDEN, seed=1)
    model = make_model(layer, learning_rate=0.1, auto_scale_loss=True)

    def weights():
        return [
            np.array(ops.convert_to_numpy(weight.value))
            for weight in layer.trainable_weights
        ]

    before = weights()
    history = model.fit(inputs, targets, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for old, new in zip(before, weights(), strict=True):
        assert np.isfinite(new).all()
        assert np.max(np.abs(new - old)) > 1e-5


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="others know their shapes"
)
@pytest.mark.parametrize(
    ("strategy", "jit_compile"),
    [
        ("sorted", False),
        ("sorted", True),
        ("slots", False),
        ("slots", True),
        ("dense", False),
    ],
)
def test_shapes_unknown_while_tensorflow_traces(strategy, jit_compile):
    import tensorflow as tf

    layer = SparseMoE(
        EXPERTS,
        4,
        strategy=strategy,
        capacity=Capacity(eval_factor=0.5, priority="score"),
    )
    layer.build((None, None, HIDDEN))

    @tf.function(
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None, None, HIDDEN]),
            tf.TensorSpec([None, None], tf.bool),
        ],
    )
    def infer(inputs, padding_mask):
        return layer(inputs, padding_mask=padding_mask, training=False)

    for shape in ((2, 7), (1, 3)):
        inputs = draw(*shape, HIDDEN)
        mask = draw(*shape, seed=3) > -0.7
        expected = layer(inputs, padding_mask=mask, training=False)
        np.testing.assert_allclose(
            infer(inputs, mask), expected, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("layer_class", [SparseMoE, SharedExpertMoE])
def test_the_experts_outputs_are_dropped_while_training_only(layer_class):
    layer = layer_class(EXPERTS, 4, output_dropout=0.5)
    inputs = draw(2, 7, HIDDEN)
    plain = ops.convert_to_numpy(layer(inputs))
    shared = 0.0
    if layer_class is SharedExpertMoE:
        shared = ops.convert_to_numpy(layer.shared_experts(inputs))
    dropped = ops.convert_to_numpy(layer(inputs, training=True)) - shared
    kept = np.abs(dropped) > 1e-6
    assert 0.3 < kept.mean() < 0.7  # Of 84 numbers, half; 4 deviations.
    # What is kept is doubled. The shared experts cancel in float32.
    expected = np.where(kept, 2.0 * (plain - shared), 0.0)
    np.testing.assert_allclose(dropped, expected, rtol=1e-5, atol=2e-6)
    assert layer.get_config()["output_dropout"] == 0.5


def test_lots_are_drawn_anew_in_each_compiled_step(backend):
    router = TopKRouter(
        EXPERTS, 2, balancing=None, capacity=Capacity(0.5, priority="random")
    )
    model = make_model(
        SparseMoE(EXPERTS, 4, router=router),
        jit_compile=backend == "jax",
    )
    x = draw(2, 7, HIDDEN)
    losses = [float(model.train_on_batch(x, 0.0 * x)) for _ in range(3)]
    assert len(set(losses)) == 3
    assert len({float(model.test_on_batch(x, 0.0 * x)) for _ in "12"}) == 1


@pytest.mark.skipif(
    keras.config.backend() != "torch", reason="torch.compile is PyTorch's"
)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call")
def test_torch_compiles_the_layer_as_one_graph():
    import torch

    capacity = Capacity(eval_factor=0.5, priority="score")
    layer = SparseMoE(EXPERTS, 4, capacity=capacity)
    inputs = torch.from_numpy(draw(2, 7, HIDDEN))
    with torch.no_grad():
        expected = layer(inputs, training=False)
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(inputs, training=False), expected)
