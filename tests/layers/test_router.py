"""Routers of one's own: `route` alone, with a `build`, with layers inside."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.layers import Router
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity
from keras_moe.routing import CombineWeights
from keras_moe.routing import TokenChoice
from keras_moe.routing import choose_top_k

HIDDEN, EXPERTS, TOP_K, LENGTH = 6, 4, 2, 5
# XLA where there is one.
JIT = keras.config.backend() != "torch"


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


@keras.saving.register_keras_serializable(package="tests")
class FirstFeatures(Router):
    """Overrides `route` alone."""

    def route(self, inputs, padding_mask=None, training=None):
        return choose_top_k(
            inputs[..., : self.num_experts],
            TOP_K,
            expert_bias=self.selection_bias(),
        )


@keras.saving.register_keras_serializable(package="tests")
class Projected(Router):
    """Has weights and a `build` of its own."""

    def build(self, inputs_shape):
        self.projection = self.add_weight(
            name="projection", shape=(inputs_shape[-1], self.num_experts)
        )
        super().build(inputs_shape)

    def route(self, inputs, padding_mask=None, training=None):
        logits = ops.matmul(inputs, self.projection)
        return choose_top_k(logits, TOP_K, expert_bias=self.selection_bias())


@keras.saving.register_keras_serializable(package="tests")
class Deep(Router):
    """Holds Keras layers, and has no `build`."""

    def __init__(self, num_experts, **kwargs):
        super().__init__(num_experts, **kwargs)
        self.hidden = keras.layers.Dense(3, "tanh", name="hidden")
        self.logits = keras.layers.Dense(num_experts, name="logits")

    def route(self, inputs, padding_mask=None, training=None):
        logits = self.logits(self.hidden(inputs))
        return choose_top_k(logits, TOP_K, expert_bias=self.selection_bias())


# Too small to change a choice, which could take the first step back.
RATE = 2.0**-10
ROUTERS = [FirstFeatures, Projected, Deep]
WEIGHTS = {FirstFeatures: 0, Projected: 1, Deep: 4}
by_router = pytest.mark.parametrize("router_class", ROUTERS)


def make_model(mode=None, capacity=None):
    """A model with a sparse layer for each router, with weights drawn."""
    inputs = x = keras.Input((LENGTH, HIDDEN))
    for router_class in ROUTERS:
        with keras.RematScope(mode=mode):
            layer = SparseMoE(
                EXPERTS,
                3,
                router=router_class(
                    EXPERTS,
                    balancing=["load_balancing_loss", ExpertBias(RATE)],
                    capacity=capacity,
                    name="router",
                ),
                name=router_class.__name__,
            )
            x = x + layer(x)
    model = keras.Model(inputs, x)
    for seed, weight in enumerate(model.trainable_weights):
        weight.assign(0.5 * draw(*weight.shape, seed=seed))
    return model


def trained(mode, **arguments):
    model = make_model(mode)
    model.compile(keras.optimizers.SGD(0.1), "mse", **arguments)
    x, y = draw(4, LENGTH, HIDDEN), draw(4, LENGTH, HIDDEN, seed=1)
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0).history
    weights = {weight.path: numpy(weight) for weight in model.weights}
    return {"loss": np.array(history["loss"]), **weights}


def test_routers_train_compiled_and_the_same_under_a_remat_scope():
    # XLA takes TensorFlow seconds to compile, hence once only.
    eager = keras.config.backend() == "tensorflow"
    compiled = {"jit_compile": JIT}
    plain = trained(None, **({"run_eagerly": True} if eager else compiled))
    again = trained("full", **compiled)
    assert plain.keys() == again.keys()
    for name, expected in plain.items():
        # Two programs, which may order sums differently: a few roundings of
        # numbers up to 1 in each of three layers and two steps. What is lost
        # or counted twice would be seen in the third digit.
        np.testing.assert_allclose(
            again[name], expected, rtol=1e-5, atol=5e-6, err_msg=name
        )
    # A bias moved twice, up or down: state is not lost, nor doubled.
    for router_class in ROUTERS:
        bias = plain[f"{router_class.__name__}/router/expert_bias"]
        assert bias.any()
        assert set(np.abs(bias).tolist()) <= {0.0, RATE, 2 * RATE}


def test_nothing_inside_a_router_is_recomputed_in_a_remat_scope():
    with keras.RematScope(mode="full"):
        router = Deep(EXPERTS)
        router(draw(3, HIDDEN))
    for layer in (router, router.hidden, router.logits):
        assert layer.rematerialized_call(len) is len


def test_a_model_with_routers_of_ones_own_survives_a_keras_file(tmp_path):
    model = make_model(capacity=Capacity(1.0))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    paths = [weight.path for weight in model.weights]
    assert [weight.path for weight in loaded.weights] == paths
    assert len(set(paths)) == len(paths)
    for router_class in ROUTERS:
        router = loaded.get_layer(router_class.__name__).router
        assert type(router) is router_class
        assert len(router.trainable_weights) == WEIGHTS[router_class]
        assert router.capacity == Capacity(1.0)
        assert [type(rule) for rule in router.balancing] == [
            LoadBalancingLoss,
            ExpertBias,
        ]
    inputs = draw(2, LENGTH, HIDDEN)
    np.testing.assert_allclose(
        numpy(loaded(inputs)), numpy(model(inputs)), rtol=1e-5, atol=1e-6
    )


@by_router
def test_a_router_by_itself_is_a_node_of_a_functional_model(
    router_class, tmp_path
):
    router = router_class(EXPERTS, capacity=Capacity(slots=1))
    inputs = keras.Input((LENGTH, HIDDEN))
    plan = router(inputs)
    assert isinstance(plan, TokenChoice)
    assert plan.expert_indices.shape == (None, LENGTH, TOP_K)
    assert plan.tokens_per_expert.shape == (None, EXPERTS)
    assert plan.scores.probs.shape == (None, LENGTH, EXPERTS)
    parts = [plan.expert_indices, plan.combine_weights, plan.scores.logits]
    model = keras.Model(inputs, parts)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = draw(2, LENGTH, HIDDEN)
    indices, weights, logits = (numpy(part) for part in model(x))
    eager = router(x)
    np.testing.assert_array_equal(indices, numpy(eager.expert_indices))
    # One slot for each expert and group: 4 of 10 pairs find one at most.
    assert np.sum(indices < EXPERTS) <= 2 * EXPERTS
    assert not weights[indices == EXPERTS].any()
    for part, again in zip((indices, weights, logits), loaded(x), strict=True):
        np.testing.assert_allclose(numpy(again), part, rtol=1e-5, atol=1e-6)


@by_router
def test_the_base_class_hides_padding_counts_and_balances(router_class):
    router = router_class(EXPERTS, balancing=LoadBalancingLoss(0.5))
    inputs = draw(2, LENGTH, HIDDEN)
    mask = np.arange(2 * LENGTH).reshape(2, LENGTH) % 3 > 0
    inputs[~mask] = np.nan
    plan = router(inputs, padding_mask=mask, training=True)
    indices = numpy(plan.expert_indices)
    assert (indices[~mask] == EXPERTS).all()
    assert not numpy(plan.combine_weights)[~mask].any()
    for group in range(2):
        np.testing.assert_array_equal(
            numpy(plan.tokens_per_expert)[group],
            np.bincount(indices[group][mask[group]].ravel(), minlength=EXPERTS),
        )
    np.testing.assert_array_equal(numpy(plan.scores.padding_mask), mask)
    # E * sum(f * P) / K over the real tokens.
    share = np.sum(numpy(plan.tokens_per_expert), axis=0) / np.sum(mask)
    mean_probs = np.mean(numpy(plan.scores.probs)[mask], axis=0)
    expected = 0.5 * EXPERTS * np.sum(share * mean_probs) / TOP_K
    assert [float(numpy(loss)) for loss in router.losses] == [
        pytest.approx(expected, rel=1e-5)
    ]
    router(inputs, padding_mask=mask)
    assert router.losses == []


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
def test_layers_inside_a_router_are_float32_under_every_policy(policy):
    keras.config.set_dtype_policy(policy)
    router = Deep(EXPERTS)
    inputs = draw(3, HIDDEN)
    plan = router(ops.cast(inputs, "float32"))
    assert {weight.dtype for weight in router.weights} == {"float32"}
    hidden, logits = router.hidden, router.logits
    expected = np.tanh(inputs @ numpy(hidden.kernel)) @ numpy(logits.kernel)
    # Half precision would differ by 1e-3.
    np.testing.assert_allclose(
        numpy(plan.scores.logits), expected, rtol=1e-5, atol=1e-6
    )


@keras.saving.register_keras_serializable(package="tests")
class Hashed(Router):
    """Chooses by the token ids, without any score."""

    def route(self, inputs, padding_mask=None, training=None, token_ids=None):
        indices = ops.cast(token_ids % self.num_experts, "int32")[..., None]
        return TokenChoice(indices, ops.ones(ops.shape(indices), "float32"))


def test_what_route_needs_besides_passes_through_the_sparse_layer():
    layer = SparseMoE(EXPERTS, 3, router=Hashed(EXPERTS, balancing=None))
    layer.statistics.enabled = True
    token_ids = np.arange(2 * LENGTH, dtype="int32").reshape(2, LENGTH)
    inputs = draw(2, LENGTH, HIDDEN)
    outputs = numpy(layer(inputs, token_ids=token_ids, training=True))
    # Each token through its expert alone.
    blocks = numpy(layer.experts(np.tile(inputs.reshape(-1, 6), (4, 1, 1))))
    expected = blocks[token_ids.ravel() % 4, np.arange(2 * LENGTH)]
    np.testing.assert_allclose(
        outputs.reshape(-1, HIDDEN), expected, rtol=1e-5, atol=1e-6
    )
    result = layer.statistics.result()
    np.testing.assert_array_equal(result["tokens_per_expert"], [3, 3, 2, 2])
    assert result["router_entropy"] == 0.0


def test_a_loss_of_a_router_without_scores_is_refused():
    router = Hashed(EXPERTS)
    with pytest.raises(ValueError, match="`balancing=None`"):
        router(
            draw(1, LENGTH, HIDDEN),
            token_ids=np.zeros((1, LENGTH), "int32"),
            training=True,
        )


def test_a_copy_is_a_new_router_with_changes():
    router = TopKRouter(
        EXPERTS,
        TOP_K,
        score_function="sigmoid",
        combine_weights=CombineWeights(normalize=False, scale=2.5),
        balancing=[LoadBalancingLoss(0.5), ExpertBias(0.25)],
        capacity=Capacity(1.5, priority="score"),
        seed=3,
        name="router",
    )
    router.build((None, HIDDEN))
    copy = router.copy()
    assert copy is not router
    assert not copy.built
    assert copy.get_config() == router.get_config()
    copy.build((None, HIDDEN))
    assert copy.kernel is not router.kernel
    changed = router.copy(
        top_k=1, balancing=None, capacity=Capacity(slots=3), name="other"
    )
    assert type(changed) is TopKRouter
    assert (changed.top_k, changed.name) == (1, "other")
    assert changed.balancing == []
    assert changed.capacity == Capacity(slots=3)
    assert changed.combine_weights == router.combine_weights
    assert changed.score_function == "sigmoid"
    assert router.top_k == TOP_K


@by_router
def test_a_router_of_ones_own_is_copied(router_class):
    router = router_class(EXPERTS, capacity=Capacity(1.0), name="router")
    router.build((None, None, HIDDEN))
    copy = router.copy(balancing="expert_bias")
    assert type(copy) is router_class
    assert not copy.built
    assert copy.capacity == router.capacity
    assert [type(rule) for rule in copy.balancing] == [ExpertBias]
    json.dumps(copy.get_config())


def test_the_router_itself_decides_nothing():
    router = Router(EXPERTS)
    router.build((None, HIDDEN))
    with pytest.raises(NotImplementedError):
        router(draw(3, HIDDEN))


class ForgetsSuper(Router):
    def build(self, inputs_shape):
        self.scale = self.add_weight(name="scale", shape=())

    def route(self, inputs, padding_mask=None, training=None):
        return choose_top_k(inputs * self.scale, TOP_K)


def test_a_build_that_forgets_super_is_refused():
    with pytest.raises(ValueError, match="Call it at the end"):
        ForgetsSuper(EXPERTS)(draw(3, HIDDEN))


class ReturnsIndices(Router):
    def route(self, inputs, padding_mask=None, training=None):
        return choose_top_k(inputs, TOP_K).expert_indices


def test_a_route_that_returns_no_plan_is_refused():
    with pytest.raises(ValueError, match="to return a TokenChoice"):
        ReturnsIndices(EXPERTS)(draw(3, HIDDEN))


@pytest.mark.parametrize("num_experts", [0, -1, 2.5])
def test_the_number_of_experts_must_be_positive(num_experts):
    with pytest.raises(ValueError, match="`num_experts` to be a positive"):
        FirstFeatures(num_experts)
