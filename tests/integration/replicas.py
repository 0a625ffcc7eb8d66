"""Train one step on one device, and on two replicas that share the batch.

A program of its own: TensorFlow makes its devices before it starts, and
PyTorch's replicas are processes. It writes the numbers of both to files.

    KERAS_BACKEND=tensorflow python replicas.py result
    KERAS_BACKEND=torch python replicas.py result 0 /tmp/store  # and 1
"""

import os
import sys
from pathlib import Path

if os.environ["KERAS_BACKEND"] == "torch":
    import torch
else:
    import tensorflow as tf

import keras
import numpy as np
from keras import ops

from keras_moe import balancing
from keras_moe.callbacks import RoutingMonitor
from keras_moe.callbacks import TrainingCheckpoint
from keras_moe.callbacks.training_variables import training_variables
from keras_moe.distribution import ExpertParallel
from keras_moe.distribution import replicate
from keras_moe.distribution.own_experts import gather_parts
from keras_moe.layers import Router
from keras_moe.layers import SparseMoE
from keras_moe.routing import Capacity
from keras_moe.routing import choose_top_k

HIDDEN, EXPERTS, LENGTH = 6, 4, 5


class NoisyRouter(Router):
    """Has the same noise on one device as on two."""

    def build(self, inputs_shape):
        self.kernel = self.add_weight(
            shape=(HIDDEN, EXPERTS),
            initializer=keras.initializers.RandomNormal(seed=1),
            name="kernel",
        )
        super().build(inputs_shape)

    def route(self, inputs, padding_mask=None, training=None):
        logits = 3 * ops.matmul(inputs, self.kernel)
        bias = self.selection_bias()
        plan = choose_top_k(logits, 2, expert_bias=bias)
        scores = plan.scores._replace(
            noisy_logits=logits * 1.25, noise_stddev=ops.ones(())
        )
        return plan._replace(scores=scores)


def make_model(scope="batch"):
    pooled = balancing.PooledLoadBalancingLoss(0.5, scope=scope)
    inputs = keras.Input((LENGTH, HIDDEN))
    mask = keras.Input((LENGTH,), dtype="int32")
    outputs, is_real = inputs, ops.cast(mask, "bool")
    for layer in range(2):
        rules = [
            balancing.ExpertBias(0.125),
            balancing.LoadBalancingLoss(0.5, scope=scope),
            balancing.RouterZLoss(0.25, scope=scope),
            balancing.ImportanceLoss(0.5, scope=scope),
            balancing.LoadLoss(0.5, scope=scope),
            balancing.MeanEntropyLoss(0.5, scope=scope),
            balancing.TokenEntropyLoss(0.5, scope=scope),
            balancing.DeviceBalancingLoss(0.5, 2, scope=scope),
            balancing.CommunicationBalancingLoss(0.5, 2, 1, False, scope=scope),
            pooled,
        ]
        router = NoisyRouter(EXPERTS, balancing=rules)
        sparse = SparseMoE(
            EXPERTS,
            4,
            router=router,
            kernel_initializer=keras.initializers.RandomNormal(seed=2),
            name=f"sparse_{layer}",
        )
        outputs = outputs + sparse(outputs, padding_mask=is_real)
    model = keras.Model([inputs, mask], outputs)
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=False)
    return model


def make_data():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(4, LENGTH, HIDDEN)).astype("float32")
    inputs[2:] += 1.0  # The halves differ, in padding as well.
    lengths = np.array([[5], [4], [1], [2]])
    return inputs, (np.arange(LENGTH) < lengths).astype("int32")


def fit(model, inputs, mask):
    return model.fit(
        [inputs, mask],
        0 * inputs,
        batch_size=len(inputs),
        shuffle=False,
        verbose=0,
        callbacks=[RoutingMonitor()],
    ).history


def numbers(model, history, name):
    found = {f"{name}/logs/{key}": value[0] for key, value in history.items()}
    found |= {f"{name}/{key}": value for key, value in weights_of(model)}
    for layer in model.layers:
        if isinstance(layer, SparseMoE):
            load = layer.statistics.result()["tokens_per_expert"]
            found[f"{name}/tokens/{layer.name}"] = load
    return found


