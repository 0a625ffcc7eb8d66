"""A distribution that the backend ignores is refused."""

import keras
import pytest

from keras_moe.distribution import engines
from keras_moe.distribution.engines import keras_distributes
from keras_moe.layers import SparseMoE

CURES = {
    "tensorflow": "in the scope of a `tf.distribute.MirroredStrategy`",
    "torch": "use `keras_moe.distribution.replicate`",
}


@pytest.mark.parametrize("name", ["DataParallel", "ModelParallel"])
def test_experts_are_not_made_where_a_distribution_is_ignored(name, backend):
    assert keras_distributes() == (backend == "jax")
    mesh = keras.distribution.DeviceMesh((1,), ("batch",), ["cpu:0"])
    if name == "DataParallel":
        distribution = keras.distribution.DataParallel(mesh)
    else:
        layouts = keras.distribution.LayoutMap(mesh)
        distribution = keras.distribution.ModelParallel(layout_map=layouts)
    layer = SparseMoE(4, 8)
    with distribution.scope():
        if backend == "jax":
            layer.build((None, 3, 6))
            return
        with pytest.raises(NotImplementedError, match="Expected a") as error:
            layer.build((None, 3, 6))
    assert f"Received: {name}, which it ignores." in str(error.value)
    assert CURES[backend] in str(error.value)


@pytest.mark.once
def test_where_fit_is_broken_a_layer_says_so(monkeypatch):
    monkeypatch.setattr(engines, "in_multi_worker_strategy", lambda: True)
    monkeypatch.setattr(keras, "__version__", "3.15.1")
    with pytest.warns(UserWarning, match="cannot `fit` any model under") as w:
        SparseMoE(4, 8).build((None, 3, 6))
    assert "(`PerReplica`) for a tensor. Write the loop" in str(w[0].message)
    monkeypatch.setattr(keras, "__version__", "3.16.0")
    SparseMoE(4, 8).build((None, 3, 6))
