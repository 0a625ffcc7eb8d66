"""The router of a family's sparse layers, and how a user changes it."""

import keras

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.layers.router import Router
from keras_moe.layers.sublayers import serialize_sublayer
from keras_moe.layers.sublayers import without_identity
from keras_moe.routing.capacity import Capacity

# What configurations of version 0.1 and published ones say of a router.
SETTINGS = (
    "jitter_noise",
    "load_balancing_loss_weight",
    "router_z_loss_weight",
    "expert_bias_update_rate",
    "capacity_factor",
    "eval_capacity_factor",
    "expert_capacity",
)
# The rules that have such a setting, and what it is called there.
RULES = {
    "expert_bias_update_rate": (ExpertBias, "rate"),
    "load_balancing_loss_weight": (LoadBalancingLoss, "weight"),
    "router_z_loss_weight": (RouterZLoss, "weight"),
}
# What makes no difference to a trained model.
ONLY_WHILE_TRAINING = (
    "balancing",
    "jitter_noise",
    "kernel_initializer",
    "kernel_regularizer",
    "replay",
    "seed",
    "trainable",
    "dtype",
    "name",
)


def router_config(router, family_router):
    """Serialize what a backbone's argument `router` means.

    Args:
        router: `None`; a `Router`; a dict of arguments that change the
            family's own router; or a configuration from this function.
        family_router: function without arguments that makes the family's own.

    Returns:
        dict, of a whole router or of what is changed; `None` for the family's
        own router.

    Raises:
        ValueError: If it is anything else.
    """
    if router is None:
        return None
    if isinstance(router, dict):
        whole = "class_name" in router
        return dict(router) if whole else _changed(router, family_router())
    if not isinstance(router, Router):
        raise ValueError(
            "Expected `router` to be a `keras_moe.layers.Router`, a dict of "
            "arguments that change the model's own router, or None. "
            f"Received: {router!r}."
        )
    return without_identity(serialize_sublayer(router.copy(name="router")))


def make_router(config, family_router):
    """Make the router of one sparse layer.

    Args:
        config: what `router_config` returned.
        family_router: function without arguments that makes the family's own.

    Returns:
        `Router`, not built.
    """
    if config is None:
        return family_router()
    if "class_name" in config:
        return keras.saving.deserialize_keras_object(config)
    return family_router().copy(**config)


def check_causal(router):
    """Raise if a token's routing depends on later tokens.

    A decoder is trained on whole sequences and generates token by token: it
    would be trained with what it does not have when it generates.

    Args:
        router: `Router`.

    Raises:
        ValueError: If the router, or its capacity, looks ahead.
    """
    if not router.is_causal:
        raise ValueError(
            "Expected a router that does not look at later tokens, for a "
            f"decoder. Received: {type(router).__name__}. Use a router in "
            "which each token chooses by itself, such as `TopKRouter`."
        )
    if router.capacity is not None and not router.capacity.is_causal:
        raise ValueError(
            "Expected a capacity that does not look at later tokens, for a "
            f"decoder. Received: priority={router.capacity.priority!r}. Use "
            "`Capacity(priority='position')`."
        )


def with_router(arguments, backbone_class):
    """Gather a router's settings among arguments into one `router`.

    Args:
        arguments: dict, constructor arguments of a backbone, with settings of
            the router as version 0.1 and published configurations have them.
        backbone_class: the class, which has a `family_router`.

    Returns:
        dict without these settings.
    """
    arguments = dict(arguments)
    given = {
        name: arguments.pop(name) for name in SETTINGS if name in arguments
    }
    router = arguments.get("router") or {}
    if not given or not isinstance(router, dict) or "class_name" in router:
        return arguments
    arguments_class = backbone_class.arguments_class

    def family_router():
        own = arguments_class.pick({**arguments, "router": None})
        return backbone_class.family_router(own)

    changes = {**_changes(given, family_router()), **router}
    config = router_config(changes, family_router)
    arguments.pop("router", None)
    return arguments if config is None else {**arguments, "router": config}


def settings_of(router):
    """Return a router's settings under the names of `SETTINGS`.

    Args:
        router: `Router`.

    Returns:
        dict; `None` for what the router does not have.
    """
    capacity = router.capacity or Capacity()
    settings = {
        "jitter_noise": getattr(router, "jitter_noise", None),
        "capacity_factor": capacity.factor,
        "eval_capacity_factor": capacity.eval_factor,
        "expert_capacity": capacity.slots,
    }
    for name, (kind, attribute) in RULES.items():
        rules = [rule for rule in router.balancing if isinstance(rule, kind)]
        settings[name] = getattr(rules[0], attribute) if rules else 0.0
    return settings


def inference_config(router):
    """Return the part of a router's configuration that inference follows.

    Args:
        router: `Router`.

    Returns:
        dict.
    """
    config = router.get_config()
    for name in ONLY_WHILE_TRAINING:
        config.pop(name, None)
    capacity = (router.capacity or Capacity()).get_config()
    del capacity["factor"], capacity["seed"]
    dropless = capacity["eval_factor"] is None and capacity["slots"] is None
    config["capacity"] = None if dropless else capacity
    config["class_name"] = type(router).__name__
    return config


def _changed(changes, family):
    """Serialize the changes that make a difference; `None` if none does."""
    before = without_identity(family.get_config())
    after = without_identity(family.copy(**changes).get_config())
    changed = {
        name: after[name] for name in changes if after[name] != before[name]
    }
    return changed or None


def _changes(given, family):
    """Translate settings to arguments that change the family's router."""
    settings = {**settings_of(family), **given}
    if settings["expert_capacity"] is not None:
        settings["capacity_factor"] = settings["eval_capacity_factor"] = None
    capacity = Capacity(
        settings["capacity_factor"],
        settings["eval_capacity_factor"],
        settings["expert_capacity"],
    )
    balancing = [
        kind(settings[name])
        for name, (kind, _) in RULES.items()
        # A bias that does not move still takes part in the choice.
        if settings[name]
        or kind is ExpertBias
        and any(isinstance(rule, kind) for rule in family.balancing)
    ]
    return {
        "jitter_noise": settings["jitter_noise"],
        "capacity": None if capacity == Capacity() else capacity,
        "balancing": balancing,
    }