class NotesRows(keras.layers.Layer):
    """Notes which rows it sees while training: what they begin with."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def call(self, inputs, training=None):
        if training:
            self.rows += [round(float(row[0, 0]) * 8) for row in inputs]
        return inputs


def train_for_epochs(name, seed, file=None):
    """Train with shuffled batches of 4, of which the last has one row."""
    keras.utils.set_random_seed(seed)
    inputs, _ = make_data()
    inputs = np.concatenate([inputs, 2 * inputs, 1 - inputs[:1]])
    inputs[:, 0, 0] = np.arange(9) / 8
    notes = NotesRows()

    steps = None
    if file is not None:
        steps = TrainingCheckpoint(Path(file).with_name("steps"))

    def make():
        # The second layer has room for every token: it drops none.
        room = {"capacity": Capacity(slots=LENGTH)}
        arguments = {"kernel_regularizer": keras.regularizers.L2(0.01)}
        model = keras.Sequential(
            [
                keras.Input((LENGTH, HIDDEN)),
                notes,
                SparseMoE(EXPERTS, 4, **arguments),
                SparseMoE(EXPERTS, 4, **room),
            ]
        )
        model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
        return model

    model = replicate(make())
    history = model.fit(
        inputs,
        np.tanh(inputs),
        batch_size=4,
        epochs=2,
        verbose=0,
        validation_data=(inputs[:6], inputs[:6]),
        callbacks=[steps] if steps else [],
    ).history
    found = {f"{name}/logs/{key}": value for key, value in history.items()}
    found |= {f"{name}/{key}": value for key, value in weights_of(model)}
    found[f"{name}/rows"] = notes.rows
    if file is not None:
        # Whole weights, from every process, and back into their parts.
        model.save_weights(file)
        again = make()
        again.load_weights(file)
        found |= {f"{name}/saved/{k}": v for k, v in weights_of(again)}
        # The optimizer's slots too, in a checkpoint of the first process.
        found |= {f"{name}/trained/{k}": v for k, v in numbers_of(model)}
        again = make()
        found[f"{name}/steps"] = steps.restore(again)
        found |= {f"{name}/resumed/{k}": v for k, v in numbers_of(again)}
        keras.distribution.set_distribution(None)
        whole = make()
        whole.load_weights(file)
        found |= {f"{name}/saved_whole/{k}": v for k, v in weights_of(whole)}
        found[f"{name}/sizes"] = [weight.shape[0] for weight in model.weights]
        whole = make()
        steps.restore(whole)
        found |= {f"{name}/resumed_whole/{k}": v for k, v in numbers_of(whole)}
    return found


def train_on_two_experts(name):
    """Route all tokens to the first two experts, of one process."""
    rng = np.random.default_rng(1)
    inputs = rng.uniform(1, 2, size=(4, LENGTH, HIDDEN)).astype("float32")
    model = keras.Sequential([keras.Input((LENGTH, HIDDEN))])
    model.add(SparseMoE(EXPERTS, 4, kernel_initializer="random_normal"))
    kernel = np.linspace(1, -1, EXPERTS) + np.zeros((HIDDEN, 1))
    model.layers[0].router.kernel.assign(kernel)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model = replicate(model)
    for _ in range(2):
        model.train_on_batch(inputs, 1 / inputs)
    return {f"{name}/{key}": value for key, value in weights_of(model)}


def weights_of(model):
    for index, weight in enumerate(model.weights):
        value = gather_parts(weight.value, weight)
        yield f"weights/{index}", ops.convert_to_numpy(value)


def numbers_of(model):
    for name, variable in training_variables(model).items():
        value = gather_parts(variable.value, variable)
        yield name, ops.convert_to_numpy(value)


def train_on_tensorflow(file):
    (cpu, *_) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    found = {}
    data = make_data()
    model = make_model()
    found |= numbers(model, fit(model, *data), "one_device")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = make_model()
    found |= numbers(model, fit(model, *data), "batch")
    np.savez(f"{file}.0.npz", **found)


def train_on_torch(file, rank, store, world_size=2):
    data = make_data()
    model = make_model()
    found = numbers(model, fit(model, *data), "one_device")
    found |= train_for_epochs("one_process", seed=0)
    keras.utils.set_random_seed(0)
    found |= train_on_two_experts("two_experts")
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=int(world_size),
    )
    for scope in ("batch", "replica"):
        model = replicate(make_model(scope))
        found |= numbers(model, fit(model, *data), scope)
    # Other weights and another order of batches: those of rank 0 win.
    found |= train_for_epochs("processes", seed=rank)
    distribution = ExpertParallel(expert=2)
    keras.distribution.set_distribution(distribution)
    model = replicate(make_model())
    found |= numbers(model, fit(model, *data), "experts")
    keras.utils.set_random_seed(0)
    found |= train_on_two_experts("two_experts_of_one_process")
    weights = f"{file}.{rank}.weights.h5"
    found |= train_for_epochs("experts_for_epochs", 0, weights)
    np.savez(f"{file}.{rank}.npz", **found)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    if keras.config.backend() == "torch":
        train_on_torch(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
    else:
        train_on_tensorflow(sys.argv[1])
