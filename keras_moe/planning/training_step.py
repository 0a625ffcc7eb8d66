"""A model's training step, compiled without its weights."""

import keras

from keras_moe.ops.backend import load


def compile_training_step(
    backbone_class,
    config,
    distribution,
    batch,
    sequence_length,
    optimizer="adamw",
    remat=False,
):
    """Compile the step that `fit` runs on a language model.

    Nothing is allocated: variables are traced, and keep their shapes.

    Args:
        backbone_class: of a decoder, see `keras_moe.models.PRESETS`.
        config: dict, its constructor's arguments.
        distribution: `keras_moe.distribution.ExpertParallel`.
        batch: int B, sequences per step on all devices.
        sequence_length: int L.
        optimizer: str or dict, as for `keras.optimizers.get`.
        remat: bool, whether attention and experts are recomputed in the
            backward pass (`keras.RematScope`).

    Returns:
        `keras_moe.ops.jax.ahead_of_time.Program`.

    Raises:
        MemoryError: If XLA knows that a device has too little memory.

    Example:

    <!-- no-run: takes as long as the compilation of any model -->
    ```python
    program = compile_training_step(
        *keras_moe.models.preset("mixtral_8x7b"),
        keras_moe.distribution.ExpertParallel(devices=["cpu:0"]),
        batch=1,
        sequence_length=8,
    )
    print(program.temporary, program.text)
    ```
    """
    ahead_of_time = load("ahead_of_time")

    def make():
        with distribution.scope():
            return _make_model(backbone_class, config, optimizer, remat)

    model = ahead_of_time.make_abstract(make)
    shape = (batch, sequence_length)
    inputs = {
        name: keras.KerasTensor(shape, each.dtype)
        for name, each in model.input.items()
    }
    targets = keras.KerasTensor(shape, "int32")
    lowered = ahead_of_time.lower_training_step(
        model, inputs, targets, distribution
    )
    return ahead_of_time.compile_lowered(lowered, ahead_of_time.LEAST_EFFORT)


def _make_model(backbone_class, config, optimizer, remat):
    with keras.RematScope(mode="full" if remat else None):
        backbone = backbone_class(**config)
    # Not the task: its constructor makes an optimizer of its own.
    model = keras.Model(
        backbone.input, backbone.logits(backbone(backbone.input))
    )
    model.compile(
        keras.optimizers.get(optimizer),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    return model
