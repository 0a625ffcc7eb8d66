"""Files of every format, written from every backend."""

import importlib.util
import json
import os
import pathlib

import numpy as np
import pytest

from keras_moe.export import any_format
from keras_moe.export import export_model
from keras_moe.export.formats.check_file import check_file
from keras_moe.export.formats.refusals import WITHOUT_CAPACITY
from keras_moe.export.formats.samples import draw_samples
from keras_moe.export.formats.table import FORMATS
from keras_moe.export.model_inputs import describe_model_inputs
from tests.models.small_backbones import ALL
from tests.models.small_backbones import make_task


def skip_without(format):
    missing = [
        name
        for name in FORMATS[format].packages
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")


def check_other_shapes(model, path, format, folder):
    """Compare a file with its model on shapes that the export did not try."""
    samples = draw_samples(
        describe_model_inputs(model), ((2, 9), (5, 2)), 20, seed=1
    )
    return check_file(
        model, FORMATS[format], path, samples, folder, verbose=False
    )


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_answers_as_the_model_at_any_shape(format, tmp_path):
    skip_without(format)
    model = make_task("mixtral", num_layers=1)
    path = tmp_path / f"model{FORMATS[format].suffix}"
    assert model.export(path, format=format, verbose=False) == path
    # float32 rounds at 6e-8; sums have at most 24 terms, of size 1.
    assert check_other_shapes(model, path, format, tmp_path) < 1e-5


# The others, most alike, take half an hour: pytest -m large.
IN_CI = [("deepseek_v3", "onnx"), ("switch", "onnx"), ("switch", "torch")]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("family", "format"),
    [
        pytest.param(
            family,
            format,
            marks=pytest.mark.exhaustive
            if (family, format) in IN_CI
            else pytest.mark.large,
        )
        for family in ALL
        for format in FORMATS
    ],
)
def test_every_family_leaves_in_every_format(family, format, tmp_path):
    skip_without(format)
    changes = {}
    if format in WITHOUT_CAPACITY and "switch" in family:
        changes = {"router": {"capacity": None}}
    model = make_task(family, **changes)
    path = tmp_path / f"model{FORMATS[format].suffix}"
    export_model(model, path, format, verbose=False)
    assert check_other_shapes(model, path, format, tmp_path) < 1e-5


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.once
def test_a_saved_model_is_at_the_path_itself(tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = make_task("mixtral", num_layers=1)
    path = tmp_path / "served" / "3"
    assert model.export(path, verbose=False) == path
    assert sorted(os.listdir(tmp_path / "served")) == ["3"]
    tokens = np.array([[1, 2, 3]], "int32")
    loaded = tf.saved_model.load(str(path))
    outputs = loaded.signatures["serving_default"](
        token_ids=tf.constant(tokens),
        padding_mask=tf.constant(np.ones_like(tokens)),
    )
    expected = model.predict(
        {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}, verbose=0
    )
    np.testing.assert_allclose(outputs["output_0"], expected, atol=1e-5)


@pytest.mark.once
def test_a_folder_of_something_else_is_not_replaced(tmp_path, sparse_model):
    (tmp_path / "versions" / "1").mkdir(parents=True)
    with pytest.raises(ValueError, match="'.*versions/1' to add a version"):
        export_model(sparse_model, tmp_path / "versions")
    assert (tmp_path / "versions" / "1").is_dir()


@pytest.fixture
def pretend_to_write(monkeypatch):
    """Let the children write a word, and the check fail."""

    def run(arguments, task, backend, verbose):
        job = json.loads(pathlib.Path(arguments[-1]).read_text())
        pathlib.Path(job["write"]["path"]).write_text("new")

    def fail(model, chosen, file, *rest):
        assert file.read_text() == "new"
        raise RuntimeError("Expected model.pt2 to answer as the model does.")

    monkeypatch.setattr(any_format, "run_child_process", run)
    monkeypatch.setattr(any_format, "check_file", fail)


@pytest.mark.once
def test_a_file_that_answers_otherwise_is_not_published(
    tmp_path, sparse_model, pretend_to_write
):
    path = tmp_path / "model.pt2"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="to answer as the model does"):
        export_model(sparse_model, path, "torch", verbose=False)
    assert os.listdir(tmp_path) == ["model.pt2"]
    assert path.read_text() == "old"


@pytest.mark.once
def test_keras_signature_of_one_dict_is_taken(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "keras_moe.export.export_model",
        lambda *args, **options: calls.append((args, options)),
    )
    model = make_task("mixtral", num_layers=1)
    signature = {"token_ids": describe_model_inputs(model)[0]}
    model.export("a.onnx", "onnx", input_signature=[signature])
    assert calls == [
        (
            (model, "a.onnx", "onnx"),
            {"input_signature": signature, "verbose": True},
        )
    ]
