"""What every architecture with published weights is tested for.

A test class of an architecture inherits from `Contract` and says how its
reference is made. Every weight, norm and buffer of the reference is random:
what stays at its default is not tested.
"""

import functools
import json
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tokenizers
import torch
from keras import ops
from safetensors.numpy import load_file
from transformers import AutoConfig
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer

from keras_moe.checkpoints.checkpoint_folder import CheckpointFolder
from keras_moe.checkpoints.checkpoint_folder import read_json
from keras_moe.layers import TopKRouter
from keras_moe.losses import pooled_load_balancing_loss
from keras_moe.models.sparse_causal_lm import SparseCausalLM

VOCABULARY = 64
LENGTH = 17
NEW_TOKENS = 6
PROMPT = LENGTH - NEW_TOKENS
TOLERANCE = 1e-4
PROMPTS = [f"word{i} word{i + 1}" for i in range(20, 40)]


def randomize(model, scale=0.3):
    """Draw all that a torch module stores: parameters and buffers."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(scale * noise)
        for name, tensor in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                tensor.add_(1.0)
    return model.eval()


def batch(padding):
    """Draw token ids (2, L) and a mask with padding in the second row."""
    rng = np.random.default_rng(0)
    token_ids = rng.integers(1, VOCABULARY, (2, LENGTH)).astype("int32")
    mask = np.ones_like(token_ids)
    if padding == "right":
        mask[1, -4:] = 0
    if padding == "left":
        mask[1, :4] = 0
    return token_ids, mask


class Contract:
    """The tests; a subclass sets what comes first here.

    Attributes:
        task: our task class.
        in_transformers: whether the reference is a model of transformers.
        names: of the reference's configurations, two or more.
        reference: `reference(name)` returns a transformers model, random
            and in evaluation mode.
        quirks: quirk -> (configuration, our arguments that switch it off, or
            a function of the backbone that does).
        published: function of a config.json as transformers 5 writes it that
            returns it as the hub has it.
    """

    task = None
    in_transformers = True
    names = ()
    quirks: dict = {}

    @staticmethod
    def reference(name):
        raise NotImplementedError

    @staticmethod
    def published(config):
        config = dict(config)
        rope = config.pop("rope_parameters")
        return {**config, "rope_theta": rope["rope_theta"]}

    # ---- made once for each configuration

    @classmethod
    @functools.cache
    def _reference(cls, name):
        return cls.reference(name)

    @classmethod
    @functools.cache
    def folder(cls, name):
        folder = Path(tempfile.mkdtemp())
        cls._reference(name).save_pretrained(folder)
        return folder

    @classmethod
    @functools.cache
    def model(cls, name):
        return cls.task.from_preset(cls.folder(name), preprocessor=None)

    @classmethod
    def reference_logits(cls, name, token_ids, mask):
        with torch.no_grad():
            outputs = cls._reference(name)(
                torch.tensor(token_ids), attention_mask=torch.tensor(mask)
            )
        return outputs.logits.numpy()

    @staticmethod
    def logits(model, token_ids, mask):
        inputs = {"token_ids": token_ids, "padding_mask": mask}
        return np.asarray(model.predict_on_batch(inputs))

    # ---- tests

    def pytest_generate_tests(self, metafunc):
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", _first_everywhere(self.names))
        if "quirk" in metafunc.fixturenames:
            metafunc.parametrize("quirk", list(self.quirks))

    @pytest.mark.parametrize("padding", ["none", "right", "left"])
    def test_logits_equal_the_references(self, name, padding):
        token_ids, mask = batch(padding)
        expected = self.reference_logits(name, token_ids, mask)
        actual = self.logits(self.model(name), token_ids, mask)
        real = mask.astype(bool)
        assert expected[real].std() > 0.1
        np.testing.assert_allclose(actual[real], expected[real], atol=TOLERANCE)

    @pytest.mark.sweep
    def test_greedy_tokens_equal_the_uncached_and_the_references(self, name):
        model = self.model(name)
        model.compile(sampler="greedy")
        prompt, _ = batch("none")
        prompt = prompt[:, :PROMPT]
        inputs = np.pad(prompt, ((0, 0), (0, NEW_TOKENS)))
        mask = np.arange(PROMPT + NEW_TOKENS) < PROMPT
        mask = np.broadcast_to(mask, inputs.shape).astype("int32")
        outputs = model.generate(
            {"token_ids": inputs, "padding_mask": mask}, stop_token_ids=None
        )["token_ids"]
        expected, ours = prompt, inputs.copy()
        for position in range(PROMPT, PROMPT + NEW_TOKENS):
            full = np.ones_like(expected)
            theirs = self.reference_logits(name, expected, full)[:, -1]
            expected = np.concatenate(
                [expected, theirs.argmax(-1)[:, None].astype("int32")], axis=1
            )
            seen = np.arange(ours.shape[1]) < position
            seen = np.broadcast_to(seen, ours.shape).astype("int32")
            uncached = self.logits(model, ours, seen)[:, position - 1]
            ours[:, position] = uncached.argmax(-1)
        np.testing.assert_array_equal(outputs, ours)
        np.testing.assert_array_equal(outputs, expected)

    def test_what_is_written_is_what_was_read(self, name, tmp_path):
        self.model(name).save_pretrained(tmp_path)
        before = load_file(self.folder(name) / "model.safetensors")
        after = load_file(tmp_path / "model.safetensors")
        assert sorted(before) == sorted(after)
        for tensor in before:
            np.testing.assert_array_equal(before[tensor], after[tensor])

    def test_transformers_reads_what_is_written(self, name, tmp_path):
        self.model(name).save_pretrained(tmp_path)
        loaded = type(self._reference(name)).from_pretrained(tmp_path).eval()
        token_ids, mask = batch("right")
        with torch.no_grad():
            actual = loaded(
                torch.tensor(token_ids), attention_mask=torch.tensor(mask)
            ).logits.numpy()
        expected = self.reference_logits(name, token_ids, mask)
        np.testing.assert_array_equal(actual, expected)

    @pytest.mark.once
    def test_both_spellings_of_the_configuration_are_read(self, name):
        config = CheckpointFolder(self.folder(name)).config
        read = self.task.backbone_cls.checkpoint_format.read_config
        assert read(self.published(config)) == read(config)

    @pytest.mark.once
    def test_what_a_folder_says_is_said_again(self, tmp_path):
        old, new = tmp_path / "old", tmp_path / "new"
        write_full_folder(self.folder(self.names[0]), old)
        self.task.from_preset(old).save_pretrained(new)
        files = {each.name: each for each in old.iterdir()}
        assert sorted(files) == sorted(each.name for each in new.iterdir())
        for name in files:
            if name == "config.json":
                assert_same_settings(files[name], new / name)
            elif name == "generation_config.json":
                assert read_json(files[name]) == read_json(new / name)
            elif name != "model.safetensors":
                assert files[name].read_bytes() == (new / name).read_bytes()
        if self.in_transformers:
            config, again = map(AutoConfig.from_pretrained, (old, new))
            assert {**again.to_dict(), "_name_or_path": None} == {
                **config.to_dict(),
                "_name_or_path": None,
            }

    @pytest.mark.once
    @pytest.mark.exhaustive
    def test_texts_and_stops_are_the_same_there_and_back(self, tmp_path):
        if not self.in_transformers:
            pytest.skip("no model of transformers")
        old, new = tmp_path / "old", tmp_path / "new"
        write_full_folder(self.folder(self.names[0]), old)
        model = self.task.from_preset(old)
        model.save_pretrained(new)
        model.compile(sampler="greedy")
        expected = generate_with_transformers(old)
        assert generate_with_transformers(new) == expected
        assert model.generate(PROMPTS, max_length=22) == expected
        again = self.task.from_preset(new)
        again.compile(sampler="greedy")
        assert again.generate(PROMPTS, max_length=22) == expected

    @pytest.mark.sweep
    def test_fused_experts_are_read_too(self, name, tmp_path):
        self._reference(name).save_pretrained(
            tmp_path, save_original_format=False
        )
        model = self.task.from_preset(tmp_path, preprocessor=None)
        assert_same_weights(model, self.model(name))

    # That the weights drawn here make a quirk visible is no matter of the
    # backend, and a model is compiled for each.
    @pytest.mark.once
    def test_each_quirk_moves_the_logits(self, quirk):
        name, off = self.quirks[quirk]
        assert self.difference(name, off) > 0.01

    @pytest.mark.once
    def test_without_a_change_the_logits_stay(self, name):
        # Or the quirks' test would compare different weights.
        assert self.difference(name, {}) == 0.0

    def difference(self, name, off):
        """Change arguments and measure how far the logits move."""
        token_ids, mask = batch("none")
        model = self.model(name)
        by_hand = callable(off)
        arguments = {**model.backbone.get_config(), **({} if by_hand else off)}
        without = self.task(type(model.backbone).from_config(arguments))
        _copy(model.backbone, without.backbone)
        if by_hand:
            off(without.backbone)
        with_quirk = self.logits(model, token_ids, mask)
        return np.abs(with_quirk - self.logits(without, token_ids, mask)).max()

    @pytest.mark.sweep
    def test_presets_of_keras_hub_come_back(self, name, tmp_path):
        model = self.model(name)
        model.save_to_preset(tmp_path)
        loaded = self.task.from_preset(str(tmp_path), preprocessor=None)
        assert_same_weights(loaded, model)

    def test_the_class_is_found_by_the_model_type(self, name):
        model = SparseCausalLM.from_preset(
            self.folder(name), load_weights=False, preprocessor=None
        )
        assert type(model) is self.task

    @pytest.mark.once
    def test_another_architecture_is_refused_by_name(self, tmp_path):
        config = {"model_type": "no_such_model"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "model.safetensors").write_bytes(
            (2).to_bytes(8, "little") + b"{}"
        )
        with pytest.raises(ValueError, match="one of .*mixtral"):
            self.task.from_preset(tmp_path, preprocessor=None)


def _first_everywhere(names):
    """Leave the other configurations to PyTorch: a model is compiled each."""
    first, *others = names
    mark = pytest.mark.sweep
    return [first, *(pytest.param(name, marks=mark) for name in others)]


def write_full_folder(source, folder):
    """Copy weights, and say all that published folders say beside them."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(
        bos_token_id=6,
        eos_token_id=[7, 9],
        pad_token_id=7,
        max_position_embeddings=999,
        router_aux_loss_coef=0.05,
        output_router_logits=False,
        initializer_range=0.125,
        unknown_setting={"words": ["a", None]},
    )
    generation = {
        "eos_token_id": [7, 9, 11],
        "pad_token_id": 7,
        "length_penalty": 1.5,
    }
    vocabulary = {f"word{i}": i for i in range(VOCABULARY)}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(vocabulary, unk_token="word0")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "word6",
        "eos_token": "word7",
        "pad_token": "word7",
        "model_max_length": 999,
    }
    for name, value in (
        ("config", config),
        ("generation_config", generation),
        ("tokenizer_config", settings),
        ("special_tokens_map", {"eos_token": "word7"}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "chat_template.jinja").write_text("{{ messages }} \u2581")
    tokenizer.save(str(folder / "tokenizer.json"))


def assert_same_settings(before, after):
    """Compare all settings but those that describe the files."""
    before, after = read_json(before), read_json(after)
    for config in (before, after):
        for key in ("torch_dtype", "transformers_version", "auto_map"):
            config.pop(key, None)
    assert {key: after.get(key) for key in before} == before


def generate_with_transformers(folder):
    """Continue texts greedily by 20 tokens or until they stop."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs = tokenizer(PROMPTS, return_tensors="pt")
    token_ids = model.generate(**inputs, max_new_tokens=20)
    assert (token_ids[:, -2] == 7).any(), "no text stops"
    return tokenizer.batch_decode(token_ids, skip_special_tokens=True)


class PooledLoss:
    """One more test, where the reference has one loss for all its routers."""

    # Without compilation, to see the routing; the loss itself is compared on
    # each backend in tests/losses.
    @pytest.mark.once
    @pytest.mark.parametrize("padding", ["none", "right"])
    def test_the_pooled_loss_equals_the_references(
        self, name, padding, monkeypatch
    ):
        token_ids, mask = batch(padding)
        with torch.no_grad():
            expected = self._reference(name)(
                torch.tensor(token_ids),
                attention_mask=torch.tensor(mask),
                output_router_logits=True,
            ).aux_loss
        plans, route = [], TopKRouter.call

        def note(*arguments, **named):
            plans.append(route(*arguments, **named))
            return plans[-1]

        monkeypatch.setattr(TopKRouter, "call", note)
        self.model(name)({"token_ids": token_ids, "padding_mask": mask})
        actual = ops.convert_to_numpy(pooled_load_balancing_loss(plans))
        assert actual == pytest.approx(float(expected), rel=1e-5)


def assert_same_weights(model, expected):
    """Compare backbones, configurations and all variables but seeds."""
    assert type(model.backbone) is type(expected.backbone)
    config, expected_config = (
        each.backbone.get_config() for each in (model, expected)
    )
    for each in (config, expected_config):
        del each["name"]
        # Two folders may spell the same model in two ways.
        each.pop("published_settings", None)
    assert config == expected_config
    variables, expected_variables = (
        # How many models were made before decides about the seeds.
        [v for v in each.backbone.variables if "seed_generator" not in v.path]
        for each in (model, expected)
    )
    for actual, wanted in zip(variables, expected_variables, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(actual),
            keras.ops.convert_to_numpy(wanted),
        )


def _copy(source, target):
    """Copy the variables that both models have."""
    values = {variable.path: variable for variable in source.variables}
    assert len(values) == len(source.variables)
    for variable in target.variables:
        other = values.get(variable.path)
        if other is not None and other.shape == variable.shape:
            # A copy: JAX gives away the arrays of the model that predicts.
            variable.assign(np.array(ops.convert_to_numpy(other.value)))
