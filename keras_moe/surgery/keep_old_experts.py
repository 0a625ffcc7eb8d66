"""Training new experts while old ones stay as they are."""

import keras
import numpy as np
from keras import ops

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.surgery.expert_axis import expert_axis
from keras_moe.surgery.expert_axis import pair_router_weights


class KeepOldExperts(keras.callbacks.Callback):
    """Keeps old experts as they are while those of `add_experts` learn.

    The kernels of all experts are one variable, which is trained or frozen as
    a whole. So the optimizer trains all experts, and after each batch those
    that the given model has, their columns of the router and their selection
    bias get their former values again, whatever optimizer and weight decay.
    With `steps_per_execution` they change in between. Other layers are
    trained, unless you freeze them. The former values take as much memory as
    the old experts.

    Args:
        old_model: the model that was given to `add_experts`; it is read when
            training begins.

    Raises:
        ValueError: When training begins, if the models' sparse layers have
            other names, or there are not more experts than before.

    Example:

    >>> from keras_moe.layers import SparseMoE
    >>> from keras_moe.surgery import add_experts
    >>> model = keras.Sequential([keras.Input((8,)), SparseMoE(4, 8)])
    >>> larger = add_experts(model, 1, sources=[0], lowered_by=1.0)
    >>> larger.compile("sgd", "mean_squared_error")
    >>> x = np.ones((2, 8), "float32")
    >>> history = larger.fit(
    ...     x, x, callbacks=[KeepOldExperts(model)], verbose=0
    ... )
    >>> old, new = model.layers[0].router, larger.layers[0].router
    >>> bool(ops.all(new.kernel[:, :4] == old.kernel))
    True

    References:
        Chen et al., 2023 (Lifelong-MoE), https://arxiv.org/abs/2305.12281,
        section 3.2.
    """

    def __init__(self, old_model):
        super().__init__()
        self.old_model = old_model
        self._kept = []

    def on_train_begin(self, logs=None):
        old_layers = find_sparse_layers(self.old_model)
        new_layers = find_sparse_layers(self.model)
        fits = [*old_layers] == [*new_layers] and all(
            new_layers[name].num_experts > old_layers[name].num_experts
            for name in old_layers
        )
        if not old_layers or not fits:
            sizes = [
                {name: layers[name].num_experts for name in layers}
                for layers in (old_layers, new_layers)
            ]
            raise ValueError(
                "Expected a model with more experts in the same sparse layers. "
                f"Received: {sizes[0]} experts before, {sizes[1]} now. Give "
                "the model that `add_experts` was given."
            )
        self._kept = [
            kept
            for name, old in old_layers.items()
            for kept in _kept_of(old, new_layers[name])
        ]

    def on_train_batch_end(self, batch, logs=None):
        # On JAX the model's variables are not there in the middle of an
        # epoch. Asking the callback for its model brings them back.
        _ = self.model
        for variable, before, after, new in self._kept:
            if new is None:
                variable.assign(before)
            else:
                parts = [before, ops.convert_to_tensor(variable)[new], after]
                axis = len(new) - 1
                variable.assign(ops.concatenate(parts, axis=axis))


def _kept_of(old, new):
    """List (variable, values before the new experts, after them, new ones)."""
    pairs = [*zip(old.experts.weights, new.experts.weights, strict=True)]
    kept = [_keep(a, b, old.experts, new.experts, old) for a, b in pairs]
    pairs = pair_router_weights(old.router, new.router)
    if len(pairs) < len(new.router.weights):  # Without a bias is with zeros.
        zeros = keras.Variable(np.zeros(old.num_experts, "float32"))
        pairs.append((zeros, new.router.bias))
    return kept + [_keep(a, b, old.router, new.router, old) for a, b in pairs]


def _keep(old_variable, variable, old_part, part, layer):
    axis = expert_axis(
        old_variable, variable, (part.num_experts, old_part.num_experts)
    )
    values = np.array(ops.convert_to_numpy(old_variable))
    if axis is None:
        return variable, ops.convert_to_tensor(values), None, None
    first = layer.experts.num_experts
    added = part.num_experts - old_part.num_experts
    before, after = np.split(values, [first], axis=axis)
    new = (slice(None),) * axis + (slice(first, first + added),)
    return (
        variable,
        ops.convert_to_tensor(before),
        ops.convert_to_tensor(after),
        new,
    )
