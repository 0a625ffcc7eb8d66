"""More experts for a trained model."""

import numpy as np
from keras import ops

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.routing.validation import check_not_negative
from keras_moe.routing.validation import check_positive
from keras_moe.surgery.dense_weights import add_noise
from keras_moe.surgery.edit_config import edit_config
from keras_moe.surgery.edit_config import edit_num_experts
from keras_moe.surgery.edit_config import with_router
from keras_moe.surgery.expert_axis import mix_experts
from keras_moe.surgery.expert_load import load_of
from keras_moe.surgery.rebuild import have_other_experts
from keras_moe.surgery.rebuild import rebuild


def add_experts(
    model,
    num_new,
    *,
    load=None,
    sources=None,
    lowered_by=5.0,
    noise=0.0,
    seed=0,
):
    """Add experts to every sparse layer of a trained model.

    New experts are copies of old ones, and so are their columns of the
    router, but a bias of the router lowers their logits: at first a new
    expert is chosen only by tokens that prefer the expert it was copied from
    to their K-th choice by more than `lowered_by`. As long as no token
    does, and weights are divided by their sum, the outputs are those of the
    given model; raw weights are smaller by the little probability that new
    experts take. The given model stays as it is. The new one is not compiled.

    A capacity factor gives each of more experts fewer slots.

    Args:
        model: built model or layer with `SparseMoE` layers.
        num_new: int, how many experts each layer gets.
        load: optional dict from `measure_expert_load`; the experts that are
            copied are the most loaded ones of their layer, the first most.
        sources: in place of `load`, a list of ints: the experts to copy, in
            every layer. Both are taken again from the start for more new
            experts than that.
        lowered_by: float, by how much the new experts' logits are lowered.
            With 0 the router needs no bias.
        noise: float, standard deviation of the noise on the new experts'
            kernels, over that of the kernel.
        seed: int, of the noise.

    Returns:
        A new model of the same class, not compiled. The new experts of a
        layer come after its old ones, before those that compute nothing.

    Raises:
        ValueError: If there is no sparse layer, one is quantized or frozen,
            the model has adapters, or a router is of no fitting kind.

    Example:

    >>> import numpy as np
    >>> from keras_moe.layers import SparseMoE
    >>> layer = SparseMoE(num_experts=4, intermediate_dim=8)
    >>> outputs = layer(np.ones((1, 3, 16), "float32"))
    >>> larger = add_experts(layer, 2, sources=[0, 3], lowered_by=100.0)
    >>> larger.num_experts
    6
    >>> same = np.array(larger(np.ones((1, 3, 16), "float32")))
    >>> np.allclose(np.array(outputs), same, atol=1e-6)
    True

    References:
        Chen et al., 2023 (Lifelong-MoE), https://arxiv.org/abs/2305.12281,
        section 3.2, without its regularization of the outputs.
    """
    check_positive(num_new=num_new)
    check_not_negative(lowered_by=lowered_by, noise=noise)
    if (load is None) == (sources is None):
        raise ValueError(
            "Expected either `load` or `sources`. Received: "
            f"load={load}, sources={sources}. Measure a load with "
            "`measure_expert_load`, or name the experts to copy."
        )
    resize = edit_num_experts(lambda number: number + num_new)

    def edit(layer_class, config):
        changed = resize(layer_class, config)
        if changed is None or not lowered_by:
            return changed
        return {"config": with_router(changed["config"], use_bias=True)}

    names = {
        id(layer): name for name, layer in find_sparse_layers(model).items()
    }
    for layer in find_sparse_layers(model).values():
        if lowered_by and not isinstance(layer.router, TopKRouter):
            raise ValueError(
                "Expected a `TopKRouter`, whose bias lowers the new experts. "
                f"Received: {type(layer.router).__name__}. Use lowered_by=0."
            )
    larger, layers = rebuild(
        model, edit_config(model, edit), have_other_experts
    )
    for index, (old, new) in enumerate(layers):
        copied = _copied(old, num_new, sources, load, names[id(old)])
        num_old = old.experts.num_experts
        mixture = np.concatenate([np.eye(num_old), np.eye(num_old)[copied]])
        mix_experts(old, new, mixture)
        added = slice(num_old, num_old + num_new)
        _lower(new.router, added, lowered_by)
        _disturb(
            new.experts, added, noise, np.random.default_rng([seed, index])
        )
    return larger


def _copied(layer, num_new, sources, load, name):
    """Return the indices (num_new,) of the experts that are copied."""
    num_old = layer.experts.num_experts
    if sources is None:
        sources = np.argsort(-load_of(layer, load, name), kind="stable")
    sources = np.asarray(sources)
    if sources.ndim != 1 or not np.isin(sources, range(num_old)).all():
        raise ValueError(
            f"Expected `sources` among the experts of {name!r}, 0 to "
            f"{num_old - 1}. Received: {sources.tolist()}."
        )
    return np.resize(sources, num_new)


def _lower(router, added, lowered_by):
    if lowered_by:
        bias = np.array(ops.convert_to_numpy(router.bias))
        bias[added] -= lowered_by
        router.bias.assign(bias)


def _disturb(bank, added, noise, rng):
    if not noise:
        return
    for part in bank.parts():
        kernel = ops.convert_to_numpy(part.kernel)
        kernel = kernel.astype(np.promote_types(kernel.dtype, "float32"))
        kernel[added] = add_noise(kernel[added], noise, rng, axis=(1, 2))
        part.kernel.assign(kernel)
