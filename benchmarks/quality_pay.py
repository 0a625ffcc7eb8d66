"""Do experts pay: a dense model against sparse ones of the same arithmetic.

All have the same matrix products per token, the router's among them: the more
experts, the narrower each of them, to make room for the router. The sparse
ones are trained for a half and for a quarter of the dense one's steps, each
time from nothing, with a schedule of the learning rate for that many steps.
"""

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.training import TrainingSettings
from keras_moe.models import MixtralBackbone
from keras_moe.models.decoder_parts import make_dense
from quality_recipe import Group
from quality_recipe import Recipe

SETTINGS = TrainingSettings(
    size=ModelSize(
        hidden_dim=32,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
    ),
    steps=4000,
    batch_size=32,
    sequence_length=64,
)
DENSE = "dense"
# Experts and the width of one: 3 H K I + H E multiplications in each, K experts
# per token, are those of the dense model or 1% fewer.
WIDTHS = {1: 128, 8: 62, 32: 58, 128: 42}
TOP_K = 2  # After 1,500 steps 128 experts were at 1.57 nats, with 1 at 1.64.
NAMES = {1: DENSE, 8: "8 experts", 32: "32 experts", 128: "128 experts"}
# Of each training; the learning rates were compared at the most.
STEPS = {
    1: (SETTINGS.steps,),
    8: (1000, 2000),
    32: (1000, 2000),
    128: (1000, 2000),
}
# What was tried with one seed. The dense model gets the larger grid.
RATES = {
    1: (0.005, 0.01, 0.02, 0.04),
    8: (0.01, 0.02),
    32: (0.01, 0.02),
    128: (0.01, 0.02),
}
BEST = {1: 0.02, 8: 0.01, 32: 0.01, 128: 0.01}


class Dense(MixtralBackbone):
    """Mixtral with a plain gated layer, which does what one expert does."""

    @classmethod
    def make_feed_forward(cls, arguments, index):
        return make_dense(arguments, cls.activation)


def name_of(num_experts, rate, steps):
    """Return the name of a recipe."""
    return f"{NAMES[num_experts]}, {steps} steps, rate {rate}"


def _recipe(num_experts, rate, steps):
    size = {
        "num_experts": num_experts,
        "top_k": min(TOP_K, num_experts),
        "intermediate_dim": WIDTHS[num_experts],
    }
    # At 0.01 the busiest of 128 experts got ten times its share.
    balancing = [LoadBalancingLoss(0.1), "router_z_loss"]
    return Recipe(
        {"balancing": balancing if num_experts > 1 else []},
        size,
        {"learning_rate": rate},
        long=steps / SETTINGS.steps,
    )


# Those with the best learning rate, by experts and steps.
BEST_NAMES = {
    num_experts: {
        steps: name_of(num_experts, BEST[num_experts], steps) for steps in each
    }
    for num_experts, each in STEPS.items()
}
# Of which the time of a step is measured.
TIMED = {NAMES[each]: names[max(names)] for each, names in BEST_NAMES.items()}
_TRIED = {
    name_of(num_experts, rate, max(STEPS[num_experts])): _recipe(
        num_experts, rate, max(STEPS[num_experts])
    )
    for num_experts, rates in RATES.items()
    for rate in rates
}
_COMPARED = {
    name: _recipe(num_experts, BEST[num_experts], steps)
    for num_experts, names in BEST_NAMES.items()
    for steps, name in names.items()
}
RECIPES = {**_TRIED, **_COMPARED}
GROUPS = {
    "rates": Group(
        "Learning rates of the dense and the sparse models",
        list(_TRIED),
        curve=None,
        seeds=1,
    ),
    "pay": Group(
        "Experts of equal active arithmetic",
        list(_COMPARED),
        curve=None,
    ),
}
