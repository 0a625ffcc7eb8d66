"""Train under `MirroredStrategy` on two CPU devices; write what was seen.

A program of its own, because devices are made before TensorFlow starts:

    KERAS_BACKEND=tensorflow python two_replicas.py result.npz
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from keras_moe.balancing import ExpertBias
from keras_moe.callbacks import RoutingMonitor
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter

HIDDEN, EXPERTS, RATE = 6, 4, 0.125


def main(file):
    (cpu, *_) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(8, 5, HIDDEN)).astype("float32")
    inputs[4:] *= 4  # The second replica's half differs.
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        router = TopKRouter(
            EXPERTS,
            2,
            balancing=[
                ExpertBias(RATE),
                "load_balancing_loss",
                "router_z_loss",
            ],
        )
        layer = SparseMoE(EXPERTS, 8, router=router)
        model = keras.Sequential([keras.Input((5, HIDDEN)), layer])
        model.compile(keras.optimizers.SGD(0.0), "mse")
    router.kernel.assign(rng.normal(size=(HIDDEN, EXPERTS)))
    history = model.fit(
        inputs,
        inputs,
        batch_size=8,
        shuffle=False,
        verbose=0,
        callbacks=[RoutingMonitor()],
    ).history
    result = layer.statistics.result()
    np.savez(
        file,
        inputs=inputs,
        kernel=router.kernel.numpy(),
        biases=[value.numpy() for value in router.expert_bias.value.values],
        tokens_per_expert=result["tokens_per_expert"],
        steps=result["steps"],
        router_z_loss=history["router_z_loss"],
        router_entropy=history["router_entropy"],
        max_violation=history["max_violation"],
    )


if __name__ == "__main__":
    main(sys.argv[1])
