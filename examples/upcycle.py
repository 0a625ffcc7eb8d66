"""Train a dense language model, upcycle it, and train both on.

    KERAS_BACKEND=jax python examples/upcycle.py

The text is the source of Python's own modules, read as bytes. Both models
take the same steps after the upcycling, on the same text.
"""

import argparse
import pathlib
import sysconfig

import keras
import numpy as np

from keras_moe.models import Qwen3MoEBackbone
from keras_moe.models import Qwen3MoECausalLM
from keras_moe.surgery import upcycle

LENGTH = 64
BATCH_SIZE = 16


def read_windows(count, seed):
    """Cut windows of bytes out of Python's modules."""
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    source = b"\n".join(p.read_bytes() for p in sorted(folder.glob("*.py")))
    source = np.frombuffer(source, "uint8").astype("int32")
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, len(source) - LENGTH, count)
    windows = source[starts[:, None] + np.arange(LENGTH + 1)]
    token_ids = windows[:, :-1]
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    return inputs, windows[:, 1:]


def compile_and_evaluate(model, data):
    model.compile(
        keras.optimizers.AdamW(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
    )
    return evaluate(model, data)


def evaluate(model, data):
    return model.evaluate(*data, batch_size=BATCH_SIZE, verbose=0)


def train(model, steps, seed):
    data = read_windows(steps * BATCH_SIZE, seed)
    model.fit(*data, batch_size=BATCH_SIZE, shuffle=False, verbose=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dense-steps", type=int, default=300)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--num-experts", type=int, default=8)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    dense = Qwen3MoECausalLM(
        Qwen3MoEBackbone(
            vocabulary_size=256,
            num_layers=2,
            num_query_heads=4,
            num_key_value_heads=2,
            hidden_dim=64,
            intermediate_dim=128,
            num_experts=arguments.num_experts,
            dense_layers=[0, 1],
        )
    )
    held_out = read_windows(8 * BATCH_SIZE, seed=1)
    compile_and_evaluate(dense, held_out)
    train(dense, arguments.dense_steps, seed=2)
    sparse = upcycle(dense, arguments.num_experts, top_k=2)

    before = {
        "dense": compile_and_evaluate(dense, held_out),
        "sparse": compile_and_evaluate(sparse, held_out),
    }
    for name, model in {"dense": dense, "sparse": sparse}.items():
        train(model, arguments.steps, seed=3)
        loss = evaluate(model, held_out)
        print(f"{name}: loss {before[name]:.3f} -> {loss:.3f} nats per byte")


if __name__ == "__main__":
    main()
