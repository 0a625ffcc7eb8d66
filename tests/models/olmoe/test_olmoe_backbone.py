"""The OLMoE backbone: what its arguments do."""

import inspect

import numpy as np
import pytest

from keras_moe.models.olmoe import OLMOE_PRESETS
from keras_moe.models.olmoe import OLMoEBackbone

SMALL = {
    "vocabulary_size": 48,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 12,
    "num_experts": 9,
}


def test_losses_come_from_every_sparse_layer():
    backbone = OLMoEBackbone(**SMALL)
    token_ids = np.ones((2, 5), "int32")
    batch = {"token_ids": token_ids, "padding_mask": token_ids}
    backbone(batch, training=True)
    assert len(backbone.losses) == 2 * 2
    backbone(batch, training=False)
    assert len(backbone.losses) == 0


def test_config_round_trip_and_what_reaches_the_layers():
    backbone = OLMoEBackbone(
        **SMALL,
        top_k=3,
        normalize_combine_weights=True,
        clip_query_key_value=0.5,
        rope_max_wavelength=500.0,
        layer_norm_epsilon=1e-4,
        dropout=0.1,
        jitter_noise=0.2,
        load_balancing_loss_weight=0.3,
        router_z_loss_weight=0.4,
        capacity_factor=1.5,
        eval_capacity_factor=2.5,
        tie_embedding_weights=True,
        dtype="mixed_bfloat16",
    )
    copy = OLMoEBackbone.from_config(backbone.get_config())
    assert copy.get_config() == backbone.get_config()
    assert copy.count_params() == backbone.count_params()
    block = copy.decoder_blocks[0]
    assert block.dropout == 0.1
    assert block.layer_norm_epsilon == 1e-4
    assert block.attention.clip_query_key_value == 0.5
    assert block.attention.query_norm.epsilon == 1e-4
    assert block.attention.rope_max_wavelength == 500.0
    moe = block.feed_forward
    assert moe.top_k == moe.router.top_k == 3
    assert moe.capacity_factor == 1.5
    assert moe.eval_capacity_factor == 2.5
    assert moe.router.normalize_combine_weights is True
    assert moe.router.jitter_noise == 0.2
    assert moe.router.load_balancing_loss_weight == 0.3
    assert moe.router.router_z_loss_weight == 0.4
    assert moe.compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("name", "size"), [("num_layers", 0), ("hidden_dim", -1)]
)
def test_sizes_must_be_positive(name, size):
    with pytest.raises(ValueError, match=f"{name}={size}"):
        OLMoEBackbone(**{**SMALL, name: size})


@pytest.mark.parametrize("name", OLMOE_PRESETS)
def test_presets_are_constructor_arguments(name):
    arguments = inspect.signature(OLMoEBackbone).parameters
    assert set(OLMOE_PRESETS[name]) <= set(arguments)
