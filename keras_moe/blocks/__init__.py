"""Attention, positions and the blocks that models are assembled from."""

from keras_moe.blocks.attend import attend
from keras_moe.blocks.attention_mask import causal_mask
from keras_moe.blocks.decoder_block import DecoderBlock
from keras_moe.blocks.grouped_query_attention import GroupedQueryAttention
from keras_moe.blocks.multi_head_latent_attention import (
    MultiHeadLatentAttention,
)
from keras_moe.blocks.norms import make_norm
from keras_moe.blocks.patch_embedding import PatchEmbedding
from keras_moe.blocks.relative_position_bias import RelativePositionBias
from keras_moe.blocks.reversible_embedding import ReversibleEmbedding
from keras_moe.blocks.rotary_embedding import rotary_frequencies
from keras_moe.blocks.rotary_embedding import rotate
from keras_moe.blocks.t5_attention import T5Attention
from keras_moe.blocks.t5_decoder_block import T5DecoderBlock
from keras_moe.blocks.t5_encoder_block import T5EncoderBlock
from keras_moe.blocks.t5_feed_forward_block import T5FeedForwardBlock
from keras_moe.blocks.vision_encoder_block import VisionEncoderBlock
from keras_moe.blocks.yarn import Yarn
from keras_moe.blocks.yarn import yarn_frequencies

__all__ = [
    "DecoderBlock",
    "GroupedQueryAttention",
    "MultiHeadLatentAttention",
    "PatchEmbedding",
    "RelativePositionBias",
    "ReversibleEmbedding",
    "T5Attention",
    "T5DecoderBlock",
    "T5EncoderBlock",
    "T5FeedForwardBlock",
    "VisionEncoderBlock",
    "Yarn",
    "attend",
    "causal_mask",
    "make_norm",
    "rotary_frequencies",
    "rotate",
    "yarn_frequencies",
]
