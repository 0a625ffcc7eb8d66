"""Switch against transformers.

The tests of `tests.models.contract`, for an encoder and a decoder.
"""

import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.numpy import save_file
from transformers import AutoModel
from transformers import SwitchTransformersConfig
from transformers import SwitchTransformersForConditionalGeneration

from keras_moe.models.switch import SwitchBackbone
from keras_moe.models.switch import SwitchSeq2SeqLM
from keras_moe.routing import Capacity
from tests.models.contract import TOLERANCE
from tests.models.contract import VOCABULARY
from tests.models.contract import assert_same_weights
from tests.models.contract import randomize

CONFIGS = {
    # Room for all tokens: nothing is ever dropped.
    "roomy": {
        "num_layers": 4,
        "num_sparse_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_sparse_decoder_layers": 1,
        "d_kv": 3,
        "expert_capacity": 64,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 10,
    },
    # All blocks sparse, and 17 tokens for 3 experts with 4 slots each.
    "full": {
        "num_layers": 2,
        "num_sparse_encoder_layers": 2,
        "num_decoder_layers": 3,
        "num_sparse_decoder_layers": 3,
        "d_kv": 5,
        "expert_capacity": 4,
        "layer_norm_epsilon": 0.1,
    },
}
# Padding on the left has a test of its own where experts are full.
CASES = [
    ("roomy", "none"),
    ("roomy", "right"),
    ("roomy", "left"),
    ("full", "none"),
    ("full", "right"),
]
NAMES = pytest.mark.parametrize("name", CONFIGS)
ENCODER_LENGTH, DECODER_LENGTH = 17, 11
PROMPT, NEW_TOKENS = 3, 6


@functools.cache
def reference(name):
    """Make a small random model of transformers."""
    config = SwitchTransformersConfig(
        vocab_size=VOCABULARY,
        d_model=16,
        d_ff=24,
        num_heads=4,
        num_experts=3,
        decoder_start_token_id=0,
        **CONFIGS[name],
    )
    return randomize(SwitchTransformersForConditionalGeneration(config), 0.4)


@functools.cache
def folder(name):
    path = Path(tempfile.mkdtemp())
    reference(name).save_pretrained(path)
    return path


@functools.cache
def ours(name):
    model = SwitchSeq2SeqLM.from_preset(folder(name), preprocessor=None)
    model.compile(sampler="greedy")
    return model


def batch(padding="none"):
    """Draw token ids for both stacks, with padding in the second row."""
    rng = np.random.default_rng(0)
    inputs = {}
    for stack, length in (
        ("encoder", ENCODER_LENGTH),
        ("decoder", DECODER_LENGTH),
    ):
        mask = np.ones((2, length), "int32")
        if padding == "right":
            mask[1, -4:] = 0
        if padding == "left":
            mask[1, :4] = 0
        token_ids = rng.integers(1, VOCABULARY, mask.shape).astype("int32")
        inputs[f"{stack}_token_ids"] = token_ids
        inputs[f"{stack}_padding_mask"] = mask
    return inputs


def their_logits(model, inputs):
    with torch.no_grad():
        outputs = model(
            torch.tensor(inputs["encoder_token_ids"]),
            attention_mask=torch.tensor(inputs["encoder_padding_mask"]),
            decoder_input_ids=torch.tensor(inputs["decoder_token_ids"]),
            decoder_attention_mask=torch.tensor(inputs["decoder_padding_mask"]),
        )
    return outputs.logits.numpy()


def our_logits(model, inputs):
    return np.asarray(model.predict_on_batch(inputs))


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("name, padding", CASES)
def test_logits_equal_the_references(name, padding):
    inputs = batch(padding)
    expected = their_logits(reference(name), inputs)
    actual = our_logits(ours(name), inputs)
    real = inputs["decoder_padding_mask"].astype(bool)
    assert expected[real].std() > 0.1
    np.testing.assert_allclose(actual[real], expected[real], atol=TOLERANCE)


@pytest.mark.sweep
def test_padding_on_the_left_takes_no_slot():
    # In transformers it does; `router_ignore_padding_tokens` has no effect.
    inputs = batch("left")
    padded = our_logits(ours("full"), inputs)[1:, 4:]
    row = {key: value[1:, 4:] for key, value in inputs.items()}
    expected = their_logits(reference("full"), row)
    np.testing.assert_allclose(padded, expected, atol=TOLERANCE)
    theirs = their_logits(reference("full"), inputs)[1:, 4:]
    assert np.abs(theirs - expected).max() > 0.01


def their_greedy_tokens(model, inputs, cached):
    """Extend the prompts by the most likely tokens."""
    mask = torch.tensor(inputs["encoder_padding_mask"])
    token_ids = torch.tensor(inputs["encoder_token_ids"])
    tokens = torch.tensor(inputs["decoder_token_ids"][:, :PROMPT]).long()
    new, cache = tokens, None
    with torch.no_grad():
        encoded = model.encoder(token_ids, mask)
        for _ in range(NEW_TOKENS):
            outputs = model(
                encoder_outputs=encoded,
                attention_mask=mask,
                decoder_input_ids=new if cached else tokens,
                past_key_values=cache,
                use_cache=cached,
            )
            cache = outputs.past_key_values
            new = outputs.logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], dim=1)
    return tokens.numpy()


