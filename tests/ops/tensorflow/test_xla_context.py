"""What is traced for XLA knows it, at any depth."""

import keras
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("needs KERAS_BACKEND=tensorflow", allow_module_level=True)

import tensorflow as tf

from keras_moe.ops.tensorflow import xla_context
from keras_moe.ops.tensorflow.xla_context import compiling_with_xla


def seen_by(**options):
    seen = []
    inner = tf.function(lambda: seen.append(compiling_with_xla()))
    tf.function(lambda: inner(), **options).get_concrete_function()
    return seen


def test_a_function_inside_a_compiled_one_is_compiled():
    assert seen_by(jit_compile=True) == [True]
    assert seen_by() == [False]
    assert not compiling_with_xla()


def test_without_an_answer_xla_is_assumed(monkeypatch):
    monkeypatch.setattr(xla_context, "in_xla_context", None)
    assert seen_by() == [True]


def test_tensorflow_still_has_the_private_function():
    """If this fails: TensorFlow has moved `GraphOrParentsInXlaContext`.

    Until then all products take the way for XLA, which is right and, without
    XLA, slower. Look for a public question in `tf.config` or `tf.function`;
    otherwise search `tensorflow/python/ops` for `InXlaContext`, and change
    `keras_moe/ops/tensorflow/xla_context.py`.
    """
    assert xla_context.in_xla_context is not None
