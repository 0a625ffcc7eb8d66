"""Every field of transformers' configurations: read, refused or kept."""

import inspect

import numpy as np
import pytest
import torch
import transformers

from keras_moe.models import SparseCausalLM
from tests.models.contract import VOCABULARY
from tests.models.contract import Contract
from tests.models.contract import batch
from tests.models.contract import randomize

# The reference on PyTorch; each backend's layers are tested elsewhere.
pytestmark = pytest.mark.once

YARN = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 8,
}
LINEAR = {"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0}
THETA = {"rope_type": "default", "rope_theta": 100.0}
# No matter of the logits: sizes, which every model of the contract sets;
# what training or generation use; how transformers computes.
SIZES = {
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "moe_intermediate_size", "num_experts",
    "num_local_experts", "n_routed_experts", "num_experts_per_tok",
    "shared_expert_intermediate_size", "d_model", "n_heads", "n_layers",
    "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
    "n_shared_experts", "q_lora_rank",
}  # fmt: skip
KEPT = {
    "attention_dropout", "bos_token_id", "emb_pdrop", "eos_token_id",
    "initializer_range", "max_position_embeddings", "max_seq_len",
    "num_mtp_layers", "output_router_logits", "pad_token_id",
    "pretraining_tp", "resid_pdrop", "router_aux_loss_coef",
    "router_jitter_noise", "use_cache", "max_window_layers",
}  # fmt: skip
COMMON = {
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
}
QWEN = {**COMMON, "moe_intermediate_size": 12, "num_experts": 5}
QWEN_FIELDS = {
    "decoder_sparse_step": 2,
    "mlp_only_layers": [0],
    "norm_topk_prob": True,
}
DECODER_FIELDS = {
    "num_key_value_heads": 1,
    "rms_norm_eps": 0.1,
    "tie_word_embeddings": True,
    "rope_parameters": THETA,
}
LATENT = {
    **COMMON,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 12,
    "n_routed_experts": 8,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
LATENT_FIELDS = {
    **DECODER_FIELDS,
    "rope_parameters": YARN,
    "attention_bias": True,
    "first_k_dense_replace": 2,
    "routed_scaling_factor": 1.5,
}
del LATENT_FIELDS["num_key_value_heads"]
GELU = {"hidden_act": "gelu"}
# Family -> sizes, fields that are read with another value, and settings that
# are refused.
FAMILIES = {
    "Mixtral": (
        {**COMMON, "num_local_experts": 5},
        {**DECODER_FIELDS, "head_dim": 6, "sliding_window": 5},
        [GELU, {"rope_parameters": YARN}, {"rope_parameters": LINEAR}],
    ),
    "Qwen2Moe": (
        {**QWEN, "shared_expert_intermediate_size": 8},
        {**DECODER_FIELDS, **QWEN_FIELDS, "qkv_bias": False},
        [
            GELU,
            {"rope_parameters": YARN},
            {"use_sliding_window": True, "sliding_window": 5},
            {"layer_types": ["sliding_attention", "full_attention"]},
        ],
    ),
    "Qwen3Moe": (
        QWEN,
        {
            **DECODER_FIELDS,
            **QWEN_FIELDS,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 5,
        },
        [GELU, {"rope_parameters": YARN}],
    ),
    "Olmoe": (
        {**COMMON, "num_experts": 5},
        {
            **DECODER_FIELDS,
            "num_key_value_heads": None,
            "attention_bias": True,
            "clip_qkv": 0.5,
            "norm_topk_prob": True,
        },
        [GELU, {"rope_parameters": YARN}],
    ),
    "DeepseekV2": (
        LATENT,
        {
            **LATENT_FIELDS,
            "topk_method": "group_limited_greedy",
            "n_group": 4,
            "topk_group": 2,
        },
        [
            GELU,
            {"mlp_bias": True},
            {"norm_topk_prob": True},
            {"num_key_value_heads": 2},
            {"rope_parameters": LINEAR},
        ],
    ),
    "DeepseekV3": (
        {**LATENT, "routed_scaling_factor": 1.0},
        {
            **LATENT_FIELDS,
            "n_group": 4,
            "topk_group": 2,
            "norm_topk_prob": False,
            "rope_interleave": False,
        },
        [
            GELU,
            {"num_key_value_heads": 2},
            {"rope_parameters": LINEAR},
        ],
    ),
}
# Fields that change nothing alone.
TOGETHER = {
    "sliding_window": ("use_sliding_window",),
    "use_sliding_window": ("sliding_window",),
    "topk_method": ("n_group", "topk_group"),
    "n_group": ("topk_method", "topk_group"),
    "topk_group": ("topk_method", "n_group"),
}
READ = [
    (family, field)
    for family, (_, fields, _) in FAMILIES.items()
    for field in fields
]
REFUSED = [
    (family, settings)
    for family, (*_, refused) in FAMILIES.items()
    for settings in refused
]


def make_config(family, **settings):
    sizes = {"vocab_size": VOCABULARY, **FAMILIES[family][0]}
    return getattr(transformers, f"{family}Config")(**{**sizes, **settings})


def read_config(family, config):
    config = config if isinstance(config, dict) else config.to_dict()
    return format_of(config).read_config(config)


def format_of(config):
    from keras_moe.models.registry import task_class

    return task_class(config).backbone_cls.checkpoint_format


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_is_read_refused_or_kept(family):
    known = {*SIZES, *KEPT, *FAMILIES[family][1]}
    for settings in FAMILIES[family][2]:
        known |= {*settings}
    # A head's width is what rotates there.
    known |= {"head_dim"} if family == "DeepseekV2" else set()
    cls = getattr(transformers, f"{family}Config")
    fields = {
        name
        for name in inspect.get_annotations(cls)
        if name in inspect.signature(cls).parameters
    }
    assert len(fields) > 20
    assert fields <= known


@pytest.mark.parametrize(("family", "settings"), REFUSED, ids=repr)
def test_what_is_not_supported_is_refused(family, settings):
    config = {**make_config(family).to_dict(), **settings}
    with pytest.raises(ValueError, match="Expected .* Received: "):
        read_config(family, config)


@pytest.mark.parametrize("family", FAMILIES)
def test_nested_rotary_settings_are_no_defaults(family):
    config = make_config(family).to_dict()
    nested = {"full_attention": {"rope_type": "default", "rope_theta": 77.0}}
    read = read_config(family, {**config, "rope_parameters": nested})
    assert read["rope_max_wavelength"] == 77.0
    nested["sliding_attention"] = {**nested["full_attention"], "rope_theta": 5}
    with pytest.raises(ValueError, match="for all layers"):
        read_config(family, {**config, "rope_parameters": nested})
    nested["sliding_attention"] = dict(LINEAR)
    del nested["full_attention"]
    with pytest.raises(ValueError, match="Expected .*rotary positions"):
        read_config(family, {**config, "rope_parameters": nested})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("inside", [True, False])
def test_heads_that_turn_in_part_are_refused(family, inside):
    config = make_config(family).to_dict()
    place = config["rope_parameters"] if inside else config
    place["partial_rotary_factor"] = 0.5
    with pytest.raises(ValueError, match="partial_rotary_factor=0.5"):
        read_config(family, config)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_absent_is_transformers_default(family):
    cls = getattr(transformers, f"{family}Config")
    defaults = cls().to_dict()
    checkpoint_format = format_of(defaults)
    required = {
        field.theirs
        for field in checkpoint_format.fields
        if not isinstance(field.default, bool | int | float | None | tuple)
    }
    aliases = {"num_local_experts", "num_experts", "n_routed_experts"}
    sparse = {
        key: defaults[key]
        for key in defaults
        if key in required | aliases | {"model_type"}
    }
    sparse.update(num_experts_per_tok=2)
    defaults.update(num_experts_per_tok=2)
    assert read_config(family, sparse) == read_config(family, defaults)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("family", "field"), READ)
def test_each_field_gives_the_references_logits(family, field, tmp_path):
    fields = FAMILIES[family][1]
    names = {field, *(set(TOGETHER.get(field, ())) & {*fields})}
    settings = {name: fields[name] for name in names}
    cls = getattr(transformers, f"{family}ForCausalLM")
    reference = randomize(cls(make_config(family, **settings)))
    reference.save_pretrained(tmp_path)
    token_ids, mask = batch("none")
    with torch.no_grad():
        expected = reference(torch.tensor(token_ids)).logits.numpy()
    model = SparseCausalLM.from_preset(tmp_path, preprocessor=None)
    actual = Contract.logits(model, token_ids, mask)
    np.testing.assert_allclose(actual, expected, atol=1e-4)
