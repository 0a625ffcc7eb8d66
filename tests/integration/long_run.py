"""A run of `fit` in several processes, for tests that kill them.

Arguments: rank, number of processes, port, folder, steps, seconds per step.
It prints the rows that it feeds, the step at which it begins, and at the end
the loss on fixed data.
"""

import os
import sys
import time

if os.environ["KERAS_BACKEND"] == "torch":
    import torch
else:
    import jax

import keras
import numpy as np

from keras_moe.callbacks import TrainingCheckpoint
from keras_moe.distribution import ExpertParallel
from keras_moe.distribution import replicate
from keras_moe.distribution import rows_of_process
from keras_moe.layers import SparseMoE

BATCH = 8

rank, count, port, folder, steps, seconds = sys.argv[1:]
rank, count, steps, seconds = int(rank), int(count), int(steps), float(seconds)

address = f"127.0.0.1:{port}"
on_torch = keras.config.backend() == "torch"
if on_torch:
    torch.distributed.init_process_group(
        "gloo", f"tcp://{address}", rank=rank, world_size=count
    )
elif count > 1:
    # The others end ten seconds after one was killed, not a minute and a half.
    jax.distributed.initialize(
        address, count, rank, heartbeat_timeout_seconds=10
    )


def batches(step):
    """Yield this process' rows of the batches from a step on."""
    while True:
        x = np.random.default_rng((0, step)).normal(size=(BATCH, 4, 8))
        rows = rows_of_process(BATCH)
        own = x[rows].astype("float32")
        print("rows", step, *range(BATCH)[rows], flush=True)
        yield own, own[..., :1]
        step += 1


class Slow(keras.callbacks.Callback):
    """Waits, so that there is time to be killed; prints the losses."""

    total = 0.0

    def on_train_batch_end(self, batch, logs=None):
        # Keras gives the mean of all batches so far.
        total = float(logs["loss"]) * (batch + 1)
        print("loss", first + batch + 1, total - self.total, flush=True)
        self.total = total
        time.sleep(seconds)


keras.distribution.set_distribution(
    ExpertParallel(expert=count if on_torch else 4, auto_shard_dataset=False)
)
keras.utils.set_random_seed(1)
inputs = keras.Input((4, 8))
outputs = keras.layers.Dense(1)(SparseMoE(8, 8)(inputs))
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(0.01), "mse")
model = replicate(model)
checkpoint = TrainingCheckpoint(folder, save_every=3)
first = checkpoint.restore(model)
print("begins", first, flush=True)
model.fit(
    batches(first),
    steps_per_epoch=steps - first,
    shuffle=False,
    verbose=0,
    callbacks=[checkpoint, Slow()],
)
rows = rows_of_process(BATCH)
x = np.random.default_rng(1).normal(size=(BATCH, 4, 8))[rows]
loss = model.evaluate(x, x[..., :1], batch_size=len(x), verbose=0)
print("ends", checkpoint.step, checkpoint.stopped, loss, flush=True)
if on_torch:
    torch.distributed.destroy_process_group()
