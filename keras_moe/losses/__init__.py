"""From a routing plan to a scalar for `add_loss`, or to a bias' step."""

from keras_moe.losses.entropy import mean_entropy_loss
from keras_moe.losses.entropy import token_entropy_loss
from keras_moe.losses.expert_bias_update import expert_bias_update
from keras_moe.losses.expert_groups import communication_balancing_loss
from keras_moe.losses.expert_groups import device_balancing_loss
from keras_moe.losses.importance import importance_loss
from keras_moe.losses.load import load_loss
from keras_moe.losses.load_balancing import load_balancing_loss
from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.losses.mixture import BlendError
from keras_moe.losses.mixture import MixtureNegativeLogLikelihood
from keras_moe.losses.mixture import blend
from keras_moe.losses.pooled_load_balancing import pooled_load_balancing_loss
from keras_moe.losses.quantile_bias_update import quantile_bias_update
from keras_moe.losses.router_z import router_z_loss
from keras_moe.losses.token_means import mean_over_tokens
from keras_moe.losses.token_means import num_real_tokens

__all__ = [
    "BlendError",
    "MixtureNegativeLogLikelihood",
    "blend",
    "communication_balancing_loss",
    "device_balancing_loss",
    "expert_bias_update",
    "importance_loss",
    "load_balancing_loss",
    "load_loss",
    "mean_entropy_loss",
    "mean_over_tokens",
    "num_real_tokens",
    "pooled_load_balancing_loss",
    "quantile_bias_update",
    "router_z_loss",
    "token_entropy_loss",
    "tokens_per_expert",
]
