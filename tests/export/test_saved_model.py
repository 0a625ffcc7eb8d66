"""Exports: what the signature looks like and what is refused."""

import errno
import os
import pathlib

import keras
import numpy as np
import pytest

from keras_moe.export import export_saved_model
from keras_moe.export import saved_model
from keras_moe.export import verify_saved_model
from keras_moe.export.description import read_description


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
    assert sorted(os.listdir(exported / "assets.extra")) == [
        "keras_moe.json",
        "tf_serving_warmup_requests",
    ]


@pytest.mark.sweep
@pytest.mark.slow
def test_what_is_not_verified_has_no_difference(exported):
    assert "largest_difference" not in read_description(exported)


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


@pytest.fixture
def old_version(tmp_path):
    """Folder of a version that something else has written."""
    folder = tmp_path / "model" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("old")
    return folder


def assert_only(old_version):
    assert os.listdir(old_version.parent) == ["1"]
    assert os.listdir(old_version) == ["saved_model.pb"]
    assert (old_version / "saved_model.pb").read_text() == "old"


@pytest.mark.once
@pytest.mark.slow
def test_a_version_that_answers_otherwise_is_not_published(
    custom_layers, old_version
):
    model = keras.Sequential(
        [keras.Input((2,)), custom_layers.AnotherWhenExported()]
    )
    message = (
        "to answer as the model does. Received: serving_default, output_0: "
        "differs by 1.0e.00.*; own, number: 100.0% of it differ.*not published"
    )
    number = keras.InputSpec(shape=(None,), dtype="int32")
    endpoint = (custom_layers.another_when_exported, {"number": number})
    with pytest.raises(RuntimeError, match=message):
        export_saved_model(
            model,
            old_version.parent,
            endpoints={"own": endpoint},
            overwrite=True,
            verbose=False,
        )
    assert_only(old_version)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_full_disk_leaves_the_old_version(
    language_model, old_version, monkeypatch
):
    resource = pytest.importorskip("resource")
    run = saved_model.run_tensorflow_process

    def run_with_little_space(*arguments, **options):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        try:
            return run(*arguments, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(
        saved_model, "run_tensorflow_process", run_with_little_space
    )
    with pytest.raises(RuntimeError, match="TensorFlow process to succeed"):
        export_saved_model(
            language_model, old_version.parent, overwrite=True, verbose=False
        )
    assert_only(old_version)


@pytest.mark.once
@pytest.mark.parametrize("step", ["write_tokenizer", "write_description"])
def test_a_disk_that_fills_up_later_leaves_the_old_version(
    language_model, old_version, monkeypatch, step
):
    def write(arguments, task, verbose):
        folder = pathlib.Path(arguments[-1]).parent / "saved_model"
        (folder / "assets.extra").mkdir(parents=True)
        return 0.0

    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(saved_model, "run_tensorflow_process", write)
    monkeypatch.setattr(saved_model, step, fail)
    with pytest.raises(OSError, match="No space left"):
        export_saved_model(
            language_model,
            old_version.parent,
            overwrite=True,
            verify=False,
            verbose=False,
        )
    assert_only(old_version)


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.slow
def test_experts_of_8_bits_in_the_file_alone(
    sparse_model, exported_sparse, tmp_path, capsys
):
    tf = pytest.importorskip("tensorflow")
    before = [np.copy(x) for x in sparse_model.get_weights()]
    path = export_saved_model(sparse_model, tmp_path / "model", weights="int8")
    for old, new in zip(before, sparse_model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    described = read_description(path)
    assert described["weights"] == "int8"
    # The embedding holds numbers below 0.05, which two layers make smaller.
    assert 0 < described["largest_difference"] < 1e-3
    difference = f"largest difference {described['largest_difference']:.1e}"
    assert difference in capsys.readouterr().out

    def sizes(folder):
        found = tf.train.load_checkpoint(folder / "variables" / "variables")
        dtypes = found.get_variable_to_dtype_map()
        counts = dict.fromkeys(["int8", "float32"], 0)
        for name, shape in found.get_variable_to_shape_map().items():
            if dtypes[name].name in counts:
                counts[dtypes[name].name] += int(np.prod(shape))
        return counts

    # Of two layers, E kernels (16, 2 * 12) or (16, 12), and (12, 16).
    in_experts = 8 * (16 * 24 + 12 * 16) + 4 * (16 * 12 + 12 * 16)
    floats, integers = sizes(exported_sparse), sizes(path)
    assert floats["int8"] == 0
    assert integers["int8"] == in_experts
    # A scale for each output of an expert.
    scales = 8 * (24 + 16) + 4 * (12 + 16)
    assert integers["float32"] == floats["float32"] - in_experts + scales


@pytest.mark.exhaustive
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
