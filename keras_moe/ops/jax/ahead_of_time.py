"""Training steps compiled for devices that are not there.

The one file that imports `jax.experimental.topologies` and reads `_layout`. JAX
has no public name for devices that are described and not there, Keras none for
where it put a variable, and an optimizer its slots.
"""

import importlib.util
import os
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import keras

try:
    from jax.experimental import topologies
except ImportError:
    topologies = None

# libtpu asks the machine what it is, unless it is told, and lets one process at
# a time use its chips.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5p-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
}
# 40% less time to compile, the same collectives, up to 10% more memory.
LEAST_EFFORT = {"exec_time_optimization_effort": -1.0}


class Program(NamedTuple):
    """A compiled program: its text, and its bytes on each device.

    Attributes:
        text: str, optimized HLO.
        arguments: int, weights, optimizer slots and the batch.
        results: int, of which `in_place` are in the arguments' memory.
        in_place: int.
        temporary: int.
        code: int.
    """

    text: str
    arguments: int
    results: int
    in_place: int
    temporary: int
    code: int


def tpu_devices(topology):
    """Describe the devices of a TPU slice that this machine does not have.

    Args:
        topology: str, such as `"v5p:4x4x4"`.

    Returns:
        list of `jax.Device`, which hold no data.

    Raises:
        ImportError: If libtpu is missing.
        ValueError: If libtpu does not know the topology.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TPU_LIBRARY_PATH", str(find_libtpu()))
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=topology
        )
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(
            "Expected a topology that libtpu knows, such as v5p:4x4x4. "
            f"Received: topology={topology!r}. {error}"
        ) from error
    return list(found.devices)


def find_libtpu():
    """Find the library that compiles for TPUs.

    Returns:
        `pathlib.Path`.

    Raises:
        ImportError: If there is none.
    """
    # Apart from the other packages, JAX does not look for a TPU at each start.
    folders = [Path(sys.prefix) / "libtpu" / "libtpu"]
    installed = importlib.util.find_spec("libtpu")
    if installed is not None:
        folders += map(Path, installed.submodule_search_locations or ())
    for folder in folders:
        if topologies is not None and (folder / "libtpu.so").is_file():
            return folder / "libtpu.so"
    raise ImportError(
        "Compiling for TPUs needs libtpu: pip install 'keras-moe[tpu]'"
    )


def make_abstract(make):
    """Make a model whose variables have shapes, dtypes and layouts only.

    Args:
        make: function without arguments that returns a built model, compiled
            with an optimizer that is built.

    Returns:
        The model. Its variables hold no values; only stateless functions of
        it, such as `train_step`, can be traced.
    """
    models = []

    def trace():
        models.append(make())

    jax.eval_shape(trace)
    return models[0]


def lower_training_step(model, inputs, targets, distribution):
    """Trace and lower the training step that `fit` runs.

    Args:
        model: from `make_abstract`, made under the distribution.
        inputs: structure of `keras.KerasTensor`, what the model is called
            with, the size of the batch included.
        targets: the same for the targets.
        distribution: `keras.distribution.Distribution`.

    Returns:
        `jax.stages.Lowered`.
    """

    def of_batch(tensor):
        return _described(tensor, distribution.get_data_layout(tensor.shape))

    state = [
        [_described(each, each._layout) for each in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    ]
    batch = keras.tree.map_structure(of_batch, (inputs, targets))
    step = jax.jit(
        lambda state, data: model.train_step(state, data),
        donate_argnums=0,
        out_shardings=(None, tuple(jax.tree.map(lambda s: s.sharding, state))),
    )
    with distribution.scope():
        return step.lower(tuple(state), (*batch, None))


def compile_lowered(lowered, options=None):
    """Compile a lowered program.

    Args:
        lowered: `jax.stages.Lowered`.
        options: optional dict, of XLA for this program.

    Returns:
        `Program`.

    Raises:
        MemoryError: If XLA knows that a device has too little memory.
    """
    try:
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise MemoryError(str(error)) from error
        raise
    sizes = compiled.memory_analysis()
    return Program(
        compiled.as_text(),
        sizes.argument_size_in_bytes,
        sizes.output_size_in_bytes,
        sizes.alias_size_in_bytes,
        sizes.temp_size_in_bytes,
        sizes.generated_code_size_in_bytes,
    )


def _described(tensor, layout):
    sharding = getattr(layout, "backend_layout", layout)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return jax.ShapeDtypeStruct(tensor.shape, dtype, sharding=sharding)
