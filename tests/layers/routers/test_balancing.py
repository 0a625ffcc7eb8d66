"""Every balancing rule with every router: it works, or is refused."""

import re

import numpy as np
import pytest
from keras import ops

from keras_moe.balancing.get_rules import RULES
from keras_moe.layers.routers.registry import ROUTERS

# Tables of two rooms; the computation is tested in each.
pytestmark = pytest.mark.once
GROUPS = {"device_balancing_loss", "communication_balancing_loss"}
BIASES = {"expert_bias", "quantile_bias"}


# Routers for which the refused rules are known one by one.
TOKENS_CHOOSE = {
    *("top_k", "noisy_top_k", "cosine", "top_p", "zero_computation", "hash"),
    *("sparse_mixer", "hierarchical", "random", "balanced"),
}


def refused_by(router):
    """The rules that have nothing to work with."""
    if router == "hash":  # Has no scores.
        return {*RULES}
    rules = set() if router == "noisy_top_k" else {"load_loss"}
    # Each chooses by something else than scores.
    by_others = ("sparse_mixer", "hierarchical", "random", "balanced")
    return rules | BIASES if router in by_others else rules


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("router", ROUTERS)
def test_a_rule_works_or_is_refused_with_the_cure(router, rule, make_router):
    arguments = {"num_groups": 1} if rule in GROUPS else {}
    inputs = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
    ids = {"token_ids": np.arange(12).reshape(2, 6)} if router == "hash" else {}
    refused = False
    try:
        layer = make_router(router, balancing=RULES[rule](**arguments))
        layer(inputs, training=True, **ids)
    except ValueError as error:
        assert re.search(
            r"Expected [^.]*\.(.|\n)*Received: .*\. \w+", str(error)
        )
        refused = True
    if router in TOKENS_CHOOSE:
        assert refused == (rule in refused_by(router))
    if refused:
        return
    assert len(layer.losses) == (rule not in BIASES)
    for loss in layer.losses:
        assert np.isfinite(float(ops.convert_to_numpy(loss)))
    if rule in BIASES:
        assert layer.expert_bias is not None
