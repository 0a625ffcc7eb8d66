"""What our backbones share beyond keras-hub's."""

from keras_moe.models.sparse_model import SparseModel


class SparseBackbone(SparseModel):
    """A backbone whose attention learns adapters.

    Stands before `keras_hub.models.Backbone`.
    """

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
            for layer in self._flatten_layers(include_self=False)
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
        for layer in self._flatten_layers(include_self=False):
            if getattr(layer, "lora_enabled", False):
                _freeze_bias(layer)


def _freeze_bias(layer):
    # keras-hub leaves it trainable, and does not save it with the adapters.
    bias = getattr(layer, "bias", None)
    if bias is not None:
        bias.trainable = False
