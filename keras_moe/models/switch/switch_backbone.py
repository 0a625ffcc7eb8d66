"""Switch Transformer backbone: T5 whose every n-th feed-forward is sparse."""

import keras
import keras_hub

from keras_moe.blocks.relative_position_bias import RelativePositionBias
from keras_moe.blocks.reversible_embedding import ReversibleEmbedding
from keras_moe.blocks.t5_decoder_block import T5DecoderBlock
from keras_moe.blocks.t5_encoder_block import T5EncoderBlock
from keras_moe.layers import TopKRouter
from keras_moe.models.parameter_counts import count_variables
from keras_moe.models.published_backbone import PublishedBackbone
from keras_moe.models.routing_inputs import make_replayed_layers
from keras_moe.models.routing_inputs import routing_inputs_of
from keras_moe.models.routing_inputs import sequence_inputs
from keras_moe.models.sparse_backbone import SparseBackbone
from keras_moe.models.switch.switch_arguments import SwitchArguments
from keras_moe.models.switch.switch_checkpoint import SWITCH
from keras_moe.models.switch.switch_feed_forward import create_feed_forward
from keras_moe.models.switch.switch_presets import SWITCH_PRESETS
from keras_moe.ops.all_layers import all_layers
from keras_moe.ops.unfilled_variables import build_unfilled
from keras_moe.routing.capacity import Capacity


