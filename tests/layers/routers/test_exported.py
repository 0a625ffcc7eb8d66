"""A model with a layer for every router leaves as one SavedModel."""

import keras
import numpy as np
import pytest

from keras_moe.export import export_saved_model
from keras_moe.export import verify_saved_model
from keras_moe.layers import ROUTERS
from keras_moe.layers import SparseMoE

VOCABULARY, HIDDEN = 11, 8


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_model_with_every_router_is_exported(make_router, tmp_path):
    token_ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, HIDDEN)(token_ids)
    # What is drawn differs from call to call, here and there.
    for name in sorted(set(ROUTERS) - {"random"}):
        router = make_router(name)
        layer = SparseMoE(router.num_experts, 3, router=router, name=name)
        needed = {"token_ids": token_ids} if name == "hash" else {}
        x = x + layer(x, **needed)
    model = keras.Model(token_ids, x)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(0.3 * rng.standard_normal(weight.shape))
    export_saved_model(model, tmp_path / "model", verify=False, verbose=False)
    result = verify_saved_model(
        model, tmp_path / "model", batch_shapes=((1, 1), (3, 7)), verbose=False
    )
    assert result.largest_difference < 1e-4
