"""The choices of all routers that run, for whoever asks."""

import contextlib
import threading

from keras_moe.routing.plans import TokenChoice

_asked = threading.local()


def record_choices():
    """Collect what the routers choose that run inside a `with`.

    Tensors of the running program: in a compiled function, return them from
    that function.

    Returns:
        Context manager of a list, to which each router adds the int32 tensor
        of its experts (..., K), in the order of the calls, E for padding;
        before a capacity drops anything.

    Raises:
        ValueError: If a router runs that chooses tokens for its experts.

    Example:

    >>> import numpy as np
    >>> from keras_moe.layers import SparseMoE
    >>> layer = SparseMoE(num_experts=4, intermediate_dim=3)
    >>> with record_choices() as choices:
    ...     outputs = layer(np.ones((2, 5, 8), "float32"))
    >>> [tuple(each.shape) for each in choices]
    [(2, 5, 2)]
    """
    return _recording(lambda plan: plan.expert_indices)


def record_plans():
    """Collect the plans of the routers that run inside a `with`.

    Returns:
        Context manager of a list, to which each router adds its
        `keras_moe.routing.TokenChoice`, as `record_choices` has the experts.

    Raises:
        ValueError: If a router runs that chooses tokens for its experts.
    """
    return _recording(lambda plan: plan)


@contextlib.contextmanager
def _recording(pick):
    before = getattr(_asked, "note", None)
    noted: list = []
    _asked.note = lambda plan: noted.append(pick(plan))
    try:
        yield noted
    finally:
        _asked.note = before


def note_choice(plan):
    """Add a plan to the list, if there is one.

    Args:
        plan: what a router returns.
    """
    note = getattr(_asked, "note", None)
    if note is None:
        return
    if not isinstance(plan, TokenChoice):
        raise ValueError(
            "Expected routers in which tokens choose, to record the experts of "
            f"each. Received: a {type(plan).__name__}. Use such a router."
        )
    note(plan)
