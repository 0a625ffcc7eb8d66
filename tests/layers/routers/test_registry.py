"""The table of routers."""

import pytest

from keras_moe import layers
from keras_moe.layers.routers import ROUTERS
from keras_moe.layers.routers import get_router

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", ROUTERS)
def test_a_router_of_the_table_is_public_and_names_its_source(name):
    router_class = get_router(name)
    assert getattr(layers, router_class.__name__) is router_class
    assert router_class.source
    assert "\n" not in router_class.source
    # Its own, not that of the class it derives from.
    assert "source" in vars(router_class)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="one of .*'top_k'.*Received: 'best'"):
        get_router("best")
