"""E dense layers in one: each multiplies its own rows."""

import keras
from keras import ops

from keras_moe.experts.per_expert_initializer import PerExpertInitializer
from keras_moe.experts.stacked_kernel import StackedKernel
from keras_moe.ops.grouped_matmul import grouped_matmul
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.widen import int32
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class GroupedDense(StackedKernel):
    """Multiplies each expert's rows by its own kernel.

    Banks of experts are made of it. Like `keras.layers.EinsumDense` it can
    learn a low-rank adapter (`enable_lora`), merged when it is saved, and
    keep its kernels as 8-bit integers (`quantize("int8")`).

    Args:
        num_experts: int E.
        units: int F, width of the outputs.
        use_bias: bool.
        num_branches: int, how many kernels are side by side in the last axis,
            each drawn as the separate kernel it is.
        kernel_initializer: drawn per expert, with the fans of one expert.
        bias_initializer: of the bias.
        kernel_regularizer: optional, applied to the stacked kernels.
        kernel_constraint: optional, applied to the stacked kernels.
        implementation: of the grouped product, as for
            `keras_moe.ops.grouped_matmul`.

    Call arguments:
        rows: float tensor of shape (R, H), sorted by expert, or (E, N, H).
        group_sizes: int32 tensor of shape (E,), or `None` for (E, N, H).

    Returns:
        Float tensor of shape (R, F), or (E, N, F).

    Weights: `kernel` (E, H, F), `bias` (E, F); quantized, also
    `kernel_scale` (E, F), which the integers are divided by.

    Example:

    >>> import numpy as np
    >>> layer = GroupedDense(num_experts=2, units=8)
    >>> rows = np.ones((3, 4), "float32")
    >>> tuple(layer(rows, np.array([1, 2], "int32")).shape)
    (3, 8)

    References:
        Hu et al., 2021, https://arxiv.org/abs/2106.09685 (LoRA).
    """

    @plain_numbers
    def __init__(
        self,
        num_experts,
        units,
        use_bias=False,
        num_branches=1,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        kernel_constraint=None,
        implementation="auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(num_experts=num_experts, units=units)
        self.num_experts = num_experts
        self.units = units
        self.use_bias = use_bias
        self.num_branches = num_branches
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.implementation = implementation

    def build(self, rows_shape, group_sizes_shape=None):
        shape = (self.num_experts, rows_shape[-1], self.units)
        if self.quantization_mode == "int8":
            self._add_int8(shape)
        else:
            self._kernel = self.add_expert_weight(
                name="kernel",
                shape=shape,
                initializer=PerExpertInitializer(
                    self.kernel_initializer, self.num_branches
                ),
                regularizer=self.kernel_regularizer,
                constraint=self.kernel_constraint,
            )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_expert_weight(
                name="bias",
                shape=(self.num_experts, self.units),
                initializer=self.bias_initializer,
            )

    def tensors(self):
        """Return kernel and bias in the compute dtype, as a tuple."""
        weights = (
            [self.kernel] if self.bias is None else [self.kernel, self.bias]
        )
        return tuple(
            # A variable would be differentiated twice by TensorFlow's
            # recomputation: as an argument and as a variable.
            ops.reshape(ops.cast(each, self.compute_dtype), each.shape)
            for each in weights
        )

    def multiply(self, rows, group_sizes, kernel, bias=None):
        """Compute the outputs: a pure function of tensors.

        Args:
            rows: as in the call.
            group_sizes: as in the call.
            kernel: tensor of shape (E, H, F), as `tensors()` returns it.
            bias: optional tensor of shape (E, F).

        Returns:
            Float tensor of shape (R, F), or (E, N, F).
        """
        if group_sizes is None:
            # `ops.matmul` turns float64 into float32 on JAX and PyTorch.
            outputs = rows @ kernel
            return outputs if bias is None else outputs + bias[:, None]
        outputs = grouped_matmul(rows, kernel, group_sizes, self.implementation)
        if bias is None:
            return outputs
        return outputs + _bias_of_rows(bias, group_sizes, rows)

    def call(self, rows, group_sizes=None):
        return self.multiply(rows, group_sizes, *self.tensors())

    def compute_output_shape(self, rows_shape, group_sizes_shape=None):
        return (*rows_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "units": self.units,
            "use_bias": self.use_bias,
            "num_branches": self.num_branches,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "bias_initializer": keras.initializers.serialize(
                self.bias_initializer
            ),
            "kernel_regularizer": keras.regularizers.serialize(
                self.kernel_regularizer
            ),
            "kernel_constraint": keras.constraints.serialize(
                self.kernel_constraint
            ),
            "implementation": self.implementation,
        }


def _bias_of_rows(bias, group_sizes, rows):
    """Return each row's bias: (E, F) -> (R, F), 0 behind the last group."""
    ends = ops.cumsum(int32(group_sizes), dtype="int32")
    position = ops.arange(ops.shape(rows)[0], dtype="int32")
    group = ops.searchsorted(ends, position, side="right")
    behind = ops.zeros((1, bias.shape[-1]), bias.dtype)
    return ops.take(ops.concatenate([bias, behind]), int32(group), axis=0)