@keras.saving.register_keras_serializable(package="keras_moe")
class SwitchBackbone(
    PublishedBackbone, SparseBackbone, keras_hub.models.Backbone
):
    """Encode a sequence and decode another with top-1 experts.

    A T5 encoder and decoder in which block i holds experts instead of a dense
    feed-forward layer when `i % expert_layer_stride == 1` (all blocks when
    the stride is 1). Each token goes to its best expert, whose output is
    multiplied by the raw router probability. Tokens beyond an expert's
    capacity pass through the residual alone. The presets `st_moe_*` show the
    arguments that make it ST-MoE.

    With `num_decoder_layers=0` it is an encoder: the inputs are then
    `token_ids` and `padding_mask`, the output has no decoder part.

    {arguments}

    Inputs (a dictionary):
        encoder_token_ids: int32 tensor of shape (B, Le).
        encoder_padding_mask: int32 or bool tensor of shape (B, Le).
        decoder_token_ids: int32 tensor of shape (B, Ld).
        decoder_padding_mask: int32 or bool tensor of shape (B, Ld).
        encoder_routed_experts, decoder_routed_experts: int32 tensors of shape
            (B, Le or Ld, layers, K) of a router that has `replay=True`, as
            `RoutedExperts` records them.

    Returns:
        Dictionary of `encoder_sequence_output`, shape (B, Le, H), and
        `decoder_sequence_output`, shape (B, Ld, H).

    Raises:
        TypeError: If a required argument is missing or one is unknown.
        ValueError: If a size is not positive.

    `from_preset` reads folders of transformers' `switch_transformers` (ReLU,
    tied embeddings) and gives the same logits, with two exceptions of ours:
    padding takes no slot, which only padding before real tokens shows, and
    routers compute in float32 whatever `router_dtype` says.

    Example:

    >>> import numpy as np
    >>> backbone = SwitchBackbone(
    ...     vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8,
    ...     intermediate_dim=16, num_experts=4,
    ... )
    >>> outputs = backbone({
    ...     "encoder_token_ids": np.ones((1, 6), "int32"),
    ...     "encoder_padding_mask": np.ones((1, 6), "int32"),
    ...     "decoder_token_ids": np.ones((1, 3), "int32"),
    ...     "decoder_padding_mask": np.ones((1, 3), "int32"),
    ... })
    >>> tuple(outputs["decoder_sequence_output"].shape)
    (1, 3, 8)

    References:
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961.
        Zoph et al., 2022, https://arxiv.org/abs/2202.08906 (ST-MoE).
        Raffel et al., 2019, https://arxiv.org/abs/1910.10683.
    """

    arguments_class = SwitchArguments
    checkpoint_format = SWITCH
    published_presets = SWITCH_PRESETS

    def __init__(self, **kwargs):
        arguments, kwargs = self.take_arguments(kwargs)
        dtype = arguments.dtype
        self.keep_arguments(arguments)
        self.activation = keras.activations.get(arguments.activation)

        # === Layers ===
        # Under a RematScope only attention and feed-forward are recomputed.
        with keras.RematScope(mode=None):
            self.token_embedding = ReversibleEmbedding(
                arguments.vocabulary_size,
                arguments.hidden_dim,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=1.0
                ),
                reverse_dtype="float32",
                dtype=dtype,
                name="token_embedding",
            )
            self.stack_dropout = keras.layers.Dropout(
                arguments.dropout, dtype=dtype, name="stack_dropout"
            )
            self.encoder_norm = self._norm("encoder_norm")
            self.encoder_position_bias = self._position_bias("encoder")
            if arguments.num_decoder_layers:
                self.decoder_norm = self._norm("decoder_norm")
                self.decoder_position_bias = self._position_bias("decoder")
        self.encoder_transformer_layers = [
            self._block(T5EncoderBlock, index, "encoder")
            for index in range(arguments.num_layers)
        ]
        self.decoder_transformer_layers = [
            self._block(T5DecoderBlock, index, "decoder")
            for index in range(arguments.num_decoder_layers)
        ]

        self.encoder_replayed_layers = make_replayed_layers(
            self.encoder_transformer_layers, "encoder_replayed_layers"
        )
        self.decoder_replayed_layers = make_replayed_layers(
            self.decoder_transformer_layers, "decoder_replayed_layers"
        )

        # === Functional model ===
        prefix = "encoder_" if arguments.num_decoder_layers else ""
        inputs = sequence_inputs(prefix, self.encoder_replayed_layers)
        encoded = self.encode(*inputs.values())
        outputs = {"encoder_sequence_output": encoded}
        if arguments.num_decoder_layers:
            decoder_inputs = sequence_inputs(
                "decoder_", self.decoder_replayed_layers
            )
            token_ids, padding_mask, *routed = decoder_inputs.values()
            seen = encoded, inputs["encoder_padding_mask"]
            outputs["decoder_sequence_output"] = self.decode(
                token_ids, padding_mask, *seen, *routed
            )
            inputs.update(decoder_inputs)
        super().__init__(inputs, outputs, dtype=dtype, **kwargs)

    @property
    def sparse_layers_of_stacks(self):
        """dict: how many sparse layers the encoder and the decoder have."""
        stacks = {
            "encoder": self._arguments.num_layers,
            "decoder": self._arguments.num_decoder_layers,
        }
        return {
            name: sum(map(self._arguments.is_sparse, range(size)))
            for name, size in stacks.items()
            if self._arguments.num_decoder_layers
        }

    def _block(self, block_class, index, stack):
        arguments = self._arguments
        sparse = arguments.is_sparse(index)
        extra = None
        router = self.make_router(arguments) if sparse else None
        feed_forward = create_feed_forward(arguments, router)
        if sparse and arguments.use_extra_feed_forward:
            extra = create_feed_forward(arguments)
        return block_class(
            num_heads=arguments.num_heads,
            head_dim=arguments.key_value_dim,
            feed_forward=feed_forward,
            dropout=arguments.dropout,
            layer_norm_epsilon=arguments.layer_norm_epsilon,
            extra_feed_forward=extra,
            dtype=arguments.dtype,
            name=f"{stack}_block_{index}",
        )

    def _position_bias(self, stack):
        arguments = self._arguments
        return RelativePositionBias(
            arguments.num_heads,
            num_buckets=arguments.relative_attention_buckets,
            max_distance=arguments.relative_attention_max_distance,
            bidirectional=stack == "encoder",
            embeddings_initializer=keras.initializers.RandomNormal(
                stddev=arguments.hidden_dim**-0.5
            ),
            dtype=arguments.dtype,
            name=f"{stack}_position_bias",
        )

    def _norm(self, name):
        return keras.layers.RMSNormalization(
            epsilon=self._arguments.layer_norm_epsilon,
            dtype=self._arguments.dtype,
            name=name,
        )

    def encode(self, token_ids, padding_mask, routed_experts=None):
        """Encode token ids.

        Args:
            token_ids: int32 tensor of shape (B, Le).
            padding_mask: int32 or bool tensor of shape (B, Le).
            routed_experts: optional int32 tensor of shape (B, Le, layers, K),
                choices that were made before, for routers that replay.

        Returns:
            Tensor of shape (B, Le, H).
        """
        x = self.stack_dropout(self.token_embedding(token_ids))
        position_bias = self.encoder_position_bias(x, x)
        blocks = self.encoder_transformer_layers
        routing_inputs = routing_inputs_of(
            blocks, token_ids, self.encoder_replayed_layers, routed_experts
        )
        for block, given in zip(blocks, routing_inputs, strict=True):
            x = block(
                x,
                position_bias=position_bias,
                padding_mask=padding_mask,
                **given,
            )
        return self.stack_dropout(self.encoder_norm(x))

    def decode(
        self,
        token_ids,
        padding_mask,
        encoder_outputs,
        encoder_padding_mask,
        routed_experts=None,
    ):
        """Decode token ids that are all known (training, scoring).

        Args:
            token_ids: int32 tensor of shape (B, Ld).
            padding_mask: int32 or bool tensor of shape (B, Ld).
            encoder_outputs: tensor of shape (B, Le, H).
            encoder_padding_mask: int32 or bool tensor of shape (B, Le).
            routed_experts: as for `encode`, of shape (B, Ld, layers, K).

        Returns:
            Tensor of shape (B, Ld, H).
        """
        x = self.stack_dropout(self.token_embedding(token_ids))
        position_bias = self.decoder_position_bias(x, x)
        blocks = self.decoder_transformer_layers
        routing_inputs = routing_inputs_of(
            blocks, token_ids, self.decoder_replayed_layers, routed_experts
        )
        for block, given in zip(blocks, routing_inputs, strict=True):
            x = block(
                x,
                encoder_outputs,
                position_bias=position_bias,
                padding_mask=padding_mask,
                encoder_padding_mask=encoder_padding_mask,
                **given,
            )
        return self.stack_dropout(self.decoder_norm(x))

    @classmethod
    def family_router(cls, arguments):
        return TopKRouter(
            arguments.num_experts,
            arguments.top_k,
            jitter_noise=0.01,
            capacity=Capacity(factor=1.25, eval_factor=2.0),
            name="router",
        )

    @classmethod
    def parameter_counts(cls, **config):
        """Count the parameters, head included, without making the model.

        Args:
            **config: the constructor's arguments.

        Returns:
            `keras_moe.models.ParameterCounts`.
        """
        backbone = build_unfilled(lambda: cls(**config))
        tables = [
            layer.embeddings
            for layer in all_layers(backbone)
            if isinstance(layer, RelativePositionBias)
        ]
        embedding = backbone.token_embedding.embeddings
        if not backbone.num_decoder_layers:  # An encoder has no head.
            return count_variables(backbone, [embedding, *tables])
        if backbone.tie_embedding_weights:
            return count_variables(backbone, tables)
        counts = count_variables(backbone, [embedding, *tables])
        head = backbone.vocabulary_size * backbone.hidden_dim
        return counts._replace(
            total=counts.total + head,
            active=counts.active + head,
            flops_per_token=counts.flops_per_token + 2 * head,
        )
