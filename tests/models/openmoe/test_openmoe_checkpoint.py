"""OpenMoE against a reference in NumPy."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from keras_moe.models import parameter_counts
from keras_moe.models.openmoe import OPENMOE_PRESETS
from keras_moe.models.openmoe import OpenMoEBackbone
from keras_moe.models.openmoe import OpenMoECausalLM
from tests.models.contract import TOLERANCE
from tests.models.contract import VOCABULARY
from tests.models.contract import Contract
from tests.models.contract import batch
from tests.models.openmoe.openmoe_reference import OpenMoEReference
from tests.models.openmoe.openmoe_reference import Quirks

CONFIGS = {
    # 4 heads of 6 are wider than 16, as in the published 8B.
    "published": {"num_key_value_heads": 4, "head_dim": 6, "num_experts": 4},
    "grouped": {
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "num_experts": 3,
        "moe_layer_interval": 3,
    },
}


class TestOpenMoE(Contract):
    task = OpenMoECausalLM
    in_transformers = False
    names = tuple(CONFIGS)
    quirks = {
        "theta": ("published", {"rope_max_wavelength": 100.0}),
        "top_k": ("published", {"top_k": 1}),
    }
    # The format has one spelling of the experts.
    test_fused_experts_are_read_too = None

    @staticmethod
    def reference(name):
        return OpenMoEReference.random(
            **{
                "vocab_size": VOCABULARY,
                "hidden_size": 16,
                "intermediate_size": 12,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "moe_layer_interval": 2,
                **CONFIGS[name],
            }
        )

    @staticmethod
    def published(config):
        # The spelling of the first conversions (fuzhao/openmoe_large_tmp).
        config = dict(config)
        return {**config, "topk": config.pop("router_topk")}

    @classmethod
    @functools.cache
    def folder(cls, name):
        folder = Path(tempfile.mkdtemp())
        cls._reference(name).write(folder)
        return folder

    @classmethod
    def reference_logits(cls, name, token_ids, mask):
        return cls._reference(name).logits(token_ids, mask)

    def test_transformers_reads_what_is_written(self, name, tmp_path):
        # transformers has no OpenMoE: the reference reads it.
        self.model(name).save_pretrained(tmp_path)
        token_ids, mask = batch("right")
        written = OpenMoEReference.read(tmp_path)
        assert written.config["model_type"] == "llama"
        np.testing.assert_array_equal(
            written.logits(token_ids, mask),
            self.reference_logits(name, token_ids, mask),
        )

    @pytest.mark.parametrize("field", Quirks._fields)
    def test_the_references_quirks_move_the_logits(self, name, field):
        token_ids, mask = batch("left")
        without = self._reference(name).logits(
            token_ids, mask, Quirks(**{field: False})
        )
        ours = self.logits(self.model(name), token_ids, mask)
        difference = np.abs(ours - without)[mask.astype(bool)]
        assert difference.max() > 100 * TOLERANCE

    def test_padding_in_front_is_seen_at_its_first_place_only(self, name):
        token_ids, mask = batch("left")
        logits = self.logits(self.model(name), token_ids, mask)
        for place, moves in ((0, True), (1, False)):
            others = token_ids.copy()
            others[1, place] = (others[1, place] + 1) % VOCABULARY
            moved = self.logits(self.model(name), others, mask) - logits
            assert (np.abs(moved[1, 4:]).max() > 0.01) == moves
            assert np.abs(moved[0]).max() < TOLERANCE

    def test_a_llama_is_refused(self, name, tmp_path):
        reference = self._reference(name)
        config = dict(reference.config)
        del config["num_experts"]
        OpenMoEReference(config, reference.weights).write(tmp_path)
        with pytest.raises(ValueError, match="no num_experts. For a dense"):
            OpenMoECausalLM.from_preset(tmp_path, preprocessor=None)

    def test_another_base_of_the_positions_cannot_be_written(
        self, name, tmp_path
    ):
        arguments = self.model(name).backbone.get_config()
        backbone = OpenMoEBackbone.from_config(
            {**arguments, "rope_max_wavelength": 500.0}
        )
        with pytest.raises(ValueError, match="rope_max_wavelength=500.0"):
            backbone.save_pretrained(tmp_path)

    def test_their_code_finds_its_settings(self, name, tmp_path):
        self.model(name).save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        settings = {"router_drop_tks", "enable_kernel", "pretraining_tp"}
        assert settings < set(config)
        assert config["rope_theta"] == 10_000.0


def test_presets_have_the_published_sizes():
    # H hidden, W = N D, I inner, E experts, L layers, S sparse ones.
    # Attention: 4 H W. A feed-forward block: 4 H I, four matrices. Norms: 2
    # per layer, one more per sparse layer, one at the end. Routers: S E H.
    # Embedding and head: 2 V H.
    for name, total in (
        ("openmoe_base", 799_663_104),
        ("openmoe_8b", 11_855_046_656),
        ("openmoe_34b", 46_270_737_408),
    ):
        preset = OPENMOE_PRESETS[name]
        hidden, inner = preset["hidden_dim"], preset["intermediate_dim"]
        layers, experts = preset["num_layers"], preset["num_experts"]
        sparse = layers // preset["expert_layer_stride"]
        width = preset["num_query_heads"] * preset["head_dim"]
        shared = (
            layers * 4 * hidden * (width + inner)
            + (2 * layers + sparse + 1) * hidden
            + sparse * experts * hidden
            + 2 * preset["vocabulary_size"] * hidden
        )
        expert = sparse * 4 * hidden * inner
        counts = parameter_counts(OpenMoEBackbone, **preset)
        assert counts.total == shared + experts * expert == total
        assert counts.active == shared + 2 * expert


def test_sizes_agree_with_the_published_files():
    # Bytes of float32, as the hub lists the files: openmoe-base/main has one
    # of 3.2 GB, openmoe-8b-890B/main six of 8.34, 6.51, 9.99, 9.97, 8.09 and
    # 4.52 GB.
    for name, gigabytes, digits in (
        ("openmoe_base", 3.2, 1),
        ("openmoe_8b", 8.34 + 6.51 + 9.99 + 9.97 + 8.09 + 4.52, 1),
    ):
        total = parameter_counts(OpenMoEBackbone, **OPENMOE_PRESETS[name]).total
        assert round(4e-9 * total - gigabytes, digits) == 0.0


def test_active_parameters_of_the_base_agree_with_the_paper():
    # The paper's table of sizes: 142M in attention and feed-forward parts,
    # 339M with one of the two embeddings.
    preset = OPENMOE_PRESETS["openmoe_base"]
    embedding = preset["vocabulary_size"] * preset["hidden_dim"]
    active = parameter_counts(OpenMoEBackbone, **preset).active
    assert round((active - 2 * embedding) / 1e6) == 142
    assert round((active - embedding) / 1e6) == 339
