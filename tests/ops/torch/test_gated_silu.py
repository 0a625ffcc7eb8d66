"""PyTorch's operators that write into memory that is there already."""

import keras
import pytest

if keras.config.backend() != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)

import torch


def test_pytorch_still_has_both_operators():
    """If this fails: PyTorch has renamed an overload of its `silu`.

    `print(torch.ops.aten.silu.overloads())` lists them; the one with `out` is
    wanted. If there is none, `keras_moe/ops/torch/gated_silu.py` can compute
    with `torch.sigmoid(..., out=...)`, one pass over memory more, and
    `tests/ops/test_gated_activation.py` says whether it is right.
    """
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    silu = torch.nn.functional.silu(x)
    (gradient,) = torch.autograd.grad(silu.sum(), x)
    out, x = torch.empty(3), x.detach()
    torch.ops.aten.silu.out(x, out=out)
    torch.testing.assert_close(out, silu.detach())
    torch.ops.aten.silu_backward.grad_input(torch.ones(3), x, grad_input=out)
    torch.testing.assert_close(out, gradient)
