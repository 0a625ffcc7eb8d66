"""What every router owes; a line in the table is enough to be tested."""

import json
import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import ExpertBias
from keras_moe.layers import ROUTERS

GROUPS, LENGTH, HIDDEN = 2, 4, 5
by_router = pytest.mark.parametrize("name", ROUTERS)


def numpy(tensor):
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


def run(step, draw, mask=None):
    """A training step of tokens with a cotangent, both drawn."""
    if mask is None:
        mask = np.ones((GROUPS, LENGTH), bool)
    return step(
        draw(GROUPS, LENGTH, HIDDEN),
        mask,
        draw(GROUPS, LENGTH, HIDDEN, seed=1),
    )


def assert_equal(result, expected):
    # Two programs, which may order sums differently.
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(result.outputs, expected.outputs, **close)
    np.testing.assert_allclose(result.losses, expected.losses, **close)
    assert result.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        if gradient is None:
            # What a backend calls disconnected may be zeros elsewhere.
            assert not np.any(result.gradients[name])
            continue
        np.testing.assert_allclose(
            result.gradients[name], gradient, **close, err_msg=name
        )


@pytest.mark.once
@by_router
def test_a_config_brings_a_router_back(name, make_router):
    router = make_router(name)
    text = json.dumps(keras.saving.serialize_keras_object(router))
    revived = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(revived) is ROUTERS[name]
    assert revived.get_config() == router.get_config()
    copy = router.copy(balancing=None, name="other")
    assert (type(copy), copy.balancing) == (ROUTERS[name], [])


@pytest.mark.sweep(first=1)
@by_router
def test_a_model_comes_back_from_a_keras_file(
    name, make_layer, fill_weights, draw, tmp_path
):
    inputs = keras.Input((LENGTH, HIDDEN))
    layer = make_layer(name)
    model = keras.Model(inputs, layer(inputs))
    fill_weights(layer)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    paths = [weight.path for weight in model.weights]
    assert [weight.path for weight in loaded.weights] == paths
    tokens = draw(GROUPS, LENGTH, HIDDEN)
    expected = numpy(model(tokens))
    assert np.any(expected)
    np.testing.assert_allclose(
        numpy(loaded(tokens)), expected, rtol=1e-5, atol=1e-6
    )


@by_router
def test_a_router_by_itself_is_a_node_of_a_functional_model(name, make_router):
    router = make_router(name)
    routing_inputs = {}
    inputs = [keras.Input((LENGTH, HIDDEN))]
    if name == "hash":
        inputs.append(keras.Input((LENGTH,), dtype="int32"))
        routing_inputs["token_ids"] = inputs[1]
    plan = router(inputs[0], **routing_inputs)
    assert isinstance(plan, router.plan_class)
    assert all(part.shape[0] is None for part in keras.tree.flatten(plan[:2]))
    keras.Model(inputs, list(plan[:2]))


@pytest.mark.sweep
@by_router
def test_eager_is_equal_to_compiled(
    name, make_layer, make_step, fill_weights, draw, backend
):
    if backend == "torch":
        pytest.skip("nothing is compiled on PyTorch")

    def start(form):
        layer = make_layer(name)
        layer.build((None, None, HIDDEN))
        fill_weights(layer)
        return make_step(layer, form)

    step = start("eager")
    eager = run(step, draw)
    if backend == "tensorflow":
        again = [run(step, draw).outputs for _ in range(5)]
        if any(not np.array_equal(each, eager.outputs) for each in again):
            pytest.skip("TensorFlow draws other numbers when it compiles")
    assert_equal(run(start("compiled"), draw), eager)


@pytest.mark.sweep(first=1)
@by_router
def test_rematerialized_is_equal_to_plain(
    name, make_layer, make_step, fill_weights, draw, form
):
    results = []
    for mode in ("full", None):
        with keras.RematScope(mode=mode):
            layer = make_layer(name)
            layer.build((None, None, HIDDEN))
        fill_weights(layer)
        results.append(run(make_step(layer, form), draw))
    assert_equal(*results)


@pytest.mark.sweep
@by_router
def test_extreme_inputs_give_finite_outputs_and_gradients(
    name, make_layer, make_step, fill_weights, draw, form
):
    def check(num_experts, top_k, cases, shape=(GROUPS, LENGTH), **changes):
        layer = make_layer(name, num_experts, top_k, **changes)
        layer.build((None, None, HIDDEN))
        fill_weights(layer)
        router = layer.sparse.router
        if changes and hasattr(router, "kernel"):
            router.kernel.assign(np.ones(router.kernel.shape))
        step = make_step(layer, form)
        cotangent = draw(*shape, HIDDEN, seed=1)
        for case, (tokens, mask) in cases.items():
            mask = np.broadcast_to(np.array(mask, bool), shape)
            tokens = np.broadcast_to(tokens, (*shape, HIDDEN))
            result = step(tokens.astype("float32"), mask, cotangent)
            assert np.all(np.isfinite(result.outputs)), case
            assert np.all(np.isfinite(result.losses)), case
            for path, gradient in result.gradients.items():
                finite = gradient is None or np.all(np.isfinite(gradient))
                assert finite, (case, path)

    tokens = draw(GROUPS, LENGTH, HIDDEN)
    cases = {
        "all padding": (tokens, False),
        "zeros": (0 * tokens, True),
        "logits of 1e4": (1e4 * tokens, True),
        "small": (1e-20 * tokens, True),
    }
    check(4, 2, cases)
    # Sigmoid's scores: all of a token's are 0, or all are 1.
    underflow = {
        "logits of -1e4": (-1e4 * np.abs(tokens), True),
        "logits of 1e4": (1e4 * np.abs(tokens), True),
    }
    check(4, 2, underflow, score_function="sigmoid")
    one_token = {"one token": (draw(1, 1, HIDDEN), True)}
    check(1, 1, one_token, shape=(1, 1))
    check(2, 2, one_token, shape=(1, 1))


@pytest.mark.once
@by_router
def test_a_selection_bias_is_heeded_or_refused(name, make_layer, draw):
    try:
        layer = make_layer(name, balancing=ExpertBias())
        layer.build((None, None, HIDDEN))
        router = layer.sparse.router
        # For expert 1 of every token, if anything is.
        router.expert_bias.assign(1e3 * np.eye(router.num_experts)[1])
        layer(draw(GROUPS, LENGTH, HIDDEN))
    except ValueError as error:
        assert re.search("Leave (it|the rule) out", str(error))
        return
    indices = numpy(router(draw(GROUPS, LENGTH, HIDDEN)).expert_indices)
    assert np.all(np.any(indices == 1, axis=-1))
