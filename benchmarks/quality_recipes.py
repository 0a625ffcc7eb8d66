"""What `quality.py` trains: recipes, grouped by the question they answer."""

import quality_pay
from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import MeanEntropyLoss
from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.training import TrainingSettings
from keras_moe.models import MixtralBackbone
from keras_moe.models.decoder_parts import make_shared_expert
from keras_moe.routing import Capacity
from quality_recipe import Group
from quality_recipe import Recipe
from quality_recipe import Scale

SMALL = TrainingSettings(
    size=ModelSize(
        hidden_dim=64,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        num_experts=16,
        top_k=2,
        intermediate_dim=64,
    ),
    steps=300,
    batch_size=8,
)
TINY = SMALL._replace(
    size=SMALL.size._replace(
        hidden_dim=8, num_query_heads=1, intermediate_dim=4
    ),
    steps=4,
    batch_size=2,
    sequence_length=16,
)
SCALES = {
    "cpu": Scale(SMALL, quality_pay.SETTINGS),
    "tiny": Scale(TINY, TINY),
}


class WithSharedExpert(MixtralBackbone):
    """Mixtral with one expert that every token sees, of the routed width."""

    @classmethod
    def make_feed_forward(cls, arguments, index):
        router = cls.make_router(arguments)
        return make_shared_expert(
            arguments, router, num_shared_experts=1, activation=cls.activation
        )


def _capacity(factor):
    return Recipe({"capacity": Capacity(factor, eval_factor=factor)})


def _experts(num_experts, top_k, intermediate_dim, **more):
    size = {
        "num_experts": num_experts,
        "top_k": top_k,
        "intermediate_dim": intermediate_dim,
    }
    return Recipe(size=size, **more)


def _high_rate(*balancing):
    settings = {"dtype": "mixed_bfloat16", "learning_rate": 0.03}
    return Recipe({"balancing": list(balancing)}, settings=settings)


def _longer(router, size=None):
    """A quarter of the long training, of a model with 16 experts."""
    common = {"num_experts": 16, "top_k": 2, "intermediate_dim": 60}
    return Recipe(
        router, {**common, **(size or {})}, {"learning_rate": 0.01}, long=0.25
    )


# What every group has as well, to compare with.
COMMON = "default"
RECIPES = {
    COMMON: Recipe(),
    # === balancing ===
    "none": Recipe({"balancing": []}),
    "router_z_loss": Recipe({"balancing": ["router_z_loss"]}),
    "load_balancing_loss": Recipe({"balancing": ["load_balancing_loss"]}),
    "load_balancing_loss(0.1)": Recipe({"balancing": [LoadBalancingLoss(0.1)]}),
    "mean_entropy_loss": Recipe({"balancing": ["mean_entropy_loss"]}),
    "importance_loss, load_loss": Recipe(
        {"balancing": ["importance_loss", "load_loss"]},
        size={"router": "noisy_top_k"},
    ),
    "expert_bias(0.001), sigmoid": Recipe(
        {"balancing": [ExpertBias(0.001)], "score_function": "sigmoid"}
    ),
    "expert_bias(0.01), sigmoid": Recipe(
        {"balancing": [ExpertBias(0.01)], "score_function": "sigmoid"}
    ),
    "quantile_bias, sigmoid": Recipe(
        {"balancing": ["quantile_bias"], "score_function": "sigmoid"}
    ),
    # === routers ===
    "noisy_top_k": Recipe(size={"router": "noisy_top_k"}),
    "top_p, 4 at most": Recipe(
        {
            "balancing": [
                "load_balancing_loss",
                "router_z_loss",
                "token_entropy_loss",
            ]
        },
        size={"router": "top_p", "top_k": 4},
    ),
    "zero_computation, 4 of 20": Recipe(
        {"num_identity": 4},
        size={"router": "zero_computation", "num_experts": 20},
    ),
    "sparse_mixer": Recipe(size={"router": "sparse_mixer"}),
    "cosine": Recipe(size={"router": "cosine"}),
    "hash": Recipe(size={"router": "hash"}),
    "random": Recipe(size={"router": "random"}),
    # === capacity ===
    "capacity 2.0": _capacity(2.0),
    "capacity 1.25": _capacity(1.25),
    "capacity 1.0": _capacity(1.0),
    # === experts, all with the same active width ===
    "1 x 128, dense": _experts(1, 1, 128),
    "8 x 128, top-1": _experts(8, 1, 128),
    "32 x 32, top-4": _experts(32, 4, 32),
    "64 x 16, top-8": _experts(64, 8, 16),
    "15 x 64, top-1, 1 shared": _experts(
        15, 1, 64, backbone_class=WithSharedExpert
    ),
    # === rate ===
    "without z-loss": _high_rate("load_balancing_loss"),
    "with z-loss": _high_rate("load_balancing_loss", "router_z_loss"),
    # === rates, pay ===
    **quality_pay.RECIPES,
}
# === longer: 1,000 steps ===
_LONGER = {
    f"{name.removesuffix(', sigmoid')}, 1k": _longer(
        RECIPES[name].router, RECIPES[name].size
    )
    for name in (
        "none",
        "load_balancing_loss",
        "load_balancing_loss(0.1)",
        "importance_loss, load_loss",
        "expert_bias(0.001), sigmoid",
        "expert_bias(0.01), sigmoid",
        "quantile_bias, sigmoid",
    )
}
_LONGER["mean_entropy_loss(0.1), 1k"] = _longer(
    {"balancing": [MeanEntropyLoss(0.1)]}
)
RECIPES |= _LONGER

_NAMES = list(RECIPES)


def _between(first, last):
    return _NAMES[_NAMES.index(first) : _NAMES.index(last) + 1]


GROUPS = {
    "balancing": Group(
        "Balancing rules", [*_between("none", "quantile_bias, sigmoid"), COMMON]
    ),
    "longer": Group("Balancing rules in a longer training", list(_LONGER)),
    "capacity": Group(
        "Capacity",
        [COMMON, *_between("capacity 2.0", "capacity 1.0")],
        "dropped_by_position",
        "dropped pairs by position in the sequence",
        logarithmic=False,
    ),
    "routers": Group("Routers", [COMMON, *_between("noisy_top_k", "random")]),
    "experts": Group(
        "Experts of equal active arithmetic",
        [
            *_between("1 x 128, dense", "8 x 128, top-1"),
            COMMON,
            *_between("32 x 32, top-4", "15 x 64, top-1, 1 shared"),
        ],
        "loss",
        "training loss, nats per byte",
        logarithmic=False,
    ),
    "rate": Group(
        "A learning rate of 0.03 in bfloat16",
        _between("without z-loss", "with z-loss"),
        "router_z_loss",
        "mean squared log-sum-exp of the router's logits",
    ),
    **quality_pay.GROUPS,
}
