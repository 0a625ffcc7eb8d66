import keras
import numpy as np
import pytest

from keras_moe.distribution import MeshLayout


@pytest.mark.once
def test_a_layout_keeps_its_axes_and_its_mesh():
    mesh = keras.distribution.DeviceMesh(
        (1, 2), ("data", "expert"), ["cpu:0", "cpu:1"]
    )
    layout = MeshLayout([("data", "expert"), None], mesh)
    assert layout.axes == (("data", "expert"), None)
    assert layout.device_mesh is mesh


@pytest.mark.multi_device
def test_one_dimension_is_split_over_two_axes():
    mesh = keras.distribution.DeviceMesh((2, 4), ("data", "expert"))
    layout = MeshLayout((("data", "expert"), None), mesh)
    values = keras.distribution.distribute_tensor(np.zeros((16, 3)), layout)
    shapes = {shard.data.shape for shard in values.addressable_shards}
    assert shapes == {(2, 3)}
