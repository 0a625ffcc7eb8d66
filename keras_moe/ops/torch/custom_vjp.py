"""A function with its own gradient, on PyTorch."""

import torch


def custom_vjp(forward, backward):
    class Apply(torch.autograd.Function):
        @staticmethod
        def forward(ctx, num_differentiable, *tensors):
            ctx.save_for_backward(*tensors)
            ctx.num_differentiable = num_differentiable
            return forward(*tensors)

        @staticmethod
        def backward(ctx, cotangent):
            tensors = ctx.saved_tensors
            gradients = backward(*tensors, cotangent.contiguous())
            num_constants = len(tensors) - ctx.num_differentiable
            return None, *gradients, *([None] * num_constants)

    return lambda differentiable, constants: Apply.apply(
        len(differentiable), *differentiable, *constants
    )
