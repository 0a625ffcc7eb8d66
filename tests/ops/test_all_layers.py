"""Every layer below a layer is found, wherever it is kept."""

import keras
import pytest

from keras_moe.ops.all_layers import all_layers


class Holder(keras.layers.Layer):
    """Keeps layers in the attributes that it is given."""

    def __init__(self, **attributes):
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)

    def build(self, input_shape):
        self.part.build(input_shape)

    def call(self, inputs):
        return self.part(inputs)


def dense(name):
    return keras.layers.Dense(2, name=name)


def names(layer):
    found = all_layers(layer)
    assert found[0] is layer
    assert len({id(each) for each in found}) == len(found)
    return {each.name for each in found[1:]}


def test_lists_dictionaries_tuples_and_attributes_are_entered():
    layer = Holder(
        one=dense("one"),
        some=[dense("two"), [dense("three")]],
        by_name={"a": dense("four"), "b": [dense("five")]},
        pair=(dense("six"), 7, "text"),
        below=Holder(deep=Holder(deeper=[dense("seven")])),
    )
    dense_names = {"one", "two", "three", "four", "five", "six", "seven"}
    holders = {layer.below.name, layer.below.deep.name}
    assert names(layer) == dense_names | holders


def test_a_shared_layer_comes_once():
    shared = dense("shared")
    layer = Holder(first=Holder(part=shared), second=Holder(part=shared))
    assert names(layer) == {"shared", layer.first.name, layer.second.name}


def test_a_layer_that_knows_its_parent_ends_the_search():
    child = Holder()
    parent = Holder(child=child)
    child.parent = parent
    assert names(parent) == {child.name}


def test_models_are_entered_whatever_they_are_made_of():
    inputs = keras.Input((2,), name="inputs")
    inner = keras.Sequential([dense("in_sequential")], name="sequential")
    outer = Holder(part=dense("in_layer"))
    hidden = inner(inputs)
    model = keras.Model(inputs, Holder(part=outer)(hidden), name="functional")
    found = names(keras.Sequential([model, dense("last")]))
    assert {"in_sequential", "in_layer", "last", "inputs"} <= found
    assert {"sequential", "functional", outer.name} <= found


def test_an_unbuilt_layer_has_its_parts_already():
    assert names(keras.Sequential([dense("one")])) == {"one"}


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="Keras layer or model. Received: list"):
        all_layers([dense("one")])


def test_keras_still_has_the_private_method():
    """If this fails: Keras has renamed or removed `_flatten_layers`.

    Look for a public successor in `keras.layers.Layer` first. Otherwise walk
    the tracked sublayers (`_layers`) in `keras_moe/ops/all_layers.py`; the
    other tests of this file say what has to be found.
    """
    assert hasattr(keras.layers.Layer, "_flatten_layers")
