import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import FeedForward
from keras_moe.layers import HierarchicalRouter
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.surgery import add_experts
from keras_moe.surgery import upcycle
from keras_moe.surgery.expert_axis import mix_router


@pytest.mark.once
def test_neighbours_are_known_by_name_when_their_order_changes(tokens, run):
    # Without one layer of the longer branch, another comes first.
    inputs = keras.Input(tokens.shape[1:])
    long = keras.layers.Dense(12, "relu", name="up")(inputs)
    long = keras.layers.Dense(8, name="down")(long)
    long = keras.layers.Dense(8, name="last")(long)
    short = keras.layers.Dense(8, name="one")(inputs)
    short = keras.layers.Dense(8, name="two")(short)
    dense = keras.Model(inputs, long + short)
    sparse = upcycle(dense, 4, layers=[("up", "down")])
    np.testing.assert_allclose(
        run(sparse, tokens), run(dense, tokens), rtol=1e-5, atol=1e-5
    )


@pytest.mark.once
def test_layers_of_a_model_inside_of_a_model_are_found(tokens, run):
    inner_inputs = keras.Input(tokens.shape[1:])
    inner = keras.Model(inner_inputs, FeedForward(12)(inner_inputs))
    inputs = keras.Input(tokens.shape[1:])
    dense = keras.Model(inputs, keras.layers.Dense(8)(inner(inputs)))
    sparse = upcycle(dense, 4)
    np.testing.assert_allclose(
        run(sparse, tokens), run(dense, tokens), rtol=1e-5, atol=1e-5
    )


@pytest.mark.once
def test_a_layer_that_its_parent_makes_itself_is_not_found(tokens):
    class Own(keras.layers.Layer):
        def build(self, inputs_shape):
            self.feed_forward = FeedForward(12)
            self.feed_forward.build(inputs_shape)

        def call(self, inputs):
            return self.feed_forward(inputs)

    inputs = keras.Input(tokens.shape[1:])
    with pytest.raises(ValueError, match="part of its parent's configuration"):
        upcycle(keras.Model(inputs, Own()(inputs)), 4)


@pytest.mark.once
def test_a_router_with_other_axes_is_refused():
    old = HierarchicalRouter(4, 2)
    old.build((None, 8))
    new = HierarchicalRouter(6, 2)
    new.build((None, 8))
    with pytest.raises(ValueError, match="one axis for the experts"):
        mix_router(old, new, np.eye(5, 4))


@pytest.mark.once
def test_experts_are_found_where_sizes_agree(tokens):
    # H = E: the axis is the one that changes.
    layer = SparseMoE(8, 8)
    layer.build(tokens.shape)
    larger = SparseMoE(9, 8)
    larger.build(tokens.shape)
    from keras_moe.surgery.expert_axis import mix_experts

    mix_experts(layer, larger, np.eye(9, 8)[[*range(8), 7]])
    np.testing.assert_array_equal(
        ops.convert_to_numpy(larger.router.kernel)[:, 8],
        ops.convert_to_numpy(layer.router.kernel)[:, 7],
    )


@pytest.mark.once
def test_a_router_that_two_layers_share_is_refused(tokens):
    router = TopKRouter(4, name="router")
    inputs = keras.Input(tokens.shape[1:])
    x = SparseMoE(4, 6, router=router)(inputs)
    model = keras.Model(inputs, SparseMoE(4, 6, router=router)(x))
    with pytest.raises(ValueError, match="part of one layer each.*router"):
        add_experts(model, 1, sources=[0])


def test_a_new_model_is_whole_after_the_given_one_is_trained(tokens, run):
    inputs = keras.Input(tokens.shape[1:])
    x = keras.layers.Dense(8, name="other")(inputs)
    dense = keras.Model(inputs, FeedForward(6, gated=False)(x))
    sparse = upcycle(dense, 4)
    before = run(sparse, tokens)
    dense.compile("sgd", "mean_squared_error")
    dense.train_on_batch(tokens, tokens)
    np.testing.assert_array_equal(run(sparse, tokens), before)
