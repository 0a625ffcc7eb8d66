"""Sums over the replicas of a `tf.distribute` strategy."""

import tensorflow as tf

from keras_moe.ops.tensorflow.losses_of_callers import losses_of_callers


def num_replicas():
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def in_multi_worker_strategy():
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    # One worker has devices alone, as under a `MirroredStrategy`.
    cluster = strategy.cluster_resolver.cluster_spec()
    workers = [each for each in cluster.jobs if each in ("chief", "worker")]
    return sum(map(cluster.num_tasks, workers)) > 1


def sum_over_replicas(values):
    context = tf.distribute.get_replica_context()
    with losses_of_callers():
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)
