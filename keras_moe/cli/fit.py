"""Train, save regularly, stop on request, resume later."""

import time

import typer

from keras_moe.cli.backend import import_models
from keras_moe.cli.console import make_console
from keras_moe.cli.mesh import distributed
from keras_moe.cli.progress import Progress
from keras_moe.cli.run_folder import written_whole
from keras_moe.cli.stop_signals import StopSignals
from keras_moe.cli.training import Training
from keras_moe.cli.training import TrainingSettings


def fit(
    settings,
    folder,
    *,
    resume=False,
    overwrite=False,
    save_every=60.0,
    mesh=None,
):
    """Train a run to its end, or until Ctrl-C or SIGTERM.

    Args:
        settings: `TrainingSettings`.
        folder: `RunFolder`.
        resume: bool, whether to continue from the checkpoint in the folder.
        overwrite: bool, whether to replace a run in the folder.
        save_every: float, seconds between two saves; 0 saves every step.
        mesh: optional str, the devices, as for `cli.mesh.parse_mesh`. It
            decides where numbers are computed, not which: a run may go on
            over another mesh.

    Returns:
        The trained model.

    Raises:
        ValueError: If the folder holds a run or another process uses it, the
            sizes do not fit together, or the text is too short or not that of
            the checkpoint.
        typer.Exit: If it was asked to stop: with code 130 by Ctrl-C, with 0
            by SIGTERM.
    """
    console = make_console()
    allowed = resume or overwrite
    if not allowed:
        _refuse_a_run(folder)
    import_models()
    with folder.held(), distributed(mesh, settings.batch_size) as devices:
        if not allowed:
            # Another process may have finished one meanwhile.
            _refuse_a_run(folder)
        _check_dtype(settings.dtype)
        training = Training(settings, folder.logs)
        _introduce(console, training, devices)
        if overwrite:
            folder.clear()
        if not resume:
            folder.start_checkpoint(distributed=mesh is not None)
            # Before the first step, so that a killed run can be resumed.
            _save(folder, training)
        training.begin(folder.checkpoint if resume else None)
        if training.finished:
            console.print(f"The run of {settings.steps} steps is finished.")
        elif resume:
            console.print(
                f"Resuming at step {training.step} of {settings.steps}."
            )
        try:
            with StopSignals() as stop:
                _train(console, folder, training, stop, save_every)
        finally:
            training.end()
    if not training.finished:
        console.print(
            f"Stopped at step {training.step} of {settings.steps}; the model "
            f"is saved in {folder.model}. Add --resume to the same command to "
            "continue."
        )
        raise typer.Exit(stop.exit_code)
    _conclude(console, folder, training)
    return training.model


def describe(folder):
    """Describe the run in a folder in a few words.

    Args:
        folder: `RunFolder` that holds a run.

    Returns:
        str, such as `"a run stopped at step 340 of 900"`.
    """
    from keras_moe.cli.checkpoint import read_record

    if not folder.has_checkpoint():
        return "a model without a checkpoint"
    record = read_record(folder.checkpoint)
    step, steps = record["step"], record["settings"]["steps"]
    if step == steps:
        return f"a finished run of {steps} steps"
    return f"a run stopped at step {step} of {steps}"


def settings_to_resume(folder, settings, given):
    """Return the settings of the run in a folder.

    Args:
        folder: `RunFolder`.
        settings: `TrainingSettings` of the command line.
        given: names of the parameters that the command line mentions; they
            may repeat the run's settings, not change them.

    Returns:
        `TrainingSettings`.

    Raises:
        ValueError: If there is no run, or a setting or the backend differs.
    """
    from keras_moe.cli.checkpoint import read_record

    if not folder.has_checkpoint():
        cure = (
            "Replace --resume by --overwrite, or choose another folder"
            if folder.holds_a_run()
            else "Remove --resume"
        )
        raise ValueError(
            "Expected a run to resume. Received: --run-dir "
            f"{folder.path}, which has no checkpoint. {cure}."
        )
    record = read_record(folder.checkpoint)
    own, asked = record["settings"], settings.to_dict()
    other = [name for name in given if name in own and own[name] != asked[name]]
    if other:
        raise ValueError(
            "Expected the options that the run started with. Received: "
            + ", ".join(
                f"--{name.replace('_', '-')} {asked[name]} instead of "
                f"{own[name]}"
                for name in other
            )
            + ". Remove them, or choose another --run-dir."
        )
    import_models()
    import keras

    backend = keras.config.backend()
    if record["backend"] != backend:
        raise ValueError(
            f"Expected KERAS_BACKEND={record['backend']}, with which the run "
            f"started. Received: {backend}. Set KERAS_BACKEND, or choose "
            "another --run-dir."
        )
    return TrainingSettings.from_dict(own)


def _refuse_a_run(folder):
    if folder.holds_a_run():
        resume = "--resume to continue, " if folder.has_checkpoint() else ""
        raise ValueError(
            "Expected a folder without a run. Received: --run-dir "
            f"{folder.path}, which holds {describe(folder)}. Add {resume}"
            "--overwrite to start again, or choose another folder."
        )


def _train(console, folder, training, stop, save_every):
    settings = training.settings
    last_save = time.monotonic()
    tokens = settings.batch_size * settings.sequence_length
    with Progress(console, settings.steps, training.step, tokens) as progress:
        while not training.finished and not stop.requested:
            report = training.train_step()
            progress.advance(
                training.step, training.losses[-1], training.balance
            )
            if report and "val_loss" in report:
                progress.milestone(report)
            if time.monotonic() - last_save >= save_every:
                _save(folder, training)
                last_save = time.monotonic()
        _save(folder, training)


def _save(folder, training):
    """Write the model, then the checkpoint: a checkpoint has its model."""
    from keras_moe.cli.checkpoint import write_checkpoint

    with written_whole(folder.model) as temporary:
        training.model.save(temporary)
    write_checkpoint(folder.checkpoint, training.model, training.record())


def _introduce(console, training, devices):
    from keras_moe.models import parameter_counts

    counts = parameter_counts(training.model)
    console.print(
        f"Text: {len(training.text):,} bytes to train on, "
        f"{len(training.held_out_text):,} held out. Model: {counts.total:,} "
        f"parameters, {counts.active:,} active per byte "
        f"({devices})."
    )


def _conclude(console, folder, training):
    from keras_moe.cli.text import unigram_entropy

    loss = training.reports[-1]["val_loss"]
    entropy = unigram_entropy(training.held_out_text)
    console.print(
        f"Held-out loss: {loss:.3f} nats per byte, {loss / entropy:.0%} of "
        f"the entropy of single bytes ({entropy:.3f})."
    )
    console.print(f"Model: {folder.model}")
    console.print(f"Logs:  tensorboard --logdir {folder.logs}")


def _check_dtype(dtype):
    """Refuse a dtype that the device cannot multiply."""
    import keras

    if dtype != "mixed_float16" or keras.config.backend() != "jax":
        return
    if all(d.startswith("cpu") for d in keras.distribution.list_devices()):
        raise ValueError(
            "Expected --dtype float32 or mixed_bfloat16 for JAX on a CPU, "
            "which cannot multiply float16. Received: --dtype mixed_float16."
        )
