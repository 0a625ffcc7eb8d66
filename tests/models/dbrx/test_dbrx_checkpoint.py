"""DBRX against transformers."""

import json

import pytest
from transformers import DbrxConfig
from transformers import DbrxForCausalLM

from keras_moe.models.dbrx import DBRX_PRESETS
from keras_moe.models.dbrx import DbrxBackbone
from keras_moe.models.dbrx import DbrxCausalLM
from keras_moe.models.parameter_counts import parameter_counts
from tests.models.contract import VOCABULARY
from tests.models.contract import Contract
from tests.models.contract import PooledLoss
from tests.models.contract import randomize

# The power of the norm, the rotary base, the clip.
CONFIGS = {
    "sum": (1.0, 500.0, 0.7),
    "p_norm": (3.0, 10_000.0, 2.0),
    "not_normalized": (None, 500_000.0, 1.5),
}


class TestDbrx(PooledLoss, Contract):
    task = DbrxCausalLM
    names = tuple(CONFIGS)
    quirks = {
        "clip": ("sum", {"clip_query_key_value": None}),
        "theta": ("sum", {"rope_max_wavelength": 1e4}),
        "sum": ("sum", {"combine_weights_power": None}),
        "p-norm": ("p_norm", {"combine_weights_power": 1.0}),
        "no normalization": ("not_normalized", {"combine_weights_power": 1.0}),
    }
    # transformers writes DBRX's experts in one way only: `w1`, `v1`, `w2`.
    test_fused_experts_are_read_too = None

    @staticmethod
    def reference(name):
        power, theta, clip = CONFIGS[name]
        config = DbrxConfig(
            vocab_size=VOCABULARY,
            d_model=16,
            n_heads=4,
            n_layers=2,
            max_seq_len=32,
            attn_config={
                "kv_n_heads": 2,
                "clip_qkv": clip,
                "rope_theta": theta,
            },
            ffn_config={
                "ffn_hidden_size": 24,
                "moe_num_experts": 5,
                "moe_top_k": 3,
                "moe_normalize_expert_weights": power,
            },
            # 5.23 ignores `attn_config.rope_theta`, where published files
            # have it: `compute_default_rope_parameters` of modeling_dbrx.py.
            rope_parameters={"rope_type": "default", "rope_theta": theta},
        )
        model = randomize(DbrxForCausalLM(config))
        for path, weight in model.named_parameters():
            if ".norm_attn_norm.attn." in path:
                weight.data.sub_(1.0)  # No norm, whatever its name.
        return model

    @staticmethod
    def published(config):
        """Drop what transformers 5 added; the base lies in `attn_config`."""
        config = dict(config)
        del config["rope_parameters"]
        return config


def published_config(**changes):
    """Spell the published `config.json`, as databricks/dbrx-instruct has it."""
    config = {
        "architectures": ["DbrxForCausalLM"],
        "attn_config": {"clip_qkv": 8, "kv_n_heads": 8, "rope_theta": 500000},
        "d_model": 6144,
        "ffn_config": {
            "ffn_act_fn": {"name": "silu"},
            "ffn_hidden_size": 10752,
            "moe_jitter_eps": 0,
            "moe_loss_weight": 0.05,
            "moe_normalize_expert_weights": 1,
            "moe_num_experts": 16,
            "moe_top_k": 4,
        },
        "max_seq_len": 32768,
        "model_type": "dbrx",
        "n_heads": 48,
        "n_layers": 40,
        "tie_word_embeddings": False,
        "vocab_size": 100352,
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        target = config
        for part in path:
            target = target[part]
        target[last] = value
    return config


def read(config):
    # Through JSON, as a file's.
    config = json.loads(json.dumps(config))
    return DbrxBackbone.read_arguments(DbrxBackbone.checkpoint_format, config)


@pytest.mark.once
def test_the_published_configuration_is_the_preset():
    preset = dict(DBRX_PRESETS["dbrx"])
    del preset["layer_norm_epsilon"]  # Not in the file.
    assert read(published_config()) == preset


@pytest.mark.once
def test_the_published_rotary_base_wins_over_what_transformers_filled_in():
    saved_again = published_config(rope_parameters={"rope_theta": 10000.0})
    assert read(saved_again)["rope_max_wavelength"] == 500_000.0


@pytest.mark.once
def test_without_the_published_key_rope_parameters_count():
    config = published_config(
        attn_config={}, rope_parameters={"rope_theta": 700.0}
    )
    assert read(config)["rope_max_wavelength"] == 700.0
    assert read(published_config(attn_config={}))["rope_max_wavelength"] == 1e4


@pytest.mark.once
def test_two_rotary_bases_are_refused():
    config = published_config(rope_parameters={"rope_theta": 700.0})
    with pytest.raises(ValueError, match="one rotary base.*500000.*700"):
        read(config)


@pytest.mark.once
def test_null_does_not_normalize_and_absence_is_the_sum():
    config = published_config(ffn_config__moe_normalize_expert_weights=None)
    assert read(config)["combine_weights_power"] is None
    del config["ffn_config"]["moe_normalize_expert_weights"]
    assert read(config)["combine_weights_power"] == 1.0


def test_the_published_whole_number_is_written_as_transformers_takes_it():
    # transformers 5.23 refuses moe_normalize_expert_weights=1, an int, with
    # an error; databricks/dbrx-instruct has it.
    checkpoint_format = DbrxBackbone.checkpoint_format
    arguments = {**DBRX_PRESETS["dbrx"], "combine_weights_power": 1}
    arguments["jitter_noise"] = 0.0  # The router's.
    written = checkpoint_format.write_config(arguments)
    power = written["ffn_config"]["moe_normalize_expert_weights"]
    assert power == 1 and isinstance(power, float)


def test_another_activation_is_refused():
    config = published_config(ffn_config__ffn_act_fn={"name": "gelu"})
    with pytest.raises(ValueError, match="silu.*gelu"):
        read(config)


@pytest.mark.parametrize("power", [0, -1.0])
def test_the_power_must_be_positive(power):
    with pytest.raises(ValueError, match=f"combine_weights_power={power}"):
        DbrxBackbone(**DBRX_PRESETS["dbrx"] | {"combine_weights_power": power})


def test_published_size():
    counts = parameter_counts(DbrxBackbone, **DBRX_PRESETS["dbrx"])
    # 40 * (attention 88,080,384 + router 98,304 + 16 experts of 198,180,864
    # + 2 norms of 6144) + 2 * 100,352 * 6144 + 6144: "132B total".
    assert counts.total == 131_596_523_520
    # Without 12 of 16 experts: "36B active".
    assert counts.active == 36_469_708_800
