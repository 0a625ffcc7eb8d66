"""OLMoE against transformers."""

from transformers import OlmoeConfig
from transformers import OlmoeForCausalLM

from keras_moe.models import parameter_counts
from keras_moe.models.olmoe import OLMOE_PRESETS
from keras_moe.models.olmoe import OLMoEBackbone
from keras_moe.models.olmoe import OLMoECausalLM
from tests.models.contract import VOCABULARY
from tests.models.contract import Contract
from tests.models.contract import PooledLoss
from tests.models.contract import randomize

CONFIGS = {
    "clipped": {
        "num_key_value_heads": 2,
        "clip_qkv": 0.7,
        "rope_theta": 500.0,
    },
    "normalized": {
        "num_key_value_heads": 4,
        "norm_topk_prob": True,
        "rms_norm_eps": 0.05,
        "tie_word_embeddings": True,
        "attention_bias": True,
    },
}


def without_norms_of_queries_and_keys(backbone):
    for block in backbone.decoder_blocks:
        block.attention.query_key_norm = None


def with_the_usual_epsilon_there(backbone):
    for block in backbone.decoder_blocks:
        block.attention.query_norm.epsilon = 1e-6


class TestOLMoE(PooledLoss, Contract):
    task = OLMoECausalLM
    names = tuple(CONFIGS)
    quirks = {
        "norms of projections": ("clipped", without_norms_of_queries_and_keys),
        "their epsilon": ("normalized", with_the_usual_epsilon_there),
        "clipping": ("clipped", {"clip_query_key_value": None}),
        "not normalized": ("clipped", {"normalize_combine_weights": True}),
        "normalized": ("normalized", {"normalize_combine_weights": False}),
        "biases": ("normalized", {"use_attention_bias": False}),
        "theta": ("clipped", {"rope_max_wavelength": 1e4}),
    }

    @staticmethod
    def reference(name):
        config = OlmoeConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=12,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_experts=5,
            num_experts_per_tok=3,
            **CONFIGS[name],
        )
        return randomize(OlmoeForCausalLM(config))


# As many as transformers' model of the published config.json has.
def test_published_sizes():
    counts = parameter_counts(OLMoEBackbone, **OLMOE_PRESETS["olmoe_1b_7b"])
    assert counts.total == 6_919_161_856
    assert round(counts.active / 1e9, 1) == 1.3
