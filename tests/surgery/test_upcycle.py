import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import models
from keras_moe.blocks import T5FeedForwardBlock
from keras_moe.layers import ExpertChoiceRouter
from keras_moe.layers import FeedForward
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.ops.all_layers import all_layers
from keras_moe.ops.gated_activation import swiglu
from keras_moe.routing import CombineWeights
from keras_moe.surgery import upcycle
from tests.models.small_backbones import SMALL
from tests.models.small_backbones import SWITCH

# Sums of at most 24 products of order 1, in another order, times the weights'
# sum, which is 1 to within a few roundings.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
DENSE = {
    "qwen3": (models.Qwen3MoEBackbone, {**SMALL, "dense_layers": [0, 1]}),
    "mixtral": (
        models.MixtralBackbone,
        {**SMALL, "expert_layer_stride": 9, "dense_intermediate_dim": 20},
    ),
    "switch": (models.SwitchBackbone, {**SWITCH, "num_dense_layers": 2}),
}
SEQUENCE = {
    "token_ids": np.array([[3, 4, 5, 6], [7, 8, 9, 0]]),
    "padding_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def inputs_of(backbone):
    if "token_ids" in backbone.input:
        return SEQUENCE
    stacks = "encoder", "decoder"
    return {
        f"{stack}_{name}": SEQUENCE[name]
        for stack in stacks
        for name in SEQUENCE
    }


def real(outputs):
    """Return the outputs of real tokens: experts give padding nothing."""
    return ops.convert_to_numpy(outputs)[SEQUENCE["padding_mask"] == 1]


def sparse_layers(model):
    return [
        layer for layer in all_layers(model) if isinstance(layer, SparseMoE)
    ]


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("gated", "activation"),
    [(True, "silu"), (False, "gelu"), (True, swiglu)],
)
def test_a_functional_model_computes_what_the_dense_one_does(
    with_feed_forward, tokens, run, weights_of, gated, activation
):
    dense = with_feed_forward(gated=gated, activation=activation)
    before, weights = run(dense, tokens), weights_of(dense)
    sparse = upcycle(dense, num_experts=4)
    np.testing.assert_allclose(run(sparse, tokens), before, **TOLERANCE)
    assert [layer.name for layer in sparse_layers(sparse)] == [
        "first",
        "second",
    ]
    assert not sparse.compiled
    # The given model stays as it is, and shares nothing with the new one.
    for layer in sparse_layers(sparse):
        layer.experts.down.kernel.assign(0 * layer.experts.down.kernel)
    for now, then in zip(weights_of(dense), weights, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("gated", "activation"), [(True, swiglu), (False, "gelu")]
)
def test_biases_come_along(with_feed_forward, tokens, run, gated, activation):
    dense = with_feed_forward(gated=gated, activation=activation, use_bias=True)
    rng = np.random.default_rng(1)
    for weight in dense.weights:
        if weight.name == "bias":
            weight.assign(rng.normal(size=weight.shape))
    sparse = upcycle(dense, num_experts=4)
    np.testing.assert_allclose(
        run(sparse, tokens), run(dense, tokens), **TOLERANCE
    )


@pytest.mark.sweep
@pytest.mark.parametrize("family", DENSE)
def test_a_backbone_computes_what_the_dense_one_does(family):
    backbone_class, arguments = DENSE[family]
    dense = backbone_class(**arguments)
    inputs = inputs_of(dense)
    sparse = upcycle(dense, num_experts=3, top_k=2)
    assert type(sparse) is backbone_class
    assert (sparse.num_experts, sparse.top_k) == (3, 2)
    size = 2 * (1 + (family == "switch"))
    assert len(sparse_layers(sparse)) == size
    expected, outputs = dense(inputs), sparse(inputs)
    for each in zip(*map(keras.tree.flatten, (outputs, expected)), strict=True):
        # Two layers of it, behind norms; the embedding of Switch is of order
        # 1, its hidden states of order 10.
        values = [real(value) for value in each]
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-4)


@pytest.mark.once
def test_some_layers_of_a_backbone_remain_dense():
    backbone_class, arguments = DENSE["mixtral"]
    sparse = upcycle(backbone_class(**arguments), 4, expert_layer_stride=2)
    kinds = [type(block.feed_forward) for block in sparse.decoder_blocks]
    assert kinds == [FeedForward, SparseMoE]


