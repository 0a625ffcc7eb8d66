"""The sparse layer: its contract, shapes, config and refusals."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.layers import Router
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity
from keras_moe.routing import choose_top_k
from keras_moe.testing import run_layer_test


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@keras.saving.register_keras_serializable(package="tests")
class FirstExperts(Router):
    """Sends every token to experts 0 and 1: a router without weights."""

    def __init__(self, num_experts, step=1.0, **kwargs):
        super().__init__(num_experts, **kwargs)
        self.step = step

    def route(self, inputs, padding_mask=None, training=None):
        logits = -self.step * ops.arange(self.num_experts, dtype="float32")
        shape = (*ops.shape(inputs)[:-1], self.num_experts)
        return choose_top_k(ops.broadcast_to(logits, shape), 2)

    def get_config(self):
        return {**super().get_config(), "step": self.step}


def test_the_layer_contract():
    run_layer_test(
        SparseMoE,
        {
            "num_experts": 5,
            "intermediate_dim": 4,
            "top_k": 2,
            "activation": "gelu",
            "router": TopKRouter(
                5, 2, capacity=Capacity(1.25, 2.0, priority="score")
            ),
            "gated": False,
            "strategy": "slots",
            "kernel_initializer": "he_normal",
        },
        input_shape=(2, 7, 6),
        expected_output_shape=(2, 7, 6),
        expected_num_trainable_weights=3,
    )


def test_weights_have_the_promised_names_and_shapes():
    gated = SparseMoE(5, 4)
    gated.build((None, None, 6))
    assert tuple(gated.router.kernel.shape) == (6, 5)
    assert tuple(gated.experts.gate_up.kernel.shape) == (5, 6, 8)
    assert tuple(gated.experts.down.kernel.shape) == (5, 4, 6)
    plain = SparseMoE(5, 4, gated=False)
    plain.build((None, None, 6))
    assert tuple(plain.experts.up.kernel.shape) == (5, 6, 4)
    assert tuple(plain.experts.down.kernel.shape) == (5, 4, 6)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("shape", "grouped"),
    [
        ((14, 6), (1, 14, 6)),  # a single group
        ((2, 7, 6), (2, 7, 6)),
        ((2, 7, 1, 6), (2, 7, 6)),  # one group per batch row
    ],
)
def test_inputs_of_any_rank_are_grouped_by_batch_row(shape, grouped):
    # A capacity makes the groups visible: 2 slots for each row of 7 tokens, 3
    # for a single group of 14.
    layer = SparseMoE(5, 4, capacity=Capacity(eval_factor=0.5))
    inputs = draw(*shape)
    outputs = ops.convert_to_numpy(layer(inputs))
    gate_up, down = (
        ops.convert_to_numpy(part.kernel) for part in layer.experts.parts()
    )
    expected = testing.moe(
        inputs.reshape(grouped),
        ops.convert_to_numpy(layer.router.kernel.value),
        *np.split(gate_up, 2, axis=-1),
        down,
        top_k=2,
        capacity_factor=0.5,
    )
    assert not expected.kept.all()
    np.testing.assert_allclose(
        outputs, expected.outputs.reshape(shape), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    "shape", [(None, 6), (None, None, 6), (None, 3, None, 6), (2, None, 6)]
)
def test_unknown_dimensions_stay_unknown(shape):
    layer = SparseMoE(5, 4, capacity=Capacity(1.0))
    assert layer.compute_output_shape(shape) == shape
    assert layer(keras.KerasTensor(shape)).shape == shape


def test_a_router_of_ones_own_decides_and_survives_the_config():
    layer = SparseMoE(5, 4, router=FirstExperts(5, step=2.0, name="first"))
    revived = SparseMoE.from_config(layer.get_config())
    assert isinstance(revived.router, FirstExperts)
    assert revived.router.num_experts == 5
    assert revived.router.step == 2.0
    inputs = draw(2, 7, 6)
    revived.build(inputs.shape)
    gate_up, down = (
        ops.convert_to_numpy(part.kernel) for part in revived.experts.parts()
    )
    gate, up = np.split(gate_up, 2, axis=-1)
    # softmax of (0, -2): 0.881 and 0.119.
    weights = np.exp([0.0, -2.0]) / np.sum(np.exp([0.0, -2.0]))
    expected = sum(
        weight * testing.expert(token, gate[e], up[e], down[e], "silu")
        for e, weight in enumerate(weights)
        for token in [inputs[1, 2].astype("float64")]
    )
    outputs = ops.convert_to_numpy(revived(inputs))
    np.testing.assert_allclose(outputs[1, 2], expected, rtol=1e-4, atol=1e-6)


def test_the_configured_router_survives_with_its_arguments():
    layer = SparseMoE(
        5, 4, router=TopKRouter(5, 3, score_function="sigmoid", seed=7)
    )
    router = SparseMoE.from_config(layer.get_config()).router
    assert (router.top_k, router.score_function, router.seed) == (
        3,
        "sigmoid",
        7,
    )


@pytest.mark.sweep
def test_experts_do_not_see_the_routers_jitter():
    # One expert of weight 1: the outputs depend on the experts' inputs only.
    layer = SparseMoE(1, 4, 1, router=TopKRouter(1, 1, jitter_noise=0.5))
    inputs = draw(2, 7, 6)
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.stop_gradient(layer(inputs, training=True))),
        ops.convert_to_numpy(ops.stop_gradient(layer(inputs, training=False))),
        rtol=1e-6,
    )


def test_a_frozen_layer_has_nothing_to_train():
    layer = SparseMoE(5, 4, trainable=False)
    layer.build((None, 6))
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 5}, "`top_k` to be at most `num_experts`"),
        ({"top_k": 0}, "`top_k` to be a positive integer"),
        ({"num_experts": 0}, "`num_experts` to be a positive integer"),
        ({"intermediate_dim": -3}, "`intermediate_dim` to be a positive"),
        (
            {"strategy": "fast"},
            r"one of \['auto', 'sorted', 'slots', 'dense'\]",
        ),
        ({"intermediate_dim": None}, "`intermediate_dim` to be a positive"),
        (
            {"router": TopKRouter(num_experts=3)},
            "router.num_experts=3. Make them equal",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SparseMoE(**{"num_experts": 4, "intermediate_dim": 3, **arguments})


def test_a_single_vector_is_refused():
    with pytest.raises(ValueError, match="Add a batch axis"):
        SparseMoE(5, 4)(draw(5))
    with pytest.raises(ValueError, match="Add a batch axis"):
        SparseMoE(5, 4)(keras.KerasTensor((5,)))


@pytest.mark.parametrize("shape", [(0, 5), (0, 3, 5), (2, 0, 5)])
def test_an_empty_batch_is_refused(shape):
    with pytest.raises(ValueError, match="Skip empty batches"):
        SparseMoE(5, 4)(draw(*shape))


@pytest.mark.parametrize("shape", [(2, 6), (2,), (2, 7, 7), (2, 7, 6)])
def test_a_mask_of_the_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match="one entry per token"):
        SparseMoE(5, 4)(draw(2, 7, 6), padding_mask=np.ones(shape, bool))


@pytest.mark.parametrize("training", [False, True])
def test_static_slots_without_a_capacity_are_refused(training):
    capacity = Capacity(**{"eval_factor" if training else "factor": 1.0})
    layer = SparseMoE(5, 4, strategy="slots", capacity=capacity)
    with pytest.raises(ValueError, match="Give the router a `capacity="):
        layer(draw(2, 7, 6), training=training)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("slots", [1, 2, 64])
@pytest.mark.parametrize("strategy", ["sorted", "slots"])
def test_a_fixed_capacity_holds_for_every_length(slots, strategy):
    layer = SparseMoE(
        5,
        4,
        1,
        capacity=Capacity(slots=slots),
        gated=False,
        strategy=strategy,
    )
    for length in (1, 7):
        inputs = np.ones((2, length, 6), "float32")  # all want one expert
        for training in (True, False):
            outputs = ops.convert_to_numpy(
                ops.stop_gradient(layer(inputs, training=training))
            )
            carried = (np.abs(outputs).max(axis=-1) > 0).sum(axis=1)
            assert carried.tolist() == [min(slots, length)] * 2


def test_a_fixed_capacity_survives_the_config():
    capacity = Capacity(slots=3, priority="score", multiple_of=2)
    layer = SparseMoE(5, 4, capacity=capacity)
    revived = SparseMoE.from_config(layer.get_config())
    assert revived.router.capacity == capacity
    shared = SharedExpertMoE(5, 4, capacity=capacity)
    revived = SharedExpertMoE.from_config(shared.get_config())
    assert revived.routed_experts.router.capacity == capacity


@pytest.mark.parametrize(
    ("capacity", "message"),
    [
        ({"slots": 0}, "`slots` to be a positive"),
        ({"slots": 4, "factor": 1.0}, "not both"),
        ({"slots": 4, "eval_factor": 1.0}, "not both"),
        ({"factor": 0.0}, "`factor` to be positive"),
        ({"eval_factor": -1}, "`eval_factor` to be positive"),
        (
            {"priority": "first"},
            r"one of \['position', 'score', 'pair_score', ",
        ),
    ],
)
def test_a_capacity_is_given_in_one_way(capacity, message):
    with pytest.raises(ValueError, match=message):
        SparseMoE(5, 4, capacity=Capacity(**capacity))


class EvenRouter(Router):
    """Reads sizes that only a call with real inputs has; builds nothing."""

    def route(self, inputs, padding_mask=None, training=None):
        num_tokens = inputs.shape[0] * inputs.shape[1]
        logits = np.eye(4, dtype="float32")[np.arange(num_tokens) % 4]
        return choose_top_k(logits.reshape(*inputs.shape[:2], 4), 1)


def test_a_router_without_weights_is_called_with_the_inputs_alone():
    layer = SparseMoE(4, 8, router=EvenRouter(4))
    outputs = layer(np.ones((2, 3, 6), "float32"))
    assert tuple(outputs.shape) == (2, 3, 6)
