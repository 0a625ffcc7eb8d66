import keras
import pytest

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE


class Block(keras.layers.Layer):
    """Keeps its layers in an attribute, a list in a list and a dict."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = keras.layers.LayerNormalization()
        self.moe = SharedExpertMoE(2, 3, name="moe")
        self.rest = [[SparseMoE(2, 3, name="listed")], {"a": 1}]
        self.named = {"key": SparseMoE(2, 3, name="named")}

    def call(self, inputs):
        outputs = self.moe(self.norm(inputs))
        return self.named["key"](self.rest[0][0](outputs))

    def compute_output_shape(self, inputs_shape):
        return inputs_shape


def functional_model(blocks, name):
    inputs = outputs = keras.Input((None, 4))
    for block in blocks:
        outputs = block(outputs)
    return keras.Model(inputs, outputs, name=name)


def test_finds_layers_nested_in_layers_lists_and_dicts():
    block = Block(name="block")

    layers = find_sparse_layers(block)

    assert layers == {
        "moe/routed_experts": block.moe.routed_experts,
        "listed": block.rest[0][0],
        "named": block.named["key"],
    }


def test_finds_every_block_of_a_model_inside_a_model_in_order():
    blocks = [SharedExpertMoE(2, 3, name=f"block_{n}") for n in range(9)]
    backbone = functional_model(blocks, "backbone")
    task = functional_model([backbone], "task")

    layers = find_sparse_layers(task)

    # The backbone holds all of them: its name says nothing.
    assert list(layers) == [f"block_{n}/routed_experts" for n in range(9)]
    assert list(layers.values()) == [block.routed_experts for block in blocks]


def test_keeps_the_names_of_models_that_differ():
    def tower(name):
        return functional_model([SparseMoE(2, 3, name="moe")], name)

    towers = [tower("left"), tower("right")]

    layers = find_sparse_layers(functional_model(towers, "both"))

    assert list(layers) == ["left/moe", "right/moe"]


def test_keeps_the_last_two_names_of_a_single_layer():
    backbone = functional_model([SharedExpertMoE(2, 3, name="moe")], "backbone")
    task = functional_model([backbone], "task")

    assert list(find_sparse_layers(task)) == ["moe/routed_experts"]


def test_finds_a_layer_that_is_used_twice_once():
    moe = SparseMoE(2, 3)
    model = functional_model([moe, moe], "model")

    assert list(find_sparse_layers(model).values()) == [moe]


def test_tells_layers_of_one_name_apart():
    class Pair(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.pair = [SparseMoE(2, 3, name="moe") for _ in range(3)]

    assert list(find_sparse_layers(Pair())) == ["moe", "moe_1", "moe_2"]


@pytest.mark.parametrize("model", [keras.layers.Dense(2), keras.Sequential()])
def test_finds_nothing_in_a_dense_model(model):
    assert find_sparse_layers(model) == {}


def test_finds_a_sparse_layer_itself():
    moe = SparseMoE(2, 3, name="moe")

    assert find_sparse_layers(moe) == {"moe": moe}
