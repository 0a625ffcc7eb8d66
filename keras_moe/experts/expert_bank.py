"""Banks of experts: what all kinds have in common."""

import functools

import keras

from keras_moe.experts.grouped_dense import GroupedDense
from keras_moe.experts.per_expert_initializer import reseed
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_positive


class ExpertBank(keras.layers.Layer):
    """Applies E feed-forward networks, each to its own rows.

    Abstract: a subclass makes its parts in `build`, names them in `parts`,
    and says in `feed_forward` what one expert computes with them.

    Under `keras.RematScope` only the expert computation, a pure function of
    tensors, is recomputed in the backward pass.

    Args:
        num_experts: int E.
        intermediate_dim: int I, width inside one expert.
        activation: name or function.
        kernel_initializer: drawn per expert, with the fans of one expert.
        kernel_regularizer: optional, applied to the stacked kernels.
        kernel_constraint: optional, applied to the stacked kernels.
        use_bias: bool, whether the dense layers have biases.
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
        use_bias=False,
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
        self.use_bias = use_bias
        self.implementation = implementation

    def parts(self):
        """Return the bank's `GroupedDense` layers, in the order of their use.

        Returns:
            tuple of layers.
        """
        raise NotImplementedError

    def feed_forward(self, rows, *dense):
        """Compute the experts' outputs from the parts' products.

        Args:
            rows: float tensor of shape (..., H), arranged by expert.
            *dense: for each part, the function that multiplies rows by it.

        Returns:
            Float tensor of shape (..., H).
        """
        raise NotImplementedError

    def compute(self, rows, group_sizes, *tensors):
        """Compute the experts' outputs: a pure function of tensors.

        Args:
            rows: float tensor of shape (R, H), sorted by expert, or (E, N, H).
            group_sizes: int32 tensor of shape (E,), or `None` for (E, N, H).
            *tensors: as `tensors()` returns them; those of some of the
                experts, for rows of these.

        Returns:
            Float tensor of the shape of `rows`.
        """
        size = len(tensors) // len(self.parts())
        dense = [
            functools.partial(
                _multiply, part, group_sizes, tensors[size * i : size * (i + 1)]
            )
            for i, part in enumerate(self.parts())
        ]
        return self.feed_forward(rows, *dense)

    def tensors(self):
        """Return all kernels and biases in the compute dtype.

        Returns:
            list of tensors, each with E as its first axis.
        """
        return [each for part in self.parts() for each in part.tensors()]

    def compute_with(self, rows, group_sizes, tensors):
        """Do as `compute`, again in the backward pass if that is asked for.

        Args:
            rows: as for `compute`.
            group_sizes: as for `compute`.
            tensors: list, as for `compute`.

        Returns:
            Float tensor of the shape of `rows`.
        """
        if group_sizes is None:
            on_blocks = self._recomputed(
                lambda rows, *tensors: self.compute(rows, None, *tensors)
            )
            return on_blocks(rows, *tensors)
        return self._recomputed(self.compute)(rows, group_sizes, *tensors)

    def call(self, rows, group_sizes=None):
        return self.compute_with(rows, group_sizes, self.tensors())

    def _recomputed(self, function):
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

    def add_part(self, name, rows_dim, units, num_branches=1):
        """Make and build a part.

        Args:
            name: str, also the attribute's.
            rows_dim: int, width of its rows.
            units: int, width of its outputs.
            num_branches: int, as for `GroupedDense`.

        Returns:
            `GroupedDense`.
        """
        # Kernels of one shape must not start equal, so each draws others.
        offset = 2 * len(
            [each for each in self.weights if each.name == "kernel"]
        )
        # Under a RematScope the bank is recomputed as a whole.
        with keras.RematScope(mode=None):
            part = GroupedDense(
                self.num_experts,
                units,
                self.use_bias,
                num_branches,
                reseed(self.kernel_initializer, offset),
                kernel_regularizer=self.kernel_regularizer,
                kernel_constraint=self.kernel_constraint,
                implementation=self.implementation,
                dtype=self.dtype_policy,
                name=name,
            )
        part.build((None, rows_dim))
        return part

    def load_own_variables(self, store):
        """Load the kernels of version 0.1, which the bank held itself."""
        for key, part in zip(store.keys(), self.parts(), strict=False):
            part.load_own_variables({"0": store[key]})
            part.was_loaded = True

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
            "use_bias": self.use_bias,
            "implementation": self.implementation,
        }


def _multiply(part, group_sizes, tensors, rows):
    return part.multiply(rows, group_sizes, *tensors)
