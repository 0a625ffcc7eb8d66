"""Keras' own test of a layer, on all of ours.

The one file of the tests that imports `keras.src`: the test case comes with
the installed package, and has no public name.
"""

import pytest
from keras.src.testing import TestCase

from keras_moe import blocks
from keras_moe import experts
from keras_moe import layers

pytestmark = pytest.mark.exhaustive

SHAPE = (2, 5, 8)  # Of inputs and outputs.


def attention():
    return blocks.GroupedQueryAttention(2, 1, name="attention")


# Class, arguments, number of trainable weights.
CASES = {
    "feed-forward": (layers.FeedForward, {"intermediate_dim": 4}, 3),
    "sparse": (layers.SparseMoE, {"num_experts": 4, "intermediate_dim": 4}, 3),
    "shared": (
        layers.SharedExpertMoE,
        {"num_experts": 4, "intermediate_dim": 4},
        6,
    ),
    "grouped query": (
        blocks.GroupedQueryAttention,
        {"num_query_heads": 2, "num_key_value_heads": 1},
        4,
    ),
    "latent": (
        blocks.MultiHeadLatentAttention,
        {
            "num_query_heads": 2,
            "key_value_latent_dim": 4,
            "nope_head_dim": 4,
            "rope_head_dim": 2,
            "value_head_dim": 4,
        },
        5,
    ),
    "t5 attention": (
        blocks.T5Attention,
        {"num_heads": 2, "head_dim": 4},
        4,
    ),
    "decoder": (
        blocks.DecoderBlock,
        {
            "attention": attention(),
            "feed_forward": layers.SparseMoE(4, 4, name="sparse"),
        },
        9,
    ),
    "encoder": (
        blocks.T5EncoderBlock,
        {
            "num_heads": 2,
            "head_dim": 4,
            "feed_forward": layers.SparseMoE(4, 4, name="sparse"),
        },
        9,
    ),
    "t5 feed-forward": (
        blocks.T5FeedForwardBlock,
        {"feed_forward": layers.FeedForward(4, name="dense")},
        4,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_keras_own_layer_test(name):
    cls, arguments, trainable = CASES[name]
    TestCase().run_layer_test(
        cls,
        init_kwargs=arguments,
        input_shape=SHAPE,
        expected_output_shape=SHAPE,
        expected_num_trainable_weights=trainable,
        expected_num_non_trainable_weights=0,
        expected_num_losses=0,  # Keras does not train in this call.
        supports_masking=True,
    )


def test_keras_own_test_of_a_grouped_dense_layer():
    TestCase().run_layer_test(
        experts.GroupedDense,
        init_kwargs={"num_experts": 2, "units": 4, "use_bias": True},
        input_shape=SHAPE,
        expected_output_shape=(2, 5, 4),
        expected_num_trainable_weights=2,
        expected_num_non_trainable_weights=0,
        supports_masking=False,
    )


@pytest.mark.parametrize("name", ["GatedExperts", "FeedForwardExperts"])
def test_keras_own_test_of_experts(name):
    # Blocks of rows, one for each of two experts.
    TestCase().run_layer_test(
        getattr(experts, name),
        init_kwargs={"num_experts": 2, "intermediate_dim": 4},
        input_shape=SHAPE,
        expected_output_shape=SHAPE,
        expected_num_trainable_weights=2,
        expected_num_non_trainable_weights=0,
        supports_masking=False,
    )


def test_keras_own_test_of_a_router():
    routers = {"num_experts": 4, "top_k": 2, "balancing": "expert_bias"}
    TestCase().run_layer_test(
        layers.TopKRouter,
        init_kwargs=routers,
        input_shape=SHAPE,
        expected_num_trainable_weights=1,
        expected_num_non_trainable_weights=1,
        expected_num_seed_generators=1,
        supports_masking=True,
        run_training_check=False,  # It has no output that a loss can take.
        run_mixed_precision_check=False,  # It is float32 under any policy.
    )


def test_keras_own_test_of_a_decoder_with_an_encoder():
    TestCase().run_layer_test(
        blocks.T5DecoderBlock,
        init_kwargs={
            "num_heads": 2,
            "head_dim": 4,
            "feed_forward": layers.FeedForward(4, name="dense"),
        },
        input_shape={"inputs_shape": SHAPE, "encoder_outputs_shape": (2, 3, 8)},
        expected_output_shape=SHAPE,
        expected_num_trainable_weights=14,
        expected_num_non_trainable_weights=0,
        supports_masking=True,
        # It would call the block with one dictionary of both inputs.
        run_training_check=False,
    )


def test_keras_own_test_of_a_position_bias():
    TestCase().run_layer_test(
        blocks.RelativePositionBias,
        init_kwargs={"num_heads": 2},
        input_shape={"queries_shape": SHAPE, "keys_shape": (2, 3, 8)},
        expected_output_shape=(1, 2, 5, 3),
        expected_num_trainable_weights=1,
        expected_num_non_trainable_weights=0,
        run_training_check=False,  # No batch axis for a target.
    )
