"""What keras-hub's decoders share, with the names of `KerasHubFolder`."""

import keras

from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.layouts import SAME
from keras_moe.checkpoints.rules import rule

LAYER = "layer_{layer}"
HUB_FIELDS = (
    *(
        Field(name, name)
        for name in (
            "vocabulary_size",
            "num_layers",
            "num_query_heads",
            "num_key_value_heads",
            "hidden_dim",
            "num_experts",
            "top_k",
            "rope_max_wavelength",
            "layer_norm_epsilon",
        )
    ),
    Field("dropout", "dropout", 0.0),
)
# Of keras-hub's Qwen decoders.
HUB_QWEN_FIELDS = (
    *HUB_FIELDS,
    Field("moe_intermediate_dim", "intermediate_dim"),
    Field("intermediate_dim", "dense_intermediate_dim"),
    Field("norm_top_k_prob", "normalize_combine_weights", False),
    Field("decoder_sparse_step", "expert_layer_stride", 1),
    Field("mlp_only_layers", "dense_layers", ()),
    Field("tie_word_embeddings", "tie_embedding_weights", False),
)


def read_dtype(config):
    """Read the dtype policy, which keras-hub's presets keep.

    Args:
        config: dict.

    Returns:
        dict of constructor arguments.

    Example:

    >>> read_dtype({"dtype": "bfloat16"})["dtype"].name
    'bfloat16'
    """
    return {"dtype": keras.dtype_policies.get(config.get("dtype"))}


def hub_decoder_rules(final_norm, projections, sparse="mlp", within=""):
    """Write the rules of all but the experts.

    Args:
        final_norm: their name of the last norm, after its class.
        projections: their names of query, key, value and output.
        sparse: their name of the sparse part.
        within: `"routed_experts."` in a `SharedExpertMoE`.

    Returns:
        tuple of `Rule`.

    Example:

    >>> names = "query_dense", "key_dense", "value_dense", "output_dense"
    >>> hub_decoder_rules("toy_norm", names)[2].sources[0].names
    ('layers/toy_norm/0',)
    """
    attention = f"{LAYER}/_self_attention_layer"
    embedding = "layers/reversible_embedding"
    ours = "query", "key", "value", "output_dense"
    return (
        rule("token_embedding.embeddings", f"{embedding}/0"),
        rule("token_embedding.reverse_embeddings", f"{embedding}/1"),
        rule("final_norm.scale", f"layers/{final_norm}/0"),
        rule(
            f"{BLOCK}.attention_norm.scale",
            f"{LAYER}/_self_attention_layernorm/0",
        ),
        rule(
            f"{BLOCK}.feed_forward_norm.scale",
            f"{LAYER}/_feedforward_layernorm/0",
        ),
        *(
            rule(f"{BLOCK}.attention.{name}.{kind}", f"{attention}/{their}/{i}")
            for name, their in zip(ours, projections, strict=True)
            for i, kind in enumerate(("kernel", "bias"))
        ),
        router_rule(
            f"{LAYER}/{sparse}/_sparse_feedforward_gate_dense/0",
            within,
            layout=SAME,
        ),
    )


def hub_experts_rules(within=""):
    """Write the rules of experts whose gates and ups are in one tensor.

    Args:
        within: `"routed_experts."` in a `SharedExpertMoE`.

    Returns:
        tuple of `Rule`.

    Example:

    >>> hub_experts_rules()[1].sources[0].names
    ('layer_{layer}/mlp/expert_bank/1',)
    """
    ours = f"{BLOCK}.feed_forward.{within}experts"
    return (
        rule(f"{ours}.gate_up.kernel", f"{LAYER}/mlp/expert_bank/0"),
        rule(f"{ours}.down.kernel", f"{LAYER}/mlp/expert_bank/1"),
    )


def hub_feed_forward_rules(ours, theirs):
    """Write the rules of a dense gated part.

    Args:
        ours: attribute path of a `keras_moe.layers.FeedForward`.
        theirs: their name of it.

    Returns:
        tuple of `Rule`.

    Example:

    >>> hub_feed_forward_rules("feed_forward", "mlp")[2].sources[0].names
    ('mlp/_feedforward_output_dense/0',)
    """
    return tuple(
        rule(f"{ours}.{name}.kernel", f"{theirs}/_feedforward_{their}_dense/0")
        for name, their in (
            ("gate", "gate"),
            ("up", "intermediate"),
            ("down", "output"),
        )
    )
