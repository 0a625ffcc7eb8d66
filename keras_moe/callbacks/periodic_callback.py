"""When a callback reports: each epoch, or every few batches."""

import keras
from keras import ops


class PeriodicCallback(keras.callbacks.Callback):
    """Calls `report` at the end of each epoch, or every n batches as well.

    Not used by itself: a subclass defines `report(step, logs)`, and calls
    these methods from its own of the same name.

    Args:
        update_freq: `"epoch"`, `"batch"` or a positive int n.

    Raises:
        ValueError: If `update_freq` is none of these.
    """

    def __init__(self, update_freq):
        super().__init__()
        self.update_freq = update_freq
        self._batches_per_report = _batches_per_report(update_freq)
        # Lets Keras on JAX show the progress bar from a thread, as it does
        # without callbacks: nothing happens here at the end of a batch.
        self.async_safe = self._batches_per_report is None

    def report(self, step, logs):
        """Report what has happened.

        Args:
            step: int, the epoch; with reports after batches, the training
                step.
            logs: optional dict, the logs of `fit()`, which may be added to.
        """
        raise NotImplementedError

    def on_train_begin(self, logs=None):
        self._steps_before_epoch = steps_taken(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        self._batches_seen = 0
        self._batches_reported = 0

    def on_train_batch_end(self, batch, logs=None):
        if self._batches_per_report is None:
            return
        # Not one more than before: `steps_per_execution`.
        self._batches_seen = batch + 1
        unreported = self._batches_seen - self._batches_reported
        if unreported >= self._batches_per_report:
            self._report(self._steps_before_epoch + self._batches_seen, logs)

    def on_epoch_end(self, epoch, logs=None):
        if self._batches_per_report is None:
            step = epoch
        else:
            self._steps_before_epoch += self._batches_seen
            step = self._steps_before_epoch
        self._report(step, logs)

    def _report(self, step, logs):
        # On JAX the model's variables are not there in the middle of an
        # epoch. Asking the callback for its model brings them back.
        _ = self.model
        self.report(step, logs)
        self._batches_reported = self._batches_seen


def steps_taken(model):
    """Return the step the optimizer is at, to go on after a restart.

    Args:
        model: compiled `keras.Model`.

    Returns:
        int.
    """
    iterations = getattr(model.optimizer, "iterations", 0)
    return int(ops.convert_to_numpy(iterations))


def _batches_per_report(update_freq):
    if update_freq == "epoch":
        return None
    if update_freq == "batch":
        return 1
    if type(update_freq) is int and update_freq > 0:
        return update_freq
    raise ValueError(
        'Expected update_freq to be "epoch", "batch" or a positive int. '
        f"Received: update_freq={update_freq!r}. Choose how often to report."
    )
