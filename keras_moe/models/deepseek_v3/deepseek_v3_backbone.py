"""The DeepSeek-V3 decoder without its head."""

import dataclasses

import keras

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.models.backbone_arguments import argument
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.deepseek.deepseek_backbone import DeepSeekArguments
from keras_moe.models.deepseek.deepseek_backbone import DeepSeekBackbone
from keras_moe.models.deepseek.deepseek_backbone import expert_groups
from keras_moe.models.deepseek_v3.deepseek_v3_checkpoint import DEEPSEEK_V3
from keras_moe.models.deepseek_v3.deepseek_v3_presets import DEEPSEEK_V3_PRESETS
from keras_moe.routing.combine_weights import CombineWeights


@dataclasses.dataclass(kw_only=True)
class DeepSeekV3Arguments(DeepSeekArguments):
    """The arguments of `DeepSeekV3Backbone`."""

    normalize_combine_weights: bool = True
    rope_interleaved: bool = argument(
        "bool, whether neighbouring features turn together.", True
    )


@keras.saving.register_keras_serializable(package="keras_moe")
class DeepSeekV3Backbone(DeepSeekBackbone):
    """A decoder with latent attention and experts chosen by biased scores.

    As `DeepSeekV2Backbone` but for the router: scores are sigmoids; a bias
    per expert, which no gradient trains, takes part in the choice and not in
    the weights, so that it balances the experts without a loss; a group's
    score is the sum of its two best (DeepSeek-AI, 2024,
    https://arxiv.org/abs/2412.19437, section 2.1.2, equations 12 to 16).
    Kimi K2 (https://arxiv.org/abs/2507.20534) has the same form.

    While training, each step moves the bias of a new model towards a balanced
    load; a published model keeps its own, as at the end of its training
    (section 4.2), unless `from_preset` is told an update rate. The loss
    beside it is per batch here, per sequence there (equation 17). The modules
    that predict more than one token ahead are not built.
    """

    arguments_class = DeepSeekV3Arguments
    checkpoint_format = DEEPSEEK_V3
    published_presets = DEEPSEEK_V3_PRESETS

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(
            arguments,
            score_function="sigmoid",
            combine_weights=CombineWeights(
                normalize=arguments.normalize_combine_weights,
                scale=arguments.route_scale,
            ),
            expert_groups=expert_groups(arguments, "top2_sum"),
            balancing=[ExpertBias(0.001), LoadBalancingLoss(0.0001)],
        )
