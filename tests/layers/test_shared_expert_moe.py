"""Routed experts beside experts that every token sees."""

import numpy as np
import pytest
from keras import ops

from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity
from keras_moe.testing import run_layer_test


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(ops.stop_gradient(tensor))


@pytest.mark.sweep
def test_the_layer_contract():
    run_layer_test(
        SharedExpertMoE,
        {
            "num_experts": 5,
            "intermediate_dim": 4,
            "top_k": 1,
            "num_shared_experts": 2,
            "shared_intermediate_dim": 7,
            "use_shared_expert_gate": True,
            "activation": "gelu",
            "gated": False,
            "router": TopKRouter(
                5, 1, capacity=Capacity(1.25, 2.0, priority="score")
            ),
            "strategy": "dense",
        },
        input_shape=(2, 7, 6),
        expected_output_shape=(2, 7, 6),
        # Router, two of the experts, two of the shared ones, the gate.
        expected_num_trainable_weights=6,
    )


@pytest.mark.parametrize("gate", [True, False])
def test_outputs_are_the_sum_of_routed_and_shared_experts(gate):
    layer = SharedExpertMoE(
        5, 4, num_shared_experts=2, use_shared_expert_gate=gate
    )
    inputs = draw(2, 7, 6)
    outputs = numpy(layer(inputs))
    routed = numpy(layer.routed_experts(inputs))
    shared = numpy(layer.shared_experts(inputs))
    if gate:
        kernel = numpy(layer.shared_expert_gate.kernel.value)
        shared = shared / (1.0 + np.exp(-inputs @ kernel))
    np.testing.assert_allclose(outputs, routed + shared, rtol=1e-5, atol=1e-6)


def test_shared_experts_lie_side_by_side_in_one_block():
    layer = SharedExpertMoE(5, 4, num_shared_experts=2)
    layer.build((None, None, 6))
    assert tuple(layer.shared_experts.up.kernel.shape) == (6, 8)
    wide = SharedExpertMoE(
        5, 4, num_shared_experts=2, shared_intermediate_dim=10
    )
    wide.build((None, None, 6))
    assert tuple(wide.shared_experts.up.kernel.shape) == (6, 20)


def test_padding_reaches_the_routed_experts():
    layer = SharedExpertMoE(5, 4)
    inputs = draw(2, 7, 6)
    mask = draw(2, 7, seed=1) > -0.5
    outputs = numpy(layer(inputs, padding_mask=mask))
    shared = numpy(layer.shared_experts(inputs))
    np.testing.assert_allclose(outputs[~mask], shared[~mask], rtol=1e-6)
    assert np.max(np.abs(outputs - shared)[mask]) > 1e-3


def test_every_argument_survives_the_config():
    layer = SharedExpertMoE(
        5,
        4,
        router=TopKRouter(5, 3, score_function="sigmoid"),
        num_shared_experts=2,
        kernel_initializer="he_normal",
        kernel_regularizer="l2",
        name="mixture",
        dtype="mixed_bfloat16",
    )
    revived = SharedExpertMoE.from_config(layer.get_config())
    assert revived.get_config() == layer.get_config()
    assert revived.name == "mixture"
    assert revived.compute_dtype == "bfloat16"
    assert revived.routed_experts.router.score_function == "sigmoid"
    assert revived.routed_experts.experts.kernel_regularizer is not None
    assert revived.shared_experts.kernel_initializer.mode == "fan_in"


def test_losses_of_the_router_are_the_layers_losses():
    layer = SharedExpertMoE(5, 4)
    layer(draw(2, 7, 6), training=True)
    assert len(layer.losses) == 2
    layer(draw(2, 7, 6), training=False)
    assert layer.losses == []


@pytest.mark.parametrize("name", ["num_shared_experts", "num_experts"])
def test_sizes_must_be_positive(name):
    sizes = {"num_experts": 5, "intermediate_dim": 4, name: 0}
    with pytest.raises(ValueError, match=f"`{name}` to be a positive integer"):
        SharedExpertMoE(**sizes)


def test_a_shared_width_of_zero_is_refused():
    with pytest.raises(ValueError, match="`shared_intermediate_dim`"):
        SharedExpertMoE(5, 4, shared_intermediate_dim=0)
