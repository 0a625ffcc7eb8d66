"""Compile a training step for a pod, on a machine without one."""

import time

import keras

from keras_moe.distribution.expert_parallel import ExpertParallel
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.parameter_counts import parameter_counts
from keras_moe.models.registry import preset
from keras_moe.planning.chips import GIB
from keras_moe.planning.chips import open_slice
from keras_moe.planning.depths import models_of_depths
from keras_moe.planning.measured import measure
from keras_moe.planning.measured import measured_of
from keras_moe.planning.training_plan import TrainingPlan
from keras_moe.planning.training_step import compile_training_step
from keras_moe.routing.capacity import Capacity
from keras_moe.routing.validation import check_positive


def plan_training(
    model,
    topology,
    batch,
    *,
    data=None,
    expert=None,
    shard=None,
    sequence_length=4096,
    optimizer="adamw",
    dtype="mixed_bfloat16",
    capacity_factor=1.25,
    remat=False,
    depths=(2, 4),
    report=None,
):
    """Compile a model's training step for a slice of TPUs, without one.

    libtpu compiles on any machine, and no weight is allocated. The whole
    model may take hours to compile, so two models of its first layers are
    compiled and the rest is extrapolated: layers add equally much. Runs on
    JAX; start Python with `JAX_PLATFORMS=cpu`.

    Args:
        model: str, name of a preset of a decoder.
        topology: str, version of the chip and shape of the slice, such as
            `"v5p:4x4x4"`; versions v4, v5e, v5p, v6e.
        batch: int, sequences per step, a multiple of the devices.
        data: optional int, as for `keras_moe.distribution.ExpertParallel`.
        expert: optional int, the same.
        shard: optional str, the same: `"full"` or `"tensor"`.
        sequence_length: int, tokens per sequence.
        optimizer: str, a name that `keras.optimizers.get` knows.
        dtype: str, the dtype policy.
        capacity_factor: optional float, slots per expert over an equal share;
            `None` is dropless.
        remat: bool, whether attention and experts are recomputed in the
            backward pass.
        depths: optional pair of ints, how many sparse layers the compiled
            models have; `None` compiles the whole model.
        report: optional function that is called with a sentence before each
            long step.

    Returns:
        `TrainingPlan`.

    Raises:
        ImportError: If libtpu is missing.
        NotImplementedError: If the backend is not JAX.
        ValueError: If the model is no decoder, the topology is unknown, mesh
            or batch do not fit it, or a program needs more memory than a
            device has.

    Example:

    <!-- no-run: compiles for minutes -->
    ```python
    plan = plan_training(
        "mixtral_8x7b", "v5p:4x4x4", batch=64, expert=8, shard="full"
    )
    print(plan.needed, plan.available, plan.collectives)
    ```
    """
    started = time.monotonic()
    backbone_class, config = _decoder(model)
    config["dtype"] = dtype
    if capacity_factor is not None:
        config["router"] = {"capacity": Capacity(capacity_factor)}
    pod = open_slice(topology)
    distribution = ExpertParallel(
        data, expert, devices=pod.devices, shard=shard
    )
    check_positive(batch=batch, sequence_length=sequence_length)
    if batch % len(pod.devices):
        raise ValueError(
            "Expected as many sequences for each device. Received: "
            f"batch={batch} for {len(pod.devices)} devices. Choose a multiple."
        )
    configs, sparse = models_of_depths(
        backbone_class.arguments_class, config, depths
    )
    measured = []
    for each in configs:
        if report is not None:
            report(
                f"compiling {each['num_layers']} of {config['num_layers']} "
                f"layers for {topology}"
            )
        step = (batch, sequence_length, optimizer, remat)
        measured.append(_measure(backbone_class, each, distribution, step, pod))
    needs = measured_of(measured, sparse)
    counts = parameter_counts(backbone_class, **config)
    return TrainingPlan(
        model=model,
        topology=topology,
        devices=len(pod.devices),
        mesh=distribution.axis_sizes,
        batch=batch,
        sequence_length=sequence_length,
        settings={
            "shard": shard,
            "optimizer": optimizer,
            "dtype": dtype,
            "capacity_factor": capacity_factor,
            "remat": remat,
        },
        parameters=counts.total,
        # Backward: the gradients of the rows and of the kernels.
        flops=3 * counts.flops_per_token * batch * sequence_length,
        memory=needs.memory,
        available=pod.memory,
        collectives=needs.collectives,
        largest=needs.largest,
        layers=config["num_layers"],
        compiled_layers=[each["num_layers"] for each in configs],
        seconds=round(time.monotonic() - started),
    )


def _decoder(model):
    if keras.config.backend() != "jax":
        raise NotImplementedError(
            "Expected JAX, which compiles for TPUs. Received: "
            f"KERAS_BACKEND={keras.config.backend()}. Set KERAS_BACKEND=jax."
        )
    backbone_class, config = preset(model)
    if not issubclass(backbone_class, DecoderBackbone):
        raise ValueError(
            "Expected the preset of a decoder, such as mixtral_8x7b. "
            f"Received: {model}, a {backbone_class.__name__}. Compile its "
            "training step with `jax.jit(...).lower(...).compile()`."
        )
    return backbone_class, config


def _measure(backbone_class, config, distribution, step, pod):
    try:
        program = compile_training_step(
            backbone_class, config, distribution, *step
        )
    except MemoryError as error:
        raise ValueError(
            f"Expected a training step that fits {pod.memory / GIB:.0f} GiB. "
            f"Received: num_layers={config['num_layers']}, XLA says: "
            f"{str(error)[:200]} Choose more devices, `shard='full'`, "
            "`remat=True` or a smaller batch."
        ) from error
    return measure(program)
