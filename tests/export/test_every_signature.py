"""Tasks of every kind leave with all signatures, and answer as before."""

import keras
import numpy as np
import pytest

from keras_moe.export import export_saved_model
from keras_moe.export.description import read_description
from keras_moe.export.endpoints import describe_signatures
from tests.models.small_backbones import make_task

EXPECTED = {
    "mixtral": {"embed", "generate", "router_stats", "score"},
    "deepseek_v3": {"embed", "generate", "router_stats", "score"},
    "switch": {"embed", "generate", "router_stats", "score"},
    "switch_classifier": {"embed", "router_stats"},
}


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("family", EXPECTED)
def test_all_signatures_are_verified(family, tmp_path):
    task = make_task(family)
    # Far from ties, which small untrained models are full of.
    generator = np.random.default_rng(0)
    for weight in task.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(0.5 * generator.standard_normal(weight.shape))
    path = export_saved_model(task, tmp_path / "model", verbose=False)
    described = read_description(path)
    expected = {"serving_default", *EXPECTED[family]}
    assert {*described["signatures"]} == expected
    assert described["largest_difference"] < 1e-3


@pytest.mark.once
def test_signatures_are_chosen_by_name():
    task = make_task("mixtral", num_layers=1)
    chosen = describe_signatures(task, ["embed", "serving_default"])
    assert [x.name for x in chosen] == ["embed"]
    assert describe_signatures(task, ()) == ()


@pytest.mark.once
@pytest.mark.parametrize("signatures", ["generate", ["unknown"]])
def test_refuses_signatures_that_a_model_does_not_have(signatures, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="Pass .. for serving_default alone"):
        export_saved_model(model, tmp_path / "model", signatures=signatures)
