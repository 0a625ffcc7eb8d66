"""`router_stats`: which experts the tokens of a request go to."""

from keras import ops

from keras_moe.export.signatures.token_inputs import prefixes_of
from keras_moe.export.signatures.token_inputs import read_sequences
from keras_moe.export.signatures.token_inputs import read_tokens
from keras_moe.layers.record_choices import record_plans
from keras_moe.layers.router import Router
from keras_moe.ops.all_layers import all_layers
from keras_moe.ops.widen import int32
from keras_moe.routing.plans import TokenChoice


def can_tell_experts(model):
    """Tell whether a model has routers in which tokens choose, and no other.

    Args:
        model: `keras.Model`.

    Returns:
        bool.
    """
    routers = [each for each in all_layers(model) if isinstance(each, Router)]
    return bool(routers) and all(
        issubclass(each.plan_class, TokenChoice) for each in routers
    )


def router_stats(model, tensors):
    """Tell the experts of each token, and their load.

    Both as chosen, before a capacity drops anything.

    Args:
        model: task of ours.
        tensors: dict of `token_ids` and `padding_mask`, int32 (B, L), padded
            on the right; of a model with an encoder and a decoder two of
            each, by prefix.

    Returns:
        dict of `expert_load`, float32 (B, layers, E), each expert's share of
        a row's choices in each sparse layer, 0 throughout for a row without
        any; and `routed_experts`, int32 (B, L, layers, K), the best first, -1
        for padding and for choices that a token does without. E and K are the
        largest of any layer. Of a model with an encoder and a decoder,
        `encoder_expert_load` and so on.
    """
    tokens = read_tokens(model, tensors, prefixes_of(model))
    with record_plans() as plans:
        read_sequences(model, tokens)
    stacks = getattr(model.backbone, "sparse_layers_of_stacks", None)
    outputs = {}
    for name, size in (stacks or {"": len(plans)}).items():
        prefix = f"{name}_" if name else ""
        if size:
            loads, experts = zip(*map(_read_plan, plans[:size]), strict=True)
            outputs[f"{prefix}expert_load"] = _stack(loads, 0.0, axis=1)
            outputs[f"{prefix}routed_experts"] = _stack(experts, -1, axis=2)
        plans = plans[size:]
    return outputs


def _read_plan(plan):
    """Return a layer's load (B, E) and its experts (B, L, K)."""
    counts = ops.cast(plan.tokens_per_expert, "float32")
    total = ops.sum(counts, axis=-1, keepdims=True)
    num_experts = counts.shape[-1]
    experts = plan.expert_indices
    experts = ops.where(experts < num_experts, experts, int32(-1))
    return counts / ops.maximum(total, 1.0), experts


def _stack(tensors, fill, axis):
    """Stack tensors, the last axis of each filled up to the longest."""
    size = max(each.shape[-1] for each in tensors)
    padded = [
        ops.pad(
            each,
            [(0, 0)] * (len(each.shape) - 1) + [(0, size - each.shape[-1])],
            constant_values=fill,
        )
        for each in tensors
    ]
    return ops.stack(padded, axis=axis)
