"""What all decoder-only backbones share."""

import keras
import keras_hub
from keras import ops

from keras_moe.blocks.decoder_block import DecoderBlock
from keras_moe.blocks.norms import make_norm
from keras_moe.models.decoder_parts import kernel_initializer
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.parameter_counts import count_variables
from keras_moe.models.published_backbone import PublishedBackbone
from keras_moe.models.sparse_backbone import SparseBackbone
from keras_moe.routing.validation import check_positive


class DecoderBackbone(
    PublishedBackbone, SparseBackbone, keras_hub.models.Backbone
):
    """A decoder-only Transformer, assembled from the parts that it is given.

    Not used by itself: each architecture's backbone says which attention and
    which feed-forward part its layers have.

    Args:
        arguments: dict, the architecture's own constructor arguments. They
            become attributes and the configuration. `vocabulary_size`,
            `num_layers`, `hidden_dim`, `layer_norm_epsilon` are among them;
            `tie_embedding_weights` and `dropout` may be.
        attention: function of a layer's index that returns its attention.
        feed_forward: function of a layer's index that returns its sparse or
            dense part.
        extra_feed_forward: optional function of a layer's index that returns
            a third part, or `None`.
        norm: kind of all norms, as for `keras_moe.blocks.make_norm`.
        sandwich_norms: bool, as for `DecoderBlock`.
        embedding_multiplier: float, multiplies the embedded tokens.
        output_multiplier: float, multiplies the logits.
        keep_first_token: bool, whether a sequence's first token is a real
            one whatever the padding mask says (OpenMoE).
        dtype: optional dtype policy or its name.

    Inputs: `token_ids`, int32 (B, L), and `padding_mask`, int32 or bool
    (B, L), 1 or True = real token.

    Outputs: float tensor of shape (B, L, H).
    """

    def __init__(
        self,
        arguments,
        attention,
        feed_forward,
        extra_feed_forward=lambda index: None,
        norm="rms",
        sandwich_norms=False,
        embedding_multiplier=1.0,
        output_multiplier=1.0,
        keep_first_token=False,
        dtype=None,
        **kwargs,
    ):
        check_positive(
            vocabulary_size=arguments["vocabulary_size"],
            num_layers=arguments["num_layers"],
            hidden_dim=arguments["hidden_dim"],
        )
        epsilon = arguments["layer_norm_epsilon"]

        # === Layers ===
        # Under a RematScope, only attention and feed-forward are recomputed.
        with keras.RematScope(mode=None):
            self.token_embedding = keras.layers.ReversibleEmbedding(
                arguments["vocabulary_size"],
                arguments["hidden_dim"],
                tie_weights=arguments.get("tie_embedding_weights", False),
                embeddings_initializer=kernel_initializer(),
                reverse_dtype="float32",
                dtype=dtype,
                name="token_embedding",
            )
            self.final_norm = make_norm(norm, epsilon, dtype, "final_norm")
        self.decoder_blocks = [
            DecoderBlock(
                attention(index),
                feed_forward(index),
                epsilon,
                arguments.get("dropout", 0.0),
                norm,
                sandwich_norms,
                extra_feed_forward(index),
                dtype=dtype,
                name=f"decoder_block_{index}",
            )
            for index in range(arguments["num_layers"])
        ]
        self.embedding_multiplier = embedding_multiplier
        self.output_multiplier = output_multiplier
        self.keep_first_token = keep_first_token

        # === Functional Model ===
        inputs = {
            "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
            "padding_mask": keras.Input(
                (None,), dtype="int32", name="padding_mask"
            ),
        }
        outputs = self.hidden_states(*inputs.values())
        super().__init__(inputs=inputs, outputs=outputs, dtype=dtype, **kwargs)

        # === Config ===
        self._arguments = dict(arguments)
        for name, value in arguments.items():
            if name != "router":
                setattr(self, name, value)

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(arguments)

    def hidden_states(
        self, token_ids, padding_mask, layer_intercept_fn=lambda x, index: x
    ):
        """Run all layers on tokens that are known.

        Args:
            token_ids: int32 tensor of shape (B, L).
            padding_mask: int32 or bool tensor of shape (B, L).
            layer_intercept_fn: function of a layer's output (B, L, H) and its
                index that returns the next layer's input. Index -1 is the
                embedding, before it is multiplied.

        Returns:
            Tensor of shape (B, L, H), after the final norm.
        """
        if self.keep_first_token:
            padding_mask = _with_first_token(padding_mask)
        x = self._multiply(
            layer_intercept_fn(self.token_embedding(token_ids), -1)
        )
        for index, block in enumerate(self.decoder_blocks):
            x = layer_intercept_fn(block(x, padding_mask=padding_mask), index)
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
        return count_variables(cls, config)

    def get_config(self):
        return {**super().get_config(), **self._arguments}


def _with_first_token(padding_mask):
    first = ops.ones_like(padding_mask[:, :1])
    return ops.concatenate([first, padding_mask[:, 1:]], axis=1)
