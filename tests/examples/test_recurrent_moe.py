"""The model of examples/recurrent_moe.py computes what the paper says."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import SparseMoE
from keras_moe.models.parameter_counts import count_variables
from keras_moe.testing import moe

PATH = Path(__file__).parents[2] / "examples" / "recurrent_moe.py"
H = 4
E = 6


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("recurrent_moe", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weights_of(model, kind):
    """Return the weights of each layer of a kind, as float64 arrays."""
    return [
        [
            np.array(ops.convert_to_numpy(w), "float64")
            for w in layer.trainable_weights
        ]
        for layer in model.layers
        if isinstance(layer, kind)
    ]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, kernel, recurrent_kernel, bias):
    """Run Keras' gates (input, forget, cell, output) over the time steps."""
    state = cell = np.zeros((len(x), H))
    outputs = []
    for step in range(x.shape[1]):
        gates = x[:, step] @ kernel + state @ recurrent_kernel + bias
        i, f, c, o = np.split(gates, 4, axis=-1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
        state = sigmoid(o) * np.tanh(cell)
        outputs.append(state)
    return np.stack(outputs, axis=1)


def test_experts_see_each_time_step_between_two_lstms(example):
    # Appendix C.1: every layer's input is added to its output, and the
    # experts' output goes through a sigmoid before.
    model = example.make_model("MoE", H, E, dropout=0.3)
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(rng.normal(size=weight.shape))
    embeddings = weights_of(model, keras.layers.Embedding)[0][0]
    first, second = weights_of(model, keras.layers.LSTM)
    ((router, _, up, down),) = weights_of(model, SparseMoE)
    ((kernel, bias),) = weights_of(model, keras.layers.Dense)

    token_ids = np.array([[3, 200, 3, 7, 7], [9, 3, 0, 255, 31]])
    x = embeddings[token_ids]
    x = x + lstm(x, *first)
    # Without noise outside training.
    x = x + sigmoid(
        moe(x, router, None, up, down, top_k=4, activation="relu").outputs
    )
    x = x + lstm(x, *second)
    expected = x @ kernel + bias
    # Sums of some ten float32 numbers, in five layers and five steps.
    actual = np.array(model.predict_on_batch(token_ids))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-6 * scale)


@pytest.mark.once
def test_the_baselines_cost_as_much_within_two_percent(example):
    products = {}
    for middle in ("MoE", "4xLSTM", "MoE-1-Wide"):
        model = example.make_model(middle, hidden_dim=64, num_experts=16)
        embeddings = model.layers[1].embeddings
        counts = count_variables(model, looked_up=[embeddings])
        products[middle] = counts.flops_per_token // 2
    # Two LSTMs of 8 H^2, 16 H^2 in between, the softmax V H; 2 H E of gating.
    assert products["4xLSTM"] == products["MoE-1-Wide"] == 32 * 64**2 + 256 * 64
    assert products["MoE"] == products["4xLSTM"] + 2 * 64 * 16
    assert products["MoE"] < 1.02 * products["4xLSTM"]
