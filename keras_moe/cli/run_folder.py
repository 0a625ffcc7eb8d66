"""The folder of one training run, and who may write to it."""

import contextlib
import os
import shutil
from pathlib import Path

TEMPORARY_PREFIX = ".writing-"


class RunFolder:
    """Names what `keras-moe train` writes.

    Args:
        path: folder of the run.

    Attributes:
        path: `pathlib.Path`.
        model: file for `generate`, `export` and Keras.
        checkpoint: what `--resume` continues from: a file, or the folder in
            which Orbax saves a run that was started on a mesh.
        logs: folder for TensorBoard.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.model = self.path / "model.keras"
        self.logs = self.path / "logs"
        self.start_checkpoint(distributed=(self.path / "checkpoints").exists())

    def start_checkpoint(self, distributed):
        """Choose how a run is saved from its first step to its last.

        Args:
            distributed: bool, whether Orbax saves it.
        """
        self.checkpoint = self.path / (
            "checkpoints" if distributed else "checkpoint.npz"
        )

    def holds_a_run(self):
        """Return whether a run was started here before."""
        return self.model.exists() or self.has_checkpoint()

    def has_checkpoint(self):
        """Return whether a run can be resumed."""
        if self.checkpoint.is_dir():
            # What Orbax has not finished has a longer name.
            steps = self.checkpoint.iterdir()
            return any(each.name.isdigit() for each in steps)
        return self.checkpoint.is_file()

    @contextlib.contextmanager
    def held(self):
        """Make the folder, and keep other processes out of it meanwhile.

        What a killed process was writing here is removed.

        Raises:
            ValueError: If another process trains here.
        """
        from keras_moe.export.folder_lock import locked_folder
        from keras_moe.export.scratch_folder import scratch_folder
        from keras_moe.export.scratch_folder import temporary_files_in

        is_new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            if is_new:
                # A run that was refused leaves no empty folder.
                stack.callback(self._remove_if_empty)
            try:
                stack.enter_context(locked_folder(self.path))
            except BlockingIOError as error:
                raise ValueError(
                    "Expected a run folder that no other process uses. "
                    f"Received: --run-dir {self.path}. Wait for the other "
                    "process, or choose another folder."
                ) from error
            # No other process writes here, so half-written files are old.
            for old in self.path.glob(f"{TEMPORARY_PREFIX}*"):
                if old.is_dir():
                    shutil.rmtree(old)
                else:
                    old.unlink()
            scratch = scratch_folder(self.path, TEMPORARY_PREFIX)
            stack.enter_context(
                temporary_files_in(stack.enter_context(scratch))
            )
            yield

    def _remove_if_empty(self):
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def clear(self):
        """Remove the run: its model, its checkpoint and its logs."""
        if self.checkpoint.is_dir():
            # Gone at once, also if the process is killed meanwhile.
            old = self.path / f"{TEMPORARY_PREFIX}old-checkpoints"
            os.replace(self.checkpoint, old)
            shutil.rmtree(old)
        self.checkpoint.unlink(missing_ok=True)
        self.model.unlink(missing_ok=True)
        for file in self.logs.glob("events.out.tfevents.*"):
            file.unlink()


@contextlib.contextmanager
def written_whole(path):
    """Give a temporary name to write to, and rename it once it is whole.

    Args:
        path: final path of a file.

    Yields:
        `pathlib.Path` with the same suffix, in the same folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
