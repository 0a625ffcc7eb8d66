"""`config.json` of Switch: both spellings, defaults and refusals."""

import pytest
from transformers import SwitchTransformersConfig

from keras_moe.models.switch import SwitchBackbone
from keras_moe.models.switch.switch_checkpoint import SWITCH
from keras_moe.routing import Capacity

SIZES = {
    "vocabulary_size": 20,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 12,
    "num_experts": 3,
    "router": {"capacity": Capacity(slots=5)},
}


def their_config(**settings):
    return SwitchTransformersConfig(**settings).to_dict()


@pytest.mark.once
def test_both_spellings_are_read():
    config = their_config(num_sparse_encoder_layers=6, d_ff=3072)
    config["num_sparse_decoder_layers"] = 6
    # As transformers 4 wrote it.
    published = {
        **config,
        "torch_dtype": "float32",
        "feed_forward_proj": "relu",
        "is_gated_act": False,
        "router_type": "tokens_masked",
        "num_decoder_layers": None,
    }
    for key in ("dtype", "is_decoder", "add_cross_attention"):
        published.pop(key, None)
    read = SWITCH.read_config(published)
    assert read.pop("num_decoder_layers") is None  # means num_layers
    expected = SWITCH.read_config(config)
    assert expected.pop("num_decoder_layers") == 12
    assert read == expected
    assert read["expert_layer_stride"] == 2
    assert read["expert_capacity"] == 64


@pytest.mark.once
def test_what_is_absent_is_transformers_default():
    config = their_config()
    required = {
        field.theirs: config[field.theirs]
        for field in SWITCH.fields
        if field.theirs
        in ("vocab_size", "num_layers", "num_heads", "d_model", "d_kv")
        or field.theirs in ("d_ff", "num_experts")
    }
    read = SWITCH.read_config(required)
    assert read.pop("num_decoder_layers") is None
    expected = SWITCH.read_config(config)
    expected.pop("num_decoder_layers")
    assert read == expected


@pytest.mark.once
@pytest.mark.parametrize(
    "layers, sparse_layers", [(12, 6), (12, 12), (12, 3), (5, 2), (6, 0)]
)
def test_the_same_blocks_are_sparse(layers, sparse_layers):
    config = their_config(
        num_layers=layers,
        num_sparse_encoder_layers=sparse_layers,
        num_decoder_layers=layers,
        num_sparse_decoder_layers=sparse_layers,
    )
    stride = SWITCH.read_config(config)["expert_layer_stride"]
    assert stride == config["encoder_sparse_step"]


@pytest.mark.once
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_sparse_decoder_layers": 6}, "num_sparse_decoder_layers=6"),
        ({"num_sparse_encoder_layers": 13}, "num_sparse_encoder_layers=13"),
        ({"dense_act_fn": "gelu"}, "dense_act_fn='relu'"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings=True"),
        ({"router_bias": True}, "router_bias=False"),
    ],
    ids=str,
)
def test_what_we_cannot_compute_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SWITCH.read_config(their_config(**settings))


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"router": {"capacity": None}}, "router="),
        ({"activation": "gelu"}, "activation='gelu'"),
        ({"use_gated_activation": True}, "use_gated_activation=True"),
        ({"tie_embedding_weights": False}, "tie_embedding_weights=False"),
        ({"top_k": 2}, "top_k=2"),
        ({"num_decoder_layers": 0}, "num_decoder_layers=0"),
        ({"num_layers": 5, "expert_layer_stride": 3}, "expert_layer_stride=3"),
    ],
    ids=str,
)
def test_what_they_cannot_express_is_not_written(settings, message, tmp_path):
    backbone = SwitchBackbone(**{**SIZES, **settings})
    with pytest.raises(ValueError, match=message):
        backbone.save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_capacity_replaces_the_factors():
    backbone = SwitchBackbone(**SIZES)
    config = backbone.get_config()
    assert backbone.router.capacity == Capacity(slots=5)
    layer = backbone.encoder_transformer_layers[1]
    assert layer.feed_forward_block.feed_forward.router.capacity.slots == 5
    assert SwitchBackbone.from_config(config).get_config() == config
