"""What a file says twice is compared, not assumed."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save_file

from keras_moe.checkpoints.rules import to_numpy
from keras_moe.models import MixtralBackbone

# Files and NumPy; one forward pass would tell no more.
pytestmark = pytest.mark.once

WEIGHTS = "model.safetensors"
ROTARY = "rotary_emb.inv_freq"
# Head of width 4, base 1,000,000: 1e6 ** -(0 / 2) and 1e6 ** -(1 / 2).
FREQUENCIES = np.array([1.0, 1e-3], "float32")
ATTENTION = "model.layers.1.self_attn"
HEAD = "lm_head.weight"


@pytest.fixture
def folder(make_model, tmp_path):
    """Returns a folder of Mixtral's files."""
    make_model(tie_embedding_weights=True).save_pretrained(tmp_path)
    return tmp_path


def add(folder, **tensors):
    found = {**load_file(folder / WEIGHTS), **tensors}
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})


def load(folder):
    return MixtralBackbone.from_preset(folder)


@pytest.mark.parametrize(
    "name", [f"{ATTENTION}.{ROTARY}", f"model.{ROTARY}", ROTARY]
)
def test_frequencies_may_repeat_the_configuration(name, folder):
    rounded = FREQUENCIES.astype(ml_dtypes.bfloat16).astype("float32")
    # bfloat16 keeps 8 bits: 1e-3 is rounded by 4e-4 of itself.
    assert 0 < abs(rounded[1] / 1e-3 - 1) < 1e-3
    for frequencies in (FREQUENCIES, rounded):
        add(folder, **{name: frequencies})
        load(folder)


@pytest.mark.parametrize(
    "frequencies", [FREQUENCIES * 1.01, FREQUENCIES[:1], np.ones(4, "float32")]
)
def test_other_frequencies_are_refused(frequencies, folder):
    add(folder, **{f"{ATTENTION}.{ROTARY}": frequencies})
    with pytest.raises(
        ValueError, match=r"inv_freq to repeat .*correct config\.json"
    ):
        load(folder)


def test_other_buffers_may_repeat_what_is_known(folder):
    add(
        folder,
        **{
            f"{ATTENTION}.bias": np.tril(np.ones((1, 1, 5, 5), "uint8")),
            f"{ATTENTION}.masked_bias": np.array(-1e9, "float32"),
            "model.position_ids": np.arange(7)[None],
        },
    )
    load(folder)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        (f"{ATTENTION}.bias", np.ones((5, 5), "float32")),
        (f"{ATTENTION}.bias", np.zeros(5, "float32")),
        (f"{ATTENTION}.masked_bias", np.zeros(2, "float32")),
        ("model.position_ids", np.array([0, 2])),
    ],
)
def test_buffers_that_say_something_else_are_refused(name, array, folder):
    add(folder, **{name: array})
    with pytest.raises(ValueError, match=f"{name} to repeat"):
        load(folder)


def test_a_bias_of_a_projection_is_no_buffer(folder):
    add(folder, **{f"{ATTENTION}.q_proj.bias": np.zeros(16, "float32")})
    with pytest.raises(ValueError, match="1 without a partner"):
        load(folder)


def test_a_head_that_differs_from_the_embedding_is_kept(folder, tmp_path):
    head = np.random.default_rng(0).normal(size=(32, 16)).astype("float32")
    add(folder, **{HEAD: head})
    with pytest.warns(UserWarning, match="keeps both matrices"):
        backbone = load(folder)
    embedding = backbone.token_embedding
    np.testing.assert_array_equal(
        to_numpy(embedding.reverse_embeddings), head.T
    )
    backbone.save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "again/config.json").read_text())
    assert written["tie_word_embeddings"] is False
    np.testing.assert_array_equal(
        load_file(tmp_path / "again" / WEIGHTS)[HEAD], head
    )
    with pytest.raises(ValueError, match="lm_head.weight to repeat"):
        MixtralBackbone.from_preset(folder, tie_embedding_weights=True)


def test_a_head_that_equals_the_embedding_is_the_embedding(folder):
    add(
        folder,
        **{HEAD: load_file(folder / WEIGHTS)["model.embed_tokens.weight"]},
    )
    assert load(folder).tie_embedding_weights


@pytest.mark.parametrize(
    "dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, "int8", "bool"]
)
def test_numbers_without_their_scale_are_refused(dtype, folder):
    name = f"{ATTENTION}.q_proj.weight"
    quantized = load_file(folder / WEIGHTS)[name].astype(dtype)
    add(folder, **{name: quantized})
    with pytest.raises(ValueError, match="nothing beside it. Save the model"):
        load(folder)


def test_a_scale_of_another_name_is_named(folder):
    name = f"{ATTENTION}.q_proj.weight"
    quantized = load_file(folder / WEIGHTS)[name].astype("float8_e4m3fn")
    scale = {f"{name}_scale": np.ones(1, "float32")}
    add(folder, **{name: quantized}, **scale)
    with pytest.raises(ValueError, match="q_proj.weight_scale"):
        load(folder)
