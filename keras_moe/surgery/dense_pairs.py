"""Two dense layers of a graph, exchanged for one layer."""

import keras


def exchange_pairs(model, config, pairs, make_layer):
    """Put one layer into a configuration in place of two dense ones.

    Args:
        model: functional or sequential `keras.Model`.
        config: dict, its configuration.
        pairs: list of pairs of names, of `keras.layers.Dense` layers: the
            second has no activation, and is the only one to see the first.
        make_layer: function of both layers that returns the new one, of the
            second's name.

    Returns:
        dict, a new configuration.

    Raises:
        ValueError: If a pair is not as it should be.

    Example:

    >>> layers = [keras.layers.Dense(8, name="up"), keras.layers.Dense(4)]
    >>> layers[1].name = "down"
    >>> model = keras.Sequential([keras.Input((4,)), *layers])
    >>> config = exchange_pairs(
    ...     model, model.get_config(), [("up", "down")],
    ...     lambda up, down: keras.layers.Activation("relu", name=down.name))
    >>> [each["class_name"] for each in config["layers"]]
    ['InputLayer', 'Activation']
    """
    records = {each["config"]["name"]: each for each in config["layers"]}
    for up_name, down_name in pairs:
        _check_are_dense(model, up_name, down_name)
        up, down = model.get_layer(up_name), model.get_layer(down_name)
        if not _is_pair(config, records, up_name, down_name):
            raise ValueError(
                f"Expected {down_name!r} to see {up_name!r} and nothing else, "
                f"and no other layer to see {up_name!r}. Received: layers that "
                f"are connected otherwise in {model.name!r}. Name two layers "
                "that follow each other directly."
            )
        record = keras.saving.serialize_keras_object(make_layer(up, down))
        for key in ("name", "inbound_nodes"):
            if key in records[up_name]:
                record[key] = records[up_name][key]
        if "name" in record:
            record["name"] = down_name
        del records[up_name]
        records[down_name] = record
    return {**config, "layers": [*records.values()]}


def _check_are_dense(model, up_name, down_name):
    for name in (up_name, down_name):
        layers = [each for each in model.layers if each.name == name]
        kinds = [type(each) for each in layers]
        if kinds != [keras.layers.Dense]:
            names = [
                each.name
                for each in model.layers
                if type(each) is keras.layers.Dense
            ]
            raise ValueError(
                f"Expected the names of two of the model's dense layers, "
                f"{names}. Received: {name!r}. Name the layer that widens and "
                "the one that narrows again."
            )
    if model.get_layer(down_name).activation is not keras.activations.linear:
        raise ValueError(
            f"Expected no activation in {down_name!r}, the second layer of a "
            "pair. Received: "
            f"{model.get_layer(down_name).activation.__name__}. Experts have "
            "one between their two layers alone."
        )


def _is_pair(config, records, up_name, down_name):
    names = [*records]
    if "output_layers" not in config:  # A sequential model.
        return names.index(down_name) == names.index(up_name) + 1
    if up_name in keras.tree.flatten(config["output_layers"]):
        return False
    for name, record in records.items():
        seen = [*_sources(record["inbound_nodes"])]
        calls = len(records[up_name]["inbound_nodes"])
        expected = [[up_name, call, 0] for call in range(calls)]
        if name == down_name and seen != expected:
            return False
        if name != down_name and any(up_name == each[0] for each in seen):
            return False
    return True


def _sources(value):
    """Yield where the tensors of a layer's calls come from."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _sources(each)
    elif isinstance(value, dict):
        if "keras_history" in value:
            yield list(value["keras_history"])
        else:
            yield from _sources([*value.values()])
