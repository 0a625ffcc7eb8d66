"""Slices of TPU pods that are not there."""

import pytest

from keras_moe.planning.chips import open_slice

pytestmark = pytest.mark.once


@pytest.mark.parametrize("topology", ["v5p", "v9:2x2", "v5p:4", "v5p:4x4x4x4"])
def test_a_topology_is_a_known_chip_and_a_shape(topology):
    with pytest.raises(ValueError, match="such as v5p:4x4x4. Received: topolo"):
        open_slice(topology)
