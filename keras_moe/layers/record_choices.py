"""The choices of all routers that run, for whoever asks."""

import contextlib
import threading

from keras_moe.routing.plans import TokenChoice

_asked = threading.local()


@contextlib.contextmanager
def record_choices():
    """Collect what the routers choose that run inside.

    Tensors of the running program: in a compiled function, return them from
    that function.

    Yields:
        list, to which each router adds the int32 tensor of its experts
        (..., K), in the order of the calls, E for padding; before a capacity
        drops anything.

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
    before = getattr(_asked, "choices", None)
    _asked.choices = []
    try:
        yield _asked.choices
    finally:
        _asked.choices = before


def note_choice(plan):
    """Add a plan's experts to the list, if there is one.

    Args:
        plan: what a router returns.
    """
    choices = getattr(_asked, "choices", None)
    if choices is None:
        return
    if not isinstance(plan, TokenChoice):
        raise ValueError(
            "Expected routers in which tokens choose, to record the experts of "
            f"each. Received: a {type(plan).__name__}. Use such a router."
        )
    choices.append(plan.expert_indices)
