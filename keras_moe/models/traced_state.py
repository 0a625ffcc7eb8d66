"""What a compiled or recorded function of a model has read in Python."""

import weakref

from keras_moe.ops.all_layers import all_layers


class TracedState:
    """The Python state of a model at one moment.

    A compiled function reads variables whenever it runs, but which variables
    there are, and what the layers do with them, only while it is traced.
    Adapters, quantization, freezing and dtype policies change that.

    Args:
        model: `keras.Model`.
        sampler: optional `keras_hub.samplers.Sampler`, which is traced too.

    Example:

    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    >>> before = TracedState(model)
    >>> before == TracedState(model)
    True
    >>> model.layers[0].enable_lora(1)
    >>> before == TracedState(model)
    False
    """

    def __init__(self, model, sampler=None):
        layers = all_layers(model)
        objects = (
            model.trainable_variables,
            model.non_trainable_variables,
            layers,
            [] if sampler is None else [sampler, *sampler.variables],
        )
        # Not kept alive: quantization frees memory.
        self._objects = [
            [weakref.ref(each) for each in group] for group in objects
        ]
        self._settings = (
            model.run_eagerly,
            model.jit_compile,
            None if sampler is None else sampler.get_config(),
            [_of_layer(layer) for layer in layers],
        )

    def __eq__(self, other):
        if not isinstance(other, TracedState):
            return NotImplemented
        groups = zip(self._objects, other._objects, strict=True)
        return self._settings == other._settings and all(
            len(one) == len(two) and all(map(_same, one, two))
            for one, two in groups
        )

    __hash__ = None  # type: ignore[assignment]


def _of_layer(layer):
    policy = layer.dtype_policy
    return (
        policy.name,
        policy.quantization_mode,
        getattr(layer, "lora_alpha", None),
    )


def _same(one, two):
    return one() is not None and one() is two()
