"""What a contestant hands to the worker."""

from collections.abc import Callable
from typing import NamedTuple


class Contestant(NamedTuple):
    """A unit of work.

    Attributes:
        step: does the work once and returns when it is done.
        gradient_bytes: bytes that a step hands out and that are no
            activations: the gradients of all weights and of the inputs.
    """

    step: Callable[[], object]
    gradient_bytes: int = 0
