"""Fewer experts for a trained model: pruned, or merged."""

import numpy as np
from keras import ops

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.surgery.edit_config import edit_config
from keras_moe.surgery.edit_config import edit_num_experts
from keras_moe.surgery.expert_axis import mix_experts
from keras_moe.surgery.expert_load import load_of
from keras_moe.surgery.rebuild import have_other_experts
from keras_moe.surgery.rebuild import rebuild


def prune_experts(model, num_experts, load):
    """Leave out the least loaded experts of every sparse layer.

    Their columns of the router go with them: tokens that chose one choose
    their next best, and weights are computed as before, of the scores of
    those that are left. The given model stays as it is.

    Args:
        model: built model or layer with `SparseMoE` layers.
        num_experts: int, how many experts each layer keeps, those that
            compute nothing included; these are kept.
        load: dict from `measure_expert_load`.

    Returns:
        A new model of the same class, not compiled. The experts keep their
        order.

    Raises:
        ValueError: If no layer has more experts, one is quantized or frozen,
            the model has adapters, a router chooses more experts than there
            are left, or loads are missing.

    Example:

    >>> from keras_moe.layers import SparseMoE
    >>> layer = SparseMoE(num_experts=4, intermediate_dim=8, name="moe")
    >>> layer.build((None, 16))
    >>> load = {"moe": [0.5, 0.0, 0.2, 0.3]}
    >>> prune_experts(layer, 3, load).num_experts
    3
    """

    def one_hot(layer, load, num_left):
        return np.eye(len(load))[_most_loaded(load, num_left)]

    return _remove(model, num_experts, load, one_hot)


def merge_experts(model, num_experts, load):
    """Merge the least loaded experts of every layer into similar ones.

    The most loaded experts are kept. Each of the others joins the kept one
    whose kernels have the largest cosine similarity to its own. What comes
    together is averaged, weighted with its load: kernels, biases, and columns
    of the router. Hidden columns are not permuted to fit: experts that were
    once copies of one, such as those of `upcycle`, do not need that.
    The given model stays as it is.

    Args:
        model: built model or layer with `SparseMoE` layers.
        num_experts: int, as for `prune_experts`.
        load: dict from `measure_expert_load`.

    Returns:
        A new model of the same class, not compiled.

    Raises:
        ValueError: As `prune_experts`.

    Example:

    >>> from keras_moe.layers import SparseMoE
    >>> layer = SparseMoE(num_experts=4, intermediate_dim=8, name="moe")
    >>> layer.build((None, 16))
    >>> load = {"moe": [0.5, 0.0, 0.2, 0.3]}
    >>> merge_experts(layer, 2, load).num_experts
    2

    References:
        Li et al., 2023 (M-SMoE), https://arxiv.org/abs/2310.01334, section
        3.2, which groups experts by the similarity of their router logits on
        data, and aligns their hidden columns.
    """

    def averages(layer, load, num_left):
        kept = _most_loaded(load, num_left)
        closest = np.argmax(_similarity(layer.experts)[:, kept], axis=1)
        closest[kept] = np.arange(num_left)
        mixture = (closest == np.arange(num_left)[:, None]).astype("float64")
        # A kept expert without load is still one of its group.
        mixture *= np.maximum(load, np.finfo("float64").tiny)
        return mixture / mixture.sum(axis=1, keepdims=True)

    return _remove(model, num_experts, load, averages)


def _remove(model, num_experts, load, make_mixture):
    """Make a model with fewer experts, which a function says how to make."""
    names = {
        id(layer): name for name, layer in find_sparse_layers(model).items()
    }
    sizes = {layer.num_experts for layer in find_sparse_layers(model).values()}
    if sizes and not min(sizes) > num_experts:
        raise ValueError(
            "Expected fewer experts than each layer has. Received: "
            f"num_experts={num_experts}, layers of {sorted(sizes)}."
        )
    config = edit_config(model, edit_num_experts(lambda number: num_experts))
    smaller, layers = rebuild(model, config, have_other_experts)
    for old, new in layers:
        of_layer = load_of(old, load, names[id(old)])
        mixture = make_mixture(old, of_layer, new.experts.num_experts)
        mix_experts(old, new, mixture)
    return smaller


def _most_loaded(load, number):
    """Return the indices of the most loaded experts, in their order."""
    return np.sort(np.argsort(-load, kind="stable")[:number])


def _similarity(bank):
    """Return the cosines (E, E) between the kernels of a bank's experts."""
    products = 0.0
    for part in bank.parts():
        kernels = ops.convert_to_numpy(part.kernel).astype("float32")
        kernels = kernels.reshape(len(kernels), -1)
        products = products + kernels @ kernels.T
    lengths = np.sqrt(np.diag(products))
    return products / np.outer(lengths, lengths)
