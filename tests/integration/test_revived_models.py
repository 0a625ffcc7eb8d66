"""A revived model is the model that was built: paths, losses, gradients."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import DecoderBlock
from keras_moe.blocks import GroupedQueryAttention
from keras_moe.blocks import T5DecoderBlock
from keras_moe.blocks import T5EncoderBlock
from keras_moe.layers import FeedForward
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter

HIDDEN = 8


def two_layers():
    """Two sparse layers whose routers have the same name."""
    inputs = x = keras.Input((3, HIDDEN))
    for _ in range(2):
        x = x + SparseMoE(4, 4)(x)
    return keras.Model(inputs, x)


def every_parent():
    """Every layer that takes layers as arguments, twice where it matters."""
    inputs = x = keras.Input((3, HIDDEN))
    x = SharedExpertMoE(4, 4)(x)
    x = SharedExpertMoE(4, 4, router=TopKRouter(4, 1, name="router"))(x)
    for sparse in (SparseMoE, SharedExpertMoE):
        x = DecoderBlock(
            GroupedQueryAttention(2, 1, name="attention"),
            sparse(4, 4, name="feed_forward"),
            extra_feed_forward=FeedForward(4, name="extra"),
        )(x)
    x = DecoderBlock(
        GroupedQueryAttention(2, 1, name="attention"),
        keras.Sequential(
            [keras.layers.Dense(4), keras.layers.Dense(HIDDEN)],
            name="feed_forward",
        ),
    )(x)
    x = T5EncoderBlock(2, 4, SparseMoE(4, 4, name="sparse"))(x)
    x = T5DecoderBlock(
        2,
        4,
        SparseMoE(4, 4, name="sparse"),
        extra_feed_forward=SparseMoE(4, 4, name="sparse"),
    )(x, encoder_outputs=x)
    return keras.Model(inputs, x)


def paths_of(model):
    # Without random states: Keras numbers them through the whole session.
    return [weight.path for weight in model.weights]


def load(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def clone(model, folder):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def from_config(model, folder):
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


@pytest.mark.parametrize("revive", [load, clone, from_config])
def test_every_variable_keeps_its_path(revive, tmp_path):
    built = every_parent()
    revived = revive(built, tmp_path)
    assert paths_of(revived) == paths_of(built)
    paths = [variable.path for variable in revived.variables]
    assert len(set(paths)) == len(paths)
    revived.compile("sgd", "mse")
    # Raises if two variables have one path.
    state = revived.get_state_tree()
    assert keras.tree.flatten(state["trainable_variables"])


@pytest.mark.sweep
def test_training_goes_on_with_the_same_losses(tmp_path):
    models = [two_layers()]
    models.append(load(models[0], tmp_path))
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(2, 4, 3, HIDDEN)).astype("float32")
    losses = []
    for model in models:
        model.compile(keras.optimizers.SGD(0.5), "mse")
        losses.append(
            [float(model.train_on_batch(inputs, targets)) for _ in range(4)]
        )
    # The same program on the same numbers; a sum may run in another order.
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert losses[0][-1] < losses[0][0]


def test_pytorch_sees_each_variable_once(backend, tmp_path):
    if backend != "torch":
        pytest.skip("PyTorch's own parameters")
    revived = load(two_layers(), tmp_path)
    inputs = ops.ones((2, 3, HIDDEN))
    parameters = {id(each) for each in revived.parameters()}
    variables = revived.trainable_variables
    assert parameters >= {id(variable.value) for variable in variables}
    for _ in range(2):
        revived.zero_grad()
        ops.sum(revived(inputs, training=True)).backward()
    gradients = [variable.value.grad.clone() for variable in variables]
    revived.zero_grad()
    assert all(variable.value.grad is None for variable in variables)
    ops.sum(revived(inputs, training=True)).backward()
    for variable, twice in zip(variables, gradients, strict=True):
        # Not a sum over both passes.
        np.testing.assert_allclose(variable.value.grad, twice, rtol=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class LayersInLists(keras.layers.Layer):
    """A part without `build` that holds layers, made as Keras allows it."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(4, name="hidden")
        self.output_dense = keras.layers.Dense(units, name="output")

    def call(self, inputs):
        return self.output_dense(self.hidden(inputs))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_a_part_without_build_is_built_with_its_block(tmp_path):
    inputs = keras.Input((3, HIDDEN))
    block = DecoderBlock(
        GroupedQueryAttention(2, 1, name="attention"),
        LayersInLists(HIDDEN, name="feed_forward"),
        name="block",
    )
    built = keras.Model(inputs, block(inputs))
    revived = load(built, tmp_path)
    assert "block/feed_forward/hidden/kernel" in paths_of(built)
    assert paths_of(revived) == paths_of(built)
    x = np.ones((1, 3, HIDDEN), "float32")
    np.testing.assert_allclose(
        revived.predict(x, verbose=0), built.predict(x, verbose=0), rtol=1e-6
    )


def test_a_router_that_two_layers_share_stays_shared(tmp_path):
    router = TopKRouter(4, 2, name="router")
    inputs = x = keras.Input((3, HIDDEN))
    for _ in range(2):
        x = x + SparseMoE(4, 4, router=router)(x)
    built = keras.Model(inputs, x)
    revived = load(built, tmp_path)
    first, second = (
        layer for layer in revived.layers if isinstance(layer, SparseMoE)
    )
    assert first.router is second.router
    assert paths_of(revived) == paths_of(built)
    x = np.random.default_rng(0).normal(size=(2, 3, HIDDEN))
    np.testing.assert_allclose(
        revived.predict(x, verbose=0), built.predict(x, verbose=0), rtol=1e-5
    )
