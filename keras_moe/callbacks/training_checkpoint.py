"""The callback that saves a long run, and with which it goes on."""

import signal
import threading
import time

import keras

from keras_moe.callbacks.processes import any_process
from keras_moe.callbacks.processes import is_first_process
from keras_moe.callbacks.processes import num_processes
from keras_moe.callbacks.saved_steps import SavedSteps
from keras_moe.callbacks.training_variables import training_variables
from keras_moe.ops.backend import load_or
from keras_moe.ops.plain_numbers import plain_numbers

# Those of the backend that are no variables of a model.
_generators = load_or("random_state", None)


class TrainingCheckpoint(keras.callbacks.Callback):
    """Saves all numbers of a training run, so that it goes on exactly.

    `restore` gives a model and its optimizer the numbers of the latest step
    that was saved, and returns that step, 0 in a new folder. Let the data begin
    there: a batch that depends on a seed and its step needs no other position.
    The losses are then those of a run that never stopped, also over another
    mesh of devices. `fit` saves every `save_every` steps, in the background,
    and at its end.

    SIGTERM, by which clusters announce that a machine goes away, saves after
    the running step and ends `fit`, in all processes at the same step, as does
    Ctrl-C in a single process. Then `stopped` is `True`. A process that is
    killed loses the steps since the latest save. Launch all processes again:
    they go on from there.

    Give it to each of several processes. On PyTorch the first one gathers what
    `ExpertParallel` has put on others, and writes all.

    Args:
        directory: path of the folder for checkpoints of Orbax, on a file
            system of all processes.
        save_every: int, steps between two saves.
        save_every_seconds: optional float, save by time as well. In a single
            process only: several have different clocks.
        max_to_keep: int, how many of the latest checkpoints stay.

    Attributes:
        step: int, batches that the model has been trained on.
        stopped: bool, whether a signal ended `fit`.

    Raises:
        ImportError: If Orbax is missing.
        RuntimeError: If processes of PyTorch were launched without a group.
        ValueError: If a number is not positive; in `restore`, if the folder is
            another model's; in `fit`, if the folder has checkpoints and
            `restore` was not called.

    Example:

    ```python
    import keras
    import numpy as np
    import tempfile

    def batches(step):
        while True:
            x = np.random.default_rng((0, step)).normal(size=(8, 2))
            yield x, x.sum(1, keepdims=True)
            step += 1

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    checkpoint = TrainingCheckpoint(tempfile.mkdtemp(), save_every=5)
    first = checkpoint.restore(model)
    model.fit(
        batches(first),
        steps_per_epoch=10 - first,
        callbacks=[checkpoint],
        verbose=0,
    )
    ```
    """

    @plain_numbers
    def __init__(
        self,
        directory,
        save_every=1000,
        *,
        save_every_seconds=None,
        max_to_keep=3,
    ):
        super().__init__()
        for name, value in (
            ("save_every", save_every),
            ("save_every_seconds", save_every_seconds),
            ("max_to_keep", max_to_keep),
        ):
            if value is not None and value <= 0:
                raise ValueError(
                    f"Expected a positive {name}. Received: {name}={value}. "
                    "Choose how often to save and how many to keep."
                )
        if save_every_seconds is not None and num_processes() > 1:
            raise ValueError(
                "Expected the same moment in every process. Received: "
                f"save_every_seconds={save_every_seconds} for "
                f"{num_processes()} processes. Use `save_every`, in steps."
            )
        self.save_every = save_every
        self.save_every_seconds = save_every_seconds
        self.step = 0
        self.stopped = False
        self._saved = SavedSteps(directory, max_to_keep)
        self._last = (0, time.monotonic())
        self._random_state = None
        self._signals = {}
        self._asked = False

    def restore(self, model):
        """Give a model the numbers of the latest step, if there is one.

        Args:
            model: `keras.Model`, built and compiled, made after
                `keras.distribution.set_distribution`.

        Returns:
            int, the steps that are done.
        """
        step = self._saved.latest
        if step is None:
            return self.step
        self._saved.restore(model)
        record = self._saved.read_record()
        self.step = record["step"]
        self._random_state = record.get("random_state")
        self._last = (self.step, time.monotonic())
        if is_first_process():
            print(f"Resuming at step {self.step} of {self._saved.directory}.")
        return self.step

    def on_train_begin(self, logs=None):
        if self._saved.latest not in (None, self.step):
            raise ValueError(
                f"Expected a run at step {self._saved.latest}, which "
                f"{self._saved.directory} holds. Received: a run at step "
                f"{self.step}. Call `restore(model)` before `fit`, or choose "
                "another folder."
            )
        # Now, not at the first save: raises if that is impossible.
        training_variables(self.model)
        self.stopped = self._asked = False
        self._listen()

    def on_epoch_begin(self, epoch, logs=None):
        self._before_epoch = self.step

    def on_train_batch_begin(self, batch, logs=None):
        # Not in `restore`: Keras draws numbers when `fit` begins.
        if self._random_state is not None:
            _generators.write_random_state(self._random_state)
            self._random_state = None

    def on_train_batch_end(self, batch, logs=None):
        # Not one more than before: `steps_per_execution`.
        self.step = self._before_epoch + batch + 1
        if self._must_stop():
            self._save()
            self._saved.wait()
            self.stopped = self.model.stop_training = True
        elif self._is_due():
            self._save()

    def on_train_end(self, logs=None):
        self._save()
        self._saved.wait()
        self._ignore()

    def _save(self):
        # On JAX the model's variables are not there in the middle of an
        # epoch. Asking the callback for its model brings them back.
        record = {"step": self.step}
        if _generators is not None:
            record["random_state"] = _generators.read_random_state()
        self._saved.save(self.step, self.model, record)
        self._last = (self.step, time.monotonic())

    def _is_due(self):
        step, moment = self._last
        seconds = self.save_every_seconds
        return self.step - step >= self.save_every or (
            seconds is not None and time.monotonic() - moment >= seconds
        )

    def _must_stop(self):
        return self._saved.is_preempted(self.step) or any_process(self._asked)

    def _listen(self):
        """Note signals instead of dying of them."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _signals():
            self._signals[number] = signal.signal(number, self._note)

    def _note(self, number, frame):
        self._asked = True
        # A second one acts at once.
        self._ignore()

    def _ignore(self):
        for number, handler in self._signals.items():
            signal.signal(number, handler)
        self._signals = {}


def _signals():
    """List the signals to listen to.

    JAX' own runtime listens to SIGTERM where several processes train.
    """
    if keras.config.backend() == "jax" and num_processes() > 1:
        return ()
    return (signal.SIGTERM, signal.SIGINT)
