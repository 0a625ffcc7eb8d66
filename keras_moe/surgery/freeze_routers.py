"""Models whose routers are not trained."""

from keras_moe.layers.router import Router
from keras_moe.ops.all_layers import all_layers
from keras_moe.surgery.edit_config import edit_config
from keras_moe.surgery.edit_config import has_experts
from keras_moe.surgery.edit_config import with_router
from keras_moe.surgery.rebuild import rebuild


def freeze_routers(model, trainable=False):
    """Make a model whose routers stay as they are while it is trained.

    Tokens keep their experts, as far as the layers before the router let
    them; a selection bias does not move either. Saved and loaded again, the
    model's routers are still frozen. The given model stays as it is.

    Args:
        model: built model or layer with `SparseMoE` layers.
        trainable: bool; `True` lets the routers be trained again.

    Returns:
        A new model of the same class, not compiled.

    Raises:
        ValueError: If there is no sparse layer, or the model has adapters.

    Example:

    >>> from keras_moe.layers import SparseMoE
    >>> layer = SparseMoE(num_experts=4, intermediate_dim=8)
    >>> layer.build((None, 16))
    >>> frozen = freeze_routers(layer)
    >>> len(layer.trainable_variables), len(frozen.trainable_variables)
    (3, 2)
    """

    def edit(layer_class, config):
        if not has_experts(layer_class):
            return None
        return {"config": with_router(config, trainable=trainable)}

    config = edit_config(model, edit)
    frozen, _ = rebuild(model, config, lambda old, new: False)
    for layer in all_layers(frozen):
        if isinstance(layer, Router):
            layer.trainable = trainable
    return frozen
