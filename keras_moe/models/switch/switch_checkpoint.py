"""Switch's files: google/switch-base-8 and its relatives."""

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.layouts import EXPERTS
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.layouts import LINEAR_FROM_HEADS
from keras_moe.checkpoints.redundant import copy_of
from keras_moe.checkpoints.rules import rule

# Slots per expert and sequence where a config.json is silent, as there.
EXPERT_CAPACITY = 64


def _stack_rules(stack, *attentions):
    """Write the rules of the encoder or the decoder.

    Args:
        stack: `"encoder"` or `"decoder"`.
        *attentions: for each attention of a block our name and theirs.

    Returns:
        list of `Rule`.
    """
    ours = f"{stack}_transformer_layers.{{layer}}"
    theirs = f"{stack}.block.{{layer}}.layer"
    rules = [
        rule(
            f"{stack}_position_bias.embeddings",
            f"{stack}.block.0.layer.0.SelfAttention"
            ".relative_attention_bias.weight",
        ),
        rule(f"{stack}_norm.scale", f"{stack}.final_layer_norm.weight"),
    ]
    for place, (our_name, their_name) in enumerate(attentions):
        rules.append(
            rule(
                f"{ours}.{our_name}_norm.scale",
                f"{theirs}.{place}.layer_norm.weight",
            )
        )
        for part in ("query", "key", "value", "output"):
            layout = LINEAR_FROM_HEADS if part == "output" else LINEAR
            rules.append(
                rule(
                    f"{ours}.{our_name}.{part}_projection.kernel",
                    f"{theirs}.{place}.{their_name}.{part[0]}.weight",
                    layout=layout,
                )
            )
    place = len(attentions)
    block = f"{ours}.feed_forward_block"
    return rules + _feed_forward_rules(
        f"{block}.norm.scale",
        f"{block}.feed_forward",
        f"{theirs}.{place}.layer_norm.weight",
        f"{theirs}.{place}.mlp",
    )


def _feed_forward_rules(our_norm, ours, their_norm, theirs):
    expert = f"{theirs}.experts.expert_{{expert}}"
    return [
        rule(our_norm, their_norm),
        # Dense, or a router and experts: only one of them is there.
        rule(f"{ours}.up.kernel", f"{theirs}.wi.weight", layout=LINEAR),
        rule(f"{ours}.down.kernel", f"{theirs}.wo.weight", layout=LINEAR),
        rule(
            f"{ours}.router.kernel",
            f"{theirs}.router.classifier.weight",
            layout=LINEAR,
        ),
        rule(
            f"{ours}.experts.up.kernel", f"{expert}.wi.weight", layout=EXPERTS
        ),
        rule(
            f"{ours}.experts.down.kernel", f"{expert}.wo.weight", layout=EXPERTS
        ),
    ]


def _read_more(config):
    """Read which layers are sparse; a capacity replaces the factors."""
    strides = {
        _stride(config, layers, f"num_sparse_{stack}_layers")
        for stack, layers in (
            ("encoder", "num_layers"),
            ("decoder", "num_decoder_layers"),
        )
    }
    if len(strides) > 1 or 0 in strides:
        found = [
            f"{name}={config.get(name)}"
            for name in (
                "num_layers",
                "num_sparse_encoder_layers",
                "num_decoder_layers",
                "num_sparse_decoder_layers",
            )
        ]
        raise ValueError(
            "Expected every n-th layer to be sparse, with one n for encoder "
            f"and decoder. Received: {', '.join(found)}. Correct config.json."
        )
    return {
        "expert_layer_stride": strides.pop(),
        "capacity_factor": None,
        "eval_capacity_factor": None,
    }


def _stride(config, layers, sparse_layers):
    num_layers = config.get(layers)
    if num_layers is None:
        num_layers = config["num_layers"]
    num_sparse = config.get(sparse_layers, 3)
    return num_layers // num_sparse if num_sparse else num_layers


def _write_more(arguments):
    stride = arguments["expert_layer_stride"]
    return {
        "num_sparse_encoder_layers": arguments["num_layers"] // stride,
        "num_sparse_decoder_layers": arguments["num_decoder_layers"] // stride,
        "is_encoder_decoder": True,
    }


def _defaults(arguments):
    # What the published models start decoding with, pad with and end at.
    return {
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


SWITCH = CheckpointFormat(
    model_type="switch_transformers",
    class_name="SwitchTransformersForConditionalGeneration",
    fixed={
        "dense_act_fn": "relu",
        "router_bias": False,
        "tie_word_embeddings": True,
    },
    fields=(
        Field("vocab_size", "vocabulary_size"),
        Field("num_layers", "num_layers"),
        Field("num_decoder_layers", "num_decoder_layers", None),
        Field("num_heads", "num_heads"),
        Field("d_model", "hidden_dim"),
        Field("d_kv", "key_value_dim"),
        Field("d_ff", "intermediate_dim"),
        Field("num_experts", "num_experts"),
        Field("expert_capacity", "expert_capacity", EXPERT_CAPACITY),
        Field(
            "relative_attention_num_buckets", "relative_attention_buckets", 32
        ),
        Field(
            "relative_attention_max_distance",
            "relative_attention_max_distance",
            128,
        ),
        Field("dropout_rate", "dropout", 0.1),
        Field("router_jitter_noise", "jitter_noise", 0.01),
        Field("layer_norm_epsilon", "layer_norm_epsilon", 1e-6),
    ),
    read_more=_read_more,
    write_more=_write_more,
    defaults=_defaults,
    # Stored, though nothing has ever added it.
    ignored=(
        r"decoder\.block\.0\.layer\.1\.EncDecAttention"
        r"\.relative_attention_bias\.weight",
    ),
    redundant=(
        copy_of(r"(encoder|decoder)\.embed_tokens\.weight", "shared.weight"),
        copy_of(r"lm_head\.weight", "shared.weight"),
    ),
    rules=(
        rule("token_embedding.embeddings", "shared.weight"),
        *_stack_rules("encoder", ("self_attention", "SelfAttention")),
        *_stack_rules(
            "decoder",
            ("self_attention", "SelfAttention"),
            ("cross_attention", "EncDecAttention"),
        ),
    ),
)
