"""DBRX's files: databricks/dbrx-base and databricks/dbrx-instruct.

Three matrices hold a layer's experts, one holds its queries, keys and values;
`dbrx_layouts` takes them apart. Settings of attention and experts lie in
dictionaries of their own, `attn_config` and `ffn_config`.
"""

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.checkpoint_format import look_up
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.layouts import LINEAR_FROM_HEADS
from keras_moe.checkpoints.rope_config import check_plain_rope
from keras_moe.checkpoints.rope_config import rope_settings
from keras_moe.checkpoints.rules import rule
from keras_moe.models.dbrx.dbrx_layouts import BRANCHES
from keras_moe.models.dbrx.dbrx_layouts import QUERY_KEY_VALUE
from keras_moe.models.dbrx.dbrx_layouts import ROWS_OF_EXPERTS

THEIRS = "transformer.blocks.{layer}"
POWER = "moe_normalize_expert_weights"
DEFAULT_THETA = 10_000.0


def _read_more(config):
    check_plain_rope(config)
    # Here null says "do not normalize", and absence the default.
    power = look_up(config, "ffn_config", {}).get(POWER, 1.0)
    return {
        "combine_weights_power": _float(power),
        "rope_max_wavelength": _rope_theta(config),
    }


def _rope_theta(config):
    published = look_up(config, "attn_config.rope_theta")
    filled_in = rope_settings(config, "rope_parameters").get("rope_theta")
    if published is None:
        return float(filled_in or DEFAULT_THETA)
    # transformers 5.23 does not read the published key: what it saves again
    # has its default in `rope_parameters`, whatever the model was trained with.
    if filled_in not in (None, published, DEFAULT_THETA):
        raise ValueError(
            "Expected one rotary base. Received: attn_config.rope_theta="
            f"{published}, rope_parameters.rope_theta={filled_in}. Remove the "
            "one that the model was not trained with."
        )
    return float(published)


def _write_more(arguments):
    theta = arguments["rope_max_wavelength"]
    return {
        # transformers 5.23 refuses the published whole number.
        f"ffn_config.{POWER}": _float(arguments["combine_weights_power"]),
        "attn_config.rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
    }


def _float(power):
    return None if power is None else float(power)


DBRX = CheckpointFormat(
    model_type="dbrx",
    class_name="DbrxForCausalLM",
    fixed={
        "ffn_config.ffn_act_fn": {"name": "silu"},
        "tie_word_embeddings": False,
    },
    fields=(
        Field("vocab_size", "vocabulary_size"),
        Field("n_layers", "num_layers"),
        Field("n_heads", "num_query_heads"),
        Field("attn_config.kv_n_heads", "num_key_value_heads", 1),
        Field("d_model", "hidden_dim"),
        Field("ffn_config.ffn_hidden_size", "intermediate_dim", 3584),
        Field("ffn_config.moe_num_experts", "num_experts", 4),
        Field("ffn_config.moe_top_k", "top_k", 1),
        Field("attn_config.clip_qkv", "clip_query_key_value", None),
        Field("ffn_config.moe_jitter_eps", "jitter_noise", 0.0),
    ),
    read_more=_read_more,
    write_more=_write_more,
    # transformers 5.23 misreads both as they are published.
    always=_write_more,
    rules=(
        rule("token_embedding.embeddings", "transformer.wte.weight"),
        rule("final_norm.gamma", "transformer.norm_f.weight"),
        rule(
            "token_embedding.reverse_embeddings",
            "lm_head.weight",
            layout=LINEAR,
        ),
        rule(
            f"{BLOCK}.attention_norm.gamma",
            f"{THEIRS}.norm_attn_norm.norm_1.weight",
        ),
        rule(
            f"{BLOCK}.feed_forward_norm.gamma",
            f"{THEIRS}.norm_attn_norm.norm_2.weight",
        ),
        rule(
            (
                f"{BLOCK}.attention.query.kernel",
                f"{BLOCK}.attention.key.kernel",
                f"{BLOCK}.attention.value.kernel",
            ),
            f"{THEIRS}.norm_attn_norm.attn.Wqkv.weight",
            layout=QUERY_KEY_VALUE,
        ),
        rule(
            f"{BLOCK}.attention.output_dense.kernel",
            f"{THEIRS}.norm_attn_norm.attn.out_proj.weight",
            layout=LINEAR_FROM_HEADS,
        ),
        router_rule(f"{THEIRS}.ffn.router.layer.weight"),
        rule(
            f"{BLOCK}.feed_forward.experts.gate_up.kernel",
            f"{THEIRS}.ffn.experts.mlp.w1",
            f"{THEIRS}.ffn.experts.mlp.v1",
            layout=BRANCHES,
        ),
        rule(
            f"{BLOCK}.feed_forward.experts.down.kernel",
            f"{THEIRS}.ffn.experts.mlp.w2",
            layout=ROWS_OF_EXPERTS,
        ),
    ),
)
