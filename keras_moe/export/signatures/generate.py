"""`generate`: continue prompts, token by token, with a cache."""

from keras import ops

from keras_moe.export.signatures.generation_options import read_options
from keras_moe.export.signatures.sampling import choose_tokens
from keras_moe.export.signatures.token_inputs import prefixes_of
from keras_moe.export.signatures.token_inputs import read_tokens
from keras_moe.ops.widen import int32


def generate(model, tensors):
    """Continue prompts.

    The i-th token of a row depends on its prompt, its options and its seed,
    and on nothing else in the batch. A text goes on the same whether it is
    the prompt of a further request or not.

    A SavedModel cannot refuse anything: options out of range are brought into
    it, the first token of a prompt counts whatever its mask says, and token
    ids outside of the vocabulary become its nearest ones.

    Args:
        model: generative task.
        tensors: dict of `token_ids` and `padding_mask`, int32 (B, L), the
            prompts, padded on the right; of a model with an encoder and a
            decoder two of each, by prefix; and of all options that
            `option_inputs` describes.

    Returns:
        dict of `token_ids`, int32 (B, X), each prompt with its continuation
        directly behind and 0 after that, X = L + the largest
        `max_new_tokens`; `padding_mask`, int32 (B, X); and `lengths`, int32
        (B,), of prompt and continuation, a stop token included.
    """
    options = read_options(tensors)
    prefix = prefixes_of(model)[-1]
    tokens = read_tokens(model, tensors, prefixes_of(model))
    prompts = tokens[f"{prefix}token_ids"]
    batch_size, length = ops.shape(prompts)
    size = length + _largest(tensors["max_new_tokens"])
    positions = ops.arange(size, dtype="int32")
    lengths = _lengths(tokens[f"{prefix}padding_mask"])
    ends = lengths + ops.maximum(options.max_new_tokens, int32(0))
    in_prompt = positions[:length] < lengths[:, None]
    tokens[f"{prefix}padding_mask"] = in_prompt
    token_ids = ops.concatenate(
        [
            ops.where(in_prompt, prompts, int32(0)),
            ops.zeros((batch_size, size - length), dtype="int32"),
        ],
        axis=1,
    )

    def extend(token_ids, lengths, goes_on, logits):
        new = choose_tokens(
            logits,
            options.temperature,
            options.top_k,
            options.top_p,
            options.seed,
            position=lengths,
        )[:, None]
        is_here = ops.logical_and(
            positions == lengths[:, None], goes_on[:, None]
        )
        token_ids = ops.where(is_here, new, token_ids)
        lengths = lengths + ops.cast(goes_on, "int32")
        stops = ops.any(new == options.stop_token_ids, axis=-1)
        goes_on = ops.logical_and(goes_on, ops.logical_not(stops))
        return token_ids, lengths, ops.logical_and(goes_on, lengths < ends)

    def some_go_on(token_ids, lengths, goes_on, cache):
        return ops.any(goes_on)

    def decode(token_ids, lengths, goes_on, cache):
        # A row that has ended gets its last token again, to no effect.
        last = lengths - 1
        new = ops.take_along_axis(token_ids, last[:, None], axis=1)
        logits, cache, _ = model.decode(new, cache, last)
        return *extend(token_ids, lengths, goes_on, logits), cache

    step = model.prefill(**tokens, max_length=size, per_row=True)
    state = extend(token_ids, lengths, lengths < ends, step.logits)
    token_ids, lengths, _, _ = ops.while_loop(
        some_go_on, decode, (*state, step.cache)
    )
    is_real = positions < lengths[:, None]
    return {
        "token_ids": token_ids,
        "padding_mask": ops.cast(is_real, "int32"),
        "lengths": lengths,
    }


def _lengths(padding_mask):
    """Count the tokens of each row, int32 (B,), at least one."""
    lengths = ops.sum(ops.cast(padding_mask, "int32"), axis=-1)
    return ops.maximum(ops.cast(lengths, "int32"), int32(1))


def _largest(sizes):
    """Return the largest size, at least 0: an int if its value is known."""
    try:
        values = ops.convert_to_numpy(sizes)
    except Exception:  # Each backend has its own, for tensors without values.
        return ops.max(ops.cast(sizes, "int32"), initial=0)
    return max([0, *values.tolist()])
