"""Each published architecture at one small size: a forward pass.

The configurations are in the published spelling; both sides read them.
"""

import numpy as np

from contestants.contestant import Contestant
from contestants.tokens import LENGTH
from contestants.tokens import VOCABULARY
from contestants.tokens import draw

COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_experts_per_tok": 4,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
}
LATENT = {
    **COMMON,
    "num_key_value_heads": 8,
    "n_routed_experts": 32,
    "n_shared_experts": 1,
    "moe_intermediate_size": 256,
    "intermediate_size": 1024,
    "first_k_dense_replace": 0,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 1.0,
    "q_lora_rank": 256,
    "kv_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
}
FAMILIES = {
    "mixtral": {
        **COMMON,
        "num_local_experts": 32,
        "intermediate_size": 256,
    },
    "dbrx": {
        "vocab_size": VOCABULARY,
        "d_model": 512,
        "n_layers": 2,
        "n_heads": 8,
        "max_seq_len": 512,
        "tie_word_embeddings": False,
        "attn_config": {"kv_n_heads": 4, "clip_qkv": 8, "rope_theta": 1e4},
        "ffn_config": {
            "ffn_act_fn": {"name": "silu"},
            "ffn_hidden_size": 256,
            "moe_num_experts": 32,
            "moe_top_k": 4,
        },
    },
    "deepseek_v2": {**LATENT, "topk_method": "group_limited_greedy"},
    "deepseek_v3": {**LATENT, "norm_topk_prob": True},
    "qwen2_moe": {
        **COMMON,
        "num_experts": 32,
        "moe_intermediate_size": 256,
        "intermediate_size": 1024,
        "shared_expert_intermediate_size": 512,
        "decoder_sparse_step": 1,
        "norm_topk_prob": False,
    },
    "qwen3_moe": {
        **COMMON,
        "head_dim": 64,
        "num_experts": 32,
        "moe_intermediate_size": 256,
        "intermediate_size": 1024,
        "decoder_sparse_step": 1,
        "norm_topk_prob": True,
    },
    "olmoe": {**COMMON, "num_experts": 32, "intermediate_size": 256},
    # One expert per token; two layers in each stack, with room for twice the
    # tokens that an expert gets on average.
    "switch_transformers": {
        "vocab_size": VOCABULARY,
        "d_model": 512,
        "d_ff": 1024,
        "d_kv": 64,
        "num_heads": 8,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_sparse_encoder_layers": 2,
        "num_sparse_decoder_layers": 2,
        "num_experts": 32,
        "expert_capacity": 128,
    },
}


def keras_moe(model_type, batch_size):
    from keras_moe.models.registry import task_class

    config = {"model_type": model_type, **FAMILIES[model_type]}
    task = task_class(config)
    backbone_class = task.backbone_cls
    arguments = backbone_class.read_arguments(
        backbone_class.checkpoint_format, config
    )
    model = task(backbone_class(**arguments))
    token_ids = draw(batch_size, LENGTH)
    inputs = {
        name: token_ids if name.endswith("ids") else np.ones_like(token_ids)
        for name in model.input
    }
    return Contestant(lambda: model.predict_on_batch(inputs))


def transformers(model_type, batch_size):
    import torch
    from transformers import AutoConfig
    from transformers import AutoModelForCausalLM
    from transformers import AutoModelForSeq2SeqLM

    config = AutoConfig.for_model(model_type, **FAMILIES[model_type])
    two_stacks = config.is_encoder_decoder
    auto = AutoModelForSeq2SeqLM if two_stacks else AutoModelForCausalLM
    model = auto.from_config(config).eval()
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    token_ids = torch.tensor(draw(batch_size, LENGTH)).to(model.device)
    inputs = {"input_ids": token_ids}
    if two_stacks:
        inputs["decoder_input_ids"] = token_ids

    @torch.no_grad()
    def step():
        # Read, so that a GPU is done with it.
        return model(**inputs).logits.float().sum().item()

    return Contestant(step)
