"""Stacked kernels: what all banks of experts have in common."""

import operator

import keras
from keras import ops

from keras_moe.experts.per_expert_initializer import PerExpertInitializer
from keras_moe.experts.per_expert_initializer import reseed
from keras_moe.ops.grouped_matmul import grouped_matmul
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_positive


class ExpertBank(keras.layers.Layer):
    """Applies E feed-forward networks, each to its own rows.

    Abstract: a subclass creates its kernels in `build` and says in
    `feed_forward` what one expert computes.

    Under `keras.RematScope` only the expert computation, a pure function of
    tensors, is recomputed in the backward pass.

    Args:
        num_experts: int E.
        intermediate_dim: int I, width inside one expert.
        activation: name or function.
        kernel_initializer: drawn per expert, with the fans of one expert.
        kernel_regularizer: optional, applied to the stacked kernels.
        kernel_constraint: optional, applied to the stacked kernels.
        implementation: of the grouped product, as for
            `keras_moe.ops.grouped_matmul`.
    """

    @plain_numbers
    def __init__(
        self,
        num_experts,
        intermediate_dim,
        activation="silu",
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        kernel_constraint=None,
        implementation="auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(
            num_experts=num_experts, intermediate_dim=intermediate_dim
        )
        self.num_experts = num_experts
        self.intermediate_dim = intermediate_dim
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.implementation = implementation

    def kernels(self):
        """Return the stacked kernels as a tuple of variables."""
        raise NotImplementedError

    def feed_forward(self, rows, multiply, *kernels):
        """Compute the experts' outputs: a pure function of tensors.

        Args:
            rows: float tensor of shape (..., H), laid out by expert.
            multiply: `multiply(rows, kernels)`, the product of each
                expert's rows with its kernel.
            *kernels: tensors, as `kernels()` returns them.

        Returns:
            Float tensor of shape (..., H).
        """
        raise NotImplementedError

    def call(self, rows, group_sizes=None):
        kernels = [
            # A variable would be differentiated twice by TensorFlow's
            # recomputation: as an argument and as a variable.
            ops.reshape(ops.cast(kernel, self.compute_dtype), kernel.shape)
            for kernel in self.kernels()
        ]
        if group_sizes is None:
            return self._compute(self._on_blocks)(rows, *kernels)
        return self._compute(self._on_groups)(rows, group_sizes, *kernels)

    def _on_blocks(self, rows, *kernels):
        # `ops.matmul` turns float64 into float32 on JAX and PyTorch.
        return self.feed_forward(rows, operator.matmul, *kernels)

    def _on_groups(self, rows, group_sizes, *kernels):
        def multiply(rows, kernel):
            return grouped_matmul(
                rows, kernel, group_sizes, self.implementation
            )

        return self.feed_forward(rows, multiply, *kernels)

    def _compute(self, function):
        return keras.remat(function) if self._rematerialize else function

    _rematerialize = False

    def rematerialized_call(self, layer_call, *args, **kwargs):
        keras_call = super().rematerialized_call(layer_call, *args, **kwargs)
        if keras_call is layer_call:
            return layer_call

        # Kernels are read and cast before the recomputed part, so that the
        # second pass sees the same tensors.
        def call(*args, **kwargs):
            self._rematerialize = True
            try:
                return layer_call(*args, **kwargs)
            finally:
                self._rematerialize = False

        return call

    def add_kernels(self, name, kernel_shape, num_branches=1):
        """Create stacked kernels of shape (E, *kernel_shape)."""
        initializer = reseed(self.kernel_initializer, 2 * len(self.weights))
        return self.add_weight(
            name=name,
            shape=(self.num_experts, *kernel_shape),
            initializer=PerExpertInitializer(initializer, num_branches),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )

    def compute_output_shape(self, rows_shape, group_sizes_shape=None):
        return rows_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "intermediate_dim": self.intermediate_dim,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "kernel_regularizer": keras.regularizers.serialize(
                self.kernel_regularizer
            ),
            "kernel_constraint": keras.constraints.serialize(
                self.kernel_constraint
            ),
            "implementation": self.implementation,
        }
