"""Switch Transformer backbone: T5 whose every n-th feed-forward is sparse."""

import keras
import keras_hub

from keras_moe.blocks.relative_position_bias import RelativePositionBias
from keras_moe.blocks.t5_decoder_block import T5DecoderBlock
from keras_moe.blocks.t5_encoder_block import T5EncoderBlock
from keras_moe.layers import TopKRouter
from keras_moe.models.published_backbone import PublishedBackbone
from keras_moe.models.sparse_backbone import SparseBackbone
from keras_moe.models.switch.switch_checkpoint import SWITCH
from keras_moe.models.switch.switch_feed_forward import create_feed_forward
from keras_moe.models.switch.switch_feed_forward import is_sparse_block
from keras_moe.models.switch.switch_parameter_counts import (
    switch_parameter_counts,
)
from keras_moe.models.switch.switch_presets import SWITCH_PRESETS
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.capacity import Capacity
from keras_moe.routing.validation import check_positive


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

    Args:
        vocabulary_size: int V, number of tokens.
        num_layers: int, number of encoder blocks.
        num_heads: int N, number of attention heads.
        hidden_dim: int H, width of the model.
        intermediate_dim: int I, width of each expert and dense feed-forward.
        num_experts: int E, experts in each sparse block.
        num_decoder_layers: int, number of decoder blocks; `None` means
            `num_layers`, 0 means an encoder only.
        key_value_dim: int D, width of each head; `None` means H / N.
        expert_layer_stride: int n, every n-th block is sparse.
        expert_layer_offset: int, the first sparse block; 1 in Switch, n - 1
            in ST-MoE.
        use_extra_feed_forward: bool, whether a sparse block has a dense
            feed-forward layer after its experts, with a norm and a residual
            of its own; `True` in ST-MoE.
        top_k: int K, experts per token; 1 in Switch, 2 in ST-MoE, whose
            weights are then divided by their sum.
        activation: activation of experts and dense feed-forward layers.
        use_gated_activation: bool, gate them (GEGLU with "gelu").
        relative_attention_buckets: int, buckets of the position bias.
        relative_attention_max_distance: int, distance in tokens from which
            all positions share one bucket.
        dropout: float, share of activations to drop in training.
        layer_norm_epsilon: float, added to the mean square.
        router: optional `keras_moe.layers.Router`, whose configuration each
            sparse layer's router takes, or a dict of arguments that change
            the model's own router, such as `{"balancing": None}`.
        tie_embedding_weights: bool, whether the language model head shares
            the token embedding.
        dtype: dtype or dtype policy of the layers.
        **kwargs: arguments of `keras_hub.models.Backbone`.

    Inputs (a dictionary):
        encoder_token_ids: int32 tensor of shape (B, Le).
        encoder_padding_mask: int32 or bool tensor of shape (B, Le).
        decoder_token_ids: int32 tensor of shape (B, Ld).
        decoder_padding_mask: int32 or bool tensor of shape (B, Ld).

    Returns:
        Dictionary of `encoder_sequence_output`, shape (B, Le, H), and
        `decoder_sequence_output`, shape (B, Ld, H).

    Raises:
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

    architecture = SWITCH
    published_presets = SWITCH_PRESETS

    @plain_numbers
    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        num_experts,
        num_decoder_layers=None,
        key_value_dim=None,
        expert_layer_stride=2,
        expert_layer_offset=1,
        use_extra_feed_forward=False,
        top_k=1,
        activation="relu",
        use_gated_activation=False,
        relative_attention_buckets=32,
        relative_attention_max_distance=128,
        dropout=0.1,
        layer_norm_epsilon=1e-6,
        router=None,
        tie_embedding_weights=True,
        dtype=None,
        **kwargs,
    ):
        if num_decoder_layers is None:
            num_decoder_layers = num_layers
        if key_value_dim is None:
            key_value_dim = hidden_dim // num_heads
        arguments = self.own_arguments(locals())
        check_positive(
            vocabulary_size=vocabulary_size,
            num_layers=num_layers,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            expert_layer_stride=expert_layer_stride,
        )

        def feed_forward(sparse):
            router = self.make_router(arguments) if sparse else None
            return create_feed_forward(arguments, router, dtype)

        def block(block_class, index, name):
            sparse = is_sparse_block(
                index, expert_layer_stride, expert_layer_offset
            )
            extra = sparse and use_extra_feed_forward
            return block_class(
                num_heads=num_heads,
                head_dim=key_value_dim,
                feed_forward=feed_forward(sparse),
                dropout=dropout,
                layer_norm_epsilon=layer_norm_epsilon,
                extra_feed_forward=feed_forward(False) if extra else None,
                dtype=dtype,
                name=f"{name}_block_{index}",
            )

        def position_bias(bidirectional, name):
            return RelativePositionBias(
                num_heads,
                num_buckets=relative_attention_buckets,
                max_distance=relative_attention_max_distance,
                bidirectional=bidirectional,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=hidden_dim**-0.5
                ),
                dtype=dtype,
                name=name,
            )

        def norm(name):
            return keras.layers.RMSNormalization(
                epsilon=layer_norm_epsilon, dtype=dtype, name=name
            )

        # === Layers ===
        # Under a RematScope only attention and feed-forward are recomputed.
        with keras.RematScope(mode=None):
            self.token_embedding = keras.layers.ReversibleEmbedding(
                vocabulary_size,
                hidden_dim,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=1.0
                ),
                reverse_dtype="float32",
                dtype=dtype,
                name="token_embedding",
            )
            self.stack_dropout = keras.layers.Dropout(
                dropout, dtype=dtype, name="stack_dropout"
            )
            self.encoder_norm = norm("encoder_norm")
            self.encoder_position_bias = position_bias(
                True, "encoder_position_bias"
            )
            if num_decoder_layers:
                self.decoder_norm = norm("decoder_norm")
                self.decoder_position_bias = position_bias(
                    False, "decoder_position_bias"
                )
        self.encoder_transformer_layers = [
            block(T5EncoderBlock, index, "encoder")
            for index in range(num_layers)
        ]
        self.decoder_transformer_layers = [
            block(T5DecoderBlock, index, "decoder")
            for index in range(num_decoder_layers)
        ]

        # === Functional model ===
        prefix = "encoder_" if num_decoder_layers else ""
        inputs = _sequence_inputs(prefix)
        token_ids, padding_mask = inputs.values()
        encoded = self.encode(token_ids, padding_mask)
        outputs = {"encoder_sequence_output": encoded}
        if num_decoder_layers:
            decoder_inputs = _sequence_inputs("decoder_")
            decoder_ids, decoder_mask = decoder_inputs.values()
            outputs["decoder_sequence_output"] = self.decode(
                decoder_ids, decoder_mask, encoded, padding_mask
            )
            inputs.update(decoder_inputs)
        super().__init__(inputs, outputs, dtype=dtype, **kwargs)

        # === Config ===
        activation = keras.activations.get(activation)
        arguments["activation"] = keras.activations.serialize(activation)
        self._arguments = arguments
        for name, value in arguments.items():
            if name != "router":
                setattr(self, name, value)
        self.activation = activation

    def encode(self, token_ids, padding_mask):
        """Encode token ids.

        Args:
            token_ids: int32 tensor of shape (B, Le).
            padding_mask: int32 or bool tensor of shape (B, Le).

        Returns:
            Tensor of shape (B, Le, H).
        """
        x = self.stack_dropout(self.token_embedding(token_ids))
        position_bias = self.encoder_position_bias(x, x)
        for block in self.encoder_transformer_layers:
            x = block(x, position_bias=position_bias, padding_mask=padding_mask)
        return self.stack_dropout(self.encoder_norm(x))

    def decode(
        self, token_ids, padding_mask, encoder_outputs, encoder_padding_mask
    ):
        """Decode token ids that are all known (training, scoring).

        Args:
            token_ids: int32 tensor of shape (B, Ld).
            padding_mask: int32 or bool tensor of shape (B, Ld).
            encoder_outputs: tensor of shape (B, Le, H).
            encoder_padding_mask: int32 or bool tensor of shape (B, Le).

        Returns:
            Tensor of shape (B, Ld, H).
        """
        x = self.stack_dropout(self.token_embedding(token_ids))
        position_bias = self.decoder_position_bias(x, x)
        for block in self.decoder_transformer_layers:
            x = block(
                x,
                encoder_outputs,
                position_bias=position_bias,
                padding_mask=padding_mask,
                encoder_padding_mask=encoder_padding_mask,
            )
        return self.stack_dropout(self.decoder_norm(x))

    @classmethod
    def family_router(cls, arguments):
        return TopKRouter(
            arguments["num_experts"],
            arguments["top_k"],
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
        return switch_parameter_counts(**config)

    def get_config(self):
        return {**super().get_config(), **self._arguments}


def _sequence_inputs(prefix):
    """Create the symbolic token ids and padding mask of one sequence."""
    return {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in (f"{prefix}token_ids", f"{prefix}padding_mask")
    }