@pytest.mark.sweep
def test_a_task_is_upcycled_saved_and_loaded(tmp_path):
    backbone_class, arguments = DENSE["mixtral"]
    dense = models.MixtralCausalLM(backbone_class(**arguments))
    sparse = upcycle(dense, 4, router={"balancing": None})
    path = tmp_path / "sparse.keras"
    sparse.save(path)
    loaded = keras.saving.load_model(path)
    expected = real(dense(SEQUENCE))
    for model in (sparse, loaded):
        assert isinstance(model, models.MixtralCausalLM)
        outputs = real(model(SEQUENCE))
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)
    assert sparse.backbone.router.balancing == []


@pytest.mark.once
def test_the_preprocessor_goes_along():
    backbone_class, arguments = DENSE["qwen3"]
    preprocessor = keras.layers.Identity()
    dense = models.Qwen3MoECausalLM(backbone_class(**arguments), preprocessor)
    assert upcycle(dense, 4).preprocessor is preprocessor


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("use_bias", [True, False])
def test_two_dense_layers_become_experts(tokens, run, use_bias):
    inputs = keras.Input(tokens.shape[1:])
    up = keras.layers.Dense(12, "relu", use_bias, name="up")
    down = keras.layers.Dense(8, bias_initializer="normal", name="down")
    beside = keras.layers.Dense(8, name="beside")
    x = keras.layers.LayerNormalization()(inputs)
    dense = keras.Model(inputs, beside(inputs) + down(up(x)) + x)
    if use_bias:
        up.bias.assign(np.linspace(-1, 1, 12))
    sparse = upcycle(dense, 4, layers=[("up", "down")], num_splits=2)
    np.testing.assert_allclose(
        run(sparse, tokens), run(dense, tokens), **TOLERANCE
    )
    assert sorted(layer.name for layer in sparse.layers if layer.weights) == [
        "beside",
        "down",
        "layer_normalization",
    ]


@pytest.mark.sweep
def test_a_pair_in_a_sequential_model_is_saved_and_loaded(
    tokens, run, tmp_path
):
    dense = keras.Sequential(
        [
            keras.Input(tokens.shape[1:]),
            keras.layers.Dense(12, "relu", name="up"),
            keras.layers.Dense(8, name="down"),
            FeedForward(6, name="feed_forward"),
        ]
    )
    sparse = upcycle(dense, 4, layers=[("up", "down")])
    sparse.save(tmp_path / "sparse.keras")
    loaded = keras.saving.load_model(tmp_path / "sparse.keras")
    for model in (sparse, loaded):
        np.testing.assert_allclose(
            run(model, tokens), run(dense, tokens), **TOLERANCE
        )
    assert [type(each) for each in loaded.layers] == [SparseMoE, FeedForward]


@pytest.mark.sweep
def test_a_layer_inside_of_a_block_is_found(tokens, run):
    inputs = keras.Input(tokens.shape[1:])
    block = T5FeedForwardBlock(FeedForward(12), name="block")
    dense = keras.Model(inputs, block(inputs))
    sparse = upcycle(dense, 4)
    assert isinstance(sparse.get_layer("block").feed_forward, SparseMoE)
    np.testing.assert_allclose(
        run(sparse, tokens), run(dense, tokens), **TOLERANCE
    )


@pytest.mark.once
def test_named_layers_alone_are_changed(with_feed_forward):
    sparse = upcycle(with_feed_forward(), 4, layers=["second"])
    assert isinstance(sparse.get_layer("first"), FeedForward)
    assert isinstance(sparse.get_layer("second"), SparseMoE)


@pytest.mark.sweep
@pytest.mark.parametrize("num_splits", [2, 3])
def test_the_parts_of_a_copy_are_chosen_together(
    with_feed_forward, tokens, run, num_splits
):
    dense = with_feed_forward()
    sparse = upcycle(
        dense, 4 * num_splits, 2 * num_splits, num_splits=num_splits
    )
    np.testing.assert_allclose(
        run(sparse, tokens), run(dense, tokens), **TOLERANCE
    )
    layer = sparse.get_layer("first")
    assert layer.experts.intermediate_dim == 12 // num_splits
    plan = layer.router(ops.convert_to_tensor(tokens))
    copies = ops.convert_to_numpy(plan.expert_indices) // num_splits
    for chosen in copies.reshape(-1, 2 * num_splits):
        _, counts = np.unique(chosen, return_counts=True)
        assert counts.tolist() == [num_splits, num_splits]


@pytest.mark.sweep
def test_raw_weights_are_made_up_for_by_the_scale_of_experts(
    with_feed_forward, tokens, run
):
    # Probabilities of 1 / 4 while the router has no opinion.
    dense = with_feed_forward()
    sparse = upcycle(dense, 4, top_k=1)
    for layer in sparse_layers(sparse):
        layer.router.kernel.assign(0 * layer.router.kernel)
        first = dense.get_layer(layer.name)
        np.testing.assert_allclose(
            ops.convert_to_numpy(layer.experts.down.kernel[3]),
            4 * ops.convert_to_numpy(first.down.kernel),
            rtol=1e-6,
        )
    np.testing.assert_allclose(
        run(sparse, tokens), run(dense, tokens), **TOLERANCE
    )


