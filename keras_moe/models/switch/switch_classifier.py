"""Switch Transformer classifier: an encoder, a mean over tokens, a head."""

import keras
import keras_hub

from keras_moe.models.sparse_task import SparseTask
from keras_moe.models.switch.switch_backbone import SwitchBackbone
from keras_moe.ops.mean_over_tokens import mean_over_tokens
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class SwitchClassifier(SparseTask, keras_hub.models.TextClassifier):
    """Classify sequences by the mean of their encoded tokens.

    Args:
        backbone: `SwitchBackbone` with `num_decoder_layers=0`.
        num_classes: int, number of classes.
        preprocessor: optional preprocessor of text; `None` means that inputs
            are dictionaries of `token_ids` and `padding_mask`.
        activation: activation of the head; `None` gives logits.
        dropout: float, share of the pooled features to drop.
        **kwargs: arguments of `keras_hub.models.TextClassifier`.

    Returns:
        float32 tensor of shape (B, num_classes).

    Raises:
        ValueError: If the backbone has a decoder.

    Example:

    >>> import numpy as np
    >>> backbone = SwitchBackbone(
    ...     vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8,
    ...     intermediate_dim=16, num_experts=4, num_decoder_layers=0,
    ... )
    >>> model = SwitchClassifier(backbone, num_classes=3)
    >>> logits = model({
    ...     "token_ids": np.array([[3, 4, 5, 1]]),
    ...     "padding_mask": np.array([[1, 1, 1, 0]]),
    ... })
    >>> tuple(logits.shape)
    (1, 3)

    References:
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961.
    """

    backbone_cls = SwitchBackbone

    @plain_numbers
    def __init__(
        self,
        backbone,
        num_classes,
        preprocessor=None,
        activation=None,
        dropout=0.0,
        **kwargs,
    ):
        if backbone.num_decoder_layers:
            raise ValueError(
                "Expected a backbone without decoder. Received: "
                f"num_decoder_layers={backbone.num_decoder_layers}. Build the "
                "backbone with num_decoder_layers=0."
            )
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        # Under a RematScope only attention and feed-forward are recomputed.
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
            encoded = backbone(inputs)["encoder_sequence_output"]
            pooled = mean_over_tokens(encoded, inputs["padding_mask"])
            outputs = self.output_dense(self.output_dropout(pooled))
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

        # === Config ===
        self.num_classes = num_classes
        self.activation = keras.activations.get(activation)
        self.dropout = dropout

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            activation=keras.activations.serialize(self.activation),
            dropout=self.dropout,
        )
        return config
