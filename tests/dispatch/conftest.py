"""A routing plan with empty experts, padding and drops, and its tokens."""

from typing import NamedTuple

import numpy as np
import pytest
from keras import ops

from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import keep_all

GROUPS, LENGTH, HIDDEN, EXPERTS, TOP_K = 2, 5, 3, 4, 2


class Case(NamedTuple):
    """Tokens (G, S, H), their plan, an assignment, and what is kept."""

    tokens: np.ndarray
    plan: tuple
    assignment: tuple
    kept: np.ndarray  # bool (G, S, K)


@pytest.fixture
def make_case():
    """Return `make(capacity=None)`; expert 2 is nobody's choice."""

    def make(capacity=None):
        rng = np.random.default_rng(0)
        logits = rng.standard_normal((GROUPS, LENGTH, EXPERTS))
        logits[..., 2] = -9.0
        mask = np.ones((GROUPS, LENGTH), bool)
        mask[0, 1] = mask[1, 3:] = False
        plan = choose_top_k(logits.astype("float32"), TOP_K, padding_mask=mask)
        assignment = (
            keep_all(plan)
            if capacity is None
            else assign_slots(plan, EXPERTS, capacity)
        )
        kept = ops.convert_to_numpy(assignment.kept)
        # Without a drop, or with a plan of one expert, it would prove little.
        assert capacity is None or (mask[..., None] & ~kept).any()
        tokens = rng.standard_normal((GROUPS, LENGTH, HIDDEN))
        return Case(tokens.astype("float32"), plan, assignment, kept)

    return make
