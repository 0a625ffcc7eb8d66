"""Train a sparse language model with `fit`, unchanged on every backend.

    KERAS_BACKEND=jax python examples/train_language_model.py
    KERAS_BACKEND=torch python examples/train_language_model.py
    KERAS_BACKEND=tensorflow python examples/train_language_model.py

The text is the source of Python's own modules, read as bytes.
"""

import argparse
import pathlib
import sysconfig

import keras
import numpy as np

from keras_moe.callbacks import RoutingMonitor
from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from keras_moe.models import parameter_counts


def read_windows(length, count):
    """Cut `count` windows of `length + 1` bytes out of Python's modules."""
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    source = b"\n".join(p.read_bytes() for p in sorted(folder.glob("*.py")))
    source = np.frombuffer(source, "uint8").astype("int32")
    starts = np.random.default_rng(0).integers(0, len(source) - length, count)
    return source[starts[:, None] + np.arange(length + 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--sequence-length", type=int, default=128)
    parser.add_argument("--log-dir", default="runs/language_model")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    batch_size = 16
    windows = read_windows(
        arguments.sequence_length, arguments.steps * batch_size
    )
    inputs = {
        "token_ids": windows[:, :-1],
        "padding_mask": np.ones_like(windows[:, :-1]),
    }
    labels = windows[:, 1:]

    model = MixtralCausalLM(
        MixtralBackbone(
            vocabulary_size=256,
            num_layers=2,
            num_query_heads=4,
            num_key_value_heads=2,
            hidden_dim=128,
            intermediate_dim=192,
            num_experts=8,
            top_k=2,
        )
    )
    counts = parameter_counts(model)
    print(f"{counts.total:,} parameters, {counts.active:,} active per token")

    model.compile(
        optimizer=keras.optimizers.AdamW(2e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        sampler="top_p",
    )
    model.fit(
        inputs,
        labels,
        batch_size=batch_size,
        shuffle=False,
        callbacks=[RoutingMonitor(log_dir=arguments.log_dir)],
    )

    prompt = np.frombuffer(b"def main(", "uint8").astype("int32")
    token_ids = np.zeros((1, 120), "int32")
    token_ids[0, : len(prompt)] = prompt
    outputs = model.generate(
        {"token_ids": token_ids, "padding_mask": token_ids > 0},
        stop_token_ids=None,
    )
    print(bytes(outputs["token_ids"][0].tolist()).decode("utf-8", "replace"))


if __name__ == "__main__":
    main()
