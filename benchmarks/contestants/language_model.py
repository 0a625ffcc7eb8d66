"""A small language model: training step and greedy decoding.

The same sizes for all: Mixtral's architecture for up to 8 experts, for more
the peers' Qwen3-MoE, which is Mixtral plus a norm of queries and keys.
"""

import numpy as np

from contestants.contestant import Contestant
from contestants.tokens import LENGTH
from contestants.tokens import VOCABULARY
from contestants.tokens import draw
from sizes import Sizes

PROMPT = 32
TRAINED_LAYERS = 2
DECODED_LAYERS = 4


def train_keras_moe(sizes, batch_size):
    sizes = Sizes(*sizes)
    return _train(_keras_moe(sizes, TRAINED_LAYERS), batch_size)


def train_keras_hub(sizes, batch_size):
    sizes = Sizes(*sizes)
    return _train(_keras_hub(sizes, TRAINED_LAYERS), batch_size)


def train_recipe(name, scale):
    """A step of a run of `quality.py`, without what it records."""
    from quality_pay import Dense
    from quality_recipes import RECIPES
    from quality_recipes import SCALES
    from quality_training import begin

    recipe = RECIPES[name]
    settings = recipe.complete(SCALES[scale], seed=0)
    if settings.size.num_experts == 1:
        recipe = recipe._replace(backbone_class=Dense)
    training = begin(recipe, settings)

    def step():
        batch = training.batch()
        return float(training.model.train_on_batch(*batch))

    return Contestant(step)


def decode_keras_moe(sizes, batch_size, num_tokens):
    sizes = Sizes(*sizes)
    return _decode(_keras_moe(sizes, DECODED_LAYERS), batch_size, num_tokens)


def decode_exported(sizes, batch_size, num_tokens):
    import tempfile

    import tensorflow as tf

    from keras_moe.export import export_saved_model

    with tempfile.TemporaryDirectory() as folder:
        version = export_saved_model(
            _keras_moe(Sizes(*sizes), DECODED_LAYERS),
            folder,
            signatures=["generate"],
            verify=False,
            warmup=False,
            verbose=False,
        )
        loaded = tf.saved_model.load(str(version))
    prompts = tf.constant(draw(batch_size, PROMPT))
    generate = loaded.signatures["generate"]

    def step():
        # What a server fills in from the signature's defaults.
        return generate(
            token_ids=prompts,
            padding_mask=tf.ones_like(prompts),
            max_new_tokens=tf.constant([num_tokens]),
            temperature=tf.constant([0.0]),
            top_k=tf.constant([0]),
            top_p=tf.constant([1.0]),
            seed=tf.constant([0]),
            stop_token_ids=tf.constant([[-1]]),
        )["token_ids"].numpy()

    step.model = loaded  # Its functions do not keep its variables alive.
    return Contestant(step)


def decode_keras_hub(sizes, batch_size, num_tokens):
    sizes = Sizes(*sizes)
    return _decode(_keras_hub(sizes, DECODED_LAYERS), batch_size, num_tokens)


def train_transformers(sizes, batch_size, implementation):
    import torch

    model = _transformers(Sizes(*sizes), TRAINED_LAYERS, implementation)
    token_ids = _on_device(model, draw(batch_size, LENGTH))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step():
        optimizer.zero_grad()
        loss = model(token_ids, labels=token_ids).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    return Contestant(step)


def decode_transformers(sizes, batch_size, num_tokens, implementation):
    model = _transformers(Sizes(*sizes), DECODED_LAYERS, implementation).eval()
    prompts = _on_device(model, draw(batch_size, PROMPT))

    def step():
        return model.generate(
            prompts,
            max_new_tokens=num_tokens,
            min_new_tokens=num_tokens,
            do_sample=False,
            pad_token_id=0,
        ).sum()

    return Contestant(lambda: step().item())


def _train(model, batch_size):
    import keras

    token_ids = draw(batch_size, LENGTH)
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    model.compile(
        keras.optimizers.AdamW(1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
    )
    return Contestant(lambda: float(model.train_on_batch(inputs, token_ids)))


def _decode(model, batch_size, num_tokens):
    prompts = draw(batch_size, PROMPT)
    beyond = ((0, 0), (0, num_tokens))
    inputs = {
        "token_ids": np.pad(prompts, beyond),
        "padding_mask": np.pad(np.ones_like(prompts), beyond),
    }
    model.compile(sampler="greedy")
    return Contestant(lambda: model.generate(inputs, stop_token_ids=None))


def _keras_moe(sizes, num_layers):
    from keras_moe.models import MixtralBackbone
    from keras_moe.models import MixtralCausalLM

    return MixtralCausalLM(
        MixtralBackbone(
            vocabulary_size=VOCABULARY,
            num_query_heads=8,
            num_key_value_heads=4,
            num_layers=num_layers,
            **sizes._asdict(),
        )
    )


def _keras_hub(sizes, num_layers):
    import keras_hub

    common = {
        "vocabulary_size": VOCABULARY,
        "num_query_heads": 8,
        "num_key_value_heads": 4,
        "num_layers": num_layers,
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


def _transformers(sizes, num_layers, implementation):
    import torch
    import transformers

    torch.manual_seed(0)
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": sizes.hidden_dim,
        "intermediate_size": sizes.intermediate_dim,
        "num_hidden_layers": num_layers,
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
    model.set_experts_implementation(implementation)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _on_device(model, token_ids):
    import torch

    return torch.tensor(token_ids, dtype=torch.long, device=model.device)