# A step of cached decoding routes one token of each row, so that nothing is
# dropped, there as here. Without a cache "full" drops.
@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    "name, cached", [("roomy", False), ("roomy", True), ("full", True)]
)
def test_greedy_tokens_equal_the_references(name, cached):
    inputs = batch("right")
    seen = np.arange(PROMPT + NEW_TOKENS) < PROMPT
    seen = np.broadcast_to(seen, (2, PROMPT + NEW_TOKENS)).astype("int32")
    token_ids = inputs["decoder_token_ids"][:, : PROMPT + NEW_TOKENS] * seen
    outputs = ours(name).generate(
        {
            **inputs,
            "decoder_token_ids": token_ids,
            "decoder_padding_mask": seen,
        },
        stop_token_ids=None,
    )["decoder_token_ids"]
    expected = their_greedy_tokens(reference(name), inputs, cached)
    np.testing.assert_array_equal(outputs, expected)
    assert len(np.unique(expected[:, PROMPT:])) >= 4


@NAMES
@pytest.mark.parametrize("max_shard_size", [5, 1e-5], ids=["one", "shards"])
def test_what_is_written_is_what_was_read(name, max_shard_size, tmp_path):
    ours(name).save_pretrained(tmp_path, max_shard_size)
    before = load_file(folder(name) / "model.safetensors")
    after = {}
    files = list(tmp_path.glob("*.safetensors"))
    for file in files:
        after.update(load_file(file))
    assert (len(files) > 1) == (max_shard_size < 1)
    assert sorted(before) == sorted(after)
    for tensor in before:
        np.testing.assert_array_equal(before[tensor], after[tensor])
    inputs = batch("right")
    theirs = type(reference(name)).from_pretrained(tmp_path).eval()
    np.testing.assert_array_equal(
        their_logits(theirs, inputs), their_logits(reference(name), inputs)
    )
    again = SwitchSeq2SeqLM.from_preset(tmp_path, preprocessor=None)
    assert_same_weights(again, ours(name))


@pytest.mark.once
@pytest.mark.parametrize(
    "name, off",
    [
        ("full", {"router": {"capacity": Capacity(slots=64)}}),
        ("full", {"layer_norm_epsilon": 1e-6}),
        ("roomy", {"relative_attention_max_distance": 128}),
        ("roomy", {}),
    ],
    ids=str,
)
def test_each_quirk_moves_the_logits(name, off):
    model = ours(name)
    arguments = {**model.backbone.get_config(), **off}
    without = SwitchSeq2SeqLM(SwitchBackbone.from_config(arguments))
    without.backbone.set_weights(model.backbone.get_weights())
    inputs = batch()
    difference = our_logits(model, inputs) - our_logits(without, inputs)
    assert (np.abs(difference).max() > 0.01) == bool(off)


@NAMES
def test_presets_of_keras_hub_come_back(name, tmp_path):
    ours(name).save_to_preset(tmp_path)
    loaded = SwitchSeq2SeqLM.from_preset(str(tmp_path), preprocessor=None)
    assert_same_weights(loaded, ours(name))


def test_a_pickle_is_refused_with_the_line_that_converts_it(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    reference("full").config.save_pretrained(old)
    torch.save(reference("full").state_dict(), old / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pytorch_model.bin.* as M; M.from"):
        SwitchSeq2SeqLM.from_preset(old, preprocessor=None)
    # What that line does.
    AutoModel.from_pretrained(old).save_pretrained(new)
    loaded = SwitchSeq2SeqLM.from_preset(new, preprocessor=None)
    assert_same_weights(loaded, ours("full"))


@pytest.mark.sweep
def test_a_backbone_loads_by_itself():
    backbone = SwitchBackbone.from_preset(folder("roomy"), dtype="bfloat16")
    assert backbone.token_embedding.compute_dtype == "bfloat16"
    expected = reference("roomy").shared.weight.detach().to(torch.bfloat16)
    loaded = backbone.token_embedding.get_weights()[0].astype("float32")
    np.testing.assert_array_equal(loaded, expected.float().numpy())


def test_another_architecture_is_refused_by_name(tmp_path):
    config = {"model_type": "no_such_model"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(
        (2).to_bytes(8, "little") + b"{}"
    )
    with pytest.raises(ValueError, match="'switch_transformers'.*no_such_mod"):
        SwitchBackbone.from_preset(tmp_path)


@pytest.mark.once
@pytest.mark.parametrize("name", ["lm_head", "encoder.embed_tokens"])
def test_a_copy_of_the_embedding_is_compared(name, tmp_path):
    tensors = load_file(folder("roomy") / "model.safetensors")
    shutil.copytree(folder("roomy"), tmp_path / "copy")
    file = tmp_path / "copy" / "model.safetensors"
    tensors[f"{name}.weight"] = tensors["shared.weight"].copy()
    save_file(tensors, file, metadata={"format": "pt"})
    SwitchBackbone.from_preset(tmp_path / "copy")
    tensors[f"{name}.weight"] += 1.0
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"{name}.weight to repeat"):
        SwitchBackbone.from_preset(tmp_path / "copy")


@pytest.mark.once
def test_what_a_folder_says_is_said_again(tmp_path):
    shutil.copytree(folder("full"), tmp_path / "old")
    file = tmp_path / "old" / "config.json"
    settings = {
        "eos_token_id": 9,
        "decoder_start_token_id": 3,
        "router_z_loss_coef": 0.5,
        "task_specific_params": {"a": [1]},
    }
    config = {**json.loads(file.read_text()), **settings}
    file.write_text(json.dumps(config))
    SwitchBackbone.from_preset(tmp_path / "old").save_pretrained(
        tmp_path / "new"
    )
    written = json.loads((tmp_path / "new" / "config.json").read_text())
    for key in ("dtype", "torch_dtype", "transformers_version"):
        config.pop(key, None)
    assert {key: written.get(key) for key in config} == config
