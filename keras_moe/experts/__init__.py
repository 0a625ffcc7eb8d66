"""Stacked kernels of shape (E, in, out) and what they compute."""

from keras_moe.experts.expert_bank import ExpertBank
from keras_moe.experts.feed_forward_experts import FeedForwardExperts
from keras_moe.experts.gated_experts import GatedExperts
from keras_moe.experts.grouped_dense import GroupedDense
from keras_moe.experts.per_expert_initializer import PerExpertInitializer

__all__ = [
    "ExpertBank",
    "FeedForwardExperts",
    "GatedExperts",
    "GroupedDense",
    "PerExpertInitializer",
]
