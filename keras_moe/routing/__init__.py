"""Which experts, with what weight: pure functions without weights."""

from keras_moe.routing.balanced_assignment import assign_evenly
from keras_moe.routing.capacity import Capacity
from keras_moe.routing.capacity import expert_capacity
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.expert_choice import ExpertChoice
from keras_moe.routing.expert_choice import choose_tokens
from keras_moe.routing.expert_groups import ExpertGroups
from keras_moe.routing.logit_noise import LogitNoise
from keras_moe.routing.optional_choices import OptionalChoices
from keras_moe.routing.plans import RouterScores
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.plans import count_tokens
from keras_moe.routing.plans import hide_padding
from keras_moe.routing.plans import keep_pairs
from keras_moe.routing.score_functions import get_score_function
from keras_moe.routing.score_functions import sigmoid
from keras_moe.routing.score_functions import softmax
from keras_moe.routing.score_functions import sqrt_softplus
from keras_moe.routing.sinkhorn import sinkhorn_logits
from keras_moe.routing.slot_assignment import assign_slots
from keras_moe.routing.soft_slots import SoftSlots
from keras_moe.routing.soft_slots import mix_tokens
from keras_moe.routing.token_choice import choose_top_k

__all__ = [
    "Capacity",
    "CombineWeights",
    "ExpertChoice",
    "ExpertGroups",
    "LogitNoise",
    "OptionalChoices",
    "RouterScores",
    "SoftSlots",
    "TokenChoice",
    "assign_evenly",
    "assign_slots",
    "choose_tokens",
    "choose_top_k",
    "count_tokens",
    "expert_capacity",
    "get_score_function",
    "hide_padding",
    "keep_pairs",
    "mix_tokens",
    "sigmoid",
    "sinkhorn_logits",
    "softmax",
    "sqrt_softplus",
]
