"""`embed`: one vector for a text."""

from keras_moe.export.signatures.token_inputs import read_sequence
from keras_moe.export.signatures.token_inputs import read_tokens
from keras_moe.ops.mean_over_tokens import mean_over_tokens


def embed(model, tensors):
    """Average the last hidden states over the tokens of each row.

    Of a model with an encoder, those of the encoder, as in Sentence-T5.

    Args:
        model: task of ours.
        tensors: dict of `token_ids` and `padding_mask`, int32 (B, L), padded
            on the right.

    Returns:
        dict of `embeddings`, float32 (B, H); 0 for a row without a token.

    References:
        Ni et al., 2021, https://arxiv.org/abs/2108.08877 (Sentence-T5).
    """
    tokens = read_tokens(model, tensors, ("",))
    hidden_states = read_sequence(model.backbone, **tokens)
    return {
        "embeddings": mean_over_tokens(hidden_states, tokens["padding_mask"])
    }
