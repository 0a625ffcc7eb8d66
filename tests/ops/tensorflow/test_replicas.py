"""Who shares a batch on TensorFlow."""

from unittest import mock

import keras
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("workers of TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_moe.ops.tensorflow.replicas import in_multi_worker_strategy


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        ({}, False),
        ({"worker": ["a:1"]}, False),
        ({"worker": ["a:1"], "evaluator": ["b:1"]}, False),
        ({"chief": ["a:1"], "worker": ["b:1"]}, True),
        ({"worker": ["a:1", "b:1"]}, True),
    ],
)
def test_several_workers_are_counted(monkeypatch, workers, expected):
    # TensorFlow makes a real one at the start of a program only.
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy)
    strategy.cluster_resolver = mock.Mock()
    strategy.cluster_resolver.cluster_spec.return_value = tf.train.ClusterSpec(
        workers
    )
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    assert in_multi_worker_strategy() == expected


def test_another_strategy_has_one_worker():
    assert not in_multi_worker_strategy()
