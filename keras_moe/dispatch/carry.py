"""Carry tokens to their experts and back: the table of ways."""

from keras import distribution

from keras_moe.dispatch.between_devices import between_devices
from keras_moe.dispatch.choices import carry_choices
from keras_moe.dispatch.chosen_tokens import carry_chosen_tokens
from keras_moe.dispatch.every_expert import carry_dense
from keras_moe.dispatch.soft_slots import carry_soft_slots
from keras_moe.dispatch.sorted_rows import carry_sorted
from keras_moe.dispatch.static_slots import carry_slots
from keras_moe.routing.expert_choice import ExpertChoice
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.soft_slots import SoftSlots

# A way is a function of tokens (G, S, H), plan and experts.
WAYS = {
    (TokenChoice, "sorted"): carry_sorted,
    (TokenChoice, "slots"): carry_slots,
    (TokenChoice, "dense"): carry_dense,
    (ExpertChoice, "slots"): carry_chosen_tokens,
    (SoftSlots, "slots"): carry_soft_slots,
}
STRATEGIES = ("auto", *dict.fromkeys(strategy for _, strategy in WAYS))


def carry(tokens, plan, experts, strategy="auto"):
    """Carry tokens to their experts and the experts' outputs back, weighted.

    Args:
        tokens: float tensor of shape (G, S, H).
        plan: `keras_moe.routing.TokenChoice` with leading dimensions (G, S),
            or another plan of G groups of S tokens.
        experts: `keras_moe.experts.ExpertBank`.
        strategy: `"sorted"` sorts the pairs by expert, which computes the
            kept ones and nothing else. `"slots"` gives each expert a buffer
            of its capacity, which a partitioner can move between devices.
            `"dense"` computes every expert on every token. `"auto"` sorts;
            under a `keras.distribution` a plan with a capacity takes slots.
            A plan in which the experts choose takes slots always. Under
            `keras_moe.distribution.ExpertParallel` buffers, or sorted rows,
            travel to the experts' devices.

    Returns:
        Tensor of shape (G, S, H), of the dtype of the experts' outputs; 0 for
        tokens that no expert saw.

    Raises:
        ValueError: If the strategy is unknown, or does not fit the plan.

    Example:

    >>> import numpy as np
    >>> from keras_moe.experts import GatedExperts
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((1, 3, 4), "float32"), top_k=2)
    >>> experts = GatedExperts(num_experts=4, intermediate_dim=8)
    >>> tuple(carry(np.ones((1, 3, 5), "float32"), plan, experts).shape)
    (1, 3, 5)
    """
    check_strategy(strategy)
    if strategy == "auto":
        strategy = _choose(plan)
    way = WAYS.get((type(plan), strategy))
    if way is None:
        fitting = [name for kind, name in WAYS if kind is type(plan)]
        raise ValueError(
            f"Expected a strategy for a {type(plan).__name__}: one of "
            f"{fitting}. Received: strategy={strategy!r}."
        )
    way = between_devices(way, tokens, experts)
    if type(plan) is not TokenChoice:
        return way(tokens, plan, experts)
    return carry_choices(way, tokens, plan, experts)


def check_strategy(strategy):
    """Raise if `strategy` is unknown.

    Args:
        strategy: the name to check.

    Raises:
        ValueError: The message lists the known ones.

    Example:

    >>> check_strategy("auto")
    """
    if strategy not in STRATEGIES:
        raise ValueError(
            f"Expected `strategy` to be one of {list(STRATEGIES)}. "
            f"Received: strategy={strategy!r}"
        )


def _choose(plan):
    distributed = distribution.distribution() is not None
    if distributed and getattr(plan, "slots", None) is not None:
        return "slots"
    fitting = [strategy for kind, strategy in WAYS if kind is type(plan)]
    return fitting[0] if fitting else "sorted"
