"""DeepSeek-V2's files: deepseek-ai/DeepSeek-V2, -V2-Lite, -V2.5, -Coder-V2."""

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import look_up
from keras_moe.checkpoints.yarn_config import default_length
from keras_moe.models.deepseek import deepseek_files

FREE = "greedy"
IN_GROUPS = "group_limited_greedy"


def _read_more(config):
    method = look_up(config, "topk_method", FREE)
    if method not in (FREE, IN_GROUPS):
        raise ValueError(
            f"Expected topk_method={FREE!r} or {IN_GROUPS!r} of a "
            f"deepseek_v2. Received: {method!r}."
        )
    more = deepseek_files.read_more(config)
    if method == FREE:
        more.update(num_expert_groups=1, num_limited_groups=1)
    return more


def _write_more(arguments):
    free = arguments["num_expert_groups"] == 1
    return {
        **deepseek_files.write_more(arguments),
        "topk_method": FREE if free else IN_GROUPS,
    }


DEEPSEEK_V2 = CheckpointFormat(
    model_type="deepseek_v2",
    class_name="DeepseekV2ForCausalLM",
    fixed={
        "hidden_act": "silu",
        "mlp_bias": False,
        "moe_layer_freq": 1,
        # No published model has it; transformers ignores it, DeepSeek's own
        # code would then leave out the route scale.
        "norm_topk_prob": False,
        "scoring_func": "softmax",
    },
    fields=deepseek_files.FIELDS,
    read_more=_read_more,
    write_more=_write_more,
    defaults=default_length,
    rules=deepseek_files.rules(),
)
