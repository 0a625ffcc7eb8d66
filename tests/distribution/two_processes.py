"""Train on several meshes, as one of one or two processes; saves the weights.

Run by `test_two_processes.py`: the number of processes, the rank, a port and
the file for what came out.
"""

import sys

import jax
import keras
import numpy as np

from keras_moe.distribution import ExpertParallel
from keras_moe.layers import SparseMoE
from keras_moe.routing import Capacity

NUM_PROCESSES, RANK = int(sys.argv[1]), int(sys.argv[2])
# With expert=2 the same two experts are on both processes; with expert=8
# tokens travel from one to the other.
MESHES = [(4, 2), (1, 8)] if NUM_PROCESSES > 1 else [None]
BATCH_SIZE = 8


def train(mesh, capacity):
    distribution = None
    if mesh is not None:
        distribution = ExpertParallel(*mesh, auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 8))
    hidden = inputs + SparseMoE(8, 4, capacity=capacity)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(hidden))
    # A small epsilon would blow up the rounding of gradients that are nearly 0.
    model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3), "mse")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, BATCH_SIZE, 6, 8)).astype("float32")
    y = generator.normal(size=(2, BATCH_SIZE, 6, 3)).astype("float32")
    # Each process feeds its part of each batch.
    own = slice(RANK, None, NUM_PROCESSES)
    losses = model.fit(
        x[:, own].reshape(-1, 6, 8),
        y[:, own].reshape(-1, 6, 3),
        batch_size=BATCH_SIZE // NUM_PROCESSES,
        epochs=2,
        shuffle=False,
        verbose=0,
    ).history["loss"]
    return [np.array(losses), *map(whole, model.variables)]


def whole(variable):
    """Bring a variable together on this process."""
    value = variable.value
    if NUM_PROCESSES == 1:
        return np.asarray(value)
    everywhere = jax.sharding.NamedSharding(
        value.sharding.mesh, jax.sharding.PartitionSpec()
    )
    value = jax.jit(lambda value: value, out_shardings=everywhere)(value)
    return np.asarray(value.addressable_data(0))


def main():
    if NUM_PROCESSES > 1:
        address = f"127.0.0.1:{sys.argv[3]}"
        keras.distribution.initialize(address, NUM_PROCESSES, RANK)
    found = {
        f"{mesh} {'dropless' if capacity is None else 'capacity'} {index}": part
        for capacity in (None, Capacity(slots=6))
        for mesh in MESHES
        for index, part in enumerate(train(mesh, capacity))
    }
    if RANK == 0:
        np.savez(sys.argv[4], **found)


if __name__ == "__main__":
    main()
