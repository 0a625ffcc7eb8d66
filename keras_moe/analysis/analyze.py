"""All analyses of a model's routing on some texts, in one record."""

from typing import NamedTuple

import numpy as np

from keras_moe.analysis.agreement import Agreement
from keras_moe.analysis.agreement import routing_agreement
from keras_moe.analysis.expert_use import dead_experts
from keras_moe.analysis.expert_use import dropped_by_position
from keras_moe.analysis.expert_use import effective_experts
from keras_moe.analysis.expert_use import expert_load
from keras_moe.analysis.record_routing import record_routing
from keras_moe.analysis.texts import cut_windows
from keras_moe.analysis.texts import encode_text
from keras_moe.analysis.texts import label_tokens
from keras_moe.analysis.token_information import TokenInformation
from keras_moe.analysis.token_information import token_information
from keras_moe.analysis.token_table import count_choices


class Analysis(NamedTuple):
    """What the experts of a model do with some texts.

    Attributes:
        texts: list of str, the names of the texts.
        layer_names: list of str, the sparse layers.
        num_experts: int E.
        token_ids: int32 array (B, L), the windows of all texts.
        mask: bool array (B, L), True = real token.
        text_of_row: int array (B,), the text of each window, as an index.
        routed_experts: int32 array (B, L, layers, K), best first, before a
            capacity; -1 for nowhere.
        vocabulary: int32 array (U,), the token ids that occur.
        labels: list of U str, these tokens as text.
        counts: int64 array (layers, U, E), choices by token, all K of them.
        load: float array (layers, E), each expert's share of the choices.
        load_by_text: float array (texts, layers, E).
        effective_experts: float array (layers,), exp(entropy) of the load.
        dead_experts: list of int for each layer.
        information: `TokenInformation` of the first choices.
        dropped: float array (layers, L), the share of choices that the
            capacity drops while training, by position; 0 without one.
        capacity_factor: float of `dropped`; `None` is each router's own.
        agreement: `Agreement` with the other model, or `None`.
    """

    texts: list
    layer_names: list
    num_experts: int
    token_ids: np.ndarray
    mask: np.ndarray
    text_of_row: np.ndarray
    routed_experts: np.ndarray
    vocabulary: np.ndarray
    labels: list
    counts: np.ndarray
    load: np.ndarray
    load_by_text: np.ndarray
    effective_experts: np.ndarray
    dead_experts: list
    information: TokenInformation
    dropped: np.ndarray
    capacity_factor: float | None = None
    agreement: Agreement | None = None


def analyze(
    model,
    texts,
    *,
    compare=None,
    window=128,
    max_tokens=None,
    capacity_factor=None,
    batch_size=8,
    verbose=0,
):
    """Analyze what a model's experts do with texts.

    Args:
        model: task of keras_moe.models with routers in which tokens choose,
            or a backbone; of a model with an encoder, the encoder reads.
        texts: dict from a name, such as a language, to str or to an int array
            of token ids of shape (T,).
        compare: optional other checkpoint of the same model.
        window: int L, tokens that the model reads at once.
        max_tokens: optional int, tokens of each text; evenly spaced windows
            of a longer one.
        capacity_factor: optional float, of which `dropped` shows the drops;
            default: each router's own capacity while training.
        batch_size: int, windows of a batch.
        verbose: int, 1 shows a progress bar.

    Returns:
        `Analysis`.

    Raises:
        ValueError: If there is no text, fewer tokens than two windows of one,
            or no router in which tokens choose.

    Example:

    >>> from keras_moe.models import MixtralBackbone
    >>> backbone = MixtralBackbone(
    ...     vocabulary_size=20, num_layers=3, num_query_heads=2,
    ...     num_key_value_heads=1, hidden_dim=8, intermediate_dim=8,
    ...     num_experts=4,
    ... )
    >>> texts = {"up": np.arange(20), "down": np.arange(20)[::-1]}
    >>> found = analyze(backbone, texts, window=10, batch_size=4)
    >>> found.load_by_text.shape, found.counts.shape
    ((2, 3, 4), (3, 20, 4))
    """
    if not texts:
        raise ValueError(
            "Expected one text or more. "
            f"Received: texts={texts!r}. Give a dict from names to texts."
        )
    windows = [
        cut_windows(encode_text(model, text, name), window, max_tokens)
        for name, text in texts.items()
    ]
    token_ids, mask = (
        np.concatenate(each) for each in zip(*windows, strict=True)
    )
    rows = np.repeat(np.arange(len(windows)), [len(w[0]) for w in windows])
    settings = {"batch_size": batch_size, "verbose": verbose}
    routing = record_routing(
        model, token_ids, mask, capacity_factor=capacity_factor, **settings
    )
    chosen, num_experts = routing.chosen, routing.num_experts
    agreement = None
    if compare is not None:
        other = record_routing(compare, token_ids, mask, **settings)
        agreement = routing_agreement(
            chosen,
            other.chosen,
            max(num_experts, other.num_experts),
        )
    # Ids that occur, numbered from 0: a vocabulary may be large.
    vocabulary = np.unique(token_ids[mask])
    compact = np.searchsorted(vocabulary, np.where(mask, token_ids, 0))
    compact = np.where(mask, compact, 0)
    sizes = num_experts, len(vocabulary)
    load = expert_load(chosen, num_experts)
    return Analysis(
        texts=list(texts),
        layer_names=routing.layer_names,
        num_experts=num_experts,
        token_ids=token_ids,
        mask=mask,
        text_of_row=rows,
        routed_experts=chosen,
        vocabulary=vocabulary,
        labels=label_tokens(model, vocabulary),
        counts=count_choices(compact, chosen, *sizes),
        load=load,
        load_by_text=np.stack(
            [
                expert_load(chosen[rows == index], num_experts)
                for index in range(len(windows))
            ]
        ),
        effective_experts=effective_experts(load),
        dead_experts=dead_experts(load),
        information=token_information(compact, chosen, *sizes),
        dropped=dropped_by_position(chosen, routing.kept, num_experts),
        capacity_factor=capacity_factor,
        agreement=agreement,
    )
