"""Train one step on one device, and on two replicas that share the batch.

A program of its own: TensorFlow makes its devices before it starts, and
PyTorch's replicas are processes. It writes the numbers of both to a file.

    KERAS_BACKEND=tensorflow python replicas.py result.npz
    KERAS_BACKEND=torch python replicas.py result.npz 0 /tmp/store  # and 1
"""

import os
import sys

if os.environ["KERAS_BACKEND"] == "torch":
    import torch
else:
    import tensorflow as tf

import keras
import numpy as np
from keras import ops

from keras_moe import balancing
from keras_moe.callbacks import RoutingMonitor
from keras_moe.layers import Router
from keras_moe.layers import SparseMoE
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
    for index, weight in enumerate(model.weights):
        found[f"{name}/weights/{index}"] = ops.convert_to_numpy(weight)
    for layer in model.layers:
        if isinstance(layer, SparseMoE):
            load = layer.statistics.result()["tokens_per_expert"]
            found[f"{name}/tokens/{layer.name}"] = load
    return found


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
    np.savez(file, **found)


def train_on_torch(file, rank, store):
    found = {}
    inputs, mask = make_data()
    model = make_model()
    found |= numbers(model, fit(model, inputs, mask), "one_device")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    half = slice(2 * rank, 2 * rank + 2)
    for scope in ("batch", "replica"):
        model = make_model(scope)
        for layer in model.layers:
            if isinstance(layer, SparseMoE):
                layer.statistics.enabled = True
        x = ops.convert_to_tensor(inputs[half])
        outputs = model([x, ops.convert_to_tensor(mask[half])], training=True)
        loss = ops.mean(ops.square(outputs)) + sum(model.losses)
        loss.backward()
        gradients = [each.value.grad for each in model.trainable_weights]
        for each in [*gradients, loss.data]:
            torch.distributed.all_reduce(each)
            each /= 2
        with torch.no_grad():
            model.optimizer.apply(gradients, model.trainable_weights)
        logs = {"loss": [float(loss.data)]}
        found |= numbers(model, logs, scope)
    if rank == 0:
        np.savez(file, **found)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    if keras.config.backend() == "torch":
        train_on_torch(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        train_on_tensorflow(sys.argv[1])
