"""One loss for all layers of a model, against that of transformers."""

import keras
import numpy as np
import pytest
import torch
from keras import ops
from transformers.models.mixtral import modeling_mixtral

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import PooledLoadBalancingLoss
from keras_moe.balancing import PooledRule
from keras_moe.layers import Router
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.ops.all_layers import all_layers
from tests.models import small_backbones

HIDDEN, EXPERTS, TOP_K, WEIGHT = 6, 4, 2, 0.5
INPUTS = np.random.default_rng(0).normal(size=(2, 3, HIDDEN))
INPUTS = INPUTS.astype("float32")


def draw(seed):
    kernel = np.random.default_rng(seed).normal(size=(HIDDEN, EXPERTS))
    return kernel.astype("float32")


def parallel_layers(balancing, num_layers=2):
    """Sparse layers that all see the inputs, so NumPy knows their logits."""
    inputs = keras.Input((3, HIDDEN))
    outputs = 0.0
    for index in range(num_layers):
        router = TopKRouter(EXPERTS, TOP_K, balancing=balancing, name="router")
        outputs += SparseMoE(EXPERTS, 4, router=router)(inputs)
        router.kernel.assign(draw(index))
    return keras.Model(inputs, outputs)


def routers_of(model):
    return [each for each in all_layers(model) if isinstance(each, Router)]


def transformers_loss(inputs, kernels):
    """Return the loss of all layers and its gradients for the kernels."""
    kernels = [torch.tensor(each, requires_grad=True) for each in kernels]
    tokens = torch.tensor(inputs.reshape(-1, inputs.shape[-1]))
    loss = WEIGHT * modeling_mixtral.load_balancing_loss_func(
        tuple(tokens @ kernel for kernel in kernels), EXPERTS, TOP_K
    )
    gradients = torch.autograd.grad(loss, kernels)
    return float(loss.detach()), [each.numpy() for each in gradients]


def losses_of(model):
    return [float(ops.convert_to_numpy(loss)) for loss in model.losses]


def total(model):
    return sum(losses_of(model))


def test_each_router_adds_by_how_much_it_changes_the_loss():
    model = parallel_layers(PooledLoadBalancingLoss(WEIGHT), 3)
    kernels = [draw(index) for index in range(3)]
    # The second call begins again.
    for _ in range(2):
        model(INPUTS, training=True)
        for number in (1, 2, 3):
            expected, _ = transformers_loss(INPUTS, kernels[:number])
            # Differences of losses near 1.
            losses = losses_of(model)[:number]
            assert sum(losses) == pytest.approx(expected, abs=1e-6)
    model(INPUTS)
    assert not model.losses


def test_a_training_step_follows_the_gradient_of_transformers(backend):
    rule = PooledLoadBalancingLoss(WEIGHT)
    model = parallel_layers([LoadBalancingLoss(0), rule])
    rate = 8.0
    model.compile(
        keras.optimizers.SGD(rate),
        lambda y, outputs: 0.0 * ops.mean(outputs),
        jit_compile=backend == "jax",
    )
    kernels = [draw(0), draw(1)]
    # The second batch, of another size, is traced again.
    for inputs in (INPUTS, INPUTS[:1], INPUTS):
        loss = model.train_on_batch(inputs, inputs)
        expected, gradients = transformers_loss(inputs, kernels)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        kernels = [
            kernel - rate * gradient
            for kernel, gradient in zip(kernels, gradients, strict=True)
        ]
        for router, kernel in zip(routers_of(model), kernels, strict=True):
            actual = ops.convert_to_numpy(router.kernel)
            np.testing.assert_allclose(actual, kernel, rtol=1e-4, atol=1e-5)
        model.evaluate(INPUTS, INPUTS, verbose=0)
    moved = [np.abs(kernels[i] - draw(i)).max() for i in range(2)]
    assert min(moved) > 0.05


def test_padding_does_not_count():
    model = parallel_layers(PooledLoadBalancingLoss(WEIGHT))
    mask = np.array([[True, True, False], [True, False, False]])
    for layer in model.layers:
        if isinstance(layer, SparseMoE):
            layer(INPUTS, padding_mask=mask, training=True)
    real = INPUTS[mask][None]
    expected, _ = transformers_loss(real, [draw(0), draw(1)])
    assert total(model) == pytest.approx(expected, rel=1e-5)


def test_layers_called_one_by_one_start_again_with_the_first():
    model = parallel_layers(PooledLoadBalancingLoss(WEIGHT))
    layers = [each for each in model.layers if isinstance(each, SparseMoE)]
    for _ in range(3):
        for layer in layers:
            layer(INPUTS, training=True)
        expected, _ = transformers_loss(INPUTS, [draw(0), draw(1)])
        assert total(model) == pytest.approx(expected, rel=1e-5)


