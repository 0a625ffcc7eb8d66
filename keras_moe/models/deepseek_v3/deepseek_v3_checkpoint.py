"""DeepSeek-V3's files: deepseek-ai/DeepSeek-V3 and -R1, moonshotai/Kimi-K2."""

import re

from keras_moe.checkpoints.architecture import Architecture
from keras_moe.checkpoints.architecture import Field
from keras_moe.checkpoints.architecture import look_up
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.rules import rule
from keras_moe.models.deepseek_v2 import deepseek_files


def _read_more(config):
    return {
        **deepseek_files.read_more(config),
        # Training ended with it (https://arxiv.org/abs/2412.19437, section
        # 4.2); a few small batches would undo what large ones balanced.
        "expert_bias_update_rate": 0.0,
    }


def _write_more(arguments):
    return {
        **deepseek_files.write_more(arguments),
        "num_nextn_predict_layers": 0,
    }


def _ignored(config):
    """Leave out what predicts further tokens; it follows the last layer."""
    first = config["num_hidden_layers"]
    further = look_up(config, "num_nextn_predict_layers", 0)
    layers = range(first, first + further)
    return (
        *(re.escape(f"model.layers.{layer}.") + ".*" for layer in layers),
        # Kimi K2 stores what the configuration says already.
        r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
    )


DEEPSEEK_V3 = Architecture(
    model_type="deepseek_v3",
    class_name="DeepseekV3ForCausalLM",
    fixed={
        "hidden_act": "silu",
        "moe_layer_freq": 1,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
    },
    fields=(
        *deepseek_files.FIELDS,
        Field("norm_topk_prob", "normalize_combine_weights", True),
        Field("rope_interleave", "rope_interleaved", True),
    ),
    read_more=_read_more,
    write_more=_write_more,
    rules=(
        *deepseek_files.rules(),
        rule(
            f"{BLOCK}.feed_forward.routed_experts.router.expert_bias",
            f"{LAYER}.mlp.gate.e_score_correction_bias",
        ),
    ),
    ignored=_ignored,
    also_model_types=("kimi_k2",),
)
