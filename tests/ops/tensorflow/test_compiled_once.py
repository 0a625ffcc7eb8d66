"""XLA compiles a layer once, whatever the batches hold.

It counts an operation's arguments as constants if they must be (a slice's
start, an index in brackets), then everything that they are computed of, and
compiles anew for each new value. TensorFlow tells in its log, whose settings
are read at its start: a process of its own.
"""

import os
import re
import subprocess
import sys

import keras
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("needs KERAS_BACKEND=tensorflow", allow_module_level=True)

LOG = {
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "TF_CPP_VMODULE": "device_compilation_profiler=1",
}
CHILD = """
import numpy as np
import tensorflow as tf

from keras_moe.layers import SparseMoE
from keras_moe.routing import Capacity


def train(name, layer):
    def step(inputs):
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs**2) + sum(layer.losses)
        return tape.gradient(loss, layer.trainable_variables)

    step.__name__ = name
    layer.build((None, None, 4))
    compiled = tf.function(step, jit_compile=True)
    for seed in range(3):
        inputs = np.random.default_rng(seed).normal(size=(2, 6, 4))
        compiled(tf.constant(inputs, "float32"))


train("dropless", SparseMoE(4, 4))
train("sorted", SparseMoE(4, 4, capacity=Capacity(1.0), strategy="sorted"))
train("slots", SparseMoE(4, 4, capacity=Capacity(1.0), strategy="slots"))
"""


def test_new_batches_are_not_compiled_anew():
    ended = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, **LOG},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    compiled = re.findall(
        r"Compiled __inference_(\w+?)_\d+ (\d+) times", ended.stderr
    )
    assert compiled == [("dropless", "1"), ("sorted", "1"), ("slots", "1")]
