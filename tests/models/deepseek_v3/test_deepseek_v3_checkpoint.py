"""DeepSeek-V3 and Kimi K2 against transformers."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest
import torch
from keras import ops
from safetensors.torch import load_file
from safetensors.torch import save_file
from transformers import DeepseekV3ForCausalLM

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.models.deepseek_v3 import DeepSeekV3CausalLM
from tests.models.contract import TOLERANCE
from tests.models.contract import Contract
from tests.models.contract import batch
from tests.models.deepseek_reference import published
from tests.models.deepseek_reference import small_reference

YARN = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 2.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}
OURS = {"scaling_factor": 4.0, "original_max_length": 64, "beta_fast": 2.0}
CONFIGS = {
    # As DeepSeek-V3.
    "groups": {
        "q_lora_rank": 12,
        "n_group": 4,
        "topk_group": 2,
        "n_routed_experts": 8,
        "rope_parameters": YARN,
    },
    # As Kimi K2, with what no published model has.
    "free": {
        "q_lora_rank": None,
        "n_group": 1,
        "topk_group": 1,
        "n_routed_experts": 6,
        "n_shared_experts": 2,
        "norm_topk_prob": False,
        "attention_bias": True,
        "rope_interleave": False,
        "rope_parameters": {
            **YARN,
            "beta_fast": 4.0,
            "truncate": False,
            "mscale": 0.7,
        },
    },
}
# What a layer that predicts a further token brings along.
FURTHER = ("enorm.weight", "hnorm.weight", "eh_proj.weight", "mlp.gate.weight")
BLOCK_SIZE = (16, 16)


class TestDeepSeekV3(Contract):
    task = DeepSeekV3CausalLM
    names = tuple(CONFIGS)
    quirks = {
        "groups": ("groups", {"num_expert_groups": 1, "num_limited_groups": 1}),
        "normalize": ("groups", {"normalize_combine_weights": False}),
        "raw weights": ("free", {"normalize_combine_weights": True}),
        "scale": ("groups", {"route_scale": 1.0}),
        "interleaved": ("groups", {"rope_interleaved": False}),
        "halves": ("free", {"rope_interleaved": True}),
        "yarn": ("groups", {"yarn": None}),
        "beta": (
            "groups",
            {"yarn": {**OURS, "beta_fast": 32.0, "mscale_all_dim": 1.0}},
        ),
        "softmax scale": ("groups", {"yarn": {**OURS, "attention_factor": 1}}),
        "mscale ratio": (
            "free",
            {
                "yarn": {
                    **OURS,
                    "beta_fast": 4.0,
                    "truncate": False,
                    "mscale": 1.0,
                    "mscale_all_dim": 1.0,
                }
            },
        ),
        "truncate": (
            "free",
            {
                "yarn": {
                    **OURS,
                    "beta_fast": 4.0,
                    "mscale": 0.7,
                    "mscale_all_dim": 1.0,
                }
            },
        ),
        "bias": ("free", {"use_attention_bias": False}),
    }

    published = staticmethod(published)

    @staticmethod
    def reference(name):
        return small_reference(
            DeepseekV3ForCausalLM, hidden_size=20, **CONFIGS[name]
        )

    def changed(self, folder, tensors=None, **settings):
        """Copy the reference's files with other tensors and settings."""
        shutil.copytree(self.folder("groups"), folder, dirs_exist_ok=True)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **settings}))
        if tensors is not None:
            save_file(tensors, folder / "model.safetensors")
        return folder

    @pytest.mark.sweep
    def test_the_bias_chooses_and_is_float32_in_every_model(self):
        folder = self.folder("groups")
        token_ids, mask = batch("none")
        model = DeepSeekV3CausalLM.from_preset(folder, preprocessor=None)
        for block in model.backbone.decoder_blocks[1:]:
            bias = block.feed_forward.routed_experts.router.expert_bias
            assert np.abs(ops.convert_to_numpy(bias)).max() > 0.1
            bias.assign(np.zeros(8))
        difference = self.logits(model, token_ids, mask) - self.logits(
            self.model("groups"), token_ids, mask
        )
        assert np.abs(difference).max() > 0.01
        half = DeepSeekV3CausalLM.from_preset(
            folder, preprocessor=None, dtype="bfloat16"
        )
        stored = load_file(folder / "model.safetensors")
        router = half.backbone.decoder_blocks[1].feed_forward
        np.testing.assert_array_equal(
            ops.convert_to_numpy(router.routed_experts.router.expert_bias),
            stored["model.layers.1.mlp.gate.e_score_correction_bias"].numpy(),
        )

    def test_a_published_bias_stays_unless_a_rate_is_given(self):
        def rate(**arguments):
            model = DeepSeekV3CausalLM.from_preset(
                self.folder("groups"), preprocessor=None, **arguments
            )
            bias, load_balancing = model.backbone.router.balancing
            assert load_balancing.weight == 0.0001
            return bias.rate

        assert rate() == 0.0
        rules = [ExpertBias(0.01), LoadBalancingLoss(0.0001)]
        assert rate(router={"balancing": rules}) == 0.01

    @pytest.mark.once
    def test_adapters_of_latent_attention_are_merged(self, tmp_path):
        # While training, the bias moves: no setting of the published format.
        model = DeepSeekV3CausalLM.from_preset(
            self.folder("groups"),
            preprocessor=None,
            router={"balancing": ExpertBias(0.001)},
        )
        model.backbone.enable_lora(2)
        rng = np.random.default_rng(0)
        for variable in model.trainable_variables:
            variable.assign(rng.normal(0.0, 0.3, variable.shape))
        model.save_pretrained(tmp_path)
        written = DeepSeekV3CausalLM.from_preset(tmp_path, preprocessor=None)
        token_ids, mask = batch("none")
        expected = self.logits(model, token_ids, mask)
        actual = self.logits(written, token_ids, mask)
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE)
        before = self.logits(self.model("groups"), token_ids, mask)
        assert np.abs(before - expected).max() > 0.01

    @pytest.mark.once
    def test_a_bfloat16_model_writes_the_bias_in_float32(self, tmp_path):
        half = DeepSeekV3CausalLM.from_preset(
            self.folder("groups"), preprocessor=None, dtype="bfloat16"
        )
        half.save_pretrained(tmp_path)
        before = load_file(self.folder("groups") / "model.safetensors")
        after = load_file(tmp_path / "model.safetensors")
        name = "model.layers.1.mlp.gate.e_score_correction_bias"
        assert torch.equal(before[name], after[name])
        assert after["lm_head.weight"].dtype == torch.bfloat16

    def test_layers_that_predict_further_tokens_are_left_out(self, tmp_path):
        tensors = load_file(self.folder("groups") / "model.safetensors")
        for name in FURTHER:
            tensors[f"model.layers.3.{name}"] = torch.ones(20)
        self.changed(tmp_path, tensors, num_nextn_predict_layers=1)
        model = DeepSeekV3CausalLM.from_preset(tmp_path, preprocessor=None)
        token_ids, mask = batch("none")
        np.testing.assert_array_equal(
            self.logits(model, token_ids, mask),
            self.logits(self.model("groups"), token_ids, mask),
        )
        # Unless the configuration says that they are layers like others.
        self.changed(tmp_path, tensors, num_nextn_predict_layers=0)
        with pytest.raises(ValueError, match="without a partner"):
            DeepSeekV3CausalLM.from_preset(tmp_path, preprocessor=None)
        # Layer 30 follows none of them.
        tensors["model.layers.30.enorm.weight"] = torch.ones(20)
        self.changed(tmp_path, tensors, num_nextn_predict_layers=1)
        with pytest.raises(ValueError, match="1 without a partner"):
            DeepSeekV3CausalLM.from_preset(tmp_path, preprocessor=None)

    def test_kimi_k2_is_read_too(self, tmp_path):
        tensors = load_file(self.folder("groups") / "model.safetensors")
        name = "model.layers.0.self_attn.rotary_emb.inv_freq"
        rotary = self._reference("groups").model.rotary_emb
        tensors[name] = rotary.inv_freq.clone()
        self.changed(tmp_path, tensors, model_type="kimi_k2")
        model = DeepSeekV3CausalLM.from_preset(tmp_path, preprocessor=None)
        token_ids, mask = batch("none")
        np.testing.assert_array_equal(
            self.logits(model, token_ids, mask),
            self.logits(self.model("groups"), token_ids, mask),
        )

    def test_8_bit_weights_with_partial_blocks_equal_their_values(
        self, tmp_path
    ):
        quantized, values = {}, {}
        tensors = load_file(self.folder("groups") / "model.safetensors")
        partial = 0
        for name, tensor in tensors.items():
            quantized[name] = values[name] = tensor
            if "_proj" in name:
                weight, scales, value = quantize(tensor.numpy())
                quantized[name] = weight
                quantized[f"{name}_scale_inv"] = scales
                values[name] = value
                partial += any(size % 16 for size in weight.shape)
        assert partial > 20
        self.changed(
            tmp_path / "8-bit",
            quantized,
            quantization_config={
                "quant_method": "fp8",
                "fmt": "e4m3",
                "weight_block_size": BLOCK_SIZE,
            },
        )
        self.changed(tmp_path / "values", values)
        # transformers reads the values: of partial blocks it derives a wrong
        # size (5.23, integrations/finegrained_fp8.py, line 1149).
        reference = DeepseekV3ForCausalLM.from_pretrained(tmp_path / "values")
        token_ids, mask = batch("none")
        with torch.no_grad():
            expected = reference.eval()(torch.tensor(token_ids)).logits.numpy()
        model = DeepSeekV3CausalLM.from_preset(
            tmp_path / "8-bit", preprocessor=None
        )
        actual = self.logits(model, token_ids, mask)
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE)
        unquantized = self.reference_logits("groups", token_ids, mask)
        assert np.abs(expected - unquantized).max() > 0.01


def quantize(weight):
    """Return 8-bit numbers, one scale per block, and their product."""
    rows, columns = weight.shape
    high, wide = BLOCK_SIZE
    scales = np.empty((-(-rows // high), -(-columns // wide)), "float32")
    numbers = np.empty(weight.shape, ml_dtypes.float8_e4m3fn)
    values = np.empty(weight.shape, "float32")
    for row, column in np.ndindex(scales.shape):
        block = (
            slice(row * high, (row + 1) * high),
            slice(column * wide, (column + 1) * wide),
        )
        # 448 is the largest number of the format.
        scales[row, column] = np.abs(weight[block]).max() / 448.0
        numbers[block] = weight[block] / scales[row, column]
        values[block] = numbers[block].astype("float32") * scales[row, column]
    numbers = torch.from_numpy(numbers.view(np.uint8))
    return (
        numbers.view(torch.float8_e4m3fn),
        torch.from_numpy(scales),
        torch.from_numpy(values),
    )
