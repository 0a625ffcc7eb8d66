"""`keras-moe train`: fit a small sparse language model on text."""

from pathlib import Path
from typing import Annotated

import typer

from keras_moe.cli.language_model import ModelSize

_SIZE = ModelSize()
EPOCHS = 5


def train(
    run_dir: Annotated[
        Path, typer.Option(help="Folder for the model and its logs.")
    ] = Path("runs/train"),
    text: Annotated[
        Path | None,
        typer.Option(
            help="Text file or folder; the Python standard library if absent."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 900,
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    sequence_length: Annotated[
        int, typer.Option(min=2, help="Bytes per window.")
    ] = 128,
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 3e-3,
    hidden_dim: Annotated[int, typer.Option(min=1)] = _SIZE.hidden_dim,
    num_layers: Annotated[int, typer.Option(min=1)] = _SIZE.num_layers,
    num_query_heads: Annotated[
        int, typer.Option(min=1)
    ] = _SIZE.num_query_heads,
    num_key_value_heads: Annotated[
        int, typer.Option(min=1)
    ] = _SIZE.num_key_value_heads,
    num_experts: Annotated[int, typer.Option(min=1)] = _SIZE.num_experts,
    top_k: Annotated[
        int, typer.Option(min=1, help="Experts per token.")
    ] = _SIZE.top_k,
    intermediate_dim: Annotated[
        int, typer.Option(min=1, help="Width of one expert.")
    ] = _SIZE.intermediate_dim,
    capacity_factor: Annotated[
        float | None,
        typer.Option(help="Slots over equal share; dropless if absent."),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")
    ] = "float32",
    seed: Annotated[int, typer.Option()] = 0,
):
    """Train a byte-level Mixtral-like model on text."""
    size = ModelSize(
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        num_query_heads=num_query_heads,
        num_key_value_heads=num_key_value_heads,
        num_experts=num_experts,
        top_k=top_k,
        intermediate_dim=intermediate_dim,
        capacity_factor=capacity_factor,
    )
    fit(
        size,
        run_dir=run_dir,
        text=text,
        steps=steps,
        batch_size=batch_size,
        sequence_length=sequence_length,
        learning_rate=learning_rate,
        dtype=dtype,
        seed=seed,
    )


def fit(
    size,
    *,
    run_dir,
    text=None,
    steps,
    batch_size,
    sequence_length,
    learning_rate,
    dtype="float32",
    seed=0,
):
    """Train, report and save.

    Args:
        size: `ModelSize`.
        run_dir: folder for `model.keras` and `logs/`.
        text: optional file or folder of text.
        steps: int, training steps.
        batch_size: int B.
        sequence_length: int L, bytes.
        learning_rate: float, the peak of a warm-up and cosine schedule.
        dtype: dtype policy name.
        seed: int.

    Returns:
        The trained model, and its held-out loss as a fraction of the
        held-out text's unigram entropy.

    Raises:
        ValueError: If the sizes do not fit together or text is missing.
    """
    from rich.console import Console

    from keras_moe.cli.language_model import make_model
    from keras_moe.cli.language_model import written_whole
    from keras_moe.cli.text import read_text
    from keras_moe.cli.text import unigram_entropy
    from keras_moe.cli.text import windows

    console = Console(highlight=False, soft_wrap=True)
    training, held_out = read_text(text)
    epochs = min(EPOCHS, steps)
    steps_per_epoch = steps // epochs
    count = epochs * steps_per_epoch * batch_size
    inputs, labels = windows(training, count, sequence_length, seed)
    validation = windows(held_out, 8 * batch_size, sequence_length, seed=1)

    import keras

    from keras_moe.callbacks import RoutingMonitor
    from keras_moe.models import parameter_counts

    keras.utils.set_random_seed(seed)
    model = make_model(size, dtype)
    counts = parameter_counts(model)
    console.print(
        f"Text: {len(training):,} bytes to train on, {len(held_out):,} held "
        f"out. Model: {counts.total:,} parameters, {counts.active:,} active "
        f"per byte ({keras.config.backend()})."
    )
    total = epochs * steps_per_epoch
    model.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                initial_learning_rate=learning_rate / 20,
                decay_steps=max(1, total - total // 20),
                alpha=0.05,
                warmup_target=learning_rate,
                warmup_steps=max(1, total // 20),
            ),
            weight_decay=0.01,
            clipnorm=1.0,
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
    )
    logs = Path(run_dir) / "logs"
    history = model.fit(
        inputs,
        labels,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        shuffle=False,  # The windows lie at random places already.
        validation_data=validation,
        callbacks=[RoutingMonitor(log_dir=logs)],
    )
    with written_whole(Path(run_dir) / "model.keras") as temporary:
        model.save(temporary)
    loss = history.history["val_loss"][-1]
    entropy = unigram_entropy(held_out)
    console.print(
        f"Held-out loss: {loss:.3f} nats per byte, {loss / entropy:.0%} of "
        f"the {entropy:.3f} that byte frequencies alone give."
    )
    console.print(f"Model: {Path(run_dir) / 'model.keras'}")
    console.print(f"Logs:  tensorboard --logdir {logs}")
    return model, loss / entropy
