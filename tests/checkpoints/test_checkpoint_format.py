"""Settings under their names and under ours."""

import pytest

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.checkpoint_format import look_up
from keras_moe.checkpoints.rope_config import check_plain_rope
from keras_moe.checkpoints.rope_config import rope_theta
from keras_moe.checkpoints.rope_config import write_plain_rope

# Files and NumPy, no tensor of a backend.
pytestmark = pytest.mark.once


def make(*fields, **more):
    return CheckpointFormat(
        model_type="toy",
        class_name="ToyForCausalLM",
        fields=fields,
        rules=(),
        **more,
    )


WIDTH = Field("hidden_size", "hidden_dim")
EPSILON = Field("rms_norm_eps", "layer_norm_epsilon", 1e-5)
NESTED = Field("attn_config.clip_qkv", "clip", None)
SPELLED = Field("num_experts", "num_experts", also=("n_routed", "moe.experts"))


# ---- reading ----------------------------------------------------------------


def test_a_setting_gets_our_name():
    assert make(WIDTH).read_config({"hidden_size": 8}) == {"hidden_dim": 8}


@pytest.mark.parametrize("config", [{}, {"rms_norm_eps": None}])
def test_what_is_absent_or_null_has_the_default(config):
    assert make(EPSILON).read_config(config) == {"layer_norm_epsilon": 1e-5}


@pytest.mark.parametrize("value", [0, 0.0, False, "", []])
def test_a_value_that_counts_as_false_is_a_value(value):
    read = make(EPSILON).read_config({"rms_norm_eps": value})
    assert read["layer_norm_epsilon"] is value


def test_a_dot_enters_a_dictionary():
    config = {"attn_config": {"clip_qkv": 8.0}}
    assert make(NESTED).read_config(config) == {"clip": 8.0}


@pytest.mark.parametrize(
    "config",
    [{}, {"attn_config": None}, {"attn_config": 3}, {"attn_config": {}}]
    + [{"attn_config": {"clip_qkv": None}}, {"attn_config.clip_qkv": 3}],
    ids=repr,
)
def test_a_dictionary_that_is_not_there_has_no_settings(config):
    assert make(NESTED).read_config(config) == {"clip": None}


@pytest.mark.parametrize(
    "config",
    [
        {"num_experts": 4},
        {"n_routed": 4},
        {"moe": {"experts": 4}},
        {"num_experts": None, "n_routed": 4},
        {"num_experts": 4, "n_routed": 5},
    ],
    ids=repr,
)
def test_other_spellings_are_read_in_order(config):
    assert make(SPELLED).read_config(config) == {"num_experts": 4}


def test_missing_settings_are_all_named():
    checkpoint_format = make(WIDTH, SPELLED, EPSILON)
    with pytest.raises(
        ValueError,
        match="toy config.json with hidden_size, num_experts. Received: a, b.",
    ):
        checkpoint_format.read_config({"b": 1, "a": None})


def test_null_is_no_value_for_what_is_required():
    with pytest.raises(ValueError, match="with hidden_size"):
        make(WIDTH).read_config({"hidden_size": None})


def test_a_fixed_setting_may_be_absent_null_or_the_known_one():
    checkpoint_format = make(fixed={"ffn.act": "silu"})
    for act in ({}, {"ffn": {"act": None}}, {"ffn": {"act": "silu"}}):
        assert checkpoint_format.read_config(act) == {}


def test_a_fixed_setting_of_another_value_is_refused():
    checkpoint_format = make(fixed={"hidden_act": "silu"})
    with pytest.raises(
        ValueError, match="Expected hidden_act='silu' of a toy.*: 'gelu'"
    ):
        checkpoint_format.read_config({"hidden_act": "gelu"})


def test_a_function_reads_more():
    checkpoint_format = make(WIDTH, read_more=lambda config: {"x": config["y"]})
    read = checkpoint_format.read_config({"hidden_size": 8, "y": 2})
    assert read == {"hidden_dim": 8, "x": 2}


def test_the_config_is_not_changed():
    config = {"hidden_size": 8, "moe": {"experts": 4}}
    make(WIDTH, SPELLED).read_config(config)
    assert config == {"hidden_size": 8, "moe": {"experts": 4}}


# ---- writing ----------------------------------------------------------------


def test_what_is_written_is_read_again():
    checkpoint_format = make(
        WIDTH,
        EPSILON,
        NESTED,
        SPELLED,
        fixed={"ffn.act": "silu"},
        read_more=lambda config: {"theta": look_up(config, "rope.theta")},
        write_more=lambda arguments: {"rope.theta": arguments["theta"]},
    )
    arguments = {
        "hidden_dim": 8,
        "layer_norm_epsilon": 1e-6,
        "clip": None,
        "num_experts": 4,
        "theta": 1e4,
    }
    config = checkpoint_format.write_config(arguments)
    assert config == {
        "architectures": ["ToyForCausalLM"],
        "model_type": "toy",
        "ffn": {"act": "silu"},
        "hidden_size": 8,
        "rms_norm_eps": 1e-6,
        "attn_config": {"clip_qkv": None},
        "num_experts": 4,
        "rope": {"theta": 1e4},
    }
    assert checkpoint_format.read_config(config) == arguments


def test_two_settings_share_a_dictionary():
    checkpoint_format = make(NESTED, Field("attn_config.heads", "heads"))
    config = checkpoint_format.write_config({"clip": 1.0, "heads": 2})
    assert config["attn_config"] == {"clip_qkv": 1.0, "heads": 2}


# ---- rotary positions -------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {"rope_theta": 5e5},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 1.0},
        {"rope_parameters": None, "rope_theta": 500000},
        {"rope_parameters": {"rope_theta": None}, "rope_theta": 5e5},
    ],
    ids=repr,
)
def test_both_spellings_of_the_rotary_base_are_read(config):
    theta = rope_theta(config)
    assert theta == 5e5 and isinstance(theta, float)


@pytest.mark.parametrize("config", [{}, {"rope_theta": None}])
def test_the_rotary_base_has_a_default(config):
    assert rope_theta(config) == 10_000.0
    assert rope_theta(config, 1e6) == 1e6


def test_the_rotary_base_is_written_in_both_spellings():
    written = write_plain_rope({"rope_max_wavelength": 5e5})
    new, old = dict(written), dict(written)
    del new["rope_theta"], old["rope_parameters"]
    assert rope_theta(new) == rope_theta(old) == 5e5
    check_plain_rope(written)


@pytest.mark.parametrize(
    "scaling",
    [None, {}, {"type": "default"}, {"rope_type": "default", "factor": 1.0}],
    ids=repr,
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_unscaled_positions_pass(key, scaling):
    check_plain_rope({key: scaling})


@pytest.mark.parametrize(
    "scaling",
    [
        {"type": "linear", "factor": 2.0},
        {"rope_type": "yarn"},
        {"rope_type": "llama3", "type": "default"},
        {"rope_type": None},
        "linear",
        [2.0],
    ],
    ids=repr,
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_scaled_positions_are_refused(key, scaling):
    with pytest.raises(ValueError, match=f"Received: {key}="):
        check_plain_rope({key: scaling})


def test_looking_up_a_null_is_the_default():
    assert look_up({"a": None}, "a", 3) == 3
    assert look_up({"a": 0}, "a", 3) == 0
    assert look_up({"a": {"b": {"c": 1}}}, "a.b.c") == 1
