"""The OpenMoE decoder without its head."""

import dataclasses

import keras

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.checkpoints.checkpoint_folder import shorten
from keras_moe.models.backbone_arguments import argument
from keras_moe.models.decoder_backbone import DecoderArguments
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_dense
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.openmoe.openmoe_checkpoint import OPENMOE
from keras_moe.models.openmoe.openmoe_checkpoint import OWN_KEYS
from keras_moe.models.openmoe.openmoe_presets import OPENMOE_PRESETS
from keras_moe.ops.gated_activation import swiglu
from keras_moe.routing.combine_weights import CombineWeights


@dataclasses.dataclass(kw_only=True)
class OpenMoEArguments(DecoderArguments):
    """The arguments of `OpenMoEBackbone`."""

    num_key_value_heads: int = argument(
        "int M, a divisor of N; published with N."
    )
    intermediate_dim: int = argument(
        "int I, width of each branch, dense or expert."
    )
    head_dim: int = argument("int D.")
    top_k: int = 2
    expert_layer_stride: int = 4
    rope_max_wavelength: float = argument("float.", 10_000.0)


@keras.saving.register_keras_serializable(package="keras_moe")
class OpenMoEBackbone(DecoderBackbone):
    """A decoder-only ST-MoE: a dense block after each sparse one.

    Xue et al., 2024 (https://arxiv.org/abs/2402.01739) train ST-MoE
    (https://arxiv.org/abs/2202.08906) as a decoder. What sets it apart:

    - every `expert_layer_stride`-th layer has a `SparseMoE` in place of the
      feed-forward block, and a dense block with its own norm and residual
      after it;
    - the two chosen probabilities multiply the experts' outputs as they are,
      not divided by their sum (equation 2);
    - feed-forward blocks and experts have three branches,
      `(x W_1 * silu(x W_2)) * (x W_3)`, four matrices with the last one;
    - attention scores are not divided by `sqrt(D)`, and N D need not be H;
    - the first token is seen and routed whatever the padding mask says. The
      published sequences start with the padding token, which a mask made of
      the token ids would hide. It changes the results of real tokens where
      padding is on the left.

    At inference no token is dropped. The published code drops what exceeds
    a capacity factor of 2.0 over the whole batch, so that a text's result
    depends on its neighbours.
    """

    arguments_class = OpenMoEArguments
    checkpoint_format = OPENMOE
    published_presets = OPENMOE_PRESETS
    activation = staticmethod(swiglu)
    keep_first_token = True

    @classmethod
    def make_attention(cls, arguments, index):
        return make_attention(arguments, attention_scale=1.0)

    @classmethod
    def make_extra_feed_forward(cls, arguments, index):
        if arguments.is_sparse(index):
            return make_dense(arguments, swiglu, "extra_feed_forward")
        return None

    @classmethod
    def format_of(cls, config):
        checkpoint_format = super().format_of(config)
        missing = [key for key in OWN_KEYS if config.get(key) is None]
        if missing:
            raise ValueError(
                "Expected a config.json of OpenMoE, whose model_type is "
                f"'llama' beside {', '.join(OWN_KEYS)}. Received: no "
                f"{shorten(missing)}. For a dense Llama, use "
                "`keras_hub.models.LlamaCausalLM`."
            )
        return checkpoint_format

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(
            arguments,
            combine_weights=CombineWeights(normalize=False),
            balancing=[LoadBalancingLoss(0.01), RouterZLoss(0.0001)],
        )
