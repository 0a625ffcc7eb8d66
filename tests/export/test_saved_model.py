"""Exports: what the signature looks like and what is refused."""

import os

import keras
import numpy as np
import pytest

from keras_moe.export import export_saved_model
from keras_moe.export import saved_model
from keras_moe.export import verify_saved_model


@pytest.fixture(scope="module")
def serving_default(exported):
    """The signature, loaded in this process."""
    tf = pytest.importorskip("tensorflow")
    loaded = tf.saved_model.load(str(exported))
    signature = loaded.signatures["serving_default"]
    signature.keeps_alive = loaded
    return signature


@pytest.mark.sweep
@pytest.mark.slow
def test_writes_a_numbered_version_and_nothing_else(exported):
    assert exported.name == "1"
    assert os.listdir(exported.parent) == ["1"]
    assert (exported / "saved_model.pb").is_file()


@pytest.mark.sweep
@pytest.mark.slow
def test_inputs_are_named_and_open_in_batch_and_sequence(serving_default):
    inputs = serving_default.structured_input_signature[1]
    assert {
        name: (spec.dtype.name, spec.shape.as_list())
        for name, spec in inputs.items()
    } == {
        "token_ids": ("int32", [None, None]),
        "padding_mask": ("int32", [None, None]),
    }


@pytest.mark.sweep
@pytest.mark.slow
def test_outputs_are_float32_under_every_policy(
    serving_default, language_model
):
    assert str(language_model.output["pooled"].dtype) == "bfloat16"
    outputs = serving_default.structured_outputs
    assert {name: spec.dtype.name for name, spec in outputs.items()} == {
        "logits": "float32",
        "pooled": "float32",
    }
    assert outputs["logits"].shape.as_list() == [None, None, 50]


@pytest.mark.sweep
@pytest.mark.slow
def test_serves_plain_operations_that_write_nothing(serving_default):
    graph = serving_default.graph.as_graph_def()
    nodes = list(graph.node)
    for function in graph.library.function:
        assert "_XlaMustCompile" not in function.attr
        nodes.extend(function.node_def)
    operations = {node.op for node in nodes}
    assert "MatMul" in operations or "BatchMatMulV2" in operations
    assert not {
        op
        for op in operations
        if op.startswith(("Assign", "Xla", "PyFunc", "EagerPyFunc"))
    }
    assert {node.device for node in nodes} == {""}


@pytest.mark.sweep
@pytest.mark.slow
def test_refuses_to_export_over_a_version(exported, language_model):
    with pytest.raises(ValueError, match="Pass version=2"):
        export_saved_model(language_model, exported.parent, verbose=False)


def test_refuses_a_model_that_is_not_built(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="Expected a built model"):
        export_saved_model(model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_refuses_a_file(tmp_path, language_model):
    (tmp_path / "model").write_text("")
    with pytest.raises(ValueError, match="which is a file"):
        export_saved_model(language_model, tmp_path / "model")


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch, language_model):
    def fail(arguments, task, verbose):
        raise RuntimeError(f"{task} failed")

    monkeypatch.setattr(saved_model, "run_tensorflow_process", fail)
    path = tmp_path / "model"
    with pytest.raises(RuntimeError, match=f"Exporting to {path / '1'} failed"):
        export_saved_model(language_model, path)
    assert os.listdir(tmp_path) == []


@pytest.mark.sweep
@pytest.mark.slow
def test_a_subclassed_model_under_a_global_policy(
    tmp_path, custom_layers, token_batch, capsys, monkeypatch
):
    # Any module that the caller names is imported as well.
    imported = tmp_path / "imported"
    (tmp_path / "keras_moe_named_by_hand.py").write_text(
        f"open({str(imported)!r}, 'w').close()"
    )
    monkeypatch.syspath_prepend(tmp_path)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        # It builds a class that nobody registered, a function known by its
        # registration, and layers that follow the global policy.
        model = custom_layers.TokenScorer()
        model(token_batch)
        spec = keras.InputSpec(shape=(None, None), dtype="int32")
        path = export_saved_model(
            model,
            tmp_path / "model",
            version=7,
            input_signature=dict.fromkeys(token_batch, spec),
            modules=["keras_moe_named_by_hand"],
        )
    finally:
        keras.config.set_dtype_policy(policy)
    assert imported.exists()
    assert f"Exported {path}" in capsys.readouterr().out
    assert model.dense.compute_dtype == "bfloat16"
    result = verify_saved_model(model, tmp_path / "model", verbose=False)
    assert result.path.name == "7"
    assert result.shapes[1] == {"token_ids": (3, 7), "padding_mask": (3, 7)}
    # Each side sums 8 products of bfloat16 numbers, in an order and a width of
    # its own, between 3 more operations: each of the 11 rounds by at most
    # 2 ** -9 of the sum of the sizes, or not at all where a compiler fuses.
    embeddings, kernel = (
        np.abs(keras.ops.convert_to_numpy(weight))
        for weight in (model.embedding.embeddings, model.dense.kernel)
    )
    sizes = 6.0 * embeddings @ kernel
    assert result.largest_difference <= 2 * 11 * 2**-9 * sizes.max()
