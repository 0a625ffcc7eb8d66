"""Rules that most decoder-only checkpoints share."""

from itertools import chain

from keras_moe.checkpoints.layouts import EXPERTS
from keras_moe.checkpoints.layouts import FLAT
from keras_moe.checkpoints.layouts import FUSED_EXPERTS
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.layouts import LINEAR_FROM_HEADS
from keras_moe.checkpoints.layouts import SAME
from keras_moe.checkpoints.rules import Source
from keras_moe.checkpoints.rules import rule

BLOCK = "decoder_blocks.{layer}"
LAYER = "model.layers.{layer}"


def decoder_rules():
    """Write the rules of what most decoders call the same.

    That is all but the experts: `model_rules`, `norm_rules` and
    `attention_rules`.

    Returns:
        tuple of `Rule`.

    Example:

    >>> decoder_rules()[0].sources[0].names
    ('model.embed_tokens.weight',)
    """
    return (*model_rules(), *norm_rules(), *attention_rules())


def model_rules(final_norm="model.norm.weight"):
    """Write the rules of embedding, final norm and head.

    Args:
        final_norm: their name of the last norm.

    Returns:
        tuple of `Rule`.

    Example:

    >>> model_rules()[1].ours, model_rules()[1].sources[0].names
    (('final_norm.scale',), ('model.norm.weight',))
    """
    return (
        rule("token_embedding.embeddings", "model.embed_tokens.weight"),
        rule("final_norm.scale", final_norm),
        rule(
            "token_embedding.reverse_embeddings",
            "lm_head.weight",
            layout=LINEAR,
            spare=True,
        ),
    )


def norm_rules(
    attention="input_layernorm", feed_forward="post_attention_layernorm"
):
    """Write the rules of a layer's two norms.

    Args:
        attention: their name of the norm before the attention.
        feed_forward: their name of the norm before the feed-forward part.

    Returns:
        tuple of `Rule`.

    Example:

    >>> norm_rules(attention="norm_1")[0].sources[0].names
    ('model.layers.{layer}.norm_1.weight',)
    """
    return (
        rule(f"{BLOCK}.attention_norm.scale", f"{LAYER}.{attention}.weight"),
        rule(
            f"{BLOCK}.feed_forward_norm.scale", f"{LAYER}.{feed_forward}.weight"
        ),
    )


def attention_rules(within="self_attn"):
    """Write the rules of grouped-query attention.

    Biases and norms apply where the model has them.

    Args:
        within: their name of a layer's attention.

    Returns:
        tuple of `Rule`.

    Example:

    >>> attention_rules()[0].sources[0].names
    ('model.layers.{layer}.self_attn.q_proj.weight',)
    """
    rules = [
        projection_rules(ours, f"{theirs}_proj", bias=FLAT, within=within)
        for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"))
    ]
    return (
        *chain.from_iterable(rules),
        *projection_rules(
            "output_dense", "o_proj", LINEAR_FROM_HEADS, within=within
        ),
        attention_norm_rule("query_norm", "q_norm"),
        attention_norm_rule("key_norm", "k_norm"),
    )


def projection_rules(
    ours, theirs, kernel=LINEAR, bias=SAME, within="self_attn"
):
    """Write the rules of one of an attention's projections.

    Args:
        ours: our name of it.
        theirs: their name of it.
        kernel: `Layout` of the kernel.
        bias: `Layout` of the bias, where the model has one.
        within: their name of a layer's attention.

    Returns:
        tuple of `Rule`.

    Example:

    >>> projection_rules("output_dense", "o_proj")[1].sources[0].names
    ('model.layers.{layer}.self_attn.o_proj.bias',)
    """
    ours = f"{BLOCK}.attention.{ours}"
    theirs = f"{LAYER}.{within}.{theirs}"
    return (
        rule(f"{ours}.kernel", f"{theirs}.weight", layout=kernel),
        rule(f"{ours}.bias", f"{theirs}.bias", layout=bias),
    )


def attention_norm_rule(ours, theirs):
    """Write the rule of a norm within the attention.

    Args:
        ours: our name of it.
        theirs: their name of it.

    Returns:
        `Rule`.

    Example:

    >>> attention_norm_rule("key_norm", "k_norm").sources[0].names
    ('model.layers.{layer}.self_attn.k_norm.weight',)
    """
    return rule(
        f"{BLOCK}.attention.{ours}.scale", f"{LAYER}.self_attn.{theirs}.weight"
    )


def router_rule(
    theirs=f"{LAYER}.mlp.gate.weight", within="", layout=LINEAR, otherwise=()
):
    """Write the rule of the router's kernel.

    Args:
        theirs: their name of it.
        within: `"routed_experts."` in a `SharedExpertMoE`.
        layout: `Layout` of it.
        otherwise: more `Source`s, tried in order.

    Returns:
        `Rule`.

    Example:

    >>> router_rule().ours
    ('decoder_blocks.{layer}.feed_forward.router.kernel',)
    """
    return rule(
        f"{BLOCK}.feed_forward.{within}router.kernel",
        theirs,
        layout=layout,
        otherwise=otherwise,
    )


def experts_rules(
    theirs=f"{LAYER}.mlp.experts",
    gate="gate_proj",
    up="up_proj",
    down="down_proj",
    fused=f"{LAYER}.mlp.experts",
    ours=f"{BLOCK}.feed_forward.experts",
):
    """Write the rules of gated experts, a tensor each or fused.

    Args:
        theirs: their name of the experts, before the expert's number.
        gate: their name of the gate's matrix.
        up: their name of the up matrix.
        down: their name of the down matrix.
        fused: their name of the experts where all are in one tensor
            (transformers 5 with `save_original_format=False`).
        ours: attribute path of the experts.

    Returns:
        tuple of `Rule`.

    Example:

    >>> down_kernel = experts_rules("layers.{layer}.experts", down="w2")[1]
    >>> [source.names for source in down_kernel.sources]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('layers.{layer}.experts.{expert}.w2.weight',),
     ('model.layers.{layer}.mlp.experts.down_proj',)]
    """
    each = theirs + ".{expert}."
    return (
        rule(
            f"{ours}.gate_up.kernel",
            f"{each}{gate}.weight",
            f"{each}{up}.weight",
            layout=EXPERTS,
            otherwise=(Source((f"{fused}.gate_up_proj",), FUSED_EXPERTS),),
        ),
        rule(
            f"{ours}.down.kernel",
            f"{each}{down}.weight",
            layout=EXPERTS,
            otherwise=(Source((f"{fused}.down_proj",), FUSED_EXPERTS),),
        ),
    )


def feed_forward_rules(ours, theirs):
    """Write the rules of a dense gated part.

    Args:
        ours: attribute path of a `keras_moe.layers.FeedForward`.
        theirs: their name of it.

    Returns:
        tuple of `Rule`.

    Example:

    >>> feed_forward_rules("feed_forward", "mlp")[2].sources[0].names
    ('mlp.down_proj.weight',)
    """
    return tuple(
        rule(
            f"{ours}.{name}.kernel",
            f"{theirs}.{name}_proj.weight",
            layout=LINEAR,
        )
        for name in ("gate", "up", "down")
    )
