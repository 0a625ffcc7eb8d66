"""Dbrx's arguments beyond those that its published files know."""

import numpy as np

from keras_moe.models.dbrx import DbrxBackbone

ARGUMENTS = {
    "vocabulary_size": 48,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "num_experts": 4,
    "top_k": 3,
    "dropout": 0.1,
    "jitter_noise": 0.2,
    "load_balancing_loss_weight": 0.3,
    "router_z_loss_weight": 0.4,
    "capacity_factor": 1.5,
    "eval_capacity_factor": 2.5,
    "dtype": "mixed_bfloat16",
}


def test_configuration_round_trip():
    backbone = DbrxBackbone(**ARGUMENTS)
    copy = DbrxBackbone.from_config(backbone.get_config())
    assert copy.get_config() == backbone.get_config()
    block = copy.decoder_blocks[1]
    moe = block.feed_forward
    assert block.dropout == 0.1
    assert moe.capacity_factor == 1.5
    assert moe.eval_capacity_factor == 2.5
    assert moe.router.top_k == 3
    assert moe.router.jitter_noise == 0.2
    assert moe.router.load_balancing_loss_weight == 0.3
    assert moe.router.router_z_loss_weight == 0.4
    assert moe.compute_dtype == "bfloat16"
    assert moe.router.compute_dtype == "float32"


def test_losses_come_from_every_layer():
    backbone = DbrxBackbone(**ARGUMENTS)
    token_ids = np.ones((1, 5), "int32")
    batch = {"token_ids": token_ids, "padding_mask": token_ids}
    backbone(batch, training=True)
    assert len(backbone.losses) == 2 * 2
