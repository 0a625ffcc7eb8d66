"""Kernels of E experts in one: as they are kept, adapted and saved."""

import keras
from keras import ops

from keras_moe.distribution.expert_weights import expert_weights
from keras_moe.distribution.own_experts import gather_parts
from keras_moe.distribution.own_experts import mark_part
from keras_moe.distribution.own_experts import own_part
from keras_moe.distribution.own_experts import take_part
from keras_moe.experts.int8_kernel import from_int8
from keras_moe.experts.int8_kernel import to_int8
from keras_moe.experts.late_weights import late_weights
from keras_moe.experts.per_expert_initializer import PerExpertInitializer


class StackedKernel(keras.layers.Layer):
    """Keeps kernels (E, H, F): as floats, as integers, or with an adapter.

    Abstract: `GroupedDense` builds and multiplies them.
    """

    lora_enabled = False
    is_int8 = False
    was_loaded = False

    def add_expert_weight(self, **arguments):
        """Add a weight whose first axis is E, which a mesh may divide.

        Args:
            **arguments: those of `add_weight`.

        Returns:
            `keras.Variable`.
        """
        with expert_weights() as mark:
            part = own_part(arguments)
            variable = mark(self.add_weight(**part))
        if part is not arguments:
            mark_part(variable)
        return variable

    def _add_int8(self, shape):
        self._kernel = self.add_expert_weight(
            name="kernel",
            shape=shape,
            dtype="int8",
            initializer="zeros",
            trainable=False,
        )
        self.kernel_scale = self.add_expert_weight(
            name="kernel_scale",
            shape=(shape[0], shape[2]),
            initializer="ones",
            trainable=False,
        )
        self.is_int8 = True

    @property
    def kernel(self):
        """The stacked kernels (E, H, F), with the adapter if there is one."""
        kernel = self._kernel
        if self.is_int8:
            kernel = from_int8(kernel, self.kernel_scale)
        if not self.lora_enabled:
            return kernel
        scale = self.lora_alpha / self.lora_rank
        # (E, H, rank) @ (E, rank, F) -> (E, H, F)
        adapter = ops.matmul(self.lora_kernel_a, self.lora_kernel_b)
        return kernel + scale * adapter

    def quantize(self, mode=None, type_check=True, config=None):
        """Keep the kernels as 8-bit integers, a scale for each output.

        Activations are not rounded. `keras.Model.quantize` calls this.

        Args:
            mode: `"int8"`.
            type_check: unused; any subclass is quantized.
            config: unused.

        Raises:
            NotImplementedError: If the mode is another one.
            ValueError: If the layer has an adapter.
        """
        if mode != "int8":
            raise NotImplementedError(
                f"Expected mode='int8' for {self.path}. Received: "
                f"mode={mode!r}. Experts know no other."
            )
        if self.lora_enabled:
            raise ValueError(
                "Expected a layer without adapter. Received: "
                f"lora_enabled={self.lora_enabled}. Call `quantize` before "
                "`enable_lora`."
            )
        if self.is_int8:
            return
        values, scale = to_int8(self._kernel)
        self._become_int8()
        self._kernel.assign(values)
        self.kernel_scale.assign(scale)
        self._note_int8()

    def quantized_call(self, *args, **kwargs):
        return self.call(*args, **kwargs)

    def _note_int8(self):
        policy = keras.dtype_policies.get(self.dtype_policy)  # type: ignore[has-type]
        self.dtype_policy = f"int8_from_{policy.name}"

    def _become_int8(self):
        shape = (self.num_experts, *self._kernel.shape[1:])
        with late_weights(self):
            del self._kernel
            self._add_int8(shape)

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
            self.lora_kernel_a = self.add_expert_weight(
                name="lora_kernel_a",
                shape=(self.num_experts, hidden_dim, rank),
                initializer=PerExpertInitializer(a_initializer),
                regularizer=self.kernel_regularizer,
            )
            self.lora_kernel_b = self.add_expert_weight(
                name="lora_kernel_b",
                shape=(self.num_experts, rank, units),
                initializer=b_initializer,
                regularizer=self.kernel_regularizer,
            )
        self._kernel.trainable = False
        self.lora_rank = rank
        self.lora_alpha = rank if lora_alpha is None else lora_alpha
        self.lora_enabled = True

    def save_own_variables(self, store):
        """Save kernel and bias, an adapter merged into the kernel."""
        kernel = self.kernel if self.lora_enabled else self._kernel
        if self.is_int8:
            scale = self.kernel_scale
            if self.lora_enabled:
                kernel, scale = to_int8(kernel)
            store["scale"] = self._whole(scale)
        store["0"] = self._whole(kernel)
        if self.bias is not None:
            store["1"] = self._whole(self.bias)

    def _whole(self, values):
        values = ops.convert_to_tensor(values)
        return ops.convert_to_numpy(gather_parts(values, self._kernel))

    def load_own_variables(self, store):
        """Load kernel and bias; an adapter starts again from nothing.

        From a file with integers, the layer takes integers.
        """
        if not store.keys() and self.was_loaded:
            return  # By a bank of version 0.1.
        variables = {"0": self._kernel}
        if self.bias is not None:
            variables["1"] = self.bias
        if "scale" in store.keys() and not self.is_int8:
            self._become_int8()
            self._note_int8()
        if self.is_int8:
            variables.update({"0": self._kernel, "scale": self.kernel_scale})
        if {*store.keys()} != {*variables}:
            raise ValueError(
                f"Expected {len(variables)} variables for {self.path}, "
                f"{sorted(variables)}. Received: {len(store.keys())}, "
                f"{sorted(store.keys())}. Make the layer with the `use_bias` "
                "of the file, and quantize it after loading."
            )
        for name, variable in variables.items():
            variable.assign(take_part(store[name], variable))
        if self.lora_enabled:
            self.lora_kernel_b.assign(ops.zeros(self.lora_kernel_b.shape))
