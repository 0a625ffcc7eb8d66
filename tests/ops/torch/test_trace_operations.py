"""What a function comes to, without the function."""

import keras
import pytest

if keras.config.backend() != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)

import torch

from keras_moe.ops.torch import trace_operations as module
from keras_moe.ops.torch.trace_operations import trace_operations


def test_the_function_runs_once_its_operations_for_other_numbers():
    calls = []

    def function(x, pair):
        calls.append(x)
        return 2 * x, (pair[0] + pair[1],)

    traced = trace_operations(
        function, (torch.ones(2), (torch.ones(2), torch.zeros(2)))
    )
    x, first, second = torch.tensor([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    doubled, (total,) = traced(x, (first, second))
    assert doubled.tolist() == [6.0, 8.0]
    assert total.tolist() == [12.0, 14.0]
    assert len(calls) == 1


def test_pytorch_still_has_the_tracer():
    """If this fails: PyTorch has moved or removed `make_fx`.

    Until then generation calls the layers for every token, which is right and
    takes twice the time. Look for a public tracer that sees the operations
    inside of Keras' layers, and change `ops/torch/trace_operations.py`; without
    one, remove it together with `recorder.py`.
    """
    assert module.can_trace()
    assert torch.ops.aten.clone.default is not None
