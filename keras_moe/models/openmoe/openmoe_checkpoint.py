"""OpenMoE's files: OrionZheng/openmoe-base, -8b, -34b-200B.

The names are those that the published conversion writes
(`convert_openmoe_ckpt.py` of github.com/Orion-Zheng/ColossalAI, branch
`my_openmoe`, commit 95e3378) and the `modeling_openmoe.py` beside it reads,
which that repository's authors published with the weights. Checked besides:
the hub's `config.json`, and that the sizes of its files are those of these
tensors (3.2 GB and 47.4 GB of float32). Not checked: the published files
themselves. Their main branches hold pickles, which have to be converted
before they are read here.

In flaxformer's words, from which the weights come: `wi_0` of shape (H, 2I) is
`gate_proj`, its first half a linear branch, its second half the one that the
SiLU is applied to; `wi_1` is `up_proj`.
"""

from keras_moe.checkpoints.checkpoint_format import DECODER_FIELDS
from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.decoder_rules import decoder_rules
from keras_moe.checkpoints.decoder_rules import feed_forward_rules
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.layouts import side_by_side
from keras_moe.checkpoints.rope_config import check_plain_rope
from keras_moe.checkpoints.rope_config import rope_theta
from keras_moe.checkpoints.rules import rule

# What tells an OpenMoE from a Llama, whose model_type it has.
OWN_KEYS = ("num_experts", "moe_layer_interval")
# What the published code wants to find in its configuration.
AUTO_MAP = {"AutoModelForCausalLM": "modeling_openmoe.OpenMoeForCausalLM"}
FOR_THEIR_CODE = {
    "max_position_embeddings": 2048,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "pretraining_tp": 1,
    "dropout_rate": 0.0,
    "expert_parallel": None,
    "router_capacity_factor_train": 1.25,
    "router_capacity_factor_eval": 2.0,
    "router_min_capacity": 4,
    "router_noisy_policy": None,
    "router_drop_tks": True,
    "router_aux_loss_factor": 0.01,
    "router_z_loss_factor": 0.0001,
    "label_smoothing": 0.001,
    "z_loss_factor": 0.01,
    "enable_load_balance": False,
    "load_balance_tolerance": 0.1,
    "load_balance_beam_width": 8,
    "load_balance_group_swap_factor": 0.4,
    "enable_kernel": False,
    "enable_comm_overlap": False,
    "enable_hierarchical_alltoall": False,
}


def _read_more(config):
    check_plain_rope(config)
    if (theta := rope_theta(config)) != 10_000.0:
        raise ValueError(
            "Expected rope_theta=10000.0 of an openmoe: their code has it "
            f"whatever config.json says. Received: {theta}."
        )
    return {}


def _always(arguments):
    return {
        # Their code is read by its `auto_map`.
        "model_type": "llama",
        "auto_map": AUTO_MAP,
        "layer_norm_epsilon": arguments["layer_norm_epsilon"],
    }


def _defaults(arguments):
    return FOR_THEIR_CODE


OPENMOE = CheckpointFormat(
    model_type="openmoe",
    also_model_types=("llama",),
    class_name="OpenMoeForCausalLM",
    fixed={
        "hidden_act": "swiglu",
        "mlp_gated": True,
        "attention_bias": False,
        # Their code has this base whatever the configuration says.
        "rope_theta": 10_000.0,
    },
    fields=(
        *DECODER_FIELDS,
        Field("num_key_value_heads", "num_key_value_heads"),
        Field("head_dim", "head_dim"),
        Field("intermediate_size", "intermediate_dim"),
        Field("num_experts", "num_experts"),
        Field("router_topk", "top_k", 2, also=("topk",)),
        Field("moe_layer_interval", "expert_layer_stride"),
        Field("rms_norm_eps", "layer_norm_epsilon", 1e-6),
        Field("tie_word_embeddings", "tie_embedding_weights", False),
    ),
    read_more=_read_more,
    always=_always,
    defaults=_defaults,
    rules=(
        *decoder_rules(),
        *feed_forward_rules(f"{BLOCK}.feed_forward", f"{LAYER}.mlp"),
        router_rule(f"{LAYER}.mlp.gate_weight"),
        rule(
            f"{BLOCK}.feed_forward.experts.gate_up.kernel",
            f"{LAYER}.mlp.experts.wi_gate",
            f"{LAYER}.mlp.experts.wi_up",
            layout=side_by_side(2, 1),
        ),
        rule(
            f"{BLOCK}.feed_forward.experts.down.kernel",
            f"{LAYER}.mlp.experts.wo",
        ),
        rule(
            f"{BLOCK}.extra_feed_forward_norm.scale",
            f"{LAYER}.pre_extra_mlp_layernorm.weight",
        ),
        *feed_forward_rules(
            f"{BLOCK}.extra_feed_forward", f"{LAYER}.extra_mlp"
        ),
    ),
)