def test_a_layer_that_is_called_twice_counts_twice():
    rule = PooledLoadBalancingLoss(WEIGHT)
    layer = SparseMoE(EXPERTS, 4, router=TopKRouter(EXPERTS, balancing=rule))
    inputs = keras.Input((3, HIDDEN))
    model = keras.Model(inputs, layer(inputs) + layer(2.0 * inputs))
    layer.router.kernel.assign(draw(0))
    model(INPUTS, training=True)
    expected, _ = transformers_loss(INPUTS, [draw(0), 2 * draw(0)])
    assert total(model) == pytest.approx(expected, rel=1e-5)


def test_objects_of_their_own_are_not_pooled():
    separate = [
        SparseMoE(EXPERTS, 4, router=TopKRouter(EXPERTS, balancing=rule))
        for rule in (PooledLoadBalancingLoss(0.5), PooledLoadBalancingLoss(0.5))
    ]
    expected = 0.0
    for index, layer in enumerate(separate):
        layer.build(INPUTS.shape)
        layer.router.kernel.assign(draw(index))
        layer(INPUTS, training=True)
        expected += transformers_loss(INPUTS, [draw(index)])[0]
    actual = sum(total(layer) for layer in separate)
    assert actual == pytest.approx(expected, rel=1e-5)


def test_a_saved_model_pools_again(tmp_path):
    model = parallel_layers(PooledLoadBalancingLoss(WEIGHT))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded(INPUTS, training=True)
    expected, _ = transformers_loss(INPUTS, [draw(0), draw(1)])
    assert total(loaded) == pytest.approx(expected, rel=1e-5)


@pytest.mark.sweep
@pytest.mark.parametrize("rematerialize", [True, False])
@pytest.mark.parametrize("name", ["mixtral", "switch"])
def test_all_layers_of_a_backbone_are_pooled(name, rematerialize, tmp_path):
    tables = {**small_backbones.DECODERS, **small_backbones.ENCODER_DECODERS}
    backbone_class, _, arguments = tables[name]
    mode = "full" if rematerialize else None
    with keras.RematScope(mode=mode):
        backbone = backbone_class(
            **arguments, router={"balancing": PooledLoadBalancingLoss(WEIGHT)}
        )
    if rematerialize:
        backbone.save(tmp_path / "model.keras")
        backbone = keras.saving.load_model(tmp_path / "model.keras")
    # `logits` are what transformers would return of each layer.
    seen = []
    for router in routers_of(backbone):
        router.balancing[0].parts = _spy(router.balancing[0].parts, seen)
    tokens = np.arange(10).reshape(2, 5) % 7 + 1
    ones = np.ones_like(tokens)
    inputs = {
        each: tokens if "token_ids" in each else ones for each in backbone.input
    }
    backbone(inputs, training=True)
    assert len(seen) == len(routers_of(backbone)) == len(backbone.losses) > 1
    shape = seen[0].shape
    expected = WEIGHT * modeling_mixtral.load_balancing_loss_func(
        tuple(torch.tensor(each.reshape(-1, shape[-1])) for each in seen),
        shape[-1],
        routers_of(backbone)[0].top_k,
    )
    assert total(backbone) == pytest.approx(float(expected), rel=1e-5)


def _spy(function, seen):
    def parts(plan):
        seen.append(np.array(ops.convert_to_numpy(plan.scores.logits)))
        return function(plan)

    return parts


def test_layers_with_other_numbers_of_experts_are_refused():
    rule = PooledLoadBalancingLoss()
    routers = [TopKRouter(number, balancing=rule) for number in (4, 5)]
    routers[0](INPUTS, training=True)
    with pytest.raises(ValueError, match="the same number of experts") as error:
        routers[1](INPUTS, training=True)
    assert "Give the others a rule" in str(error.value)


def test_a_rule_of_ones_own_says_what_is_added_up():
    class Busiest(PooledRule):
        def parts(self, plan):
            return (ops.sum(plan.scores.probs, axis=(0, 1)),)

        def loss_of(self, probs):
            return ops.max(probs)

    model = parallel_layers(Busiest())
    model(INPUTS, training=True)
    probs = np.zeros(EXPERTS)
    for index in range(2):
        scores = np.exp(INPUTS @ draw(index))
        probs += (scores / scores.sum(-1, keepdims=True)).sum((0, 1))
    assert total(model) == pytest.approx(probs.max(), rel=1e-5)
