"""Tiny models and folders that several tests of checkpoints need."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

SIZES = {
    "vocabulary_size": 32,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "num_experts": 4,
}


@pytest.fixture
def make_model():
    """Returns a function that makes a random MixtralCausalLM."""
    from keras_moe.models import MixtralBackbone
    from keras_moe.models import MixtralCausalLM

    def make(**arguments):
        return MixtralCausalLM(MixtralBackbone(**{**SIZES, **arguments}))

    return make


@pytest.fixture
def make_reference():
    """Returns a function that makes the same of transformers, random."""
    import torch
    from transformers import MixtralConfig
    from transformers import MixtralForCausalLM

    def make(**settings):
        torch.manual_seed(3)
        config = MixtralConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=4,
            initializer_range=0.3,
            **settings,
        )
        return MixtralForCausalLM(config).eval()

    return make


@pytest.fixture
def logits():
    """Returns a function of a model of ours or theirs: logits (2, 7, V)."""
    token_ids = np.random.default_rng(0).integers(1, 32, (2, 7))

    def compute(model):
        if hasattr(model, "predict_on_batch"):
            inputs = {
                "token_ids": token_ids.astype("int32"),
                "padding_mask": np.ones((2, 7), "int32"),
            }
            return np.asarray(model.predict_on_batch(inputs))
        import torch

        with torch.no_grad():
            return model(torch.tensor(token_ids)).logits.float().numpy()

    return compute


@pytest.fixture
def write_folder(tmp_path):
    """Returns a function that writes shards, index and config.json."""

    def write(*shards, config=None, weight_map=None, name="model"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config or {}))
        if len(shards) == 1 and weight_map is None:
            save_file(shards[0], folder / "model.safetensors")
            return folder
        where = {}
        for number, shard in enumerate(shards):
            file = f"shard-{number}.safetensors"
            save_file(shard, folder / file)
            where.update(dict.fromkeys(shard, file))
        if weight_map is None:
            weight_map = where
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": weight_map})
        )
        return folder

    return write
