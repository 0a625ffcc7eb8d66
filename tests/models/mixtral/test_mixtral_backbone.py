"""The Mixtral backbone."""

import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE
from keras_moe.models.mixtral import MIXTRAL_PRESETS
from keras_moe.models.mixtral import MixtralBackbone
from tests.models.backbone_contract import BackboneContract


class TestMixtralBackbone(BackboneContract):
    backbone = MixtralBackbone
    presets = MIXTRAL_PRESETS
    settings = {
        "head_dim": 6,
        "expert_layer_stride": 2,
        "dense_intermediate_dim": 20,
        "sliding_window": 5,
        "rope_scaling_factor": 2.0,
        "tie_embedding_weights": True,
    }
    sparse_layers = (1,)
    not_positive = (("num_layers", 0), ("expert_layer_stride", -1))


def randomize(model, seed=0):
    """Move every weight, norms included, away from its initial value."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        noise = rng.normal(scale=0.3, size=weight.shape).astype("float32")
        offset = 1.0 if "norm" in weight.path else 0.0
        weight.assign(offset + noise)


def copy_to_keras_hub(backbone, peer):
    """Copy the weights into keras-hub's dense rendering of the model."""
    pairs = [
        (backbone.token_embedding.weights, peer.token_embedding.weights),
        (backbone.final_norm.weights, peer.layer_norm.weights),
    ]
    for block, theirs in zip(
        backbone.decoder_blocks, peer.transformer_layers, strict=True
    ):
        attention = block.attention
        moe = block.feed_forward
        gate, up = np.split(
            ops.convert_to_numpy(moe.experts.gate_up.kernel), 2, axis=-1
        )
        sparse = theirs._sparse_moe_block
        pairs += [
            (block.attention_norm.weights, theirs._self_attention_layernorm),
            (block.feed_forward_norm.weights, theirs._feedforward_layernorm),
            (
                [attention.query.kernel],
                theirs._self_attention_layer.query_dense,
            ),
            ([attention.key.kernel], theirs._self_attention_layer.key_dense),
            (
                [attention.value.kernel],
                theirs._self_attention_layer.value_dense,
            ),
            (
                [attention.output_dense.kernel],
                theirs._self_attention_layer.output_dense,
            ),
            ([moe.router.kernel], sparse._sparse_feedforward_gate_dense),
            ([gate], [sparse.expert_bank._expert_feedforward_gate_dense]),
            ([up], [sparse.expert_bank._expert_feedforward_intermediate_dense]),
            (
                [moe.experts.down.kernel],
                [sparse.expert_bank._expert_feedforward_output_dense],
            ),
        ]
    for ours, theirs in pairs:
        theirs = getattr(theirs, "weights", theirs)
        for source, target in zip(ours, theirs, strict=True):
            target.assign(source)


@pytest.mark.sweep
def test_hidden_states_equal_keras_hubs(small_config, batch):
    config = {
        **small_config,
        "rope_max_wavelength": 100.0,
        "layer_norm_epsilon": 1e-3,
    }
    backbone = MixtralBackbone(**config)
    randomize(backbone)
    peer = keras_hub.models.MixtralBackbone(**config)
    copy_to_keras_hub(backbone, peer)
    ours = ops.convert_to_numpy(backbone(batch))
    theirs = ops.convert_to_numpy(peer(batch))
    real = batch["padding_mask"] == 1
    np.testing.assert_allclose(ours[real], theirs[real], atol=1e-4)


@pytest.mark.sweep
@pytest.mark.parametrize(
    "change",
    [
        {"sliding_window": None},
        {"rope_max_wavelength": 10.0},
        {"top_k": 1},
        {"layer_norm_epsilon": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_setting_matters(make_backbone, batch, change):
    backbone, changed = make_backbone(), make_backbone(**change)
    randomize(backbone)
    changed.set_weights(backbone.get_weights())
    difference = ops.convert_to_numpy(backbone(batch) - changed(batch))
    assert np.abs(difference[0]).max() > 1e-2


@pytest.mark.sweep
def test_the_future_does_not_change_the_past(make_backbone, batch):
    backbone = make_backbone()
    randomize(backbone)
    before = ops.convert_to_numpy(backbone(batch))
    changed = {**batch, "token_ids": batch["token_ids"].copy()}
    changed["token_ids"][:, 6:] = 3
    after = ops.convert_to_numpy(backbone(changed))
    np.testing.assert_allclose(before[:, :6], after[:, :6], atol=1e-5)
    assert np.abs(before[0, 6:] - after[0, 6:]).max() > 1e-2


@pytest.mark.sweep
def test_right_padding_does_not_change_real_tokens(make_backbone, batch):
    backbone = make_backbone()
    randomize(backbone)
    whole = ops.convert_to_numpy(backbone(batch))
    short = {name: values[1:2, :7] for name, values in batch.items()}
    alone = ops.convert_to_numpy(backbone(short))
    np.testing.assert_allclose(whole[1, :7], alone[0], atol=1e-5)


def test_every_nth_layer_is_sparse(make_backbone):
    backbone = make_backbone(
        num_layers=4, expert_layer_stride=2, dense_intermediate_dim=40
    )
    kinds = [type(block.feed_forward) for block in backbone.decoder_blocks]
    assert kinds == [FeedForward, SparseMoE, FeedForward, SparseMoE]
    dense = backbone.decoder_blocks[0].feed_forward
    assert tuple(dense.down.kernel.shape) == (40, 16)


def test_preset_folder_round_trip(make_backbone, batch, tmp_path):
    backbone = make_backbone()
    backbone.save_to_preset(str(tmp_path / "preset"))
    copy = keras_hub.models.Backbone.from_preset(str(tmp_path / "preset"))
    assert type(copy) is MixtralBackbone
    np.testing.assert_array_equal(
        ops.convert_to_numpy(copy(batch)), ops.convert_to_numpy(backbone(batch))
    )
