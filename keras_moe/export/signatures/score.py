"""`score`: how probable given tokens are."""

from keras import ops

from keras_moe.export.signatures.token_inputs import prefixes_of
from keras_moe.export.signatures.token_inputs import read_sequences
from keras_moe.export.signatures.token_inputs import read_tokens


def score(model, tensors):
    """Tell the log-probability of each token, given those before.

    Args:
        model: generative task.
        tensors: dict of `token_ids` and `padding_mask`, int32 (B, L), padded
            on the right; of a model with an encoder and a decoder two of
            each, by prefix: the decoder's tokens are scored.

    Returns:
        dict of `log_probabilities`, float32 (B, L), in nats; 0 for the first
        token of a row and for padding.
    """
    prefixes = prefixes_of(model)
    tokens = read_tokens(model, tensors, prefixes)
    token_ids = tokens[f"{prefixes[-1]}token_ids"]
    hidden_states = read_sequences(model, tokens)
    logits = ops.cast(model.project_to_logits(hidden_states), "float32")
    logits, next_ids = logits[:, :-1], token_ids[:, 1:, None]
    chosen = ops.take_along_axis(logits, next_ids, axis=-1)[..., 0]
    scores = chosen - ops.logsumexp(logits, axis=-1)
    is_real = tokens[f"{prefixes[-1]}padding_mask"]
    first = ops.zeros_like(token_ids[:, :1], dtype="float32")
    scores = ops.concatenate([first, scores], axis=1)
    return {"log_probabilities": ops.where(is_real, scores, 0.0)}
