"""Rows of several requests in one call, and back."""

import numpy as np
import pytest
import tensorflow as tf

from keras_moe.serving.padding import Request
from keras_moe.serving.padding import merge
from keras_moe.serving.padding import split
from keras_moe.serving.signature import Signature
from keras_moe.serving.signature import TensorInfo

pytestmark = pytest.mark.once

TEXT = TensorInfo(tf.int32, (None, None))
ROW = TensorInfo(tf.int32, (None,))


def make_request(signature, **arrays):
    arrays = {name: np.array(value) for name, value in arrays.items()}
    return Request(signature, arrays, len(next(iter(arrays.values()))), 1)


def signature(name="s", outputs=None, **inputs):
    return Signature(name, inputs, outputs or {}, {}, None)


def test_ids_and_masks_get_zeros_and_stops_get_no_token():
    kind = signature(token_ids=TEXT, padding_mask=TEXT, stop_token_ids=TEXT)
    merged = merge(
        [
            make_request(
                kind,
                token_ids=[[1, 2]],
                padding_mask=[[1, 1]],
                stop_token_ids=[[7]],
            ),
            make_request(
                kind,
                token_ids=[[3, 4, 5]],
                padding_mask=[[1, 1, 0]],
                stop_token_ids=[[8, 9]],
            ),
        ]
    )
    assert merged["token_ids"].tolist() == [[1, 2, 0], [3, 4, 5]]
    assert merged["padding_mask"].tolist() == [[1, 1, 0], [1, 1, 0]]
    assert merged["stop_token_ids"].tolist() == [[7, -1], [8, 9]]


def test_texts_and_their_answers_of_an_encoder_and_a_decoder():
    # Outputs are as long as the decoder's text and its new tokens.
    names = ("encoder", "decoder")
    inputs = {f"{name}_token_ids": TEXT for name in names}
    inputs |= {f"{name}_padding_mask": TEXT for name in names}
    kind = signature(
        outputs={
            "token_ids": TEXT,
            "lengths": ROW,
            "encoder_routed_experts": TEXT,
        },
        **inputs,
        max_new_tokens=ROW,
    )

    def ask(encoder, decoder, new):
        arrays = {"max_new_tokens": [new]}
        for name, length in zip(names, (encoder, decoder), strict=True):
            arrays[f"{name}_token_ids"] = [[1] * length]
            arrays[f"{name}_padding_mask"] = [[1] * length]
        return make_request(kind, **arrays)

    requests = [ask(5, 1, 3), ask(2, 2, 6)]
    assert requests[0].group == requests[1].group
    merged = merge(requests)
    outputs = {
        "token_ids": np.arange(16).reshape(2, 8),
        "lengths": np.array([4, 8]),
        "encoder_routed_experts": np.arange(10).reshape(2, 5),
    }
    first, second = split(requests, merged, outputs)
    assert first["token_ids"].tolist() == [[0, 1, 2, 3]]
    assert second["token_ids"].tolist() == [[8, 9, 10, 11, 12, 13, 14, 15]]
    assert first["encoder_routed_experts"].shape == (1, 5)
    assert second["encoder_routed_experts"].tolist() == [[5, 6]]
    assert (first["lengths"].tolist(), second["lengths"].tolist()) == ([4], [8])


def test_sizes_that_are_not_lengths_are_not_cut():
    # Three numbers for each row, by chance as many as the longest text.
    fixed = TensorInfo(tf.float32, (None, 3))
    kind = signature(
        outputs={"embeddings": fixed}, token_ids=TEXT, padding_mask=TEXT
    )
    requests = [
        make_request(
            kind, token_ids=[[1] * length], padding_mask=[[1] * length]
        )
        for length in (1, 3)
    ]
    outputs = {"embeddings": np.ones((2, 3))}
    for part in split(requests, merge(requests), outputs):
        assert part["embeddings"].shape == (1, 3)


def test_without_a_mask_only_equal_shapes_share_a_call():
    kind = signature(pixels=TensorInfo(tf.float32, (None, None)))
    wide, narrow = (
        make_request(kind, pixels=np.ones((1, size))) for size in (3, 2)
    )
    assert wide.group != narrow.group
    assert wide.group == make_request(kind, pixels=np.ones((5, 3))).group
    merged = merge([wide, wide])
    assert merged["pixels"].shape == (2, 3)


def test_numbers_of_new_tokens_far_apart_do_not_share_a_call():
    kind = signature("generate", prompt=ROW, max_new_tokens=ROW)
    groups = [
        make_request(kind, prompt=[b"a"], max_new_tokens=[new]).group
        for new in (1, 16, 17, 32, 33)
    ]
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 3
