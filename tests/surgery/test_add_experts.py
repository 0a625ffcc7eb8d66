import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import models
from keras_moe.balancing import ExpertBias
from keras_moe.layers import HashRouter
from keras_moe.layers import MixtureRouter
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.layers import ZeroComputationRouter
from keras_moe.surgery import add_experts
from keras_moe.surgery import measure_expert_load
from tests.models.small_backbones import SMALL

# The same products for the same experts; their order in a sum may differ.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


def array(variable):
    return np.array(ops.convert_to_numpy(variable))


def test_outputs_stay_while_new_experts_are_out_of_reach(
    with_experts, tokens, run, weights_of
):
    model = with_experts()
    before, weights = run(model, tokens), weights_of(model)
    larger = add_experts(model, 3, sources=[2, 0], lowered_by=100.0)
    np.testing.assert_allclose(run(larger, tokens), before, **TOLERANCE)
    for layer in (larger.get_layer("first"), larger.get_layer("second")):
        assert layer.num_experts == layer.router.num_experts == 7
        old = model.get_layer(layer.name)
        expected = array(old.experts.down.kernel)[[0, 1, 2, 3, 2, 0, 2]]
        np.testing.assert_array_equal(
            array(layer.experts.down.kernel), expected
        )
        expected = array(old.router.kernel)[:, [0, 1, 2, 3, 2, 0, 2]]
        np.testing.assert_array_equal(array(layer.router.kernel), expected)
        assert array(layer.router.bias).tolist() == [0] * 4 + [-100] * 3
    for now, then in zip(weights_of(model), weights, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.sweep
def test_a_token_with_a_clear_preference_sees_the_copy(tokens):
    # Logits 9, 1, 0, 0 at first, and 9 - 5 = 4 for the copy of the first.
    layer = SparseMoE(4, 6)
    layer.build(tokens.shape)
    kernel = np.zeros((8, 4), "float32")
    kernel[0] = [9, 1, 0, 0]
    layer.router.kernel.assign(kernel)
    token = np.eye(1, 8, dtype="float32")
    larger = add_experts(layer, 1, sources=[0])
    plan = larger.router(ops.convert_to_tensor(token))
    assert array(plan.expert_indices).tolist() == [[0, 4]]
    larger = add_experts(layer, 1, sources=[0], lowered_by=9)
    plan = larger.router(ops.convert_to_tensor(token))
    assert array(plan.expert_indices).tolist() == [[0, 1]]


@pytest.mark.once
def test_the_most_loaded_experts_of_each_layer_are_copied(with_experts):
    model = with_experts()
    load = {"first": [0.1, 0.2, 0.4, 0.3], "second": [0.7, 0.1, 0.0, 0.2]}
    larger = add_experts(model, 2, load=load, lowered_by=0, noise=0.0)
    for name, copied in (("first", [2, 3]), ("second", [0, 3])):
        kernel = array(larger.get_layer(name).experts.gate_up.kernel)
        np.testing.assert_array_equal(kernel[4:], kernel[copied])
        assert not larger.get_layer(name).router.use_bias


@pytest.mark.once
def test_noise_is_added_to_new_experts_alone(with_experts):
    model = with_experts(activation="relu", gated=False)
    larger = add_experts(model, 200, sources=[1], noise=0.1)
    kernel = array(larger.get_layer("first").experts.up.kernel)
    old = array(model.get_layer("first").experts.up.kernel)
    np.testing.assert_array_equal(kernel[:4], old)
    deviation = (kernel[4:] - old[1]).std() / old[1].std()
    # Of 200 * 48 numbers: known to one percent.
    assert 0.095 < deviation < 0.105


@pytest.mark.sweep
def test_new_experts_learn(with_experts, tokens, train_once):
    model = with_experts()
    # The first expert scores highest where a token's first number is positive.
    kernel = np.zeros((8, 4), "float32")
    kernel[0, 0] = 1.0
    model.get_layer("first").router.kernel.assign(kernel)
    larger = add_experts(model, 1, sources=[0], lowered_by=0.01)
    layer = larger.get_layer("first")
    before = array(layer.experts.down.kernel), array(layer.router.bias)
    train_once(larger, tokens)
    assert (array(layer.experts.down.kernel)[4] != before[0][4]).any()
    assert (array(layer.router.bias) != before[1]).any()


@pytest.mark.once
def test_a_selection_bias_is_copied(with_experts, tokens, run):
    model = with_experts(router=TopKRouter(4, balancing=ExpertBias()))
    bias = np.array([0.3, -0.1, 0.2, 0.0], "float32")
    model.get_layer("first").router.expert_bias.assign(bias)
    larger = add_experts(model, 1, sources=[2], lowered_by=100.0)
    found = array(larger.get_layer("first").router.expert_bias)
    np.testing.assert_array_equal(found, bias[[0, 1, 2, 3, 2]])


@pytest.mark.sweep
def test_a_task_grows_is_saved_and_loaded(tmp_path):
    backbone = models.MixtralBackbone(**{**SMALL, "num_layers": 1})
    task = models.MixtralCausalLM(backbone)
    inputs = {
        "token_ids": np.array([[3, 4, 5]]),
        "padding_mask": np.ones((1, 3)),
    }
    load = measure_expert_load(task, [inputs])
    larger = add_experts(task, 2, load=load, lowered_by=100.0)
    assert larger.backbone.num_experts == 6
    larger.save(tmp_path / "larger.keras")
    loaded = keras.saving.load_model(tmp_path / "larger.keras")
    expected = array(task(inputs))
    for model in (larger, loaded):
        outputs = array(model(inputs))
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.sweep
def test_shared_experts_and_other_routers_go_along(tokens, run):
    inputs = keras.Input(tokens.shape[1:])
    x = SharedExpertMoE(4, 6, name="shared")(inputs)
    router = ZeroComputationRouter(5, num_identity=2)
    x = SparseMoE(5, 6, router=router, name="free")(x)
    model = keras.Model(inputs, x)
    larger = add_experts(model, 2, sources=[1], lowered_by=100.0)
    assert larger.get_layer("shared").routed_experts.num_experts == 6
    free = larger.get_layer("free")
    assert (free.num_experts, free.experts.num_experts) == (7, 5)
    # Those that compute nothing are still the last ones.
    old = array(model.get_layer("free").router.kernel)
    np.testing.assert_array_equal(
        array(free.router.kernel), old[:, [0, 1, 2, 1, 1, 3, 4]]
    )
    np.testing.assert_allclose(
        run(larger, tokens), run(model, tokens), **TOLERANCE
    )


@pytest.mark.sweep
def test_a_bank_of_ones_own_grows(tokens, run):
    from keras_moe.experts import FeedForwardExperts

    inputs = keras.Input(tokens.shape[1:])
    experts = FeedForwardExperts(4, 6, use_bias=True)
    model = keras.Model(inputs, SparseMoE(4, experts=experts)(inputs))
    larger = add_experts(model, 2, sources=[1], lowered_by=100.0)
    np.testing.assert_allclose(
        run(larger, tokens), run(model, tokens), **TOLERANCE
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_new": 0, "sources": [0]}, "num_new"),
        ({"num_new": 1}, "either `load` or `sources`"),
        ({"num_new": 1, "sources": [4]}, "among the experts of 'first'"),
        ({"num_new": 1, "sources": [0], "lowered_by": -1.0}, "lowered_by"),
        ({"num_new": 1, "load": {"first": [1, 2]}}, "the load of 'first'"),
    ],
)
def test_what_does_not_fit_is_refused(with_experts, arguments, message):
    with pytest.raises(ValueError, match=message):
        add_experts(with_experts(), **arguments)


