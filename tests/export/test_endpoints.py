"""Further signatures: what they answer, and what is refused before work."""

import functools
import os
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.export import export_saved_model
from keras_moe.export import verify_saved_model
from tests.models.small_backbones import make_task

TOKENS = keras.InputSpec(shape=(None, None), dtype="int32")
FACTOR = keras.InputSpec(shape=(None,), dtype="float32")


@pytest.fixture(scope="module")
def task():
    """A small language model with a sliding window of 3."""
    keras.utils.set_random_seed(0)
    return make_task("mixtral", num_layers=1, sliding_window=3)


@pytest.fixture(scope="module")
def exported_task(task, custom_layers, export_once):
    """Folder of a version with four further signatures."""
    masked = {"token_ids": TOKENS, "padding_mask": TOKENS}
    scalar = keras.InputSpec(shape=(), dtype="float32")
    return export_once(
        task,
        "endpoints",
        endpoints={
            "score": (custom_layers.score, masked),
            "logits": ("score", masked),
            "continued": (
                custom_layers.continue_greedily,
                {"token_ids": TOKENS, "temperature": scalar},
            ),
            "scaled": (
                custom_layers.scaled,
                {"factor": FACTOR, **masked},
                {"factor": [3.0]},
            ),
        },
    )


@pytest.mark.exhaustive
@pytest.mark.slow
def test_every_endpoint_answers_as_the_model_does(task, exported_task):
    tf = pytest.importorskip("tensorflow")
    loaded = tf.saved_model.load(str(exported_task))
    assert {*loaded.signatures} == {
        "continued",
        "logits",
        "scaled",
        "score",
        "serve",
        "serving_default",
    }
    rng = np.random.default_rng(0)
    for batch_size, length in ((1, 2), (3, 5)):
        inputs = {
            "token_ids": rng.integers(1, 48, (batch_size, length), "int32"),
            "padding_mask": np.ones((batch_size, length), "int32"),
        }
        logits = ops.convert_to_numpy(task.predict_on_batch(inputs))
        served = loaded.signatures["logits"](**inputs)["output_0"].numpy()
        np.testing.assert_allclose(served, logits, rtol=1e-5, atol=1e-5)
        # By hand: x - log(sum(exp(x))), of the token that comes next.
        scores = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        following = inputs["token_ids"][:, 1:, None]
        expected = np.take_along_axis(scores[:, :-1], following, axis=-1)
        served = loaded.signatures["score"](**inputs)["log_probabilities"]
        assert served.dtype == tf.float32
        # The function gives float16, of 11 bits, of scores up to 8.
        np.testing.assert_allclose(
            served.numpy(), expected[..., 0], atol=8 * 2**-11
        )
        served = loaded.signatures["continued"](
            token_ids=inputs["token_ids"], temperature=np.float32(0.5)
        )
        assert served["temperature"] == 1.0
        token_ids = inputs["token_ids"]
        for _ in range(2):
            logits = task.predict_on_batch(
                {
                    "token_ids": token_ids,
                    "padding_mask": np.ones_like(token_ids),
                }
            )
            best = logits[:, -1].argmax(axis=-1)[:, None]
            token_ids = np.concatenate([token_ids, best], axis=1)
        np.testing.assert_array_equal(served["token_ids"], token_ids[:, -2:])


@pytest.mark.once
@pytest.mark.slow
def test_an_input_with_a_default_may_be_left_out(task, exported_task):
    pytest.importorskip("tensorflow")
    from tensorflow.core.protobuf import saved_model_pb2

    contents = (exported_task / "saved_model.pb").read_bytes()
    saved = saved_model_pb2.SavedModel.FromString(contents)
    signatures = saved.meta_graphs[0].signature_def
    # Where servers look for it.
    assert [*signatures["scaled"].defaults] == ["factor"]
    assert signatures["scaled"].defaults["factor"].float_val == [3.0]
    assert not signatures["score"].defaults
    assert {*signatures["scaled"].inputs} == {
        "factor",
        "padding_mask",
        "token_ids",
    }


@pytest.mark.sweep
@pytest.mark.slow
def test_the_default_signature_is_verified_as_before(task, exported_task):
    result = verify_saved_model(
        task, exported_task, batch_shapes=((2, 3),), verbose=False
    )
    assert result.largest_difference < 1e-5


def in_script(model, tensors):
    return tensors


in_script.__module__ = "__main__"


@pytest.mark.parametrize(
    ("endpoints", "message"),
    [
        ([("score", "score")], "Expected endpoints to be a dict"),
        ({"serving_default": ("score", {})}, "Received: 'serving_default'"),
        ({"variables": ("score", {})}, "Received: 'variables'"),
        ({"two words": ("score", {})}, "identifier.*'two words'"),
        ({"score": "score"}, "'score' to be a pair of function and sig"),
        ({"score": ("score", {}, {}, {})}, "or these and a dict of defaults"),
        ({"score": ("score", {})}, "to be a dict from input name.*{}"),
        (
            {"score": ("scores", {"token_ids": TOKENS})},
            "method of MixtralCausalLM. Received: 'scores'",
        ),
        (
            {"score": ("score", {"tokens": TOKENS})},
            r"arguments of score. Received: \['tokens'\].*Wrap the method",
        ),
        (
            {"score": (lambda model, x: x, {"token_ids": TOKENS})},
            "top level of a module.*lambda.*Define it with `def`",
        ),
        (
            {"score": (functools.partial(len), {"token_ids": TOKENS})},
            "top level of a module.*partial",
        ),
        (
            {"score": (in_script, {"token_ids": TOKENS})},
            "top level of a module.*in_script.*'__main__'",
        ),
        (
            {"score": ("score", {"token_ids": keras.InputSpec(ndim=2)})},
            "signature of input 'token_ids'.*and a dtype",
        ),
        (
            {"score": ("score", {"x": keras.InputSpec(shape=(None, 2))})},
            "signature of input 'x'.*and a dtype",
        ),
        (
            {"score": ("score", {"token_ids": TOKENS}, {"x": [0]})},
            r"defaults to be a dict from names among \['token_ids'\].*'x'",
        ),
        (
            {"score": ("score", {"token_ids": TOKENS}, {"token_ids": [0]})},
            r"default of input 'token_ids' to fit.*\(None, None\).*\(1,\)",
        ),
    ],
)
@pytest.mark.once
def test_refuses_before_work_starts(
    task, tmp_path, monkeypatch, endpoints, message
):
    script = sys.modules["__main__"]
    monkeypatch.setattr(script, "in_script", in_script, raising=False)
    with pytest.raises(ValueError, match=message):
        export_saved_model(task, tmp_path / "model", endpoints=endpoints)
    assert os.listdir(tmp_path) == []


@pytest.mark.once
def test_refuses_a_function_inside_of_another(task, tmp_path):
    def score(model, tensors):
        return tensors

    with pytest.raises(ValueError, match="top level of a module.*<locals>"):
        export_saved_model(
            task,
            tmp_path / "model",
            endpoints={"score": (score, {"token_ids": TOKENS})},
        )
