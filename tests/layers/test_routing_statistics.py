"""What a sparse layer remembers of its routing, when somebody asks."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.layers import RoutingStatistics
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity

JIT = keras.config.backend() != "torch"
HIDDEN, EXPERTS = 6, 5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def make_model(policy="float32", jit_compile="auto"):
    layer = SparseMoE(EXPERTS, 4, capacity=Capacity(0.75), dtype=policy)
    inputs = keras.Input((7, HIDDEN))
    mask = keras.Input((7,), dtype="bool")
    model = keras.Model([inputs, mask], layer(inputs, padding_mask=mask))
    # Nothing moves, so that the oracle knows the routing of every step.
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    return model, layer


def data():
    inputs, mask = draw(4, 7, HIDDEN), draw(4, 7, seed=1) > -0.7
    return [inputs, mask], draw(4, 7, HIDDEN, seed=2)


def oracle_of(layer, inputs, mask):
    """The numbers of one step, for its batch."""
    gate_up, down = (
        ops.convert_to_numpy(part.kernel) for part in layer.experts.parts()
    )
    result = testing.moe(
        inputs,
        ops.convert_to_numpy(layer.router.kernel.value),
        *np.split(gate_up, 2, axis=-1),
        down,
        top_k=2,
        capacity_factor=0.75,
        padding_mask=mask,
    )
    counts = testing.tokens_per_expert(
        result.routing.expert_indices, EXPERTS, mask
    )
    pairs = 2 * np.sum(mask)
    return {
        "tokens_per_expert": counts,
        "expert_load": counts / pairs,
        "dropped_fraction": 1.0 - np.sum(result.kept) / pairs,
        "router_entropy": testing.router_entropy(result.routing.probs, mask),
        "load_balancing_loss": result.load_balancing_loss,
        "router_z_loss": result.router_z_loss,
    }


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("policy", "jit_compile"), [("float32", JIT), ("mixed_bfloat16", "auto")]
)
def test_fit_accumulates_the_oracles_numbers(policy, jit_compile):
    model, layer = make_model(policy, jit_compile)
    layer.statistics.enabled = True
    (inputs, mask), targets = data()
    if policy == "mixed_bfloat16":
        # The layer sees its inputs in 8 bits; the oracle shall see the same.
        inputs = ops.convert_to_numpy(
            ops.cast(ops.cast(inputs, "bfloat16"), "float32")
        )
    model.fit(
        [inputs, mask],
        targets,
        batch_size=2,
        epochs=2,
        shuffle=False,
        verbose=0,
    )
    # This does not count.
    model.evaluate([inputs, mask], targets, verbose=0)
    batches = [
        oracle_of(layer, inputs[rows], mask[rows])
        for rows in (slice(0, 2), slice(2, 4))
    ]
    result = layer.statistics.result()
    assert result["steps"] == 4
    np.testing.assert_array_equal(
        result["tokens_per_expert"], batches[-1]["tokens_per_expert"]
    )
    assert result["tokens_per_expert"].dtype == np.int32
    for name in batches[0]:
        if name != "tokens_per_expert":
            expected = np.mean([batch[name] for batch in batches], axis=0)
            np.testing.assert_allclose(
                result[name], expected, rtol=1e-5, err_msg=name
            )
    assert result["dropped_fraction"] > 0
    load = result["expert_load"]
    assert np.sum(load) == pytest.approx(1.0)
    assert result["max_violation"] == pytest.approx(
        EXPERTS * np.max(load) - 1.0, rel=1e-5
    )


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("enabled", [False, True])
def test_only_switched_on_there_are_updates_in_the_program(enabled, backend):
    layer = SparseMoE(EXPERTS, 4)
    inputs = draw(2, 7, HIDDEN)
    layer.build(inputs.shape)
    layer.statistics.enabled = enabled
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(lambda x: layer(x, training=True))
        graph = function.get_concrete_function(inputs).graph
        updates = [op for op in graph.get_operations() if "Assign" in op.type]
        assert bool(updates) is enabled
    elif backend == "torch":
        # In place, by a count of PyTorch's for each tensor that is changed.
        states = [layer.statistics.steps, layer.statistics.tokens_per_expert]
        before = [state.value._version for state in states]
        layer(inputs, training=True)
        after = [state.value._version for state in states]
        assert (before != after) is enabled
    else:
        before = [v.value for v in layer.non_trainable_variables]
        _, after = layer.stateless_call(
            layer.trainable_variables, before, inputs, training=True
        )
        same = [new is old for old, new in zip(before, after, strict=True)]
        assert all(same) is not enabled


def test_statistics_are_no_weights_and_are_not_counted():
    model, layer = make_model()
    kernels = [
        layer.router.kernel,
        *(part.kernel for part in layer.experts.parts()),
    ]
    assert {id(w) for w in model.weights} == {id(w) for w in kernels}
    assert layer.non_trainable_weights == []
    assert len(model.get_weights()) == 3
    expected = sum(int(np.prod(kernel.shape)) for kernel in kernels)
    assert model.count_params() == expected
    # But a training step carries them along, where it is a function of its
    # state; PyTorch changes them in place.
    carried = 0 if keras.config.backend() == "torch" else 8
    assert len(layer.statistics.variables) == carried


def test_statistics_are_not_in_pytorchs_state(backend):
    if backend != "torch":
        pytest.skip("PyTorch's own state")
    router = TopKRouter(EXPERTS, 2, balancing="expert_bias")
    layer = SparseMoE(EXPERTS, 4, router=router)
    inputs = keras.Input((7, HIDDEN))
    model = keras.Model(inputs, layer(inputs))
    ours = ("statistics", "step_sum")
    names = [*model.state_dict(), *dict(model.named_parameters())]
    assert not [name for name in names if any(each in name for each in ours)]


@pytest.mark.once
def test_statistics_are_not_saved_and_loading_survives_them(tmp_path):
    model, layer = make_model()
    layer.statistics.enabled = True
    inputs, targets = data()
    model.fit(inputs, targets, verbose=0)
    assert layer.statistics.result()["steps"] > 0
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    revived = next(
        each for each in loaded.layers if isinstance(each, SparseMoE)
    )
    assert revived.statistics.enabled is False
    assert revived.statistics.result()["steps"] == 0
    np.testing.assert_allclose(
        loaded.predict(inputs, verbose=0),
        model.predict(inputs, verbose=0),
        rtol=1e-5,
        atol=1e-6,
    )
    weights = tmp_path / "model.weights.h5"
    model.save_weights(weights)
    steps = layer.statistics.result()["steps"]
    model.load_weights(weights)
    assert layer.statistics.result()["steps"] == steps


def test_a_reset_forgets_and_leaves_earlier_results_alone():
    layer = SparseMoE(EXPERTS, 4)
    layer.statistics.enabled = True
    inputs = draw(2, 7, HIDDEN)
    layer(inputs, training=True)
    before = layer.statistics.result()
    assert before["steps"] == 1
    assert np.sum(before["tokens_per_expert"]) == 2 * 7 * 2
    layer.statistics.reset()
    after = layer.statistics.result()
    assert after["steps"] == 0
    assert np.all(after["tokens_per_expert"] == 0)
    assert np.all(after["expert_load"] == 0)
    assert np.sum(before["tokens_per_expert"]) == 2 * 7 * 2


def test_inference_is_not_counted():
    layer = SparseMoE(EXPERTS, 4)
    layer.statistics.enabled = True
    layer(draw(2, 7, HIDDEN), training=False)
    assert layer.statistics.result()["steps"] == 0


def test_the_config_rebuilds_the_statistics():
    statistics = RoutingStatistics(5, name="statistics")
    revived = RoutingStatistics.from_config(statistics.get_config())
    assert revived.num_experts == 5
    assert revived.name == "statistics"
