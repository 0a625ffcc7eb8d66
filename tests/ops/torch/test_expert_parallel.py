"""Experts of a process; `tests/integration/test_replicas.py` has several."""

import keras
import numpy as np
import pytest

if keras.config.backend() != "torch":
    pytest.skip("one array has all experts", allow_module_level=True)

import torch

from keras_moe.distribution import ExpertParallel
from keras_moe.ops.torch import exchange
from keras_moe.ops.torch.expert_parallel import mark_part


def test_a_gradient_that_nobody_averages_is_an_error():
    variable = keras.Variable(np.ones((2, 3)), name="kernel")
    mark_part(variable)
    with pytest.raises(RuntimeError, match="gradient of kernel alone") as error:
        variable.value.sum().backward()
    assert "Call `keras_moe.distribution.replicate(model)`" in str(error.value)
    variable.is_averaged = True
    variable.value.sum().backward()


def test_one_process_holds_all_experts():
    distribution = ExpertParallel()
    assert distribution.axis_sizes == {"data": 1, "expert": 1}
    assert distribution.engine.own_experts(4, distribution.axis_sizes) is None
    variable = keras.Variable(np.ones((2, 3), "float32"))
    assert distribution.bytes_per_device([variable]) == 24
    with distribution.scope():
        assert not exchange.can_divide(torch.zeros((2, 3)))


def test_shapes_are_known_without_other_processes():
    rows = torch.zeros((4, 3), device="meta")
    sizes = torch.zeros((2,), dtype=torch.int32, device="meta")
    assert exchange.exchange_rows([rows], sizes, None, 2).shape == (4, 3)
