"""Which integers suit a model."""

import keras
import pytest

from keras_moe.export.sample_bounds import find_integer_bound


class Holder:
    """Anything with a vocabulary size."""

    def __init__(self, vocabulary_size):
        self.vocabulary_size = vocabulary_size


def embedding_model(*sizes):
    """Model with one embedding for each size."""
    inputs = keras.Input((None,), dtype="int32")
    outputs = [keras.layers.Embedding(size, 2)(inputs) for size in sizes]
    return keras.Model(inputs, outputs)


def test_ids_stay_within_the_smallest_embedding():
    assert find_integer_bound(embedding_model(40)) == 40
    assert find_integer_bound(embedding_model(40, 7)) == 7


def test_an_embedding_inside_a_custom_layer_counts(language_model):
    nested = keras.Sequential([embedding_model(9)])
    assert find_integer_bound(nested) == 9


def test_a_vocabulary_size_counts():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.vocabulary_size = 30
    assert find_integer_bound(model) == 30


def test_the_vocabulary_of_the_backbone_counts():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.backbone = Holder(20)
    assert find_integer_bound(model) == 20


@pytest.mark.parametrize("size", [None, 0, "many"])
def test_a_model_that_tells_nothing_gets_zeros_and_ones(size):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.vocabulary_size = size
    assert find_integer_bound(model) == 2
