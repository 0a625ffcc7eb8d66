"""Tests of the Switch Transformer's size from its configuration."""

import pytest

from keras_moe.models import parameter_counts
from keras_moe.models.switch import SWITCH_PRESETS
from keras_moe.models.switch import SwitchBackbone
from keras_moe.models.switch import SwitchSeq2SeqLM


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    "changes",
    [
        {"num_layers": 3, "num_decoder_layers": None},
        {"one_sparse_block_each": True, "use_gated_activation": True},
        {"tie_embedding_weights": False, "key_value_dim": None},
        {
            "num_layers": 5,
            "expert_layer_stride": 3,
            "expert_layer_offset": 2,
            "use_extra_feed_forward": True,
            "use_gated_activation": True,
            "top_k": 2,
        },
    ],
    ids=str,
)
def test_total_equals_the_weights_of_the_model(create_backbone, changes):
    backbone = create_backbone(
        **{"one_sparse_block_each": False, "randomize": False, **changes}
    )
    model = SwitchSeq2SeqLM(backbone)
    assert parameter_counts(model).total == model.count_params()


def test_an_encoder_alone_has_no_head(create_backbone):
    backbone = create_backbone(
        num_decoder_layers=0, tie_embedding_weights=False, randomize=False
    )
    assert parameter_counts(backbone).total == backbone.count_params()


@pytest.mark.once
def test_active_leaves_out_the_experts_not_chosen():
    config = SWITCH_PRESETS["switch_base_8"]
    counts = SwitchBackbone.parameter_counts(**config)
    # 6 sparse blocks in each stack, 7 of 8 experts idle in each.
    idle = 2 * 6 * 7 * (2 * 768 * 3072)
    assert counts.total - counts.active == idle
    more = SwitchBackbone.parameter_counts(**{**config, "num_experts": 256})
    routers = 2 * 6 * (256 - 8) * 768
    assert more.active - counts.active == routers


@pytest.mark.once
def test_flops_are_twice_the_weights_that_a_token_meets():
    config = SWITCH_PRESETS["switch_base_8"]
    counts = SwitchBackbone.parameter_counts(**config)
    # No products: 2 * 12 + 1 and 3 * 12 + 1 norms of 768, 2 position biases
    # of 32 * 12. The tied embedding is a product once, as the head.
    products = counts.active - (25 + 37) * 768 - 2 * 32 * 12
    assert counts.flops_per_token == 2 * products