@pytest.mark.sweep
def test_a_scale_of_the_weights_is_made_up_for(with_feed_forward, tokens, run):
    dense = with_feed_forward()
    weights = CombineWeights(normalize=True, scale=2.5)
    router = TopKRouter(6, 3, score_function="sigmoid", combine_weights=weights)
    sparse = upcycle(dense, 6, 3, router=router)
    np.testing.assert_allclose(
        run(sparse, tokens), run(dense, tokens), **TOLERANCE
    )


def test_experts_differ_after_a_step_of_training(
    with_feed_forward, tokens, train_once
):
    sparse = upcycle(with_feed_forward(), 4)
    kernel = sparse.get_layer("first").experts.gate_up.kernel
    before = np.array(ops.convert_to_numpy(kernel))
    assert (before == before[:1]).all()
    train_once(sparse, tokens)
    after = np.array(ops.convert_to_numpy(kernel))
    changed = [(after[expert] != before[0]).any() for expert in range(4)]
    assert sum(changed) >= 2
    moved = [after[expert] for expert in range(4) if changed[expert]]
    assert (moved[0] != moved[1]).any()


@pytest.mark.once
def test_noise_is_relative_to_the_kernel(with_feed_forward):
    dense = with_feed_forward()
    sparse = upcycle(dense, 64, noise=0.1)
    for name in ("up", "down"):
        kernel = ops.convert_to_numpy(
            getattr(dense.get_layer("first"), name).kernel
        )
        experts = sparse.get_layer("first").experts
        if name == "up":  # Behind the gate.
            noisy = ops.convert_to_numpy(experts.gate_up.kernel)[..., 12:]
        else:
            noisy = ops.convert_to_numpy(experts.down.kernel)
        deviation = (noisy - kernel).std() / kernel.std()
        # Of 64 * 96 numbers: known to 1 / sqrt(2 * 6144), one percent.
        assert 0.095 < deviation < 0.105
        assert (noisy[0] != noisy[1]).any()


