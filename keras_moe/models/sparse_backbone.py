"""What our backbones share beyond keras-hub's."""

import inspect

from keras_moe.balancing.pooled_rule import pool_rules
from keras_moe.layers.router import Router
from keras_moe.models.backbone_arguments import Arguments
from keras_moe.models.family_docstrings import with_arguments
from keras_moe.models.family_router import check_causal
from keras_moe.models.family_router import make_router
from keras_moe.models.family_router import router_config
from keras_moe.models.family_router import with_router
from keras_moe.models.keywords import BY_KERAS
from keras_moe.models.keywords import check_keywords
from keras_moe.models.sparse_model import SparseModel
from keras_moe.ops.all_layers import all_layers


class SparseBackbone(SparseModel):
    """A backbone with experts, whose attention learns adapters.

    Stands before `keras_hub.models.Backbone`. A family names its
    `arguments_class`; `other_arguments` are those that the base classes take.
    """

    arguments_class: type[Arguments] = Arguments
    other_arguments: tuple = BY_KERAS

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "arguments_class" in vars(cls):
            cls.__signature__ = _signature(cls.arguments_class)
            cls.__doc__ = with_arguments(cls.__doc__, cls.arguments_class)

    def __init__(self, *args, **kwargs):
        if kwargs.get("trainable"):  # Keras would unfreeze what is frozen.
            del kwargs["trainable"]
        super().__init__(*args, **kwargs)
        layers = all_layers(self)
        pool_rules([each for each in layers if isinstance(each, Router)])

    @classmethod
    def family_router(cls, arguments):
        """Make the router that this family has of its own.

        Args:
            arguments: of the family's `arguments_class`.

        Returns:
            `keras_moe.layers.Router`, not built.
        """
        raise NotImplementedError

    @classmethod
    def take_arguments(cls, kwargs):
        """Part a constructor's arguments from Keras'.

        Args:
            kwargs: dict, all that the constructor was given.

        Returns:
            The family's arguments, with the router as a configuration, and a
            dict of the others.

        Raises:
            TypeError: If one is of neither, or a required one is missing.
        """
        names = cls.arguments_class.names()
        known = (*names, *cls.other_arguments)
        check_keywords(kwargs, known, cls.__name__)
        arguments = cls.arguments_class.pick(kwargs)
        arguments.router = router_config(
            arguments.router, lambda: cls.family_router(arguments)
        )
        others = {name: kwargs[name] for name in kwargs if name not in names}
        return arguments, others

    def keep_arguments(self, arguments):
        """Let arguments become attributes, but for the router.

        Args:
            arguments: from `take_arguments`.
        """
        self._arguments = arguments
        for name, value in arguments.to_config().items():
            if name != "router":
                setattr(self, name, value)

    @classmethod
    def make_router(cls, arguments):
        """Make the router of one sparse layer.

        Args:
            arguments: from `take_arguments`.

        Returns:
            `keras_moe.layers.Router`, not built.

        Raises:
            ValueError: If it looks at later tokens, and there is a decoder.
        """
        router = make_router(
            arguments.router, lambda: cls.family_router(arguments)
        )
        # An encoder alone sees whole sequences.
        if getattr(arguments, "num_decoder_layers", None) != 0:
            check_causal(router)
        return router

    @property
    def router(self):
        """A router like those of the sparse layers, not built."""
        return type(self).make_router(self._arguments)

    def get_config(self):
        return {**super().get_config(), **self._arguments.to_config()}

    @classmethod
    def from_config(cls, config):
        return super().from_config(with_router(config, cls))

    def enable_lora(self, rank, target_layer_names=None):
        """Freeze all weights and add trainable low-rank adapters (LoRA).

        Args:
            rank: int, width of the adapters.
            target_layer_names: optional list of str, names of the layers to
                adapt; `None` means `default_lora_layer_names()`, projections
                of the attention.

        Raises:
            ValueError: If a name is of no layer that can be adapted.

        References:
            Hu et al., 2021, https://arxiv.org/abs/2106.09685.
        """
        names = target_layer_names or self.default_lora_layer_names()
        can_adapt = {
            layer.name
            for layer in all_layers(self)[1:]
            if layer.weights and hasattr(layer, "enable_lora")
        }
        known = can_adapt & {*names}
        if not known or (target_layer_names and {*names} - known):
            raise ValueError(
                "Expected `target_layer_names` among the layers that LoRA can "
                f"adapt, {sorted(can_adapt)}. Received: {[*names]}. Routers "
                "cannot be adapted."
            )
        super().enable_lora(rank, target_layer_names)
        for layer in all_layers(self)[1:]:
            if getattr(layer, "lora_enabled", False):
                _freeze_bias(layer)


def _freeze_bias(layer):
    # keras-hub leaves it trainable, and does not save it with the adapters.
    bias = getattr(layer, "bias", None)
    if bias is not None:
        bias.trainable = False


def _signature(arguments_class):
    signature = inspect.signature(arguments_class)
    ordered = [signature.parameters[name] for name in arguments_class.names()]
    more = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
    return inspect.Signature([*ordered, more])
