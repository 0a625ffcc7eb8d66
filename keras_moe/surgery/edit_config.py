"""Configurations of models, with some of their layers exchanged."""

import keras

from keras_moe.layers.shared_expert_moe import SharedExpertMoE
from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.models.sparse_backbone import SparseBackbone
from keras_moe.routing.validation import check_positive
from keras_moe.surgery.rebuild import check_model


def edit_config(model, edit, *, required=True):
    """Return a model's configuration, edited wherever `edit` has an answer.

    Layers inside of other layers and models are found if these serialize
    them in their own configuration, as Keras' wrappers and our blocks do.

    Args:
        model: built `keras.layers.Layer` or `keras.Model`.
        edit: function of a class and its configuration that returns a dict
            of what to change in the serialized object, such as `"config"`;
            an empty one leaves an object as it is, with all that is inside,
            `None` leaves it to look inside.

        required: bool, whether there has to be something to change.

    Returns:
        dict for `type(model).from_config`.

    Raises:
        ValueError: If `model` is not built or has adapters, or there was
            nothing to change.

    Example:

    >>> from keras_moe.layers import FeedForward
    >>> model = keras.Sequential([keras.Input((2,)), FeedForward(4)])
    >>> def widen(layer_class, config):
    ...     if layer_class is FeedForward:
    ...         return {"config": {**config, "intermediate_dim": 8}}
    >>> edit_config(model, widen)["layers"][1]["config"]["intermediate_dim"]
    8
    """
    check_model(model)
    config = model.get_config()
    if getattr(model, "preprocessor", None) is not None:
        # As it is: a tokenizer's files are not in its configuration.
        config["preprocessor"] = model.preprocessor
    edited = {"class": type(model), "config": config}
    edits: list = []
    edited = _edit_record(edited, type(model), edit, edits)
    if required and not edits:
        raise ValueError(
            "Expected a model whose configuration holds layers of the kind to "
            f"change. Received: {type(model).__name__} {model.name!r} without. "
            "A layer must be built outside of its parent and be part of its "
            "parent's configuration, as a layer of a functional model is."
        )
    return edited["config"]


def edit_num_experts(new_number):
    """Make an edit of every sparse layer's number of experts.

    Args:
        new_number: function of the number E that returns the new one.

    Returns:
        function for `edit_config`.

    Example:

    >>> edit = edit_num_experts(lambda number: number + 1)
    >>> edit(SparseMoE, SparseMoE(4, 8).get_config())["config"]["num_experts"]
    5
    """

    def edit(layer_class, config):
        if not has_experts(layer_class):
            return None
        number = config["num_experts"]
        return {"config": with_num_experts(config, new_number(number))}

    return edit


def with_num_experts(config, num_experts):
    """Return the configuration of a layer or backbone with E experts.

    Args:
        config: dict of a `SparseMoE`, a `SharedExpertMoE` or a backbone.
        num_experts: int E, those that compute nothing included.

    Returns:
        dict.

    Example:

    >>> config = SparseMoE(4, 8).get_config()
    >>> with_num_experts(config, 6)["router"]["config"]["num_experts"]
    6
    """
    check_positive(num_experts=num_experts)
    added = num_experts - config["num_experts"]
    config = {**config, "num_experts": num_experts}
    for name in ("router", "experts"):
        part = config.get(name)
        if isinstance(part, dict) and "class_name" in part:
            number = part["config"]["num_experts"] + added
            part_config = {**part["config"], "num_experts": number}
            config[name] = {**part, "config": part_config}
    return config


def with_router(config, **changes):
    """Return a configuration whose router has other arguments.

    Args:
        config: dict of a `SparseMoE`, a `SharedExpertMoE` or a backbone.
        **changes: arguments of the router.

    Returns:
        dict.

    Example:

    >>> config = with_router(SparseMoE(4, 8).get_config(), top_k=1)
    >>> config["router"]["config"]["top_k"]
    1
    """
    router = config.get("router") or {}
    if "class_name" in router:
        changed = {**router, "config": {**router["config"], **changes}}
    else:  # What a backbone changes of its own router.
        changed = {**router, **changes}
    return {**config, "router": changed}


def has_experts(layer_class):
    """Tell whether a class's configuration says how many experts there are.

    Args:
        layer_class: class of a layer or model.

    Returns:
        bool.

    Example:

    >>> has_experts(SparseMoE), has_experts(keras.layers.Dense)
    (True, False)
    """
    kinds = SparseMoE, SharedExpertMoE, SparseBackbone
    return isinstance(layer_class, type) and issubclass(layer_class, kinds)


def _edit_record(record, layer_class, edit, edits):
    changed = edit(layer_class, record["config"])
    if changed is None:
        return {name: _edit(record[name], edit, edits) for name in record}
    edits += [changed] if changed else []
    # Its parent, or the model's graph, builds the new layer.
    return {
        name: value
        for name, value in {**record, **changed}.items()
        if name != "build_config"
    }


def _edit(value, edit, edits):
    if isinstance(value, (list, tuple)):
        return type(value)(_edit(each, edit, edits) for each in value)
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("config"), dict) and "registered_name" in value:
        name = value["registered_name"]
        layer_class = name and keras.saving.get_registered_object(name)
        return _edit_record(value, layer_class, edit, edits)
    return {name: _edit(value[name], edit, edits) for name in value}
