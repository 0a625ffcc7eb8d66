"""Sums over replicas, where there is one: nothing is added."""

import numpy as np

from keras_moe.ops.replicas import num_replicas
from keras_moe.ops.replicas import sum_over_batch
from keras_moe.ops.replicas import sum_over_replicas
from keras_moe.ops.replicas import whole_batch


def test_one_replica_adds_no_operation():
    values = np.ones((3,), "float32")
    assert num_replicas() == 1
    assert sum_over_replicas(values) is values
    with whole_batch():
        (total,) = sum_over_batch(values)
    assert total is values
