"""E dense layers in one: each multiplies its own rows."""

import keras
from keras import ops

from keras_moe.experts.late_weights import late_weights
from keras_moe.experts.per_expert_initializer import PerExpertInitializer
from keras_moe.ops.grouped_matmul import grouped_matmul
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.widen import int32
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class GroupedDense(keras.layers.Layer):
    """Multiplies each expert's rows by its own kernel.

    Banks of experts are made of it. Like `keras.layers.EinsumDense` it can
    learn a low-rank adapter (`enable_lora`), merged when it is saved.

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

    Weights: `kernel` (E, H, F), `bias` (E, F).

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
        self.lora_enabled = False

    def build(self, rows_shape, group_sizes_shape=None):
        self._kernel = self.add_weight(
            name="kernel",
            shape=(self.num_experts, rows_shape[-1], self.units),
            initializer=PerExpertInitializer(
                self.kernel_initializer, self.num_branches
            ),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.num_experts, self.units),
                initializer=self.bias_initializer,
            )

    @property
    def kernel(self):
        """The stacked kernels (E, H, F), with the adapter if there is one."""
        if not self.lora_enabled:
            return self._kernel
        scale = self.lora_alpha / self.lora_rank
        # (E, H, rank) @ (E, rank, F) -> (E, H, F)
        adapter = ops.matmul(self.lora_kernel_a, self.lora_kernel_b)
        return self._kernel + scale * adapter

    def enable_lora(
        self,
        rank,
        a_initializer="he_uniform",
        b_initializer="zeros",
        lora_alpha=None,
    ):
        """Freeze the kernels and add a trainable adapter to each.

        Args:
            rank: int, width of the adapters.
            a_initializer: of the kernels (E, H, rank), drawn per expert.
            b_initializer: of the kernels (E, rank, F).
            lora_alpha: optional float; the adapter is multiplied by
                `lora_alpha / rank`. `None` means `rank`.

        Raises:
            ValueError: If the layer is not built, has an adapter already, or
                a kernel constraint.
        """
        if not self.built or self.lora_enabled or self.kernel_constraint:
            raise ValueError(
                "Expected a built layer without adapter and without kernel "
                f"constraint. Received: built={self.built}, "
                f"lora_enabled={self.lora_enabled}, "
                f"kernel_constraint={self.kernel_constraint}. Build the layer, "
                "and enable an adapter once."
            )
        _, hidden_dim, units = self._kernel.shape
        with late_weights(self):
            self.lora_kernel_a = self.add_weight(
                name="lora_kernel_a",
                shape=(self.num_experts, hidden_dim, rank),
                initializer=PerExpertInitializer(a_initializer),
                regularizer=self.kernel_regularizer,
            )
            self.lora_kernel_b = self.add_weight(
                name="lora_kernel_b",
                shape=(self.num_experts, rank, units),
                initializer=b_initializer,
                regularizer=self.kernel_regularizer,
            )
        self._kernel.trainable = False
        self.lora_rank = rank
        self.lora_alpha = rank if lora_alpha is None else lora_alpha
        self.lora_enabled = True

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

    def save_own_variables(self, store):
        """Save kernel and bias, an adapter merged into the kernel."""
        store["0"] = ops.convert_to_numpy(self.kernel)
        if self.bias is not None:
            store["1"] = ops.convert_to_numpy(self.bias)

    def load_own_variables(self, store):
        """Load kernel and bias; an adapter starts again from nothing."""
        if not store.keys() and self.was_loaded:
            return  # By a bank of version 0.1.
        variables = [self._kernel, *([] if self.bias is None else [self.bias])]
        if len(store.keys()) != len(variables):
            raise ValueError(
                f"Expected {len(variables)} variables for {self.path}. "
                f"Received: {len(store.keys())}. Make the layer with the "
                "`use_bias` of the file."
            )
        for index, variable in enumerate(variables):
            variable.assign(store[str(index)])
        if self.lora_enabled:
            self.lora_kernel_b.assign(ops.zeros(self.lora_kernel_b.shape))

    was_loaded = False

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
