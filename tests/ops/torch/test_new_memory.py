"""Large results ask for large pages, and are memory like any other."""

import keras
import pytest

if keras.config.backend() != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)

import torch

from keras_moe.ops.torch import new_memory as module
from keras_moe.ops.torch.new_memory import HUGE_PAGE
from keras_moe.ops.torch.new_memory import new_memory


@pytest.mark.parametrize("numbers", [0, 3, HUGE_PAGE])
def test_shape_dtype_and_every_byte_can_be_written(numbers):
    like = torch.ones(1, dtype=torch.bfloat16)
    tensor = new_memory((2, numbers), like)
    assert tensor.shape == (2, numbers)
    assert tensor.dtype == torch.bfloat16
    assert tensor.fill_(3.0).eq(3.0).all()


def test_only_large_tensors_ask(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "_advise_huge_pages", asked.append)
    like = torch.ones(1)
    new_memory((HUGE_PAGE // 4,), like)
    assert not asked
    new_memory((HUGE_PAGE,), like)
    assert len(asked) == (1 if module._MADV_HUGEPAGE else 0)


def test_a_fake_tensor_has_no_memory_to_ask_for():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        tensor = new_memory((4 * HUGE_PAGE,), torch.ones(1))
    assert tensor.shape == (4 * HUGE_PAGE,)
