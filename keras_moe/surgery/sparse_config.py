"""Configurations of sparse models, made of those of dense ones."""

import keras

from keras_moe.experts.feed_forward_experts import FeedForwardExperts
from keras_moe.experts.gated_experts import GatedExperts
from keras_moe.layers.feed_forward import FeedForward
from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.models.sparse_backbone import SparseBackbone
from keras_moe.surgery.dense_pairs import exchange_pairs
from keras_moe.surgery.edit_config import edit_config
from keras_moe.surgery.edit_config import has_experts
from keras_moe.surgery.edit_config import with_num_experts
from keras_moe.surgery.rebuild import check_model

# Arguments of backbones that say which layers are dense, and what makes every
# layer sparse.
ALL_SPARSE = {
    "expert_layer_stride": 1,
    "num_dense_layers": 0,
    "dense_layers": (),
}


class SparseConfig:
    """Writes sparse layers into configurations, in place of dense ones.

    Args:
        num_experts: int E.
        top_k: int K.
        num_splits: int, what the width of the dense layers is divided by.
        arguments: dict, further ones of the sparse layers or the backbone.
    """

    def __init__(self, num_experts, top_k, num_splits, arguments):
        self.sizes = {"num_experts": num_experts, "top_k": top_k}
        self.num_splits = num_splits
        self.arguments = arguments

    def __call__(self, model, every_layer, names, pairs):
        """Edit a model's configuration.

        Args:
            model: built `keras.Model`.
            every_layer: bool, whether all `FeedForward` layers are exchanged.
            names: list of str, those that are, if not all.
            pairs: list of pairs of names, as for `exchange_pairs`.

        Returns:
            dict for `type(model).from_config`.

        Raises:
            ValueError: If there is no layer to exchange, or sizes do not fit.
        """
        check_model(model)
        if not every_layer and (
            isinstance(getattr(model, "backbone", model), SparseBackbone)
            or "layers" not in model.get_config()
        ):
            raise ValueError(
                "Expected `layers` of a functional or sequential model. "
                f"Received: {type(model).__name__}. Say by arguments of a "
                "backbone which of its layers remain dense."
            )
        found = []

        def edit(layer_class, config):
            if has_experts(layer_class):
                is_backbone = issubclass(layer_class, SparseBackbone)
                return (
                    self._backbone(layer_class, config) if is_backbone else None
                )
            if layer_class is not FeedForward:
                return None
            if not every_layer and config["name"] not in names:
                return None
            found.append(config["name"])
            return keras.saving.serialize_keras_object(self._layer(config))

        config = edit_config(model, edit, required=every_layer)
        missing = sorted({*names} - {*found})
        if missing:
            raise ValueError(
                f"Expected names of `FeedForward` layers of {model.name!r}. "
                f"Received: {missing}. Two `Dense` layers are named as a pair, "
                "`(up, down)`."
            )
        if not pairs:
            return config
        return exchange_pairs(model, config, pairs, self._layer_of_pair)

    def _backbone(self, backbone_class, config):
        known = backbone_class.arguments_class.names()
        width = config.get("dense_intermediate_dim")
        width = width or config["intermediate_dim"]
        changes = {
            **ALL_SPARSE,
            **self.sizes,
            "intermediate_dim": self._width(width),
            "dense_intermediate_dim": width,
        }
        changes = {name: changes[name] for name in changes if name in known}
        resized = with_num_experts(config, self.sizes["num_experts"])
        return {"config": {**resized, **changes, **self.arguments}}

    def _layer(self, config):
        width, gated = config["intermediate_dim"], config["gated"]
        parts = {x: config[x] for x in ("activation", "kernel_initializer")}
        if config.get("use_bias"):
            experts_class = GatedExperts if gated else FeedForwardExperts
            experts = experts_class(
                self.sizes["num_experts"],
                self._width(width),
                **parts,
                use_bias=True,
                dtype=config["dtype"],
                name="experts",
            )
            parts = {"experts": experts}
        return self._sparse_moe(
            width,
            gated=gated,
            **parts,
            dtype=config["dtype"],
            name=config["name"],
        )

    def _layer_of_pair(self, up, down):
        experts = FeedForwardExperts(
            self.sizes["num_experts"],
            self._width(up.units),
            up.activation,
            up.kernel_initializer,
            use_bias=up.use_bias or down.use_bias,
            dtype=up.dtype_policy,
            name="experts",
        )
        return self._sparse_moe(
            up.units,
            experts=experts,
            gated=False,
            dtype=up.dtype_policy,
            name=down.name,
        )

    def _sparse_moe(self, width, **settings):
        arguments = dict(self.arguments)
        if arguments.get("router") is not None:
            arguments["router"] = arguments["router"].copy(name="router")
        return SparseMoE(
            **self.sizes,
            intermediate_dim=self._width(width),
            **settings,
            **arguments,
        )

    def _width(self, width):
        if width % self.num_splits:
            raise ValueError(
                "Expected `num_splits` to divide the width of the dense "
                f"layers. Received: num_splits={self.num_splits}, width "
                f"{width}. Use a divisor."
            )
        return width // self.num_splits
