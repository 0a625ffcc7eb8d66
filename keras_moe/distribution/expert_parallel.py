"""Experts on different devices, with data on all of them."""

import functools

import keras

from keras_moe.distribution.expert_weights import is_expert_weight
from keras_moe.distribution.mesh_layout import MeshLayout
from keras_moe.distribution.mesh_shape import mesh_shape
from keras_moe.distribution.shard_rules import axes_of_expert_weight
from keras_moe.distribution.shard_rules import axes_of_split_weight
from keras_moe.distribution.shard_rules import axes_of_weight
from keras_moe.distribution.shard_rules import check_shard
from keras_moe.distribution.tensor_parallel import split_dimension
from keras_moe.ops.backend import load_or
from keras_moe.ops.mesh_axes import AXES
from keras_moe.ops.mesh_axes import EXPERT


class ExpertParallel(keras.distribution.ModelParallel):
    """Distributes experts over devices, and the batch over all of them.

    The devices form a mesh of `data` times `expert`. The stacked weights of
    all experts, and their optimizer slots, are split over the expert axis:
    each device holds E / `expert` of the experts, `data` times the same.
    Rows of the batch are split over both axes, so every device routes tokens
    of its own and sends them to the devices that hold their experts.
    All other weights are on every device, unless `shard` says otherwise.

    Set it with `keras.distribution.set_distribution` before the model is
    made; `fit` needs nothing else.

    Args:
        data: optional int, size of the data axis. Defaults to what the
            devices leave; without `expert` to 1.
        expert: optional int, size of the expert axis; the number of experts
            is a multiple of it. Defaults to what the devices leave.
        devices: optional list of devices, names such as `"cpu:0"` or those of
            the backend. Defaults to all.
        shard: optional str. `"full"` also splits the largest axis of all
            other kernels over all devices, or over one axis of the mesh where
            it cannot be divided among all, and of the experts' over the data
            axis, and gathers them when they are used (FSDP, ZeRO-3).
            `"tensor"` splits attention by heads, dense layers by columns and
            embeddings by the vocabulary over the expert axis; activations
            travel and weights stay where they are (Megatron-LM).
        auto_shard_dataset: bool, whether Keras gives each process its part
            of a `tf.data.Dataset`. `False` if each process reads its own
            part already.

    Raises:
        ValueError: If the axes do not fit the devices, processes have
            unequally many devices, `shard` is unknown; later, if the number
            of experts or a batch cannot be divided.
        NotImplementedError: If the backend cannot distribute experts.

    Example:

    ```python
    if keras.config.backend() == "jax":
        distribution = ExpertParallel(data=1, expert=1, devices=["cpu:0"])
        keras.distribution.set_distribution(distribution)
    ```

    References:
        Lepikhin et al., 2020, https://arxiv.org/abs/2006.16668, section 3.
        Rajbhandari et al., 2019, https://arxiv.org/abs/1910.02054 (ZeRO).
        Korthikanti et al., 2022, https://arxiv.org/abs/2205.05198, section
        4.2: rows of the batch here, parts of the sequence there.
    """

    # The axes that the batch is split over.
    data_axes = AXES

    def __init__(
        self,
        data=None,
        expert=None,
        *,
        devices=None,
        shard=None,
        auto_shard_dataset=True,
    ):
        check_shard(shard)
        self.engine = _engine(shard)
        devices = self.engine.arrange_devices(
            devices, functools.partial(mesh_shape, data, expert), AXES
        )
        mesh = keras.distribution.DeviceMesh(devices.shape, AXES, devices)
        super().__init__(
            layout_map=keras.distribution.LayoutMap(mesh),
            batch_dim_name="data",
            auto_shard_dataset=auto_shard_dataset,
        )
        self.shard = shard
        self.axis_sizes = dict(zip(AXES, devices.shape, strict=True))
        self._unchecked = []

    @property
    def num_model_replicas(self):
        # Of the data: every device has rows of its own, so that no order of
        # the devices gives a process rows that it does not have.
        return self.device_mesh.devices.size

    def axes_of(self, variable):
        """Return over which axes a variable is split.

        Args:
            variable: `keras.Variable`, or anything with its shape and path.

        Returns:
            tuple with one entry for each dimension, as for `MeshLayout`.

        Raises:
            ValueError: If the experts cannot be divided.
        """
        fully = self.shard == "full"
        if is_expert_weight(variable):
            return axes_of_expert_weight(variable, self.axis_sizes, fully)
        if self.shard == "tensor":
            return axes_of_split_weight(
                variable.shape, split_dimension(variable), self.axis_sizes
            )
        return axes_of_weight(variable.shape, self.axis_sizes, fully)

    def get_variable_layout(self, variable):
        """Return a variable's layout, which Keras asks for.

        Args:
            variable: `keras.Variable`.

        Returns:
            `MeshLayout`; `None` for a variable that never gets a value.
        """
        self._check_layouts()
        if getattr(variable, "is_unfilled", False):
            return None
        axes = self.axes_of(variable)
        if EXPERT in axes:
            self._unchecked.append((variable, axes))
        return MeshLayout(axes, self.device_mesh)

    def get_data_layout(self, data_shape):
        """Return the layout of a batch, which Keras asks for.

        Args:
            data_shape: tuple, of what this process feeds.

        Returns:
            `MeshLayout`.

        Raises:
            ValueError: If the rows cannot be divided among the devices.
        """
        self._check_layouts()
        if not data_shape:
            return MeshLayout((), self.device_mesh)
        self._check_rows(data_shape[0])
        axes = (AXES, *[None] * (len(data_shape) - 1))
        return _BatchLayout(axes, self)

    def bytes_per_device(self, variables):
        """Add up what each device holds of variables.

        Args:
            variables: list of `keras.Variable`, such as `model.variables` or
                `model.optimizer.variables`.

        Returns:
            int, in bytes.
        """
        return sum(self.engine.bytes_here(each) for each in variables)

    def _check_rows(self, num_rows):
        """Raise unless this process' devices get equally many rows."""
        num_devices = self.num_model_replicas // self.num_processes
        if num_rows % num_devices:
            raise ValueError(
                "Expected a batch that can be divided among the "
                f"{num_devices} devices of this process. Received: "
                f"{num_rows} rows. Choose a `batch_size` that is a "
                "multiple of the number of devices, and leave out a last, "
                "smaller batch (`drop_remainder=True`)."
            )

    def _check_layouts(self):
        """Raise unless experts' weights that were made are really split."""
        unchecked, self._unchecked = self._unchecked, []
        for variable, axes in unchecked:
            self.engine.check_is_split(variable, axes, self.axis_sizes)


class _BatchLayout(MeshLayout):
    """The layout of a batch, which Keras asks for once and gives to all."""

    def __init__(self, axes, distribution):
        super().__init__(axes, distribution.device_mesh)
        self._distribution = distribution

    @property
    def backend_layout(self):
        distribution = self._distribution
        return distribution.engine.batch_sharding(
            super().backend_layout, distribution._check_rows
        )


def _engine(shard):
    backend = keras.config.backend()
    engine = load_or("expert_parallel", None)
    if engine is None:
        raise NotImplementedError(
            "Expected a backend that can put experts on different devices. "
            f"Received: KERAS_BACKEND={backend}. Train on JAX or PyTorch, or "
            "with all experts on every device: make the model in the scope "
            "of a `tf.distribute.MirroredStrategy`."
        )
    if shard is not None and not engine.CAN_SHARD:
        raise NotImplementedError(
            f"Expected shard=None on {backend}. Received: shard={shard!r}. "
            "Train on JAX, or leave it out."
        )
    return engine
