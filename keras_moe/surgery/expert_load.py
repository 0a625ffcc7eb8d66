"""How busy experts are, to say which are copied, merged or pruned."""

import numpy as np
from keras import ops

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.layers.record_choices import record_choices


def measure_expert_load(model, batches):
    """Measure which part of the tokens goes to each expert.

    Routing is that of inference, before a capacity drops anything; padding
    does not count.

    Args:
        model: built model or layer with sparse layers in which tokens choose.
        batches: iterable of inputs of the model, after its preprocessor.

    Returns:
        dict from the names of sparse layers to float64 arrays (E,), fractions
        of the (token, choice) pairs that sum to 1.

    Raises:
        ValueError: If there is no batch or no sparse layer, or a layer is
            not called once for each batch.

    Example:

    >>> import numpy as np
    >>> from keras_moe.layers import SparseMoE
    >>> layer = SparseMoE(4, 8, name="sparse_moe")
    >>> load = measure_expert_load(layer, [np.ones((1, 3, 16), "float32")])
    >>> sorted(load["sparse_moe"].tolist())
    [0.0, 0.0, 0.5, 0.5]
    """
    layers = find_sparse_layers(model)
    counts = {
        name: np.zeros(layer.num_experts, "int64")
        for name, layer in layers.items()
    }
    for batch in batches:
        with record_choices() as choices:
            model(batch, training=False)
        if len(choices) != len(counts):
            raise ValueError(
                "Expected a model that calls each of its sparse layers once. "
                f"Received: {len(counts)} layers, {len(choices)} calls."
            )
        for count, chosen in zip(counts.values(), choices, strict=True):
            chosen = ops.convert_to_numpy(chosen).ravel()
            count += np.bincount(chosen, minlength=len(count) + 1)[:-1]
    if not counts or not all(count.sum() for count in counts.values()):
        raise ValueError(
            "Expected batches with real tokens, and a model with sparse "
            f"layers. Received: {len(counts)} layers. Give `batches` a list."
        )
    return {name: count / count.sum() for name, count in counts.items()}


def load_of(layer, load, name):
    """Return the load of a layer's experts, those that compute something.

    Args:
        layer: `SparseMoE`.
        load: dict from `measure_expert_load`.
        name: str, the layer's.

    Returns:
        Float array (E,).

    Raises:
        ValueError: If there is none for this layer, or it has another size.

    Example:

    >>> from keras_moe.layers import SparseMoE
    >>> load_of(SparseMoE(2, 8), {"a": [0.25, 0.75]}, "a").tolist()
    [0.25, 0.75]
    """
    if name not in load or len(load[name]) != layer.num_experts:
        sizes = {each: len(load[each]) for each in load}
        raise ValueError(
            f"Expected the load of {name!r}, for {layer.num_experts} experts. "
            f"Received: those of {sizes}. Measure "
            "it with `measure_expert_load` on this model."
        )
    return np.asarray(load[name])[: layer.experts.num_experts]
