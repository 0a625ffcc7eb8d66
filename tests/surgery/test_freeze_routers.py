import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import models
from keras_moe.surgery import freeze_routers
from tests.models.small_backbones import SMALL


def array(variable):
    return np.array(ops.convert_to_numpy(variable))


@pytest.mark.sweep
def test_routers_stay_and_experts_learn(with_experts, tokens, train_once):
    model = with_experts()
    frozen = freeze_routers(model)
    layer = frozen.get_layer("first")
    before = array(layer.router.kernel), array(layer.experts.down.kernel)
    train_once(frozen, tokens)
    np.testing.assert_array_equal(array(layer.router.kernel), before[0])
    assert (array(layer.experts.down.kernel) != before[1]).any()
    assert model.get_layer("first").router.trainable


@pytest.mark.sweep
def test_a_loaded_backbone_is_still_frozen(tmp_path):
    backbone = models.MixtralBackbone(**{**SMALL, "num_layers": 1})
    frozen = freeze_routers(backbone)
    frozen.save(tmp_path / "frozen.keras")
    loaded = keras.saving.load_model(tmp_path / "frozen.keras")
    for model in (frozen, loaded):
        names = [each.path for each in model.trainable_variables]
        assert not [name for name in names if "router" in name]
    thawed = freeze_routers(loaded, trainable=True)
    assert len(thawed.trainable_variables) == len(backbone.trainable_variables)


@pytest.mark.once
def test_a_dense_model_is_refused(with_feed_forward):
    with pytest.raises(ValueError, match="layers of the kind to change"):
        freeze_routers(with_feed_forward())
