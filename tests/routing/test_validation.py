"""Checks that say what was expected, what came, and the cure."""

import numpy as np
import pytest

from keras_moe.routing import validation

# Compares numbers and shapes.
pytestmark = pytest.mark.once


@pytest.mark.parametrize("size", [0, -1, 2.5, True, None, "8"])
def test_a_size_must_be_a_positive_integer(size):
    with pytest.raises(ValueError, match="`num_experts` to be a positive") as e:
        validation.check_positive(num_experts=size)
    assert f"num_experts={size!r}" in str(e.value)


def test_positive_sizes_pass_also_as_numpy_integers():
    validation.check_positive(num_experts=1, intermediate_dim=np.int64(8))


@pytest.mark.parametrize(
    ("top_k", "num_experts", "message"),
    [
        (0, 4, "`top_k` to be a positive integer"),
        (2, 0, "`num_experts` to be a positive integer"),
        (5, 4, "`top_k` to be at most `num_experts`"),
    ],
)
def test_top_k_must_lie_between_one_and_num_experts(
    top_k, num_experts, message
):
    with pytest.raises(ValueError, match=message):
        validation.check_top_k(top_k, num_experts)


def test_too_large_a_top_k_names_the_cure():
    with pytest.raises(ValueError, match="Choose fewer experts") as error:
        validation.check_top_k(5, 4)
    assert "top_k=5, num_experts=4" in str(error.value)
    validation.check_top_k(4, 4)


@pytest.mark.parametrize("amount", [-0.1, float("nan")])
def test_an_amount_must_not_be_negative(amount):
    with pytest.raises(ValueError, match="`jitter_noise` to be 0 or more") as e:
        validation.check_not_negative(weight=0.5, jitter_noise=amount)
    assert f"jitter_noise={amount}" in str(e.value)
    validation.check_not_negative(jitter_noise=0, weight=1e-9)


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 3), (6,), (2, 3, 8), (3, 2)])
def test_a_mask_must_have_one_entry_per_token(shape):
    with pytest.raises(ValueError, match="one entry per token") as error:
        validation.check_padding_mask(np.ones(shape), np.ones((2, 3, 8)))
    assert f"padding_mask.shape={shape}" in str(error.value)
    assert "reduced to (B, L)" in str(error.value)


def test_unknown_dimensions_of_masks_and_inputs_fit_anything():
    class Shaped:
        def __init__(self, *shape):
            self.shape = shape

    validation.check_padding_mask(Shaped(None, 3), Shaped(2, 3, 8))
    validation.check_padding_mask(Shaped(2, 3), Shaped(2, None, 8))
    with pytest.raises(ValueError, match="one entry per token"):
        validation.check_padding_mask(Shaped(None, 4), Shaped(None, 3, 8))


def test_a_single_vector_is_no_batch_of_tokens():
    with pytest.raises(ValueError, match=r"Add a batch axis: `inputs\[None\]`"):
        validation.check_tokens(np.ones(8))


@pytest.mark.parametrize("shape", [(0, 8), (0, 3, 8), (2, 0, 8)])
def test_an_empty_batch_is_refused(shape):
    with pytest.raises(ValueError, match="at least one token") as error:
        validation.check_tokens(np.ones(shape))
    assert f"inputs.shape={shape}" in str(error.value)
    assert "Skip empty batches" in str(error.value)
