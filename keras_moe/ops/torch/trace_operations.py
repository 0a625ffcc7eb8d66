"""Tensor operations of a function. The one file that imports `fx.experimental`.

PyTorch's public tracers give something else: `torch.fx.symbolic_trace` does
not see what happens inside Keras' layers, `torch.export` wants a module and
proofs about shapes, `torch.compile` takes minutes for a model of four layers.
`make_fx` runs the function once and keeps what reached the dispatcher.
"""

import torch

try:
    from torch.fx.experimental.proxy_tensor import make_fx
except ImportError:
    make_fx = None


def can_trace():
    """Tell whether this PyTorch has the tracer.

    Returns:
        bool.

    Example:

    >>> can_trace()
    True
    """
    return make_fx is not None


def trace_operations(function, arguments):
    """Run a function once and return the tensor operations it came to.

    Args:
        function: function of nested tuples of tensors. Its Python is run now
            and never again; numbers in it become constants.
        arguments: tuple of its arguments.

    Returns:
        Function of the same arguments. An argument that is only copied, to be
        changed, is changed in place: the caller goes on with the result.

    Example:

    >>> double = trace_operations(lambda x: x + x, (torch.ones(2),))
    >>> double(torch.tensor([3.0, 4.0])).tolist()
    [6.0, 8.0]
    """
    program = make_fx(lambda *arguments: function(*arguments))(*arguments)
    graph = program.graph
    for node in graph.find_nodes(
        op="call_function", target=torch.ops.aten.clone.default
    ):
        argument = node.args[0]
        if argument.op == "placeholder" and len(argument.users) == 1:
            node.replace_all_uses_with(argument)
            graph.erase_node(node)
    program.recompile()
    return program
