"""The inside of SwiGLU on PyTorch, in as few passes as there can be.

Automatic differentiation keeps three arrays and joins the gradients of the
two branches by a copy. Here one array is kept, and each gradient is written
into its half of the result. Operators that write into memory that is there
have no public name for `silu`: this is the one file that calls PyTorch's own,
`torch.ops.aten`, to compute.
"""

import torch
from torch.autograd.function import once_differentiable

from keras_moe.ops.torch import one_pass
from keras_moe.ops.torch.new_memory import new_memory


def gated_silu(gate_up):
    if torch.compiler.is_compiling():  # The compiler fuses by itself.
        gate, up = gate_up.chunk(2, -1)
        return torch.nn.functional.silu(gate) * up
    return _GatedSilu.apply(gate_up)


class _GatedSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate_up):
        ctx.save_for_backward(gate_up)
        if one_pass.takes(gate_up):
            return one_pass.gated_silu(gate_up)
        gate, up = gate_up.chunk(2, -1)
        return _silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx, cotangent):
        (gate_up,) = ctx.saved_tensors
        if one_pass.takes(gate_up):
            return one_pass.gated_silu_gradient(gate_up, cotangent)
        gate, up = gate_up.chunk(2, -1)
        gradient = new_memory(gate_up.shape, gate_up)
        for_gate, for_up = gradient.chunk(2, -1)
        scratch = _silu(gate)
        torch.mul(cotangent, scratch, out=for_up)
        torch.mul(cotangent, up, out=scratch)
        torch.ops.aten.silu_backward.grad_input(
            scratch, gate, grad_input=for_gate
        )
        return gradient


def _silu(gate):
    return torch.ops.aten.silu.out(gate, out=new_memory(gate.shape, gate))
