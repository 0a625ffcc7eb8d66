"""Sparse models out of trained dense ones."""

import numpy as np
from keras import ops

from keras_moe.layers.feed_forward import FeedForward
from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.validation import check_not_negative
from keras_moe.routing.validation import check_positive
from keras_moe.surgery.dense_weights import DenseWeights
from keras_moe.surgery.dense_weights import fill_experts
from keras_moe.surgery.expert_axis import mix_router
from keras_moe.surgery.rebuild import check_can_change
from keras_moe.surgery.rebuild import rebuild
from keras_moe.surgery.sparse_config import SparseConfig


def upcycle(
    model,
    num_experts,
    top_k=2,
    *,
    layers=None,
    num_splits=1,
    noise=0.0,
    reinitialize=0.0,
    seed=0,
    **arguments,
):
    """Make a sparse model of a trained dense one.

    Chosen feed-forward layers become `SparseMoE` layers whose experts are
    copies of the dense layer; all other weights are copied. Routers are new.
    The given model stays as it is. The new one is not compiled: the state of
    the optimizer, of random generators and of metrics is not carried over.

    Where a real token's combine weights add up to the same number whatever the
    token, as they do by default with K > 1, the outputs are those of the
    dense model, because experts are divided by that number. Raw weights, as
    Switch has with K = 1, add up to another number for each token: experts
    are divided by what they add up to before the router has learned anything,
    and outputs are near those of the dense model. A capacity that drops
    tokens, noise and reinitialization change the outputs too.

    Args:
        model: a backbone or task of this package whose layers are dense; or
            a functional or sequential model with `FeedForward` layers or
            pairs of `keras.layers.Dense`.
        num_experts: int E, of each sparse layer.
        top_k: int K, experts per token.
        layers: optional list, which layers of a functional or sequential
            model: names of `FeedForward` layers, and pairs of names of two
            `Dense` layers that follow each other. `None` means all
            `FeedForward` layers.
        num_splits: int m, a divisor of E, K and the dense layer's width I:
            into how many experts of width I / m a copy is cut. At first a
            token that chooses one of them chooses all m.
        noise: float, standard deviation of the noise on the experts' kernels,
            over that of the kernel.
        reinitialize: float r, the share of each expert's hidden columns that
            is drawn again from a normal distribution with the columns' mean
            and standard deviation (drop-upcycling).
        seed: int, of noise and reinitialization.
        **arguments: of the new layers, see `SparseMoE` (`router`, `capacity`,
            `strategy` and so on), or of a backbone: its `router`, and
            `expert_layer_stride`, `num_dense_layers` or `dense_layers` for
            layers that remain dense.

    Returns:
        A new model of the same class, not compiled.

    Raises:
        ValueError: If there is no layer to change, layers are quantized or
            frozen, the model has adapters, or sizes do not fit.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> x = inputs = keras.Input((5, 16))
    >>> x = x + FeedForward(32)(x)
    >>> dense = keras.Model(inputs, x)
    >>> sparse = upcycle(dense, num_experts=4)
    >>> x = np.random.default_rng(0).normal(size=(2, 5, 16))
    >>> np.allclose(dense.predict(x, verbose=0), sparse.predict(x, verbose=0),
    ...     atol=1e-5)
    True

    References:
        Komatsuzaki et al., 2022, https://arxiv.org/abs/2212.05055.
        He et al., 2024, https://arxiv.org/abs/2410.07524: fine-grained
        experts in virtual groups, and the scale of their weights. They divide
        that scale among the kernels, we have it in the last one.
        Nakamura et al., 2025, https://arxiv.org/abs/2502.19261
        (drop-upcycling).
    """
    _check_numbers(num_experts, top_k, num_splits, noise, reinitialize)
    make_config = SparseConfig(num_experts, top_k, num_splits, arguments)
    names = [each for each in layers or () if isinstance(each, str)]
    pairs = [tuple(each) for each in layers or () if not isinstance(each, str)]
    config = make_config(model, layers is None, names, pairs)
    first_of = {down: up for up, down in pairs}

    def is_exchanged(old, new):
        return isinstance(new, SparseMoE) and not isinstance(old, SparseMoE)

    sparse_model, exchanged = rebuild(model, config, is_exchanged)
    for index, (old, new) in enumerate(exchanged):
        olds = [old]
        if not isinstance(old, FeedForward):
            olds.insert(0, model.get_layer(first_of[old.name]))
        for each in olds:
            check_can_change(each)
        rng = np.random.default_rng([seed, index])
        experts = _make_experts(DenseWeights.of(*olds), new, num_splits)
        fill_experts(
            new.experts,
            [
                each.with_noise(noise, rng).reinitialized(reinitialize, rng)
                for each in experts
            ],
        )
    return sparse_model


def _make_experts(dense, layer, num_splits):
    """Cut copies of a dense layer, so that the chosen ones add up to it."""
    router = layer.router
    num_copies = layer.num_experts // num_splits
    hidden_dim = dense.down.shape[-1]
    if num_splits > 1:
        _check_is_top_k(router)
        # The experts of a copy have equal columns, and are chosen together.
        of_copies = router.copy(
            num_experts=num_copies, top_k=router.top_k // num_splits
        )
        of_copies.build((None, None, hidden_dim))
        copies = np.repeat(np.eye(num_copies), num_splits, axis=0)
        mix_router(of_copies, router, copies)
    factor = num_splits / _sum_of_weights(layer, hidden_dim)
    parts = [
        dense.part(index, num_splits).scaled(factor)
        for index in range(num_splits)
    ]
    return parts * num_copies


def _sum_of_weights(layer, hidden_dim):
    """Add up the weights of a token that the router has no opinion of."""
    router = layer.router
    given = {}
    if "token_ids" in router.routing_inputs:
        given["token_ids"] = ops.zeros((1, 1), "int32")
    plan = router(ops.zeros((1, 1, hidden_dim)), **given)
    if (
        not isinstance(plan, TokenChoice)
        or plan.input_weights is not None
        or router.num_free_experts
        or layer.shared_experts is not None
    ):
        raise ValueError(
            "Expected a router in which tokens choose experts that all "
            "compute, whose outputs are weighted, and no shared experts. "
            f"Received: {type(router).__name__} and "
            f"shared_experts={layer.shared_experts}: the outputs would not be "
            "the dense model's. Use `TopKRouter`."
        )
    return float(ops.convert_to_numpy(plan.combine_weights).sum())


def _check_is_top_k(router):
    if not isinstance(router, TopKRouter):
        raise ValueError(
            "Expected a `TopKRouter` with num_splits > 1: the parts of a copy "
            f"are chosen together. Received: {type(router).__name__}. Use "
            "num_splits=1."
        )


def _check_numbers(num_experts, top_k, num_splits, noise, reinitialize):
    check_positive(num_experts=num_experts, top_k=top_k, num_splits=num_splits)
    check_not_negative(noise=noise, reinitialize=reinitialize)
    if num_experts % num_splits or top_k % num_splits:
        raise ValueError(
            "Expected `num_splits` to divide `num_experts` and `top_k`. "
            f"Received: num_experts={num_experts}, top_k={top_k}, "
            f"num_splits={num_splits}. Multiply both by it."
        )
    if reinitialize > 1:
        raise ValueError(
            "Expected a share between 0 and 1. Received: "
            f"reinitialize={reinitialize}."
        )
