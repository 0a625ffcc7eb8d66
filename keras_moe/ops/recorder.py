"""The step of a loop without the Python that computes it.

A Keras layer takes a fraction of a millisecond to call, whatever it computes,
and a model that generates calls a dozen for each token and layer. XLA
compiles the whole loop and needs nothing of this; PyTorch has its own file.
"""

from keras_moe.ops.backend import load_or


class PlainRecorder:
    """Returns steps as they are; a compiler sees them.

    Args:
        jit_compile: bool or `"auto"`; on PyTorch `False` leaves the steps as
            they are, and `True` compiles what they come to.
    """

    def __init__(self, jit_compile="auto"):
        pass

    def recorded(self, step, weights):
        """Return a function that does what a step does.

        Args:
            step: function of nested tuples of tensors, with no state but the
                weights. A state among its arguments is given up: the caller
                goes on with the one returned.
            weights: list of Keras variables that the step reads.

        Returns:
            Function of the same arguments.

        Example:

        >>> from keras import ops
        >>> step = PlainRecorder().recorded(lambda x: x + 1, weights=[])
        >>> float(step(ops.ones(())))
        2.0
        """
        return step


_own = load_or("recorder", None)
Recorder = _own.Recorder if _own else PlainRecorder
