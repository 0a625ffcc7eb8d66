"""The states of a training run on disk, step by step, through Orbax."""

import os

import keras
import numpy as np
from keras import ops

from keras_moe.callbacks.processes import is_first_process
from keras_moe.callbacks.processes import of_first_process
from keras_moe.callbacks.processes import wait_for_processes
from keras_moe.callbacks.training_variables import check_variables
from keras_moe.callbacks.training_variables import training_variables
from keras_moe.distribution.own_experts import gather_parts
from keras_moe.distribution.own_experts import take_part
from keras_moe.ops.replicas import check_group


class SavedSteps:
    """A folder in which each training step that was saved has a folder.

    A step is there as a whole or not at all, and may be restored over another
    mesh. Numbers are stored exactly. On JAX each process writes and reads what
    its own devices hold. On PyTorch the first process writes: experts of other
    processes come to it, all of them, and each process reads one whole
    variable after the other and keeps its part.

    Where several processes train, all call `SavedSteps`, `save` and `restore`.

    Args:
        directory: path of the folder, on a file system of all processes.
        max_to_keep: optional int, how many of the latest steps stay.
        read_only: bool, whether nothing is written or cleaned up.

    Attributes:
        directory: str.
        latest: int, the latest step; `None` in an empty folder.

    Raises:
        ImportError: If Orbax is missing.
        RuntimeError: If processes of PyTorch do not know each other.
        ValueError: If nothing is there to be read.
    """

    def __init__(self, directory, max_to_keep=None, read_only=False):
        self._orbax = _import_orbax()
        self.directory = os.path.abspath(directory)
        check_group()
        # On PyTorch and TensorFlow one process has everything to write.
        self._writes = not read_only and (
            keras.config.backend() == "jax" or is_first_process()
        )
        if read_only and not os.path.isdir(self.directory):
            raise ValueError(
                "Expected a folder of saved steps. Received: "
                f"{self.directory}, which does not exist. Save first."
            )
        if self._writes:
            self._manager = self._open(max_to_keep)
        # The others come to a folder that is there and clean.
        wait_for_processes()
        if not self._writes:
            self._manager = self._open(max_to_keep)
        self.latest = of_first_process(self._manager.latest_step())

    def _open(self, max_to_keep):
        managers = self._orbax.checkpoint_managers
        return self._orbax.CheckpointManager(
            self.directory,
            item_handlers={
                "state": self._orbax.PyTreeCheckpointHandler(),
                "record": self._orbax.JsonCheckpointHandler(),
            },
            options=self._orbax.CheckpointManagerOptions(
                create=self._writes,
                save_root_metadata=self._writes,
                # What a killed process left behind.
                cleanup_tmp_directories=self._writes,
                preservation_policy=max_to_keep
                and managers.LatestN(max_to_keep),
                # Whoever calls `save` has decided.
                save_decision_policy=managers.FixedIntervalPolicy(1),
            ),
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._manager.close()

    def save(self, step, model, record):
        """Begin to save a step; training may go on meanwhile.

        Args:
            step: int, larger than those before; the latest is not saved twice.
            model: built and compiled model.
            record: dict that JSON can hold.
        """
        if step == self.latest:
            return
        self.latest = step
        arrays = {}
        for name, variable in training_variables(model).items():
            value = gather_parts(variable.value, variable)
            if self._writes:
                arrays[name] = _array(value)
        if not self._writes:
            return
        args = self._orbax.args
        self._manager.save(
            step,
            args=args.Composite(
                state=args.PyTreeSave(arrays), record=args.JsonSave(record)
            ),
        )

    def is_preempted(self, step):
        """Tell whether JAX' runtime announces the end of a machine.

        Every process calls it at every step, and all stop at the same one.

        Args:
            step: int.

        Returns:
            bool, always `False` in a single process.
        """
        return self._manager.reached_preemption(step)

    def wait(self):
        """Wait until all that was saved is on the disk."""
        self._manager.wait_until_finished()

    def read_record(self):
        """Read the record of the latest step.

        Returns:
            dict.
        """
        args = self._orbax.args
        return self._manager.restore(
            self.latest, args=args.Composite(record=args.JsonRestore())
        ).record

    def restore(self, model):
        """Give a model and its optimizer the numbers of the latest step.

        Args:
            model: built and compiled model of the same configuration.

        Raises:
            ValueError: If its variables are others.
        """
        step, args = self.latest, self._orbax.args
        variables = training_variables(model)
        stored = self._manager.item_metadata(step).state
        shapes = {name: tuple(each.shape) for name, each in stored.items()}
        check_variables(
            variables, shapes, os.path.join(self.directory, str(step))
        )
        # On JAX all at once; elsewhere they are read whole.
        together = [variables]
        if keras.config.backend() != "jax":
            together = [{name: each} for name, each in variables.items()]
        for some in together:
            state = self._manager.restore(
                step,
                args=args.Composite(
                    state=args.PyTreeRestore(
                        item=dict.fromkeys(some, 0),
                        restore_args={
                            name: self._wanted(each)
                            for name, each in some.items()
                        },
                        partial_restore=True,
                    )
                ),
            ).state
            for name, variable in some.items():
                variable.assign(take_part(state[name], variable))

    def _wanted(self, variable):
        """Tell Orbax as what, and where, a variable is restored."""
        if keras.config.backend() != "jax":
            return self._orbax.RestoreArgs(restore_type=np.ndarray)
        value = variable.value
        return self._orbax.ArrayRestoreArgs(
            sharding=value.sharding, dtype=value.dtype, global_shape=value.shape
        )


def _array(value):
    if keras.config.backend() == "jax":
        return value
    # A copy: the file is written while training changes the variable.
    return np.array(ops.convert_to_numpy(value))


def _import_orbax():
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise ImportError(
            "Checkpoints of long runs need the package orbax-checkpoint: "
            "pip install 'keras-moe[scale]'"
        ) from error
    return orbax.checkpoint
