"""Train on one device, on many, or as several processes, with the same lines.

    KERAS_BACKEND=jax python examples/train_on_a_mesh.py

On eight virtual devices of one processor:

    XLA_FLAGS=--xla_force_host_platform_device_count=8 KERAS_BACKEND=jax \
        python examples/train_on_a_mesh.py --data 2

As two processes, here on one machine, each with the devices that it finds:

    export KERAS_BACKEND=jax KERAS_DISTRIBUTION_NUM_PROCESSES=2
    export KERAS_DISTRIBUTION_JOB_ADDRESSES=127.0.0.1:8476
    KERAS_DISTRIBUTION_PROCESS_ID=0 python examples/train_on_a_mesh.py &
    KERAS_DISTRIBUTION_PROCESS_ID=1 python examples/train_on_a_mesh.py

The loss is the same each time. The model reads bytes of Python source.
"""

import argparse
import math
import os
from pathlib import Path

import keras
import numpy as np

from keras_moe.distribution import ExpertParallel
from keras_moe.layers import SparseMoE
from keras_moe.routing import Capacity

NUM_EXPERTS = 8
LENGTH = 32
BATCH_SIZE = 32
STEPS = 8


def make_model():
    tokens = keras.Input((LENGTH,), dtype="int32")
    hidden = keras.layers.Embedding(256, 32)(tokens)
    attention = keras.layers.MultiHeadAttention(4, 8)
    hidden = hidden + attention(hidden, hidden, use_causal_mask=True)
    normalized = keras.layers.RMSNormalization()(hidden)
    sparse = SparseMoE(NUM_EXPERTS, 64, capacity=Capacity(2.0), name="sparse")
    hidden = hidden + sparse(normalized)
    return keras.Model(tokens, keras.layers.Dense(256)(hidden))


def read_batches():
    """Return bytes and those that follow, (steps, batch, length)."""
    text = Path(argparse.__file__).read_bytes()
    rows = STEPS * BATCH_SIZE
    text = np.frombuffer(text[: rows * LENGTH + 1], "uint8").astype("int32")
    shape = (STEPS, BATCH_SIZE, LENGTH)
    return text[:-1].reshape(shape), text[1:].reshape(shape)


def own_part(batches, distribution):
    """Return the rows of each batch that this process feeds, one below another.

    Keras divides a `tf.data.Dataset` by itself; arrays are divided here.
    """
    parts = np.split(batches, distribution.num_processes, axis=1)
    return parts[distribution.data_shard_id].reshape((-1, LENGTH))


def main(arguments):
    if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ:
        # Before anything else asks for a device.
        keras.distribution.initialize()
    keras.utils.set_random_seed(0)

    num_devices = len(keras.distribution.list_devices())
    data = arguments.data or num_devices // math.gcd(num_devices, NUM_EXPERTS)
    distribution = ExpertParallel(data=data, auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)

    model = make_model()
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    inputs, targets = read_batches()
    history = model.fit(
        own_part(inputs, distribution),
        own_part(targets, distribution),
        batch_size=BATCH_SIZE // distribution.num_processes,
        epochs=arguments.epochs,
        shuffle=False,
        verbose=0,
    ).history

    if distribution.data_shard_id == 0:
        experts = model.get_layer("sparse").experts.variables
        print(f"{num_devices} devices: {distribution.axis_sizes}")
        for name, variables in (
            ("the experts", experts),
            ("all weights", model.variables),
            ("the optimizer", model.optimizer.variables),
        ):
            size = distribution.bytes_per_device(variables)
            print(f"each holds {size / 1e6:.2f} MB of {name}")
        print("loss:", *[f"{loss:.6f}" for loss in history["loss"]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=int, help="devices of the data axis")
    parser.add_argument("--epochs", type=int, default=3)
    main(parser.parse_args())
