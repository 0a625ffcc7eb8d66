"""A small DeepSeek-V2 or -V3 of transformers, and its config on the hub."""

from tests.models.contract import VOCABULARY
from tests.models.contract import randomize


def small_reference(model_class, **settings):
    """Make a random model of transformers, in evaluation mode."""
    config = model_class.config_class(
        vocab_size=VOCABULARY,
        intermediate_size=24,
        moe_intermediate_size=12,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        first_k_dense_replace=1,
        num_experts_per_tok=3,
        kv_lora_rank=8,
        qk_nope_head_dim=6,
        qk_rope_head_dim=8,
        v_head_dim=5,
        **settings,
    )
    return randomize(model_class(config))


def published(config):
    """Return a config.json of transformers 5 as the hub has it."""
    config = dict(config)
    rope = dict(config.pop("rope_parameters"))
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None
    kind = rope.pop("rope_type")
    if kind != "default":
        config["rope_scaling"] = {"type": kind, **rope}
    return config
