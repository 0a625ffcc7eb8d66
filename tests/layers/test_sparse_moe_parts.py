"""Experts, shared experts and routers that come as arguments."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.experts import FeedForwardExperts
from keras_moe.experts import GatedExperts
from keras_moe.layers import FeedForward
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity

HIDDEN, EXPERTS = 6, 5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


def make_experts():
    return FeedForwardExperts(
        EXPERTS, 3, activation="relu", use_bias=True, name="bank"
    )


SHARED = {
    "feed-forward": lambda: FeedForward(7, "gelu", name="always"),
    "sequential": lambda: keras.Sequential(
        [keras.layers.Dense(4, "tanh"), keras.layers.Dense(HIDDEN)],
        name="always",
    ),
}


def draw_weights(layer):
    for seed, weight in enumerate(layer.trainable_weights):
        weight.assign(draw(*weight.shape, seed=seed))


def test_experts_of_ones_own_compute_for_the_routers_tokens():
    layer = SparseMoE(EXPERTS, experts=make_experts())
    inputs = draw(2, 7, HIDDEN)
    layer.build(inputs.shape)
    draw_weights(layer)
    plan = layer.router(inputs)
    chosen, weights = numpy(plan.expert_indices), numpy(plan.combine_weights)
    up, up_bias, down, down_bias = (
        numpy(each) for part in layer.experts.parts() for each in part.tensors()
    )
    outputs = numpy(layer(inputs))
    for row, token in ((0, 0), (1, 3), (1, 6)):
        expected = np.zeros(HIDDEN)
        for e, weight in zip(
            chosen[row, token], weights[row, token], strict=True
        ):
            hidden = np.maximum(inputs[row, token] @ up[e] + up_bias[e], 0.0)
            expected += weight * (hidden @ down[e] + down_bias[e])
        np.testing.assert_allclose(
            outputs[row, token], expected, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", SHARED)
def test_shared_experts_are_added_for_every_token(name):
    layer = SparseMoE(EXPERTS, 3, shared_experts=SHARED[name]())
    inputs = draw(2, 7, HIDDEN)
    mask = np.arange(14).reshape(2, 7) % 4 > 0
    outputs = numpy(layer(inputs, padding_mask=mask))
    shared, layer.shared_experts = layer.shared_experts, None
    routed = numpy(layer(inputs, padding_mask=mask))
    assert not routed[~mask].any()
    np.testing.assert_allclose(
        outputs, routed + numpy(shared(inputs)), rtol=1e-5, atol=1e-6
    )
    layer.shared_experts = shared
    inputs[~mask] = np.nan
    again = numpy(layer(inputs, padding_mask=mask))
    assert np.isfinite(again).all()
    np.testing.assert_allclose(again[mask], outputs[mask], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SHARED)
def test_given_parts_survive_a_keras_file(name, tmp_path):
    inputs = x = keras.Input((7, HIDDEN))
    for index in range(2):
        layer = SparseMoE(
            EXPERTS,
            router=TopKRouter(EXPERTS, 3, capacity=Capacity(eval_factor=0.6)),
            experts=make_experts(),
            shared_experts=SHARED[name](),
            name=f"sparse_{index}",
        )
        x = x + layer(x)
    model = keras.Model(inputs, x)
    draw_weights(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    paths = [weight.path for weight in model.weights]
    assert [weight.path for weight in loaded.weights] == paths
    assert len(set(paths)) == len(paths)
    revived = loaded.get_layer("sparse_1")
    assert type(revived.experts) is FeedForwardExperts
    assert revived.experts.use_bias is True
    assert revived.experts.activation is keras.activations.relu
    assert revived.router.capacity == Capacity(eval_factor=0.6)
    assert revived.get_config() == model.get_layer("sparse_1").get_config()
    batch = 0.1 * draw(2, 7, HIDDEN)
    np.testing.assert_allclose(
        numpy(loaded(batch)), numpy(model(batch)), rtol=1e-5, atol=1e-5
    )


def test_given_parts_train_with_every_weight(make_step, form, fill_weights):
    layer = SparseMoE(
        EXPERTS, experts=make_experts(), shared_experts=SHARED["feed-forward"]()
    )
    inputs = draw(2, 7, HIDDEN)
    layer.build(inputs.shape)
    fill_weights(layer)
    step = make_step(layer, form)(
        inputs, np.ones((2, 7), bool), np.ones_like(inputs)
    )
    assert step.gradients.keys() == {
        "inputs",
        "router/kernel",
        *(
            f"bank/{part}/{n}"
            for part in ("up", "down")
            for n in ("kernel", "bias")
        ),
        *(f"always/{part}/kernel" for part in ("up", "gate", "down")),
    }
    for name, gradient in step.gradients.items():
        assert np.isfinite(gradient).all(), name
        assert gradient.any(), name


def test_given_experts_of_a_shared_expert_layer_survive_its_config():
    layer = SharedExpertMoE(
        EXPERTS,
        experts=make_experts(),
        shared_intermediate_dim=4,
        activation="gelu",
        gated=False,
        kernel_initializer="he_normal",
    )
    revived = SharedExpertMoE.from_config(layer.get_config())
    assert revived.get_config() == layer.get_config()
    assert type(revived.routed_experts.experts) is FeedForwardExperts
    assert revived.routed_experts.experts.activation is keras.activations.relu
    assert revived.shared_experts.activation is keras.activations.gelu
    assert revived.shared_experts.gated is False
    assert revived.shared_experts.kernel_initializer.mode == "fan_in"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"router": keras.layers.Dense(EXPERTS)},
            "`keras_moe.layers.Router`. Received: Dense. .* `call` `route`",
        ),
        (
            {"router": TopKRouter(EXPERTS), "capacity": Capacity(1.0)},
            r"Give it to the router: `TopKRouter\(..., capacity=...\)`",
        ),
        (
            {"router": TopKRouter(num_experts=3)},
            "router.num_experts=3. Make them equal",
        ),
        (
            {"experts": GatedExperts(3, 4)},
            "experts.num_experts=3. Make them equal",
        ),
        (
            {"experts": FeedForward(4)},
            "`keras_moe.experts.ExpertBank`. Received: FeedForward. Derive",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SparseMoE(EXPERTS, 4, **arguments)