@pytest.mark.once
def test_the_same_seed_gives_the_same_experts(with_feed_forward):
    dense = with_feed_forward()
    kernels = [
        ops.convert_to_numpy(
            upcycle(dense, 4, noise=0.1, reinitialize=0.5, seed=seed)
            .get_layer("first")
            .experts.down.kernel
        )
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()


@pytest.mark.once
def test_a_share_of_the_hidden_columns_is_drawn_again(with_feed_forward):
    dense = with_feed_forward()
    layer = dense.get_layer("first")
    rng = np.random.default_rng(1)
    kernels = {
        "gate": rng.normal(3.0, 0.5, (8, 12)),
        "up": rng.normal(-1.0, 0.2, (8, 12)),
        "down": rng.normal(0.5, 0.1, (12, 8)),
    }
    for name, kernel in kernels.items():
        getattr(layer, name).kernel.assign(kernel)
    sparse = upcycle(dense, 50, reinitialize=0.25)
    experts = sparse.get_layer("first").experts
    gate_up = ops.convert_to_numpy(experts.gate_up.kernel)
    found = {
        "gate": gate_up[..., :12],
        "up": gate_up[..., 12:],
        "down": ops.convert_to_numpy(experts.down.kernel),
    }
    changed = {}
    for name, kernel in kernels.items():
        differs = found[name] != kernel.astype("float32")
        columns = differs.all(axis=2 if name == "down" else 1)
        changed[name] = columns
        # 3 of 12 columns, and nothing else.
        assert (columns.sum(axis=1) == 3).all()
        assert differs.sum() == columns.sum() * 8
        # Drawn with mean and deviation of 24 numbers, 50 times: both are
        # known to a twentieth of the deviation, and smaller in a sample.
        drawn = found[name][differs]
        assert abs(drawn.mean() - kernel.mean()) < 0.2 * kernel.std()
        assert 0.8 < drawn.std() / kernel.std() < 1.2
    # The same columns of all three kernels, others for each expert.
    np.testing.assert_array_equal(changed["gate"], changed["up"])
    np.testing.assert_array_equal(changed["gate"], changed["down"])
    assert len({tuple(row) for row in changed["gate"].tolist()}) > 10


def test_bfloat16_and_frozen_neighbours_stay(with_feed_forward):
    dense = with_feed_forward(dtype="mixed_bfloat16")
    dense.get_layer("norm").trainable = False
    sparse = upcycle(dense, 4)
    assert sparse.get_layer("first").dtype_policy.name == "mixed_bfloat16"
    assert not sparse.get_layer("norm").trainable
    assert sparse.get_layer("first").trainable


@pytest.mark.once
def test_a_class_that_is_not_registered_comes_along(tokens, run):
    class Twice(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    inputs = keras.Input(tokens.shape[1:])
    dense = keras.Model(inputs, Twice()(FeedForward(12)(inputs)))
    sparse = upcycle(dense, 4)
    np.testing.assert_allclose(
        run(sparse, tokens), run(dense, tokens), **TOLERANCE
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_experts": 4, "num_splits": 5}, "to divide `num_experts` and"),
        ({"num_experts": 20, "top_k": 5, "num_splits": 5}, "the width of the"),
        ({"num_experts": 4, "reinitialize": 1.5}, "between 0 and 1"),
        ({"num_experts": 4, "noise": -1.0}, "noise"),
        ({"num_experts": 4, "layers": ["third"]}, r"\['third'\]"),
        ({"num_experts": 4, "layers": [("first", "second")]}, "dense layers"),
        (
            {"num_experts": 4, "router": ExpertChoiceRouter(4)},
            "tokens choose experts",
        ),
        (
            {"num_experts": 4, "shared_experts": FeedForward(4)},
            "no shared experts",
        ),
        ({"num_experts": 2, "top_k": 3}, "top_k"),
    ],
)
def test_what_does_not_fit_is_refused(with_feed_forward, arguments, message):
    with pytest.raises(ValueError, match=message):
        upcycle(with_feed_forward(), **arguments)


@pytest.mark.once
def test_a_router_of_another_kind_has_no_parts(with_feed_forward):
    from keras_moe.layers import MixtureRouter

    with pytest.raises(ValueError, match="`TopKRouter` with num_splits"):
        upcycle(
            with_feed_forward(), 4, 2, num_splits=2, router=MixtureRouter(4)
        )


@pytest.mark.once
def test_a_model_without_dense_layers_is_refused(with_experts):
    with pytest.raises(ValueError, match="layers of the kind to change"):
        upcycle(with_experts(), 4)


@pytest.mark.once
@pytest.mark.parametrize("model", [FeedForward(4), "model", None])
def test_what_is_no_built_model_is_refused(model):
    with pytest.raises(ValueError, match="Expected a built Keras model"):
        upcycle(model, 4)


@pytest.mark.once
def test_the_layers_of_a_backbone_have_no_names():
    backbone_class, arguments = DENSE["mixtral"]
    with pytest.raises(ValueError, match="by arguments of a backbone"):
        upcycle(backbone_class(**arguments), 4, layers=["feed_forward"])


@pytest.mark.once
def test_experts_that_the_dense_model_lacks_are_refused():
    backbone = models.Qwen2MoEBackbone(
        **SMALL, shared_intermediate_dim=12, dense_layers=[0, 1]
    )
    with pytest.raises(ValueError, match="SharedExpertMoE .* in the place of"):
        upcycle(backbone, 4)


@pytest.mark.sweep
def test_other_sparse_layers_keep_their_size():
    backbone_class, arguments = DENSE["qwen3"]
    backbone = backbone_class(**{**arguments, "dense_layers": [0]})
    with pytest.raises(ValueError, match="to have other sizes"):
        upcycle(backbone, 6)


@pytest.mark.once
def test_frozen_quantized_and_adapted_layers_are_refused(
    with_feed_forward, no_collections
):
    frozen = with_feed_forward()
    frozen.get_layer("second").trainable = False
    with pytest.raises(ValueError, match="not frozen.*second"):
        upcycle(frozen, 4)
    quantized = with_feed_forward()
    quantized.get_layer("first").down.quantize("int8")
    with pytest.raises(ValueError, match="not quantized.*first"):
        upcycle(quantized, 4)
    adapted = with_feed_forward()
    adapted.get_layer("first").up.enable_lora(2)
    with pytest.raises(ValueError, match="without adapters.*first"):
        upcycle(adapted, 4)


@pytest.mark.once
def test_shared_experts_of_a_sparse_layer_stay_dense(tokens, run):
    inputs = keras.Input(tokens.shape[1:])
    sparse = SharedExpertMoE(4, 6, name="sparse")
    x = FeedForward(12, name="dense")(sparse(inputs))
    model = keras.Model(inputs, x)
    changed = upcycle(model, 4)
    shared = changed.get_layer("sparse").shared_experts
    assert isinstance(shared, FeedForward)
    np.testing.assert_allclose(
        run(changed, tokens), run(model, tokens), **TOLERANCE
    )
