"""V-MoE's classifier: a backbone, a pooled token, a head."""

import keras
import keras_hub
from keras import ops

from keras_moe.models.sparse_task import SparseTask
from keras_moe.models.vision_moe.vision_moe_backbone import VisionMoEBackbone
from keras_moe.ops.plain_numbers import plain_numbers

POOLING = ("token", "avg")


@keras.saving.register_keras_serializable(package="keras_moe")
class VisionMoEClassifier(SparseTask, keras_hub.models.ImageClassifier):
    """Classify images by the class token, as V-MoE does, or by their mean.

    Args:
        backbone: `VisionMoEBackbone`.
        num_classes: int, number of classes.
        preprocessor: optional preprocessor of images; `None` means that
            inputs are floats of the size that the backbone takes.
        pooling: `"token"`, what the class token has become, or `"avg"`, the
            mean over the patches.
        activation: activation of the head; `None` gives logits.
        dropout: float, share of the pooled features to drop.
        **kwargs: arguments of `keras_hub.models.ImageClassifier`.

    Returns:
        float32 tensor of shape (B, num_classes).

    Raises:
        ValueError: If `pooling` is unknown, or wants a class token that the
            backbone does not have.

    Example:

    >>> import numpy as np
    >>> backbone = VisionMoEBackbone(
    ...     image_shape=(8, 8, 1), patch_size=4, num_layers=2, num_heads=2,
    ...     hidden_dim=16, intermediate_dim=32, num_experts=4,
    ... )
    >>> model = VisionMoEClassifier(backbone, num_classes=3)
    >>> tuple(model(np.ones((2, 8, 8, 1), "float32")).shape)
    (2, 3)

    References:
        Riquelme et al., 2021, https://arxiv.org/abs/2106.05974.
    """

    backbone_cls = VisionMoEBackbone

    @plain_numbers
    def __init__(
        self,
        backbone,
        num_classes,
        preprocessor=None,
        pooling="token",
        activation=None,
        dropout=0.0,
        **kwargs,
    ):
        if pooling not in POOLING:
            raise ValueError(
                f"Expected `pooling` to be one of {POOLING}. "
                f"Received: {pooling!r}."
            )
        if pooling == "token" and not backbone.use_class_token:
            raise ValueError(
                "Expected a backbone with a class token for pooling='token'. "
                "Received: use_class_token=False. Use pooling='avg'."
            )
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        # Under a RematScope only feed-forward layers are recomputed.
        with keras.RematScope(mode=None):
            self.output_dropout = keras.layers.Dropout(
                dropout, dtype="float32", name="output_dropout"
            )
            self.output_dense = keras.layers.Dense(
                num_classes,
                activation=activation,
                dtype="float32",
                name="output_dense",
            )

            # === Functional model ===
            inputs = backbone.input
            x = backbone(inputs)
            if pooling == "token":
                pooled = x[:, 0]
            else:
                first = 1 if backbone.use_class_token else 0
                pooled = ops.mean(ops.cast(x[:, first:], "float32"), axis=1)
            outputs = self.output_dense(self.output_dropout(pooled))
        self.check_keywords(kwargs)
        # Past the base class, which makes a head for feature maps.
        super(keras_hub.models.ImageClassifier, self).__init__(
            inputs=inputs, outputs=outputs, **kwargs
        )

        # === Config ===
        self.num_classes = num_classes
        self.pooling = pooling
        self.activation = keras.activations.get(activation)
        self.dropout = dropout

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}
