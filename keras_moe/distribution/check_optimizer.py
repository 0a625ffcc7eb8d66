"""Which optimizers can train experts of which a process sees only some."""

import keras

OF_ALL_EXPERTS = ("clipnorm", "global_clipnorm")


def check_optimizer(model):
    """Raise if a model's optimizer looks at all experts at once.

    A process that holds some of the experts (`ExpertParallel` on PyTorch)
    would take the norm of its own ones for that of all, or step where the
    others skip a step.

    Args:
        model: `keras.Model`, compiled or not.

    Raises:
        NotImplementedError: Names the argument or the class.

    Example:

    >>> import keras
    >>> check_optimizer(keras.Sequential([keras.layers.Dense(2)]))
    """
    weights = model.trainable_weights
    if not any(getattr(weight, "is_part", False) for weight in weights):
        return
    optimizer = getattr(model, "optimizer", None)
    found = [
        f"{name}={getattr(optimizer, name)}"
        for name in OF_ALL_EXPERTS
        if getattr(optimizer, name, None) is not None
    ]
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        found.append("a LossScaleOptimizer")
    if found:
        raise NotImplementedError(
            "Expected an optimizer that treats each number by itself, where "
            f"processes hold different experts. Received: {', '.join(found)}."
            " Use `clipvalue`, and bfloat16 in place of float16."
        )