@pytest.mark.once
def test_routers_without_a_bias_are_not_lowered(with_experts):
    model = with_experts(router=MixtureRouter(4))
    with pytest.raises(ValueError, match="`TopKRouter`, whose bias"):
        add_experts(model, 1, sources=[0])


@pytest.mark.once
def test_routers_that_learn_nothing_are_refused():
    layer = SparseMoE(4, 6, router=HashRouter(4, vocabulary_size=7))
    layer.build((None, 8))
    with pytest.raises(ValueError, match="with weights for each expert"):
        add_experts(layer, 1, sources=[0], lowered_by=0)


@pytest.mark.once
def test_frozen_quantized_and_adapted_layers_are_refused(
    with_experts, no_collections
):
    frozen = with_experts()
    frozen.get_layer("second").trainable = False
    with pytest.raises(ValueError, match="not frozen.*second"):
        add_experts(frozen, 1, sources=[0])
    quantized = with_experts()
    quantized.get_layer("first").experts.down.quantize("int8")
    with pytest.raises(ValueError, match="not quantized.*first"):
        add_experts(quantized, 1, sources=[0])
    adapted = with_experts()
    adapted.get_layer("first").experts.down.enable_lora(2)
    with pytest.raises(ValueError, match="without adapters.*first"):
        add_experts(adapted, 1, sources=[0])


@pytest.mark.once
def test_a_dense_model_is_refused(with_feed_forward):
    with pytest.raises(ValueError, match="layers of the kind to change"):
        add_experts(with_feed_forward(), 1, sources=[0])
