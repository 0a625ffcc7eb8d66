"""What the files of DeepSeek's versions share."""

from itertools import chain

from keras_moe.checkpoints.checkpoint_format import DECODER_FIELDS
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.checkpoint_format import look_up
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.decoder_rules import attention_norm_rule
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import feed_forward_rules
from keras_moe.checkpoints.decoder_rules import model_rules
from keras_moe.checkpoints.decoder_rules import norm_rules
from keras_moe.checkpoints.decoder_rules import projection_rules
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.layouts import LINEAR_FROM_HEADS
from keras_moe.checkpoints.rope_config import rope_theta
from keras_moe.checkpoints.yarn_config import read_yarn
from keras_moe.checkpoints.yarn_config import write_yarn

# Where a config.json does not say.
QUERY_LATENT_DIM = 1536

FIELDS = (
    *DECODER_FIELDS,
    Field("moe_intermediate_size", "intermediate_dim"),
    Field("intermediate_size", "dense_intermediate_dim"),
    Field("n_routed_experts", "num_experts", also=("num_local_experts",)),
    Field("num_experts_per_tok", "top_k"),
    Field("kv_lora_rank", "key_value_latent_dim"),
    Field("qk_nope_head_dim", "nope_head_dim"),
    Field("qk_rope_head_dim", "rope_head_dim"),
    Field("v_head_dim", "value_head_dim"),
    Field("q_lora_rank", "query_latent_dim", None),
    Field("n_shared_experts", "num_shared_experts"),
    Field("first_k_dense_replace", "num_dense_layers"),
    Field("n_group", "num_expert_groups", 1),
    Field("topk_group", "num_limited_groups", 1),
    Field("routed_scaling_factor", "route_scale", 1.0),
    Field("attention_bias", "use_attention_bias", False),
    Field("rms_norm_eps", "layer_norm_epsilon", 1e-6),
    Field("tie_word_embeddings", "tie_embedding_weights", False),
)


def read_more(config):
    """Read what is no plain field.

    Args:
        config: dict.

    Returns:
        dict of constructor arguments.

    Raises:
        ValueError: If keys and values have fewer heads than queries.
    """
    heads = look_up(config, "num_attention_heads")
    if look_up(config, "num_key_value_heads", heads) != heads:
        raise ValueError(
            "Expected as many key/value heads as query heads: latent "
            "attention shares none. Received: num_key_value_heads="
            f"{config['num_key_value_heads']}, num_attention_heads={heads}."
        )
    return {
        # Here null says that queries are not compressed.
        "query_latent_dim": config.get("q_lora_rank", QUERY_LATENT_DIM),
        "rope_max_wavelength": rope_theta(config),
        "yarn": read_yarn(config),
    }


def write_more(arguments):
    """Write what is no plain field.

    Args:
        arguments: dict.

    Returns:
        dict for `config.json`.
    """
    return {
        **write_yarn(arguments),
        "num_key_value_heads": arguments["num_query_heads"],
    }


def rules():
    """Write the rules of all weights.

    Returns:
        tuple of `Rule`.
    """
    return (
        *model_rules(),
        *norm_rules(),
        *_attention_rules(),
        # A layer is dense or sparse; the rules of the other do not apply.
        *feed_forward_rules(f"{BLOCK}.feed_forward", f"{LAYER}.mlp"),
        *feed_forward_rules(
            f"{BLOCK}.feed_forward.shared_experts",
            f"{LAYER}.mlp.shared_experts",
        ),
        router_rule(within="routed_experts."),
        *experts_rules(ours=f"{BLOCK}.feed_forward.routed_experts.experts"),
    )


def _attention_rules():
    rules = [
        projection_rules(ours, theirs)
        for ours, theirs in (
            ("query", "q_proj"),
            ("query_down", "q_a_proj"),
            ("query_up", "q_b_proj"),
            ("key_value_down", "kv_a_proj_with_mqa"),
            ("key_value_up", "kv_b_proj"),
        )
    ]
    return (
        *chain.from_iterable(rules),
        *projection_rules("output_dense", "o_proj", LINEAR_FROM_HEADS),
        attention_norm_rule("query_norm", "q_a_layernorm"),
        attention_norm_rule("key_value_norm", "kv_a_layernorm"),
    )
