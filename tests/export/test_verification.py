"""Verification: it finds what differs, and reports what it tried."""

import json

import keras
import numpy as np
import pytest

from keras_moe.export import VerificationResult
from keras_moe.export import answers
from keras_moe.export import verify_saved_model


@pytest.fixture
def saved_model(tmp_path):
    """Folder that passes for a SavedModel until somebody loads it."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_text("")
    return tmp_path


@pytest.fixture
def answer(monkeypatch):
    """Let a function answer `serving_default` in place of the child process."""

    def install(report, outputs=None):
        report = {"signatures": {"serving_default": report}, **report}
        outputs = {
            f"serving_default/{name}": array
            for name, array in (outputs or {}).items()
        }

        def run(arguments, task, verbose):
            job_file = answers.pathlib.Path(arguments[-1])
            job = json.loads(job_file.read_text())
            job_file.with_name("report.json").write_text(json.dumps(report))
            np.savez(job["results"], **outputs)

        monkeypatch.setattr(answers, "run_tensorflow_process", run)

    return install


def dense_model():
    """Model that doubles its input."""
    inputs = keras.Input((2,), name="x")
    dense = keras.layers.Dense(2, use_bias=False)
    model = keras.Model(inputs, {"y": dense(inputs)})
    dense.set_weights([2.0 * np.eye(2)])
    return model


@pytest.mark.sweep
@pytest.mark.slow
def test_an_export_agrees_where_its_model_has_not_changed(
    language_model, exported, token_batch
):
    logits = language_model.get_layer("logits")
    logits.bias.assign_add(np.full(50, 0.5, "float32"))
    try:
        result = verify_saved_model(
            language_model,
            exported.parent,
            samples=[token_batch, {k: v[:1] for k, v in token_batch.items()}],
            verbose=False,
        )
    finally:
        logits.bias.assign_add(np.full(50, -0.5, "float32"))
    assert isinstance(result, VerificationResult)
    assert result.path == exported
    assert [x["token_ids"] for x in result.shapes] == [(2, 5), (1, 5)]
    assert [x["padding_mask"] for x in result.shapes] == [(2, 5), (1, 5)]
    assert result.differences["logits"] == pytest.approx(0.5, abs=1e-5)
    assert result.largest_difference == result.differences["logits"]
    assert result.signatures == {"serving_default": result.differences}
    # The last place of a bfloat16 below 2.
    assert result.differences["pooled"] <= 2**-7


def test_the_difference_is_the_largest_of_all_samples(saved_model, answer):
    # The model gives 2 and 6; the SavedModel is off by 0.5, then by -0.25.
    answer(
        {"inputs": ["x"], "outputs": ["y"], "samples": 2},
        {
            "0/input/x": np.array([[1.0, 1.0]], "float32"),
            "0/output/y": np.array([[2.0, 2.5]], "float32"),
            "1/input/x": np.array([[3.0, 3.0]], "float32"),
            "1/output/y": np.array([[5.75, 6.0]], "float32"),
        },
    )
    result = verify_saved_model(dense_model(), saved_model)
    assert result.differences == {"y": 0.5}
    assert result.largest_difference == 0.5
    assert result.shapes == ({"x": (1, 2)}, {"x": (1, 2)})
    # 1e-4 of the largest numbers, which are 2 and 6.
    assert result.problems == (
        "serving_default, y: differs by 5.0e-01, more than 2.0e-04",
        "serving_default, y: differs by 2.5e-01, more than 6.0e-04",
    )


@pytest.mark.parametrize(
    ("fed", "served", "expected"),
    [
        (np.nan, np.nan, 0.0),
        (np.inf, np.inf, 0.0),
        (1.0, np.nan, np.inf),
        (np.nan, 2.0, np.inf),
        (np.inf, 2.0, np.inf),
    ],
)
def test_nan_and_infinity_agree_only_with_themselves(
    saved_model, answer, fed, served, expected
):
    inputs = keras.Input((1,), name="x")
    model = keras.Model(inputs, {"y": keras.layers.Rescaling(2.0)(inputs)})
    answer(
        {"inputs": ["x"], "outputs": ["y"], "samples": 1},
        {
            "0/input/x": np.array([[fed]], "float32"),
            "0/output/y": np.array([[served]], "float32"),
        },
    )
    assert verify_saved_model(model, saved_model).largest_difference == expected


def test_an_empty_batch_differs_by_nothing(saved_model, answer):
    answer(
        {"inputs": ["x"], "outputs": ["y"], "samples": 1},
        {
            "0/input/x": np.zeros((0, 2), "float32"),
            "0/output/y": np.zeros((0, 2), "float32"),
        },
    )
    result = verify_saved_model(dense_model(), saved_model)
    assert result[1] == 0.0
    assert result.problems == ()


def test_refuses_a_saved_model_with_other_inputs(saved_model, answer):
    answer({"inputs": ["z"], "outputs": ["y"], "error": "later"})
    with pytest.raises(ValueError, match=r"inputs \['x'\].*inputs \['z'\]"):
        verify_saved_model(dense_model(), saved_model)


def test_refuses_a_saved_model_with_other_outputs(saved_model, answer):
    x = np.ones((1, 2), "float32")
    answer(
        {"inputs": ["x"], "outputs": ["z"], "samples": 1},
        {"0/input/x": x, "0/output/z": x},
    )
    with pytest.raises(ValueError, match=r"outputs \['y'\].*\['z'\].*anew"):
        verify_saved_model(dense_model(), saved_model)


def test_refuses_a_saved_model_with_another_width(saved_model, answer):
    answer(
        {"inputs": ["x"], "outputs": ["y"], "samples": 1},
        {
            "0/input/x": np.ones((1, 2), "float32"),
            "0/output/y": np.ones((1, 3), "float32"),
        },
    )
    with pytest.raises(ValueError, match=r"shape \(1, 2\).*gives \(1, 3\)"):
        verify_saved_model(dense_model(), saved_model)


def test_what_the_child_refuses_is_a_value_error(saved_model, answer):
    answer({"error": "Expected a signature. Received: none."})
    with pytest.raises(ValueError, match="Expected a signature"):
        verify_saved_model(dense_model(), saved_model)


def test_refuses_a_missing_path(tmp_path):
    with pytest.raises(ValueError, match="no saved_model.pb"):
        verify_saved_model(dense_model(), tmp_path / "missing")


def test_refuses_a_model_that_is_not_built(saved_model):
    with pytest.raises(ValueError, match="Expected a built model"):
        verify_saved_model(
            keras.Sequential([keras.layers.Dense(1)]), saved_model
        )


@pytest.mark.parametrize("shapes", [(), (1, 4), ((0, 4),), ((1, None),)])
def test_refuses_sizes_that_are_not_positive(saved_model, shapes):
    with pytest.raises(ValueError, match="tuple of tuples of positive"):
        verify_saved_model(dense_model(), saved_model, batch_shapes=shapes)


@pytest.mark.parametrize("samples", [[], [np.ones(2)], np.ones((1, 2))])
def test_refuses_samples_without_names(saved_model, samples):
    with pytest.raises(ValueError, match="dict from input name to array"):
        verify_saved_model(dense_model(), saved_model, samples=samples)
