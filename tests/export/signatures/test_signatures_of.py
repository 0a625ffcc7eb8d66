"""Which model answers what."""

import keras
import numpy as np
import pytest

from keras_moe.export.model_inputs import ModelInput
from keras_moe.export.signatures import Signature
from keras_moe.export.signatures import signatures_of
from tests.models.small_backbones import ALL
from tests.models.small_backbones import make_task

pytestmark = pytest.mark.once

TOKENS = ["token_ids", "padding_mask"]
BOTH = [f"{side}_{name}" for side in ("encoder", "decoder") for name in TOKENS]
OPTIONS = [
    "max_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "seed",
    "stop_token_ids",
]


def names_of(signature):
    return [each.name for each in signature.inputs]


@pytest.mark.parametrize("family", ALL)
def test_every_family_has_its_signatures(family):
    model = make_task(family, num_layers=1)
    found = signatures_of(model)
    if family == "switch_classifier":
        sequences, expected = TOKENS, ["embed"]
    else:
        sequences = BOTH if "switch" in family else TOKENS
        expected = ["generate", "score", "embed"]
        assert names_of(found["generate"]) == sequences + OPTIONS
        assert names_of(found["score"]) == sequences
    assert names_of(found["embed"]) == TOKENS
    if "router_stats" in found:  # Some families' first layer is dense.
        assert names_of(found["router_stats"]) == sequences
        expected = [*expected, "router_stats"]
    assert [*found] == expected
    assert "router_stats" in signatures_of(make_task(family))


def test_options_have_defaults_and_tokens_have_none():
    found = signatures_of(make_task("mixtral", vocabulary_size=256))
    inputs = {each.name: each for each in found["generate_text"].inputs}
    assert inputs["prompt"] == ModelInput("prompt", (None,), "string")
    assert [inputs[name].default for name in OPTIONS] == [
        [64],
        [0.0],
        [0],
        [1.0],
        [0],
        [[-1]],
    ]
    assert all(each.default is None for each in found["score"].inputs)


def test_the_stop_tokens_are_those_of_the_tokenizer():
    model = make_task("mixtral", num_layers=1)

    class Tokenizer:
        stop_token_ids = [7, 9]

        def vocabulary_size(self):
            return 48

    class Preprocessor:
        tokenizer = Tokenizer()

    model.preprocessor = Preprocessor()
    stops = signatures_of(model)["generate"].inputs[-1]
    assert stops == ModelInput(
        "stop_token_ids", (None, None), "int32", [[7, 9]]
    )


def test_other_models_have_none():
    assert signatures_of(keras.Sequential([keras.layers.Dense(2)])) == {}
    assert signatures_of(make_task("mixtral", num_layers=1).backbone) == {}


def test_a_signature_fills_in_defaults_and_refuses_other_names():
    signature = Signature(
        lambda model, tensors: (model, tensors),
        (
            ModelInput("needed", (None,), "int32"),
            ModelInput("seed", (None,), "int32", [5]),
        ),
    )
    _, tensors = signature("model", {"needed": 3})
    assert tensors["needed"] == 3
    np.testing.assert_array_equal(tensors["seed"], np.array([5], "int32"))
    assert signature("model", {"needed": 3, "seed": 4})[1]["seed"] == 4
    for wrong in ({}, {"seed": 4}, {"needed": 3, "other": 4}):
        with pytest.raises(ValueError, match=r"inputs \['needed'\].*seed"):
            signature("model", wrong)
