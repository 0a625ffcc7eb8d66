"""The tokens of a request: two inputs for each sequence that a model reads."""

from keras import ops

from keras_moe.export.model_inputs import ModelInput


def prefixes_of(model):
    """Return what the names of a model's sequences begin with.

    Args:
        model: task.

    Returns:
        tuple of str, the sequence that is continued or scored last.
    """
    context = getattr(model, "context_prefixes", ())
    return (*context, getattr(model, "prompt_prefix", ""))


def token_inputs(prefixes=("",)):
    """Describe the inputs of sequences.

    Args:
        prefixes: tuple of str.

    Returns:
        tuple of `ModelInput`, token ids and padding mask (B, L) of each.

    Example:

    >>> [each.name for each in token_inputs()]
    ['token_ids', 'padding_mask']
    """
    return tuple(
        ModelInput(f"{prefix}{name}", (None, None), "int32")
        for prefix in prefixes
        for name in ("token_ids", "padding_mask")
    )


def read_tokens(model, tensors, prefixes):
    """Bring the tokens of a request to a form that no model chokes on.

    Args:
        model: task.
        tensors: dict, of which the inputs that `token_inputs` describes are
            read: ints of shape (B, L).
        prefixes: tuple of str.

    Returns:
        dict of these inputs: int32 token ids, the nearest ones in the
        vocabulary, and bool padding masks, True = real token.
    """
    largest = model.backbone.vocabulary_size - 1
    tokens = {}
    for prefix in prefixes:
        ids, mask = f"{prefix}token_ids", f"{prefix}padding_mask"
        tokens[ids] = ops.clip(ops.cast(tensors[ids], "int32"), 0, largest)
        tokens[mask] = ops.cast(tensors[mask], "bool")
    return tokens


def read_sequences(model, tokens):
    """Run a model on tokens that are all known.

    Args:
        model: task.
        tokens: dict, from `read_tokens`.

    Returns:
        Tensor of shape (B, L, H), the last layer's outputs after the final
        norm: the decoder's if there is one.
    """
    if hasattr(model, "prefill"):
        return model.prefill(**tokens).hidden_states
    return read_sequence(model.backbone, **tokens)


def read_sequence(backbone, token_ids, padding_mask):
    """Run a backbone, or its encoder, on one sequence.

    Args:
        backbone: backbone of ours.
        token_ids: int32 tensor of shape (B, L).
        padding_mask: bool tensor of shape (B, L).

    Returns:
        Tensor of shape (B, L, H), after the final norm.
    """
    read = getattr(backbone, "encode", None) or backbone.hidden_states
    return read(token_ids, padding_mask)
