"""Which part of an optimizer step a training step is."""

import sys
from types import FrameType
from typing import Any
from typing import NamedTuple

import keras


class MicroBatch(NamedTuple):
    """One of the batches whose gradients an optimizer accumulates.

    Attributes:
        is_first: bool scalar tensor, whether an optimizer step begins.
        is_last: bool scalar tensor, whether the optimizer will update.
    """

    is_first: Any
    is_last: Any


def running_micro_batch():
    """Find the place of the running training step in its optimizer step.

    A layer is called without a word about the optimizer, on which it depends
    how many batches make one step. So we look for the model that is training
    among the callers, and for the optimizer's own counter, which is always in
    phase: also after loading, an interruption or `compile`.

    Returns:
        `MicroBatch`, or `None` if nothing is accumulated: every training step
        is an optimizer step then, and so is a call in a loop of one's own.
    """
    model, values = _training_model()
    if model is None:
        return None
    # A `LossScaleOptimizer` skips steps of the optimizer in it.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    size = optimizer.gradient_accumulation_steps
    if not size:
        return None
    iteration = _iteration(model, optimizer, values)
    return MicroBatch(iteration % size == 0, (iteration + 1) % size == 0)


def _training_model():
    """Return the outermost compiled model among the callers.

    With it come the values of the optimizer's variables, where the step is a
    function of them (JAX), else `None`.
    """
    training = values = None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.Model):
            if getattr(caller, "optimizer", None) is not None:
                if caller is not training:
                    training, values = caller, None
                if frame.f_locals.get("optimizer_variables") is not None:
                    values = frame.f_locals["optimizer_variables"]
        frame = frame.f_back
    return training, values


def _iteration(model, optimizer, values):
    variable = next(v for v in optimizer.variables if v.name == "iteration")
    if values is None:
        return variable.value
    for each, value in zip(model.optimizer.variables, values, strict=True):
        if each is variable:
            return value
    return variable.value
