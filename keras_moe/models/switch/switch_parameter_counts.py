"""The Switch Transformer's size from its configuration."""

from keras_moe.models.parameter_counts import ParameterCounts
from keras_moe.models.switch.switch_feed_forward import is_sparse_block


def switch_parameter_counts(
    *,
    vocabulary_size,
    num_layers,
    num_heads,
    hidden_dim,
    intermediate_dim,
    num_experts,
    num_decoder_layers=None,
    key_value_dim=None,
    expert_layer_stride=2,
    expert_layer_offset=1,
    use_extra_feed_forward=False,
    top_k=1,
    use_gated_activation=False,
    relative_attention_buckets=32,
    tie_embedding_weights=True,
    **unused,
):
    """Count the parameters of a `SwitchBackbone` with its head.

    An encoder alone has no head. `active` and `flops_per_token` are those of
    one input token through the encoder and one output token through the
    decoder together; projecting the encoder's keys and values counts for the
    output token.

    Args:
        vocabulary_size: as for `SwitchBackbone`, like all others.
        num_layers: int.
        num_heads: int N.
        hidden_dim: int H.
        intermediate_dim: int I.
        num_experts: int E.
        num_decoder_layers: optional int.
        key_value_dim: optional int D.
        expert_layer_stride: int.
        expert_layer_offset: int.
        use_extra_feed_forward: bool.
        top_k: int K.
        use_gated_activation: bool.
        relative_attention_buckets: int.
        tie_embedding_weights: bool.
        **unused: arguments that no parameter depends on.

    Returns:
        `keras_moe.models.ParameterCounts`.

    Example:

    >>> from keras_moe.models.switch import SWITCH_PRESETS
    >>> counts = switch_parameter_counts(**SWITCH_PRESETS["switch_c_2048"])
    >>> round(counts.total / 1e9)
    1571
    """
    if num_decoder_layers is None:
        num_decoder_layers = num_layers
    head_dim = key_value_dim or hidden_dim // num_heads
    attention = 4 * hidden_dim * num_heads * head_dim
    expert = (3 if use_gated_activation else 2) * hidden_dim * intermediate_dim
    router = hidden_dim * num_experts

    def num_sparse(depth):
        return sum(
            is_sparse_block(index, expert_layer_stride, expert_layer_offset)
            for index in range(depth)
        )

    sparse = num_sparse(num_layers) + num_sparse(num_decoder_layers)
    extra = sparse if use_extra_feed_forward else 0
    dense = num_layers + num_decoder_layers - sparse + extra

    def in_products(experts):
        # An encoder block has one attention, a decoder block two.
        total = (num_layers + 2 * num_decoder_layers) * attention
        return total + sparse * (router + experts * expert) + dense * expert

    # One norm before each part and one after each stack.
    norms = 2 * num_layers + 1 + extra
    biases = relative_attention_buckets * num_heads
    if num_decoder_layers:
        norms += 3 * num_decoder_layers + 1
        biases *= 2
    embedding = vocabulary_size * hidden_dim
    head = embedding if num_decoder_layers else 0
    others = embedding + norms * hidden_dim + biases
    if not tie_embedding_weights:
        others += head
    return ParameterCounts(
        total=in_products(num_experts) + others,
        active=in_products(top_k) + others,
        flops_per_token=2 * (in_products(top_k) + head),
    )
