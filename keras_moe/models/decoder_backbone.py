"""What all decoder-only backbones share."""

import dataclasses
from typing import Any

import keras
import keras_hub
from keras import ops

from keras_moe.blocks.decoder_block import DecoderBlock
from keras_moe.blocks.norms import make_norm
from keras_moe.blocks.reversible_embedding import ReversibleEmbedding
from keras_moe.models.backbone_arguments import BackboneArguments
from keras_moe.models.decoder_parts import kernel_initializer
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_dense
from keras_moe.models.decoder_parts import make_sparse
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.family_docstrings import backbone_docstring
from keras_moe.models.parameter_counts import count_variables
from keras_moe.models.published_backbone import PublishedBackbone
from keras_moe.models.routing_inputs import make_replayed_layers
from keras_moe.models.routing_inputs import routing_inputs_of
from keras_moe.models.routing_inputs import sequence_inputs
from keras_moe.models.sparse_backbone import SparseBackbone
from keras_moe.ops.unfilled_variables import build_unfilled
from keras_moe.routing.combine_weights import CombineWeights


@dataclasses.dataclass(kw_only=True)
class DecoderArguments(BackboneArguments):
    """The arguments that every decoder has."""

    num_query_heads: int
    rope_max_wavelength: float = 10_000.0


class DecoderBackbone(
    PublishedBackbone, SparseBackbone, keras_hub.models.Backbone
):
    """A decoder-only Transformer, assembled from the parts of a family.

    Not used by itself. A family names its `arguments_class`, and overrides
    what is its own: its attention, its feed-forward part, its router.

    Args:
        **kwargs: arguments of the family, and of `keras_hub.models.Backbone`.

    Attributes:
        arguments_class: subclass of `DecoderArguments`.
        norm: kind of all norms, as for `keras_moe.blocks.make_norm`.
        sandwich_norms: bool, as for `DecoderBlock`.
        activation: of experts and dense layers.
        keep_first_token: bool, whether a sequence's first token is a real
            one whatever the padding mask says (OpenMoE).
        embedding_multiplier: float, multiplies the embedded tokens; a
            family's argument or 1.
        output_multiplier: float, multiplies the logits; the same.

    Inputs: `token_ids`, int32 (B, L), and `padding_mask`, int32 or bool
    (B, L), 1 or True = real token. With a router that has `replay=True` also
    `routed_experts`, int32 (B, L, layers, K), as `RoutedExperts` records it.

    Outputs: float tensor of shape (B, L, H).
    """

    norm = "rms"
    sandwich_norms = False
    activation: Any = "silu"
    keep_first_token = False
    embedding_multiplier = 1.0
    output_multiplier = 1.0

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "arguments_class" in vars(cls) and cls.__doc__:
            cls.__doc__ = backbone_docstring(cls, cls.__doc__)

    def __init__(self, **kwargs):
        arguments, kwargs = self.take_arguments(kwargs)
        epsilon, dtype = arguments.layer_norm_epsilon, arguments.dtype
        self.keep_arguments(arguments)

        # === Layers ===
        # Under a RematScope, only attention and feed-forward are recomputed.
        with keras.RematScope(mode=None):
            self.token_embedding = ReversibleEmbedding(
                arguments.vocabulary_size,
                arguments.hidden_dim,
                tie_weights=arguments.tie_embedding_weights,
                embeddings_initializer=kernel_initializer(),
                reverse_dtype="float32",
                dtype=dtype,
                name="token_embedding",
            )
            self.final_norm = make_norm(self.norm, epsilon, dtype, "final_norm")
        self.decoder_blocks = [
            DecoderBlock(
                self.make_attention(arguments, index),
                self.make_feed_forward(arguments, index),
                epsilon,
                arguments.dropout,
                self.norm,
                self.sandwich_norms,
                self.make_extra_feed_forward(arguments, index),
                dtype=dtype,
                name=f"decoder_block_{index}",
            )
            for index in range(arguments.num_layers)
        ]

        # === Functional Model ===
        self.replayed_layers = make_replayed_layers(self.decoder_blocks)
        inputs = sequence_inputs(replayed_layers=self.replayed_layers)
        outputs = self.hidden_states(**inputs)
        super().__init__(inputs=inputs, outputs=outputs, dtype=dtype, **kwargs)

    @classmethod
    def make_attention(cls, arguments, index):
        """Make a layer's attention.

        Args:
            arguments: of the family's `arguments_class`.
            index: int, the layer's number, from 0.

        Returns:
            Layer, as for `DecoderBlock`.
        """
        return make_attention(arguments)

    @classmethod
    def make_feed_forward(cls, arguments, index):
        """Make a layer's sparse or dense part.

        Args:
            arguments: of the family's `arguments_class`.
            index: int, the layer's number, from 0.

        Returns:
            Layer, as for `DecoderBlock`.
        """
        if arguments.is_sparse(index):
            router = cls.make_router(arguments)
            return make_sparse(arguments, router, activation=cls.activation)
        return make_dense(arguments, cls.activation)

    @classmethod
    def make_extra_feed_forward(cls, arguments, index):
        """Make a layer's third part.

        Args:
            arguments: of the family's `arguments_class`.
            index: int, the layer's number, from 0.

        Returns:
            Layer, as for `DecoderBlock`; `None` for no such part.
        """

    @classmethod
    def family_router(cls, arguments):
        normalize = getattr(arguments, "normalize_combine_weights", None)
        return make_top_k_router(
            arguments, combine_weights=CombineWeights(normalize=normalize)
        )

    def hidden_states(
        self,
        token_ids,
        padding_mask,
        layer_intercept_fn=lambda x, index: x,
        routed_experts=None,
    ):
        """Run all layers on tokens that are known.

        Args:
            token_ids: int32 tensor of shape (B, L).
            padding_mask: int32 or bool tensor of shape (B, L).
            layer_intercept_fn: function of a layer's output (B, L, H) and its
                index that returns the next layer's input. Index -1 is the
                embedding, before it is multiplied.
            routed_experts: optional int32 tensor (B, L, layers, K), to replay.

        Returns:
            Tensor of shape (B, L, H), after the final norm.
        """
        if self.keep_first_token:
            padding_mask = _with_first_token(padding_mask)
        routing_inputs = routing_inputs_of(
            self.decoder_blocks, token_ids, self.replayed_layers, routed_experts
        )
        x = self._multiply(
            layer_intercept_fn(self.token_embedding(token_ids), -1)
        )
        for index, block in enumerate(self.decoder_blocks):
            x = block(x, padding_mask=padding_mask, **routing_inputs[index])
            x = layer_intercept_fn(x, index)
        return self.final_norm(x)

    def embed(self, token_ids):
        """Look up the tokens' vectors.

        Args:
            token_ids: int32 tensor of shape (B, L).

        Returns:
            Tensor of shape (B, L, H).
        """
        return self._multiply(self.token_embedding(token_ids))

    def _multiply(self, embeddings):
        multiplier = self.embedding_multiplier
        return embeddings if multiplier == 1.0 else embeddings * multiplier

    def logits(self, hidden_states):
        """Score every token of the vocabulary.

        Args:
            hidden_states: float tensor of shape (B, L, H), after the final
                norm.

        Returns:
            float32 tensor of shape (B, L, V).
        """
        logits = self.token_embedding(hidden_states, reverse=True)
        multiplier = self.output_multiplier
        return logits if multiplier == 1.0 else logits * multiplier

    @classmethod
    def parameter_counts(cls, **config):
        """Count the parameters, head included, without making the model.

        Args:
            **config: the constructor's arguments.

        Returns:
            `keras_moe.models.ParameterCounts`.
        """
        backbone = build_unfilled(lambda: cls(**config))
        embedding = backbone.token_embedding
        looked_up = [] if embedding.tie_weights else [embedding.embeddings]
        cached = sum(
            block.attention.cached_numbers_per_token()
            for block in backbone.decoder_blocks
        )
        counts = count_variables(backbone, looked_up)
        return counts._replace(cache_bytes_per_token=2 * cached)


def _with_first_token(padding_mask):
    first = ops.ones_like(padding_mask[:, :1])
    return ops.concatenate([first, padding_mask[:, 1:]], axis=1)
