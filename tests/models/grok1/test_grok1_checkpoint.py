"""Grok-1 against an oracle in NumPy: transformers has no Grok-1.

The port that the layout comes from, hpcai-tech/grok-1, runs code of its own
with `trust_remote_code`; the oracle follows the published JAX code instead.
"""

import functools
import json
import math
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save_file

from keras_moe.layers import SparseMoE
from keras_moe.models.grok1 import GROK1_PRESETS
from keras_moe.models.grok1 import Grok1Backbone
from keras_moe.models.grok1 import Grok1CausalLM
from keras_moe.models.grok1.grok1_backbone import Grok1Arguments
from keras_moe.models.grok1.tanh_gelu import tanh_gelu
from keras_moe.models.parameter_counts import parameter_counts
from tests.models.contract import TOLERANCE
from tests.models.contract import VOCABULARY
from tests.models.contract import Contract
from tests.models.contract import batch
from tests.models.grok1.grok1_oracle import Grok1Oracle
from tests.models.grok1.grok1_oracle import random_weights

# What hpcai-tech/grok-1 says.
PUBLISHED = {
    "architectures": ["Grok1ModelForCausalLM"],
    "attn_output_multiplier": 0.08838834764831845,
    "embedding_multiplier_scale": 78.38367176906169,
    "hidden_size": 6144,
    "intermediate_size": 32768,
    "max_attn_value": 30.0,
    "max_position_embeddings": 8192,
    "model_type": "grok-1",
    "num_attention_heads": 48,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 64,
    "num_key_value_heads": 8,
    "output_multiplier_scale": 0.5773502691896257,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "vocab_size": 131072,
}
SMALL = {
    "vocab_size": VOCABULARY,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_experts": 4,
}
CONFIGS = {
    "small": {
        **SMALL,
        # 1 / sqrt(4), sqrt(16) and 1 / sqrt(3), as the published ones.
        "attn_output_multiplier": 0.5,
        "embedding_multiplier_scale": 4.0,
        "max_attn_value": 1.5,
    },
    "published_multipliers": {**SMALL, "num_key_value_heads": 1},
    # After a norm with a large epsilon the size of the experts' output counts.
    "untied": {
        **SMALL,
        "tie_word_embeddings": False,
        "embedding_multiplier_scale": 2.0,
        "rms_norm_eps": 0.1,
        "num_experts": 5,
        "num_experts_per_tok": 3,
        "rope_theta": 300.0,
    },
}


class TestGrok1(Contract):
    task = Grok1CausalLM
    in_transformers = False
    names = tuple(CONFIGS)
    quirks = {
        "soft cap": ("small", {"attention_logit_soft_cap": None}),
        "attention scale": ("small", {"attention_scale": 1.0}),
        "embedding": ("small", {"embedding_multiplier": 1.0}),
        "output": ("small", {"output_multiplier": 1.0}),
        "published embedding": (
            "published_multipliers",
            {"embedding_multiplier": 1.0},
        ),
        "tied": ("small", {"tie_embedding_weights": False}),
        "theta": ("untied", {"rope_max_wavelength": 10_000.0}),
        "epsilon": ("untied", {"layer_norm_epsilon": 1e-5}),
        "top-k": ("untied", {"top_k": 2}),
    }
    # What transformers writes cannot be read, nor ours by it: it knows no
    # Grok-1. The oracle reads what we write, below.
    test_transformers_reads_what_is_written = None
    test_fused_experts_are_read_too = None

    @staticmethod
    def reference(name):
        config = {**PUBLISHED, **CONFIGS[name]}
        return Grok1Oracle(config, random_weights(config))

    @classmethod
    @functools.cache
    def folder(cls, name):
        folder = Path(tempfile.mkdtemp())
        oracle = cls._reference(name)
        weights = random_weights(oracle.config)
        save_file(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(oracle.config))
        return folder

    @classmethod
    def reference_logits(cls, name, token_ids, mask):
        return cls._reference(name).logits(token_ids, mask).astype("float32")

    @staticmethod
    def published(config):
        """Spell what others read of a port as they do."""
        config = dict(config)
        config["num_local_experts"] = config.pop("num_experts")
        theta = config.pop("rope_theta", 10_000.0)
        config["rope_parameters"] = {"rope_type": "default"}
        config["rope_parameters"]["rope_theta"] = theta
        return config

    def test_the_oracle_reads_what_is_written(self, name, tmp_path):
        self.model(name).save_pretrained(tmp_path)
        written = json.loads((tmp_path / "config.json").read_text())
        theirs = self._reference(name).config
        ours = {key: written.get(key, theirs[key]) for key in theirs}
        assert ours == theirs
        oracle = Grok1Oracle(written, load_file(tmp_path / "model.safetensors"))
        token_ids, mask = batch("right")
        np.testing.assert_array_equal(
            oracle.logits(token_ids, mask).astype("float32"),
            self.reference_logits(name, token_ids, mask),
        )

    def test_a_head_beside_tied_embeddings_is_passed_over(self, tmp_path):
        oracle = self._reference("small")
        weights = dict(random_weights(oracle.config))
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].copy()
        save_file(weights, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(oracle.config))
        model = self.task.from_preset(tmp_path, preprocessor=None)
        token_ids, mask = batch("none")
        np.testing.assert_array_equal(
            self.logits(model, token_ids, mask),
            self.logits(self.model("small"), token_ids, mask),
        )


