import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import models
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.surgery import add_experts
from keras_moe.surgery import merge_experts
from keras_moe.surgery import prune_experts
from tests.models.small_backbones import SMALL

# The same products for the same experts; their order in a sum may differ.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
LOAD = {"first": [0.1, 0.5, 0.0, 0.4], "second": [0.4, 0.3, 0.2, 0.1]}


def array(variable):
    return np.array(ops.convert_to_numpy(variable))


def test_a_pruned_model_is_the_model_with_those_experts_masked(
    with_experts, tokens, run
):
    model = with_experts(router=TopKRouter(4, use_bias=True))
    pruned = prune_experts(model, 2, LOAD)
    for name, kept in (("first", [1, 3]), ("second", [0, 1])):
        assert pruned.get_layer(name).num_experts == 2
        bias = np.full(4, -1e9, "float32")  # Never chosen, of probability 0.
        bias[kept] = 0.0
        model.get_layer(name).router.bias.assign(bias)
    np.testing.assert_allclose(
        run(pruned, tokens), run(model, tokens), **TOLERANCE
    )


@pytest.mark.sweep
def test_a_pruned_backbone_is_saved_and_loaded(tmp_path):
    backbone = models.MixtralBackbone(**SMALL)
    load = {
        f"decoder_block_{index}/sparse_moe": [0.1, 0.2, 0.3, 0.4]
        for index in range(2)
    }
    pruned = prune_experts(backbone, 3, load)
    kernel = array(backbone.decoder_blocks[1].feed_forward.experts.down.kernel)
    found = array(pruned.decoder_blocks[1].feed_forward.experts.down.kernel)
    np.testing.assert_array_equal(found, kernel[1:])
    pruned.save(tmp_path / "pruned.keras")
    loaded = keras.saving.load_model(tmp_path / "pruned.keras")
    inputs = {"token_ids": np.array([[3, 4]]), "padding_mask": np.ones((1, 2))}
    np.testing.assert_allclose(
        array(loaded(inputs)), array(pruned(inputs)), **TOLERANCE
    )


@pytest.mark.sweep
def test_merging_copies_gives_back_the_model(with_experts, tokens, run):
    model = with_experts()
    larger = add_experts(model, 2, sources=[3, 0], lowered_by=0.0)
    load = {name: [0.2, 0.2, 0.2, 0.2, 0.1, 0.1] for name in LOAD}
    merged = merge_experts(larger, 4, load)
    # Means of equal numbers: one rounding each.
    np.testing.assert_allclose(
        run(merged, tokens), run(model, tokens), rtol=1e-4, atol=1e-5
    )


@pytest.mark.once
def test_experts_are_averaged_by_their_load():
    layer = SparseMoE(3, 4, top_k=1, gated=False, name="layer")
    layer.build((None, 5))
    rng = np.random.default_rng(0)
    up = rng.normal(size=(3, 5, 4)).astype("float32")
    down = rng.normal(size=(3, 4, 5)).astype("float32")
    # The third is like the first, and unlike the second.
    up[2], down[2] = up[0] + 0.1, down[0] - 0.1
    layer.experts.up.kernel.assign(up)
    layer.experts.down.kernel.assign(down)
    router = array(layer.router.kernel)
    merged = merge_experts(layer, 2, {"layer": [0.6, 0.3, 0.1]})
    mean = {"first": 0.6 / 0.7, "third": 0.1 / 0.7}
    np.testing.assert_allclose(
        array(merged.experts.up.kernel),
        [mean["first"] * up[0] + mean["third"] * up[2], up[1]],
        rtol=1e-5,
        atol=1e-6,
    )
    columns = mean["first"] * router[:, 0] + mean["third"] * router[:, 2]
    np.testing.assert_allclose(
        array(merged.router.kernel),
        np.stack([columns, router[:, 1]], axis=1),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.once
def test_experts_without_load_are_merged_evenly():
    layer = SparseMoE(3, 4, top_k=1, name="layer")
    layer.build((None, 5))
    merged = merge_experts(layer, 1, {"layer": [0.0, 0.0, 0.0]})
    np.testing.assert_allclose(
        array(merged.experts.down.kernel)[0],
        array(layer.experts.down.kernel).mean(axis=0),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.once
@pytest.mark.parametrize("remove", [prune_experts, merge_experts])
@pytest.mark.parametrize(
    ("num_experts", "load", "message"),
    [
        (4, LOAD, "Expected fewer experts"),
        (1, LOAD, "top_k"),
        (0, LOAD, "num_experts"),
        (3, {"first": [0.1] * 4}, "the load of 'second'"),
        (3, {**LOAD, "first": [1.0]}, "the load of 'first'"),
    ],
)
def test_what_does_not_fit_is_refused(
    with_experts, remove, num_experts, load, message
):
    with pytest.raises(ValueError, match=message):
        remove(with_experts(), num_experts, load)
