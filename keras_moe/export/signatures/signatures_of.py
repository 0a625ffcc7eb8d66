"""Which signatures a model has."""

import sys

from keras_moe.export.model_inputs import ModelInput
from keras_moe.export.signatures.byte_text import works_on_bytes
from keras_moe.export.signatures.embed import embed
from keras_moe.export.signatures.generate import generate
from keras_moe.export.signatures.generate_text import generate_text
from keras_moe.export.signatures.generation_options import option_inputs
from keras_moe.export.signatures.generation_options import stop_token_ids_of
from keras_moe.export.signatures.router_stats import can_tell_experts
from keras_moe.export.signatures.router_stats import router_stats
from keras_moe.export.signatures.score import score
from keras_moe.export.signatures.signature import Signature
from keras_moe.export.signatures.token_inputs import prefixes_of
from keras_moe.export.signatures.token_inputs import token_inputs


def signatures_of(model):
    """List what an export of a model can answer besides `serving_default`.

    Args:
        model: `keras.Model`.

    Returns:
        dict from name to `Signature`: `generate`, `generate_text`, `score`,
        `embed` and `router_stats` of a language model of ours, the last two
        of a classifier of texts; empty for other models. `generate_text` is
        there if the tokens are bytes, `router_stats` if tokens choose their
        experts.

    Example:

    >>> import keras
    >>> signatures_of(keras.Sequential([keras.layers.Dense(2)]))
    {}
    """
    # There is no model of ours before this is imported, which takes keras-hub.
    if "keras_moe.models" not in sys.modules:
        return {}
    from keras_moe.models.generative_task import GenerativeTask
    from keras_moe.models.sparse_task import SparseTask

    if not isinstance(model, SparseTask) or not _reads_tokens(model):
        return {}
    prefixes = prefixes_of(model)
    sequences = token_inputs(prefixes)
    found = {}
    if isinstance(model, GenerativeTask):
        options = option_inputs(stop_token_ids_of(model))
        found["generate"] = Signature(generate, (*sequences, *options))
        if works_on_bytes(model) and prefixes == ("",):
            prompt = ModelInput("prompt", (None,), "string")
            found["generate_text"] = Signature(
                generate_text, (prompt, *options)
            )
        found["score"] = Signature(score, sequences)
    found["embed"] = Signature(embed, token_inputs())
    if can_tell_experts(model):
        found["router_stats"] = Signature(router_stats, sequences)
    return found


def _reads_tokens(model):
    return hasattr(model.backbone, "vocabulary_size")
