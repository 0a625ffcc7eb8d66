"""Models of fewer layers, and what they tell of the whole one."""


def models_of_depths(arguments_class, config, depths=None):
    """Leave out layers behind the first sparse ones, for each depth.

    Args:
        arguments_class: the backbone's, which knows which layers are sparse.
        config: dict of the constructor's arguments.
        depths: optional pair of ints, numbers of sparse layers.

    Returns:
        List of configurations, and the numbers of sparse layers: those of
        the configurations, and that of the whole model. One configuration,
        the given one, where `depths` is `None` or the model is no deeper.

    Raises:
        ValueError: If the depths are not two, the second one larger.

    Example:

    >>> from keras_moe.models import preset
    >>> backbone, config = preset("deepseek_v3")  # The first 3 are dense.
    >>> models, sparse = models_of_depths(
    ...     backbone.arguments_class, config, (2, 4)
    ... )
    >>> [each["num_layers"] for each in models], sparse
    ([5, 7], [2, 4, 58])
    """
    arguments = arguments_class.pick(config)
    places = [i for i in range(arguments.num_layers) if arguments.is_sparse(i)]
    if depths is None or max(depths) >= len(places):
        return [config], [len(places), len(places)]
    if len(depths) != 2 or not 0 < depths[0] < depths[1]:
        raise ValueError(
            "Expected two numbers of sparse layers, the second one larger. "
            f"Received: depths={depths}. Choose for example (2, 4)."
        )
    models = [{**config, "num_layers": places[n - 1] + 1} for n in depths]
    return models, [*depths, len(places)]


def extrapolate(numbers, sparse):
    """Go on with the difference of two models, layer by layer.

    Args:
        numbers: list of dicts from a name to an int, one for each model that
            was compiled: two, or the whole model alone.
        sparse: list of ints, their numbers of sparse layers, and at the end
            that of the whole model.

    Returns:
        dict of ints. Nothing becomes less with more layers.

    Example:

    >>> extrapolate([{"bytes": 30}, {"bytes": 50, "sent": 4}], [2, 4, 10])
    {'bytes': 110, 'sent': 16}
    """
    first, last = numbers[0], numbers[-1]
    if len(numbers) == 1:
        return dict(last)
    steps = (sparse[2] - sparse[1]) / (sparse[1] - sparse[0])
    return {
        name: round(number + steps * max(0, number - first.get(name, 0)))
        for name, number in last.items()
    }
