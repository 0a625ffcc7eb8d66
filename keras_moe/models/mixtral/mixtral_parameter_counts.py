"""Mixtral's size from its configuration."""

from keras_moe.models.parameter_counts import ParameterCounts


def mixtral_parameter_counts(
    *,
    vocabulary_size,
    num_layers,
    num_query_heads,
    num_key_value_heads,
    hidden_dim,
    intermediate_dim,
    num_experts,
    top_k=2,
    head_dim=None,
    expert_layer_stride=1,
    dense_intermediate_dim=None,
    tie_embedding_weights=False,
    **unused,
):
    """Count the parameters of a `MixtralBackbone` with its head.

    Args:
        vocabulary_size: as for `MixtralBackbone`, like all others.
        num_layers: int.
        num_query_heads: int N.
        num_key_value_heads: int M.
        hidden_dim: int H.
        intermediate_dim: int I.
        num_experts: int E.
        top_k: int K.
        head_dim: optional int D.
        expert_layer_stride: int.
        dense_intermediate_dim: optional int.
        tie_embedding_weights: bool.
        **unused: arguments that no parameter depends on.

    Returns:
        `ParameterCounts`.

    Example:

    >>> from keras_moe.models.mixtral import MIXTRAL_PRESETS
    >>> counts = mixtral_parameter_counts(**MIXTRAL_PRESETS["mixtral_8x22b"])
    >>> round(counts.total / 1e9), round(counts.active / 1e9)
    (141, 39)
    """
    head_dim = head_dim or hidden_dim // num_query_heads
    heads = 2 * num_query_heads + 2 * num_key_value_heads
    attention = hidden_dim * head_dim * heads
    router = hidden_dim * num_experts
    expert = 3 * hidden_dim * intermediate_dim
    dense = 3 * hidden_dim * (dense_intermediate_dim or intermediate_dim)
    sparse_layers = num_layers // expert_layer_stride
    dense_layers = num_layers - sparse_layers
    norms = hidden_dim * (2 * num_layers + 1)
    embedding = vocabulary_size * hidden_dim
    embeddings = embedding if tie_embedding_weights else 2 * embedding

    def in_products(experts):
        return (
            num_layers * attention
            + sparse_layers * (router + experts * expert)
            + dense_layers * dense
        )

    return ParameterCounts(
        total=in_products(num_experts) + norms + embeddings,
        active=in_products(top_k) + norms + embeddings,
        flops_per_token=2 * (in_products(top_k) + embedding),
    )
