"""Files of version 0.1 load, and compute and train as they did then.

The archive was written by version 0.1 on PyTorch: for each model a `.keras`
file, and its inputs, outputs, loss and the step of one `SGD(1.0)` on every
weight, which is the gradient. The numbers hold for later versions too.
"""

import pathlib
import tarfile

import keras
import numpy as np
import pytest
from keras import ops

import keras_moe.layers
import keras_moe.models

ARCHIVE = pathlib.Path(__file__).with_name("files_of_0_1.tar.xz")
MODELS = (
    "mixtral",
    "layers",
    "deepseek_v3",
    "switch",
    "switch_classifier",
    "dbrx",
    "deepseek_v2",
    "grok1",
    "olmoe",
    "openmoe",
    "qwen2_moe",
    "qwen3_moe",
)
# Sums of a few hundred float32 numbers, in another order on each backend.
TOLERANCE = 5e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files_of_0_1")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def read_numbers(folder, name):
    """Return inputs, targets, outputs, loss and steps of one model."""
    numbers = dict(np.load(folder / f"{name}.npz"))
    inputs = {
        key.removeprefix("input:"): value
        for key, value in numbers.items()
        if key.startswith("input:")
    }
    steps = [value for key, value in numbers.items() if key.startswith("step:")]
    return inputs.get("x", inputs), numbers, steps


def train_one_step(model, inputs, targets):
    """Return the loss and what SGD(1.0) adds to each weight."""
    loss = "mse"
    if targets.dtype != np.float32:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss)
    before = model.get_weights()
    logs = model.train_on_batch(inputs, targets, return_dict=True)
    after = model.get_weights()
    return float(logs["loss"]), [
        new - old for new, old in zip(after, before, strict=True)
    ]


def assert_close(actual, expected, name):
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=TOLERANCE * scale, err_msg=name
    )


@pytest.mark.sweep
@pytest.mark.parametrize("name", MODELS)
def test_a_model_computes_and_trains_as_then(folder, name):
    inputs, numbers, steps = read_numbers(folder, name)
    model = keras.saving.load_model(folder / f"{name}.keras")
    outputs = ops.convert_to_numpy(model(inputs, training=False))
    assert_close(outputs, numbers["outputs"], "outputs")
    loss, now = train_one_step(model, inputs, numbers["targets"])
    assert loss == pytest.approx(float(numbers["loss"]), rel=TOLERANCE)
    assert len(now) == len(steps)
    for weight, step, then in zip(model.weights, now, steps, strict=True):
        assert_close(step, then, weight.path)


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3"])
def test_a_preset_loads_as_then(folder, name):
    inputs, numbers, _ = read_numbers(folder, name)
    model = keras_moe.models.SparseCausalLM.from_preset(
        str(folder / f"{name}_preset"), preprocessor=None
    )
    outputs = ops.convert_to_numpy(model(inputs, training=False))
    assert_close(outputs, numbers["outputs"], "outputs")


def test_training_goes_on_with_the_optimizer_of_then(folder):
    model = keras.saving.load_model(folder / "layers.keras")
    assert int(ops.convert_to_numpy(model.optimizer.iterations)) == 3
    (router,) = (
        layer.routed_experts.router
        for layer in model.layers
        if isinstance(layer, keras_moe.layers.SharedExpertMoE)
    )
    # Three updates of the selection bias by 0.01 each, some of them undone.
    bias = ops.convert_to_numpy(router.expert_bias)
    assert np.max(np.abs(bias)) == pytest.approx(0.03, rel=1e-5)
