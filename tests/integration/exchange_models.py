"""Run by `test_backends_agree.py`, once on each backend, in one folder.

Saves a model with the weights of the folder, waits for the files of the other
backends, and writes what each file gives: `<reader>-<writer>.npz`.

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
        eval_capacity_factor=0.6,
        dispatcher="capacity",
        priority="score",
        router=TopKRouter(EXPERTS, 3, score_function="sigmoid"),
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


def exchange(folder, writers):
    """Save a model, then read those of all writers."""
    folder = pathlib.Path(folder)
    reader = keras.config.backend()
    model = make_model()
    model.set_weights(draw_weights(model))
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
