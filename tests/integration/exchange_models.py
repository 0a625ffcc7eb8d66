"""Run by `test_backends_agree.py`, once on each backend, in one folder.

Saves a model of layers and a task with its optimizer, waits for the files of
the other backends, and writes what each file gives: `<reader>-<writer>.npz` and
`trained-<reader>-<writer>.npz`.

    python exchange_models.py FOLDER WRITER...
"""

import pathlib
import sys
import time

import keras
import numpy as np

from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from keras_moe.routing import Capacity

HIDDEN, LENGTH, EXPERTS = 6, 7, 5
PATIENCE = 240  # seconds


def make_model():
    """A model of every kind of layer, which also shows a routing plan."""
    inputs = keras.Input((None, HIDDEN))
    plan = TopKRouter(EXPERTS, 2, name="shown")(inputs)
    x = inputs + SparseMoE(EXPERTS, 4, name="gated")(inputs)
    x = x + SparseMoE(
        EXPERTS,
        4,
        gated=False,
        activation="gelu",
        strategy="slots",
        router=TopKRouter(
            EXPERTS,
            3,
            score_function="sigmoid",
            capacity=Capacity(eval_factor=0.6, priority="score"),
        ),
        name="plain",
    )(x)
    x = x + SharedExpertMoE(
        EXPERTS, 4, 1, use_shared_expert_gate=True, name="shared"
    )(x)
    return keras.Model(inputs, [x, plan.expert_indices, plan.combine_weights])


def draw_weights(model):
    """Draw numbers that do not depend on the backend's random generator."""
    rng = np.random.default_rng(5)
    return [rng.normal(0.0, 0.5, shape) for shape in _shapes(model)]


def make_trained_task():
    """A language model with an optimizer that seems to have made steps."""
    task = MixtralCausalLM(
        MixtralBackbone(
            vocabulary_size=20,
            num_layers=2,
            num_query_heads=2,
            num_key_value_heads=1,
            hidden_dim=HIDDEN,
            intermediate_dim=4,
            num_experts=EXPERTS,
        )
    )
    task.compile("adam", "sparse_categorical_crossentropy")
    task.optimizer.build(task.trainable_variables)
    task.set_weights(draw_weights(task))
    rng = np.random.default_rng(7)
    for variable in task.optimizer.variables:
        variable.assign(rng.uniform(1.0, 9.0, variable.shape))
    return task


def state(task):
    """The numbers of a task and its optimizer, by name."""
    variables = [*task.weights, *task.optimizer.variables]
    return {
        # How many optimizers were made before is in the first name.
        variable.path.replace("/", "|").partition("adam")[2]
        or variable.path.replace("/", "|"): keras.ops.convert_to_numpy(variable)
        for variable in variables
    }


def exchange(folder, writers):
    """Save a model, then read those of all writers."""
    folder = pathlib.Path(folder)
    reader = keras.config.backend()
    model = make_model()
    model.set_weights(draw_weights(model))
    make_trained_task().save(folder / f"trained-{reader}.keras")
    # Renamed when complete: the others wait for the final name.
    model.save(folder / f"unfinished-{reader}.keras")
    (folder / f"unfinished-{reader}.keras").rename(folder / f"{reader}.keras")
    inputs = np.random.default_rng(6).normal(size=(3, LENGTH, HIDDEN))
    for writer in writers:
        path = folder / f"{writer}.keras"
        start = time.monotonic()
        while not path.exists():
            if time.monotonic() - start > PATIENCE:
                raise TimeoutError(f"{reader} waited in vain for {path}")
            time.sleep(0.2)
        trained = keras.saving.load_model(folder / f"trained-{writer}.keras")
        np.savez(folder / f"trained-{reader}-{writer}.npz", **state(trained))
        loaded = keras.saving.load_model(path)
        outputs, indices, weights = loaded.predict(
            inputs.astype("float32"), verbose=0
        )
        np.savez(
            folder / f"{reader}-{writer}.npz",
            outputs=outputs,
            expert_indices=indices,
            combine_weights=weights,
            **dict(zip(_paths(loaded), loaded.get_weights(), strict=True)),
        )


def _shapes(model):
    return [weight.shape for weight in model.weights]


def _paths(model):
    return [weight.path.replace("/", "|") for weight in model.weights]


if __name__ == "__main__":
    exchange(sys.argv[1], sys.argv[2:])
