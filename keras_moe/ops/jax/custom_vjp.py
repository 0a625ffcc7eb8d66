"""A function with its own gradient, on JAX.

Forward and backward are compiled as a whole, so that a call outside of `jit`
compiles two programs and not one for every operation in them.
"""

import jax


def custom_vjp(forward, backward):
    @jax.custom_vjp
    def apply(differentiable, constants):
        return forward(*differentiable, *constants)

    def apply_forward(differentiable, constants):
        outputs = forward(*differentiable, *constants)
        return outputs, (differentiable, constants)

    @jax.jit
    def apply_backward(saved, cotangent):
        differentiable, constants = saved
        gradients = backward(*differentiable, *constants, cotangent)
        return tuple(gradients), None

    apply.defvjp(apply_forward, apply_backward)
    apply_compiled = jax.jit(apply)
    return lambda differentiable, constants: apply_compiled(
        tuple(differentiable), tuple(constants)
    )
