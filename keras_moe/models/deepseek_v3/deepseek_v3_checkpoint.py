"""DeepSeek-V3's files: deepseek-ai/DeepSeek-V3 and -R1, moonshotai/Kimi-K2."""

import re

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.checkpoint_format import look_up
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.rules import rule
from keras_moe.checkpoints.yarn_config import default_length
from keras_moe.models.deepseek import deepseek_files

# Where a config.json does not say: those of their own code.
DEFAULTS = {"n_group": 8, "topk_group": 4, "routed_scaling_factor": 2.5}
WITHOUT_FURTHER_LAYERS = {"num_nextn_predict_layers": 0}


def _read_more(config):
    return {
        **deepseek_files.read_more(config),
        # Training ended with it (https://arxiv.org/abs/2412.19437, section
        # 4.2); a few small batches would undo what large ones balanced.
        "expert_bias_update_rate": 0.0,
    }


def _defaults(arguments):
    return {**default_length(arguments), **WITHOUT_FURTHER_LAYERS}


def _ignored(config):
    """Leave out what predicts further tokens; it follows the last layer."""
    first = config["num_hidden_layers"]
    further = look_up(config, "num_nextn_predict_layers", 0)
    return tuple(
        re.escape(f"model.layers.{layer}.") + ".*"
        for layer in range(first, first + further)
    )


DEEPSEEK_V3 = CheckpointFormat(
    model_type="deepseek_v3",
    class_name="DeepseekV3ForCausalLM",
    fixed={
        "hidden_act": "silu",
        "moe_layer_freq": 1,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
    },
    fields=(
        *(
            field._replace(default=DEFAULTS.get(field.theirs, field.default))
            for field in deepseek_files.FIELDS
        ),
        Field("norm_topk_prob", "normalize_combine_weights", True),
        Field("rope_interleave", "rope_interleaved", True),
    ),
    read_more=_read_more,
    write_more=deepseek_files.write_more,
    defaults=_defaults,
    rules=(
        *deepseek_files.rules(),
        rule(
            f"{BLOCK}.feed_forward.routed_experts.router.expert_bias",
            f"{LAYER}.mlp.gate.e_score_correction_bias",
        ),
    ),
    ignored=_ignored,
    without_ignored=WITHOUT_FURTHER_LAYERS,
    also_model_types=("kimi_k2",),
)
