"""What our backbones share beyond keras-hub's."""

from keras_moe.models.family_router import make_router
from keras_moe.models.family_router import router_config
from keras_moe.models.family_router import with_router
from keras_moe.models.sparse_model import SparseModel
from keras_moe.ops.all_layers import all_layers
from keras_moe.ops.plain_numbers import to_plain


class SparseBackbone(SparseModel):
    """A backbone with experts, whose attention learns adapters.

    Stands before `keras_hub.models.Backbone`. What its constructor was given
    is `_arguments`, with the `router` as a configuration or `None`.
    """

    @classmethod
    def family_router(cls, arguments):
        """Make the router that this family has of its own.

        Args:
            arguments: dict, all constructor arguments.

        Returns:
            `keras_moe.layers.Router`, not built.
        """
        raise NotImplementedError

    @classmethod
    def own_arguments(cls, names):
        """Pick the constructor's arguments out of `locals()`.

        Args:
            names: dict, `locals()` at the top of `__init__`.

        Returns:
            dict without `self`, `dtype` and `kwargs`, and with the router as
            a configuration.
        """
        others = ("self", "dtype", "kwargs", "__class__")
        arguments = {
            name: to_plain(names[name]) for name in names if name not in others
        }
        arguments["router"] = router_config(
            arguments["router"], lambda: cls.family_router(arguments)
        )
        return arguments

    @classmethod
    def make_router(cls, arguments):
        """Make the router of one sparse layer.

        Args:
            arguments: dict from `own_arguments`.

        Returns:
            `keras_moe.layers.Router`, not built.
        """
        return make_router(
            arguments["router"], lambda: cls.family_router(arguments)
        )

    @property
    def router(self):
        """A router like those of the sparse layers, not built."""
        return type(self).make_router(self._arguments)

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
                f"adapt, {sorted(can_adapt)}. Received: {[*names]}. Experts "
                "and routers cannot be adapted."
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
