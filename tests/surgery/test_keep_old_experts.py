import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import ExpertBias
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.layers import ZeroComputationRouter
from keras_moe.surgery import KeepOldExperts
from keras_moe.surgery import add_experts


def array(variable):
    return np.array(ops.convert_to_numpy(variable))


def model_of(router):
    inputs = keras.Input((5, 8))
    layer = SparseMoE(router.num_experts, 6, router=router, name="sparse")
    return keras.Model(inputs, layer(inputs))


def train(model, tokens, callback):
    # Weight decay moves whatever has no gradient.
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.1)
    model.compile(optimizer, "mean_squared_error", jit_compile=False)
    model.fit(
        np.concatenate([tokens, tokens]),
        np.ones((4, 5, 8), "float32"),
        batch_size=2,
        callbacks=[callback],
        verbose=0,
    )


def test_old_experts_stay_and_new_ones_learn(tokens):
    model = model_of(TopKRouter(4, balancing=ExpertBias(0.1)))
    larger = add_experts(model, 2, sources=[0, 1], lowered_by=1.0)
    before = larger.get_layer("sparse").experts.gate_up.kernel
    before = array(before)
    train(larger, tokens, KeepOldExperts(model))
    old, new = model.get_layer("sparse"), larger.get_layer("sparse")
    for name in ("gate_up", "down"):
        kernels = [
            array(getattr(each.experts, name).kernel) for each in (old, new)
        ]
        np.testing.assert_array_equal(kernels[1][:4], kernels[0])
    np.testing.assert_array_equal(
        array(new.router.kernel)[:, :4], array(old.router.kernel)
    )
    assert array(new.router.bias)[:4].tolist() == [0.0] * 4
    assert array(new.router.expert_bias)[:4].tolist() == [0.0] * 4
    # Moved, if only by the weight decay.
    assert (
        (array(new.experts.gate_up.kernel)[4:] != before[4:]).any(axis=2).all()
    )
    assert (array(new.router.bias)[4:] != -1.0).all()
    assert (array(new.router.expert_bias)[4:] != 0.0).any()


@pytest.mark.sweep
def test_experts_that_compute_nothing_stay_too(tokens):
    model = model_of(ZeroComputationRouter(5, num_identity=1, num_constant=1))
    larger = add_experts(model, 1, sources=[2], lowered_by=0.1)
    before = array(larger.get_layer("sparse").router.kernel)
    train(larger, tokens, KeepOldExperts(model))
    old = model.get_layer("sparse").router
    new = larger.get_layer("sparse").router
    kept = [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(array(new.kernel)[:, kept], array(old.kernel))
    np.testing.assert_array_equal(array(new.constants), array(old.constants))
    assert (array(new.kernel)[:, 3] != before[:, 3]).all()


@pytest.mark.once
def test_a_model_that_has_not_grown_is_refused(with_experts, tokens):
    model = with_experts()
    model.compile("sgd", "mean_squared_error")
    with pytest.raises(ValueError, match="with more experts in the same"):
        model.fit(tokens, tokens, callbacks=[KeepOldExperts(model)], verbose=0)
