"""`generate_text`: continue texts of a model whose tokens are bytes."""

from keras import ops

from keras_moe.export.signatures.byte_text import bytes_of
from keras_moe.export.signatures.byte_text import text_of
from keras_moe.export.signatures.compiled import compiled
from keras_moe.export.signatures.generate import generate


def generate_text(model, tensors):
    """Continue texts.

    Args:
        model: causal language model over bytes.
        tensors: dict of `prompt`, str or bytes of shape (B,), and of all
            options that `option_inputs` describes.

    Returns:
        dict of `text`, bytes of shape (B,), the continuations only, a stop
        token included; a character that is cut off, and whatever else is no
        UTF-8, stays as it is. And `token_ids` and `lengths`, of prompt and
        continuation, as for `generate`. An empty prompt becomes one byte 0.
    """
    options = dict(tensors)
    token_ids, mask = bytes_of(options.pop("prompt"))
    outputs = compiled(generate)(
        model, {"token_ids": token_ids, "padding_mask": mask, **options}
    )
    token_ids, lengths = outputs["token_ids"], outputs["lengths"]
    starts = ops.sum(ops.cast(mask, "int32"), axis=-1, keepdims=True)
    positions = ops.arange(ops.shape(token_ids)[1], dtype="int32")
    is_new = ops.logical_and(
        positions >= ops.maximum(starts, 1), positions < lengths[:, None]
    )
    text = text_of(token_ids, is_new)
    return {"text": text, "token_ids": token_ids, "lengths": lengths}
