"""What all attentions' projections have in common."""

import keras
import pytest

from keras_moe.blocks import GroupedQueryAttention
from keras_moe.blocks import MultiHeadLatentAttention
from keras_moe.blocks import T5Attention
from keras_moe.ops.all_layers import all_layers


@pytest.mark.once
@pytest.mark.parametrize(
    ("attention_class", "sizes"),
    [
        (GroupedQueryAttention, (4, 2)),
        (MultiHeadLatentAttention, (2, 4, 4, 2, 4)),
        (T5Attention, (2, 4)),
    ],
)
def test_no_projection_sums_its_axes_in_an_order_that_copies_the_kernel(
    attention_class, sizes
):
    """PyTorch's `einsum` puts summed axes in the order of their letters."""
    attention = attention_class(*sizes)
    attention.build((None, None, 8))
    equations = [
        each.equation
        for each in all_layers(attention)
        if isinstance(each, keras.layers.EinsumDense)
    ]
    assert len(equations) > 1
    for equation in equations:
        _, kernel, outputs = equation.replace("->", ",").split(",")
        summed = [letter for letter in kernel if letter not in outputs]
        assert summed == sorted(summed), equation