class ExactGelu(Grok1Oracle):
    def gelu(self, x):
        return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


class Normalized(Grok1Oracle):
    def weigh(self, probs):
        return probs / probs.sum()


class WithoutOutputNorms(Grok1Oracle):
    def norm(self, name, x):
        return x if ".post_" in name else super().norm(name, x)


class ClippedScores(Grok1Oracle):
    def cap(self, scores):
        largest = self.config["max_attn_value"]
        return np.clip(scores, -largest, largest)


class InterleavedPositions(Grok1Oracle):
    def turn(self, x):
        order = np.arange(x.shape[-1]).reshape(-1, 2).T.reshape(-1)
        return super().turn(x[..., order])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("untied", ExactGelu),
        ("untied", Normalized),
        ("small", WithoutOutputNorms),
        ("small", ClippedScores),
        ("small", InterleavedPositions),
    ],
)
def test_what_no_argument_switches_off_moves_the_logits(name, wrong):
    oracle = TestGrok1._reference(name)
    token_ids, mask = batch("none")
    other = wrong(oracle.config, oracle.weights).logits(token_ids, mask)
    difference = np.abs(other - oracle.logits(token_ids, mask)).max()
    assert difference > 10 * TOLERANCE


@pytest.mark.once
def test_the_published_configuration_is_the_preset():
    preset = GROK1_PRESETS["grok_1"]
    published = Grok1Backbone.checkpoint_format.read_config(PUBLISHED)
    # What the preset leaves out is a default of the backbone.
    assert published == {**published, **preset}
    arguments = Grok1Arguments(**preset)
    assert published == {name: getattr(arguments, name) for name in published}


@pytest.mark.once
def test_scaled_positions_are_refused():
    config = {**PUBLISHED, "rope_scaling": {"rope_type": "yarn", "factor": 4}}
    with pytest.raises(ValueError, match="unscaled rotary positions"):
        Grok1Backbone.checkpoint_format.read_config(config)


def test_no_soft_cap_is_not_written():
    # The format has no word for it: null would be read as 30.
    small = Grok1Backbone.checkpoint_format.read_config({**PUBLISHED, **SMALL})
    backbone = Grok1Backbone(**{**small, "attention_logit_soft_cap": None})
    with pytest.raises(ValueError, match="attention_logit_soft_cap=None"):
        backbone.save_pretrained("unwritten")


def test_the_experts_configuration_holds_the_activation():
    layer = SparseMoE(4, 8, activation=tanh_gelu)
    copy = SparseMoE.from_config(json.loads(json.dumps(layer.get_config())))
    assert copy.experts.activation is tanh_gelu
    x = np.linspace(-3, 3, 13, dtype="float32")
    expected = Grok1Oracle({}, {}).gelu(x.astype("float64"))
    actual = keras.ops.convert_to_numpy(tanh_gelu(x))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_published_size():
    counts = parameter_counts(Grok1Backbone, **GROK1_PRESETS["grok_1"])
    # 64 * (attention 88,080,384 + router 49,152 + 8 experts of 603,979,776
    # + 4 norms of 6144) + 131,072 * 6144 + 6144. Announced: 314B.
    assert counts.total == 315_684_820_992
    # Without 6 of 8 experts. Announced: 86B.
    assert counts.active == 83_756_587_008
