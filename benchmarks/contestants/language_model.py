"""A small language model: forward, training step, greedy decoding.

The same sizes for all: Mixtral's architecture for up to 8 experts, for more
the peers' Qwen3-MoE, which is Mixtral plus a norm of queries and keys.
"""

from typing import NamedTuple

import numpy as np

from contestants.contestant import Contestant

VOCABULARY = 512
PROMPT = 32


class Sizes(NamedTuple):
    """What all models have in common."""

    num_experts: int
    top_k: int
    hidden_dim: int
    intermediate_dim: int
    num_layers: int = 2

    def draw(self, batch_size, length):
        rng = np.random.default_rng(0)
        return rng.integers(1, VOCABULARY, (batch_size, length)).astype("int32")


def train_keras_moe(sizes, batch_size, length=256):
    return _train(
        _keras_moe(Sizes(**sizes)), Sizes(**sizes), batch_size, length
    )


def train_keras_hub(sizes, batch_size, length=256):
    return _train(
        _keras_hub(Sizes(**sizes)), Sizes(**sizes), batch_size, length
    )


def predict_keras_moe(sizes, batch_size, length=256):
    return _predict(
        _keras_moe(Sizes(**sizes)), Sizes(**sizes), batch_size, length
    )


def predict_keras_hub(sizes, batch_size, length=256):
    return _predict(
        _keras_hub(Sizes(**sizes)), Sizes(**sizes), batch_size, length
    )


def decode_keras_moe(sizes, batch_size, num_tokens=64):
    return _decode(
        _keras_moe(Sizes(**sizes)), Sizes(**sizes), batch_size, num_tokens
    )


def decode_keras_hub(sizes, batch_size, num_tokens=64):
    return _decode(
        _keras_hub(Sizes(**sizes)), Sizes(**sizes), batch_size, num_tokens
    )


def train_transformers(sizes, batch_size, implementation, length=256):
    import torch

    sizes = Sizes(**sizes)
    model = _transformers(sizes, implementation)
    token_ids = _on_device(model, sizes.draw(batch_size, length))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step():
        optimizer.zero_grad()
        loss = model(token_ids, labels=token_ids).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    return Contestant(step)


def predict_transformers(sizes, batch_size, implementation, length=256):
    import torch

    sizes = Sizes(**sizes)
    model = _transformers(sizes, implementation).eval()
    token_ids = _on_device(model, sizes.draw(batch_size, length))

    @torch.no_grad()
    def step():
        return model(token_ids).logits.float().sum().item()

    return Contestant(step)


def decode_transformers(sizes, batch_size, implementation, num_tokens=64):
    sizes = Sizes(**sizes)
    model = _transformers(sizes, implementation).eval()
    prompts = _on_device(model, sizes.draw(batch_size, PROMPT))

    def step():
        return model.generate(
            prompts,
            max_new_tokens=num_tokens,
            min_new_tokens=num_tokens,
            do_sample=False,
            pad_token_id=0,
        ).sum()

    return Contestant(lambda: step().item())


def _train(model, sizes, batch_size, length):
    import keras

    token_ids = sizes.draw(batch_size, length)
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    model.compile(
        keras.optimizers.AdamW(1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
    )
    return Contestant(lambda: float(model.train_on_batch(inputs, token_ids)))


def _predict(model, sizes, batch_size, length):
    token_ids = sizes.draw(batch_size, length)
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    return Contestant(lambda: model.predict_on_batch(inputs))


def _decode(model, sizes, batch_size, num_tokens):
    prompts = sizes.draw(batch_size, PROMPT)
    beyond = ((0, 0), (0, num_tokens))
    inputs = {
        "token_ids": np.pad(prompts, beyond),
        "padding_mask": np.pad(np.ones_like(prompts), beyond),
    }
    model.compile(sampler="greedy")
    return Contestant(lambda: model.generate(inputs, stop_token_ids=None))


def _keras_moe(sizes):
    from keras_moe.models import MixtralBackbone
    from keras_moe.models import MixtralCausalLM

    return MixtralCausalLM(
        MixtralBackbone(
            vocabulary_size=VOCABULARY,
            num_query_heads=8,
            num_key_value_heads=4,
            **sizes._asdict(),
        )
    )


def _keras_hub(sizes):
    import keras_hub

    common = {
        "vocabulary_size": VOCABULARY,
        "num_query_heads": 8,
        "num_key_value_heads": 4,
        **sizes._asdict(),
    }
    if sizes.num_experts <= 8:
        return keras_hub.models.MixtralCausalLM(
            keras_hub.models.MixtralBackbone(**common, sliding_window=512)
        )
    return keras_hub.models.Qwen3MoeCausalLM(
        keras_hub.models.Qwen3MoeBackbone(
            **common,
            head_dim=sizes.hidden_dim // 8,
            moe_intermediate_dim=sizes.intermediate_dim,
            norm_top_k_prob=True,
        )
    )


def _transformers(sizes, implementation):
    import torch
    import transformers

    torch.manual_seed(0)
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": sizes.hidden_dim,
        "intermediate_size": sizes.intermediate_dim,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "num_experts_per_tok": sizes.top_k,
        "max_position_embeddings": 512,
    }
    if sizes.num_experts <= 8:
        model = transformers.MixtralForCausalLM(
            transformers.MixtralConfig(
                **common, num_local_experts=sizes.num_experts
            )
        )
    else:
        model = transformers.Qwen3MoeForCausalLM(
            transformers.Qwen3MoeConfig(
                **common,
                num_experts=sizes.num_experts,
                moe_intermediate_size=sizes.intermediate_dim,
                head_dim=sizes.hidden_dim // 8,
                norm_topk_prob=True,
            )
        )
    model.config._experts_implementation = implementation
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _on_device(model, token_ids):
    import torch

    return torch.tensor(token_ids, dtype=torch.long, device=model.device)
