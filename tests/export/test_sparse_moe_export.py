"""A model of sparse layers leaves every backend as one SavedModel."""

import pytest

from keras_moe.export import verify_saved_model


@pytest.mark.slow
def test_agrees_for_every_batch_size_and_length(sparse_model, exported_sparse):
    result = verify_saved_model(
        sparse_model,
        exported_sparse,
        batch_shapes=((1, 1), (3, 7)),
        verbose=False,
    )
    assert [x["inputs"] for x in result.shapes] == [(1, 1), (3, 7)]
    assert result.largest_difference < 1e-5


@pytest.mark.slow
def test_serves_plain_operations_that_write_nothing(exported_sparse):
    tf = pytest.importorskip("tensorflow")
    loaded = tf.saved_model.load(str(exported_sparse))
    graph = loaded.signatures["serving_default"].graph.as_graph_def()
    nodes = list(graph.node)
    for function in graph.library.function:
        assert "_XlaMustCompile" not in function.attr
        nodes.extend(function.node_def)
    forbidden = ("Assign", "Xla", "PyFunc", "EagerPyFunc", "Random")
    assert not {x.op for x in nodes if x.op.startswith(forbidden)}
