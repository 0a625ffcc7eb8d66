"""Tests of the Switch Transformer backbone."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE
from keras_moe.models.switch import SwitchBackbone
from keras_moe.routing import Capacity

# Blocks 0 and 1 of each stack; block 1 is sparse and has a dense layer too.
ST_MOE = {
    "one_sparse_block_each": False,
    "expert_layer_stride": 2,
    "expert_layer_offset": 3,
    "use_extra_feed_forward": True,
    "top_k": 2,
    "activation": "gelu",
    "use_gated_activation": True,
}


def capacity(eval_factor):
    return {"capacity": Capacity(factor=1.25, eval_factor=eval_factor)}


@pytest.mark.sweep
@pytest.mark.parametrize(
    "arguments, drops",
    [
        ({"one_sparse_block_each": False, "router": capacity(1.0)}, True),
        (
            {
                "router": capacity(None),
                "use_gated_activation": True,
                "activation": "gelu",
            },
            False,
        ),
        ({**ST_MOE, "router": capacity(1.0)}, True),
        ({**ST_MOE, "router": capacity(None)}, False),
    ],
    ids=["relu with drops", "geglu dropless", "st-moe with drops", "st-moe"],
)
def test_outputs_match_the_oracle(
    create_backbone, sequences, switch_oracle, arguments, drops
):
    backbone = create_backbone(**arguments)
    oracle = switch_oracle(backbone, backbone.router.capacity.eval_factor)
    encoder = sequences["encoder_token_ids"], sequences["encoder_padding_mask"]
    decoder = sequences["decoder_token_ids"], sequences["decoder_padding_mask"]
    encoded = oracle.encode(*encoder)
    decoded = oracle.decode(*decoder, encoded, encoder[1])
    outputs = backbone.predict_on_batch(sequences)
    for name, expected in [("encoder", encoded), ("decoder", decoded)]:
        np.testing.assert_allclose(
            outputs[f"{name}_sequence_output"], expected, rtol=1e-4, atol=1e-5
        )
    assert (oracle.num_dropped > 0) == drops


def test_every_second_block_is_sparse(create_backbone):
    backbone = create_backbone(
        one_sparse_block_each=False,
        randomize=False,
        num_layers=4,
        num_decoder_layers=3,
    )
    encoder, decoder = (
        [type(block.feed_forward_block.feed_forward) for block in blocks]
        for blocks in (
            backbone.encoder_transformer_layers,
            backbone.decoder_transformer_layers,
        )
    )
    assert encoder == [FeedForward, SparseMoE, FeedForward, SparseMoE]
    assert decoder == [FeedForward, SparseMoE, FeedForward]


@pytest.mark.once
def test_blocks_are_sparse_by_list_or_after_the_first_ones(create_backbone):
    backbone = create_backbone(
        one_sparse_block_each=False,
        randomize=False,
        num_layers=5,
        num_decoder_layers=0,
        expert_layer_stride=1,
        num_dense_layers=1,
        dense_layers=[3],
        expert_dropout=0.2,
    )
    layers = [
        block.feed_forward_block.feed_forward
        for block in backbone.encoder_transformer_layers
    ]
    sparse = [
        index
        for index, layer in enumerate(layers)
        if isinstance(layer, SparseMoE)
    ]
    assert sparse == [1, 2, 4]
    assert {layers[index].output_dropout for index in sparse} == {0.2}
    config = backbone.get_config()
    assert config["dense_layers"] == [3]
    assert SwitchBackbone.from_config(config).get_config() == config


def test_only_sparse_blocks_have_an_extra_feed_forward(create_backbone):
    backbone = create_backbone(
        **{**ST_MOE, "expert_layer_stride": 4, "num_layers": 5},
        num_decoder_layers=4,
        randomize=False,
    )
    for blocks in (
        backbone.encoder_transformer_layers,
        backbone.decoder_transformer_layers,
    ):
        for index, block in enumerate(blocks):
            layer = block.feed_forward_block.feed_forward
            assert isinstance(layer, SparseMoE) == (index == 3)
            extra = block.extra_feed_forward_block
            assert (extra is not None) == (index == 3)


@pytest.mark.once
def test_the_sparse_layers_are_configured_as_published():
    backbone = SwitchBackbone(
        vocabulary_size=5,
        num_layers=2,
        num_heads=2,
        hidden_dim=4,
        intermediate_dim=6,
        num_experts=3,
    )
    block = backbone.decoder_transformer_layers[1]
    experts = block.feed_forward_block.feed_forward
    assert experts.router.capacity == Capacity(1.25, 2.0)
    assert experts.gated is False
    assert experts.router.top_k == 1
    assert experts.router.jitter_noise == 0.01
    load_balancing, z_loss = experts.router.balancing
    assert load_balancing.weight == 0.01
    assert z_loss.weight == 0.001
    assert backbone.key_value_dim == 2
    assert backbone.encoder_position_bias.num_buckets == 32
    assert backbone.encoder_position_bias.max_distance == 128
    assert backbone.decoder_position_bias.bidirectional is False
    assert backbone.stack_dropout.rate == 0.1


@pytest.mark.sweep
def test_feed_forward_kernels_start_with_the_fan_in_deviation():
    backbone = SwitchBackbone(
        vocabulary_size=50,
        num_layers=2,
        num_heads=2,
        hidden_dim=64,
        intermediate_dim=100,
        num_experts=4,
        num_decoder_layers=0,
    )
    dense, sparse = (
        block.feed_forward_block.feed_forward
        for block in backbone.encoder_transformer_layers
    )
    # At least 3200 samples each: 5% is four standard errors.
    for kernel, fan_in in [
        (dense.up.kernel, 64),
        (dense.down.kernel, 100),
        (sparse.experts.up.kernel, 64),
        (sparse.experts.down.kernel, 100),
        (backbone.token_embedding.embeddings, 1),
    ]:
        deviation = ops.convert_to_numpy(kernel.value).std()
        np.testing.assert_allclose(deviation, fan_in**-0.5, rtol=0.05)


def test_an_encoder_alone_has_short_input_names(create_backbone):
    backbone = create_backbone(num_decoder_layers=0, randomize=False)
    assert set(backbone.input) == {"token_ids", "padding_mask"}
    shapes = {name: out.shape for name, out in backbone.output.items()}
    assert shapes == {"encoder_sequence_output": (None, None, 8)}
    assert not any("decoder" in v.path for v in backbone.variables)


def test_symbolic_shapes_leave_batch_and_lengths_open(create_backbone):
    backbone = create_backbone(randomize=False)
    assert {out.shape for out in backbone.output.values()} == {(None, None, 8)}
    dtypes = {keras_input.dtype for keras_input in backbone.input.values()}
    assert dtypes == {"int32"}


def test_config_round_trip(create_backbone):
    backbone = create_backbone(
        randomize=False,
        activation="gelu",
        use_gated_activation=True,
        router={"capacity": None},
        dropout=0.3,
        layer_norm_epsilon=1e-5,
        tie_embedding_weights=False,
        expert_layer_offset=0,
        use_extra_feed_forward=True,
        dtype="mixed_bfloat16",
        name="backbone",
    )
    config = backbone.get_config()
    copy = SwitchBackbone.from_config(config)
    assert copy.get_config() == config
    assert config["activation"] == "gelu"
    assert copy.router.capacity is None
    assert [v.path for v in copy.trainable_variables] == [
        v.path for v in backbone.trainable_variables
    ]
    assert copy.dtype_policy.name == "mixed_bfloat16"
    registered_name = keras.saving.get_registered_name(SwitchBackbone)
    assert registered_name == "keras_moe>SwitchBackbone"


def test_sizes_must_be_positive(create_backbone):
    with pytest.raises(ValueError, match="num_layers=0"):
        create_backbone(num_layers=0)
