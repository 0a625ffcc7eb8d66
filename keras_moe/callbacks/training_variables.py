"""All numbers of a training run, by name."""

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.distribution.own_experts import whole_shape
from keras_moe.distribution.own_slots import mark_slots


def training_variables(model):
    """Name every variable of a model and its optimizer.

    They are the weights, the optimizer's slots and its step, the states of the
    random generators, and the sums that `RoutingMonitor` has not reported yet.

    Args:
        model: built and compiled `keras.Model`; the optimizer is built if it
            is not.

    Returns:
        dict: name -> `keras.Variable`, in an order that the model fixes. Those
        of this process' experts alone (`ExpertParallel` on PyTorch) are
        marked.

    Raises:
        ValueError: If the model is not built and compiled.

    Example:

    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> list(training_variables(model))[:3]
    ['model/0', 'model/1', 'optimizer/0']
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not model.built:
        raise ValueError(
            "Expected a model that is built and compiled. Received: "
            f"{model.name!r}, built={model.built}, optimizer={optimizer}. "
            "Call `build` and `compile` first: the optimizer's numbers belong "
            "to a run."
        )
    if not optimizer.built:
        # Before they are restored: what is not there gets no value.
        optimizer.build(model.trainable_variables)
    mark_slots(optimizer, model.trainable_variables)
    layers = find_sparse_layers(model).values()
    # Paths need not be unique, positions are.
    return {
        f"{kind}/{position}": variable
        for kind, variables in (
            ("model", model.variables),
            # Not among the model's on PyTorch.
            ("statistics", [v for x in layers for v in x.statistics.state]),
            ("optimizer", optimizer.variables),
        )
        for position, variable in enumerate(variables)
    }


def check_variables(variables, shapes, source):
    """Raise unless a checkpoint has the variables of a model.

    Args:
        variables: dict of `training_variables`.
        shapes: dict: name -> tuple, what the checkpoint has.
        source: path of the checkpoint.

    Raises:
        ValueError: If a name or a shape differs.
    """
    if {name: whole_shape(each) for name, each in variables.items()} != shapes:
        raise ValueError(
            f"Expected a checkpoint of this model's {len(variables)} "
            f"variables. Received: {source} with {len(shapes)}, or other "
            "shapes, from another model or version of keras_moe or Keras. "
            "Make the same model, or start again in another folder "
            "(`keras-moe train --overwrite`)."
        )
