"""Models of fewer layers, and what follows from them."""

import pytest

from keras_moe.models import preset
from keras_moe.planning.depths import extrapolate
from keras_moe.planning.depths import models_of_depths

pytestmark = pytest.mark.once


def layers_of(name, depths):
    backbone_class, config = preset(name)
    models, sparse = models_of_depths(
        backbone_class.arguments_class, config, depths
    )
    return [each["num_layers"] for each in models], sparse


def test_dense_layers_between_sparse_ones_stay():
    # OpenMoE-8B: layers 5, 11, 17, 23 of 24 are sparse.
    assert layers_of("openmoe_8b", (1, 2)) == ([6, 12], [1, 2, 4])


def test_a_model_that_is_no_deeper_is_compiled_whole():
    assert layers_of("openmoe_8b", (2, 4)) == ([24], [4, 4])
    assert layers_of("mixtral_8x7b", None) == ([32], [32, 32])


@pytest.mark.parametrize("depths", [(2,), (4, 2), (0, 2), (2, 2)])
def test_depths_must_be_two_and_different(depths):
    with pytest.raises(ValueError, match=r"second one larger. Received: dept"):
        layers_of("mixtral_8x7b", depths)


def test_goes_on_with_the_difference_of_a_layer():
    # 3 more per layer from 2 to 4, so 16 + 6 * 3 at 10.
    found = extrapolate([{"a": 10}, {"a": 16}], [2, 4, 10])
    assert found == {"a": 34}


def test_what_became_less_stays():
    assert extrapolate([{"a": 10}, {"a": 8}], [2, 4, 10]) == {"a": 8}


def test_the_whole_model_needs_what_it_needs():
    assert extrapolate([{"a": 10}], [4, 4]) == {"a": 10}
