"""V-MoE's backbone: a Vision Transformer with experts in some layers."""

import keras
import keras_hub

from keras_moe.balancing import ImportanceLoss
from keras_moe.balancing import LoadLoss
from keras_moe.blocks.norms import make_norm
from keras_moe.blocks.patch_embedding import PatchEmbedding
from keras_moe.blocks.vision_encoder_block import VisionEncoderBlock
from keras_moe.experts.feed_forward_experts import FeedForwardExperts
from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.models.parameter_counts import count_variables
from keras_moe.models.registry import register_presets
from keras_moe.models.sparse_backbone import SparseBackbone
from keras_moe.models.vision_moe.vision_moe_arguments import VisionMoEArguments
from keras_moe.models.vision_moe.vision_moe_presets import VISION_MOE_PRESETS
from keras_moe.ops.unfilled_variables import build_unfilled
from keras_moe.routing.capacity import Capacity
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.logit_noise import LogitNoise


@keras.saving.register_keras_serializable(package="keras_moe")
class VisionMoEBackbone(SparseBackbone, keras_hub.models.Backbone):
    """V-MoE: a Vision Transformer in which patches choose their experts.

    Patches become tokens behind a class token; learned positions; pre-norm
    layers of attention among all tokens and a feed-forward layer, dense or
    sparse; a last norm. Without a `router` of your own, the paper's: noise of
    1 / E on the logits while training, the 2 best experts with the raw
    softmax probabilities, importance and load losses of weight 0.005, a
    capacity of 1.05 while training and 4.0 outside, and tokens of a higher
    score first (batch-prioritised routing).

    {arguments}

    Inputs: `images`, float tensor of shape (B, height, width, channels).

    Outputs: float tensor of shape (B, L, H), the class token first.

    Raises:
        TypeError: If a required argument is missing or one is unknown.
        ValueError: If a size is not positive, or sizes do not fit together.

    Example: Last-2 of four layers.

    >>> import numpy as np
    >>> from keras_moe.models import VisionMoEBackbone
    >>> backbone = VisionMoEBackbone(
    ...     image_shape=(8, 8, 3), patch_size=4, num_layers=4, num_heads=2,
    ...     hidden_dim=16, intermediate_dim=32, num_experts=4,
    ... )
    >>> tuple(backbone(np.ones((1, 8, 8, 3), "float32")).shape)
    (1, 5, 16)

    References:
        Riquelme et al., 2021, https://arxiv.org/abs/2106.05974.
        Dosovitskiy et al., 2020, https://arxiv.org/abs/2010.11929.
    """

    arguments_class = VisionMoEArguments

    def __init__(self, **kwargs):
        arguments, kwargs = self.take_arguments(kwargs)
        dtype = arguments.dtype
        self.keep_arguments(arguments)
        self.activation = keras.activations.get(arguments.activation)

        # === Layers ===
        # Under a RematScope only feed-forward layers are recomputed.
        with keras.RematScope(mode=None):
            self.patch_embedding = PatchEmbedding(
                arguments.patch_size,
                arguments.hidden_dim,
                arguments.use_class_token,
                dtype=dtype,
                name="patch_embedding",
            )
            self.embedding_dropout = keras.layers.Dropout(
                arguments.dropout, dtype=dtype, name="embedding_dropout"
            )
            self.encoder_norm = make_norm(
                "layer", arguments.layer_norm_epsilon, dtype, "encoder_norm"
            )
        self.encoder_transformer_layers = [
            self._block(index) for index in range(arguments.num_layers)
        ]

        # === Functional model ===
        images = keras.Input(tuple(arguments.image_shape), name="images")
        x = self.embedding_dropout(self.patch_embedding(images))
        for block in self.encoder_transformer_layers:
            x = block(x)
        super().__init__(images, self.encoder_norm(x), dtype=dtype, **kwargs)

    def _block(self, index):
        arguments = self._arguments
        return VisionEncoderBlock(
            arguments.num_heads,
            arguments.hidden_dim // arguments.num_heads,
            self._feed_forward(index),
            routing_group=arguments.routing_group,
            dropout=arguments.dropout,
            layer_norm_epsilon=arguments.layer_norm_epsilon,
            dtype=arguments.dtype,
            name=f"encoder_block_{index}",
        )

    def _feed_forward(self, index):
        arguments = self._arguments
        settings = {
            "activation": arguments.activation,
            "use_bias": True,
            "dtype": arguments.dtype,
        }
        if not arguments.is_sparse(index):
            return FeedForward(
                arguments.intermediate_dim,
                gated=False,
                name="feed_forward",
                **settings,
            )
        router = self.make_router(arguments)
        if router.routing_inputs:
            raise ValueError(
                "Expected a router that looks at the tokens alone, for images. "
                f"Received: {type(router).__name__}, which wants "
                f"{router.routing_inputs}. Use `TopKRouter` without `replay`."
            )
        experts = FeedForwardExperts(
            arguments.num_experts - router.num_free_experts,
            arguments.intermediate_dim,
            name="experts",
            **settings,
        )
        return SparseMoE(
            arguments.num_experts,
            top_k=arguments.top_k,
            router=router,
            experts=experts,
            gated=False,
            dtype=arguments.dtype,
            name="feed_forward",
        )

    @classmethod
    def family_router(cls, arguments):
        return TopKRouter(
            arguments.num_experts,
            arguments.top_k,
            combine_weights=CombineWeights(normalize=False),
            logit_noise=LogitNoise(),
            balancing=[
                ImportanceLoss(0.005, of="probs"),
                LoadLoss(0.005, own_threshold=False),
            ],
            capacity=Capacity(1.05, 4.0, priority="score"),
            name="router",
        )

    @classmethod
    def parameter_counts(cls, **config):
        """Count the parameters, without a head and without making the model.

        Args:
            **config: the constructor's arguments.

        Returns:
            `keras_moe.models.ParameterCounts`; a token is a patch.
        """
        backbone = build_unfilled(lambda: cls(**config))
        positions = backbone.patch_embedding.position_embedding
        return count_variables(backbone, [positions])


register_presets(VisionMoEBackbone, VISION_MOE_PRESETS)
