"""The DeepSeek-V2 decoder without its head."""

import dataclasses

import keras

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.models.backbone_arguments import argument
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.deepseek.deepseek_backbone import DeepSeekArguments
from keras_moe.models.deepseek.deepseek_backbone import DeepSeekBackbone
from keras_moe.models.deepseek.deepseek_backbone import expert_groups
from keras_moe.models.deepseek_v2.deepseek_v2_checkpoint import DEEPSEEK_V2
from keras_moe.models.deepseek_v2.deepseek_v2_presets import DEEPSEEK_V2_PRESETS
from keras_moe.routing.combine_weights import CombineWeights


@dataclasses.dataclass(kw_only=True)
class DeepSeekV2Arguments(DeepSeekArguments):
    """The arguments of `DeepSeekV2Backbone`."""

    num_shared_experts: int = argument("int.", 2)


@keras.saving.register_keras_serializable(package="keras_moe")
class DeepSeekV2Backbone(DeepSeekBackbone):
    """A decoder with latent attention and fine-grained experts.

    `MultiHeadLatentAttention`, whose cache is a short vector per token, and
    after `num_dense_layers` dense layers `SharedExpertMoE`: many small
    routed experts, of which a token meets K, beside shared ones that all
    tokens meet (DeepSeek-AI, 2024, https://arxiv.org/abs/2405.04434). The
    router is a softmax whose chosen probabilities are not normalized; with
    `num_expert_groups` a token chooses within the groups of its best experts
    (section 2.2.2). Of the paper's balancing losses there is the one over
    experts (equation 23), per batch instead of per sequence.
    """

    arguments_class = DeepSeekV2Arguments
    checkpoint_format = DEEPSEEK_V2
    published_presets = DEEPSEEK_V2_PRESETS

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(
            arguments,
            combine_weights=CombineWeights(
                normalize=False, scale=arguments.route_scale
            ),
            expert_groups=expert_groups(arguments, "max"),
            balancing=LoadBalancingLoss(0.003),
        )
