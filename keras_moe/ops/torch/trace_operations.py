"""Tensor operations of a function. The one file that imports `fx.experimental`.

PyTorch's public tracers give something else: `torch.fx.symbolic_trace` does
not see what happens inside Keras' layers, `torch.export` wants a module and
proofs about shapes, `torch.compile` takes two minutes for four layers and
falls back to Python between 23 pieces.
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

    Equal operations are computed once, and those that nobody reads never:
    each layer of a model has positions, masks and angles of its own, which
    are the same in all, and scores for losses, which inference leaves alone.

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
    _change_in_place(program.graph)
    _merge(program)
    program.recompile()
    return program


def _change_in_place(graph):
    for node in graph.find_nodes(
        op="call_function", target=torch.ops.aten.clone.default
    ):
        argument = node.args[0]
        if argument.op == "placeholder" and len(argument.users) == 1:
            node.replace_all_uses_with(argument)
            graph.erase_node(node)


def _merge(program):
    has_own_memory = _written_or_returned(program.graph)
    first_of_its_kind: dict = {}
    for node in program.graph.nodes:
        if node not in has_own_memory and not node.is_impure():
            first = first_of_its_kind.setdefault(_kind(program, node), node)
            if first is not node:
                node.replace_all_uses_with(first)
    program.graph.eliminate_dead_code()


def _written_or_returned(graph):
    """Find the nodes whose memory is changed, directly or through a view."""
    found: set = set()
    to_do = [node for node in graph.nodes if node.is_impure()]
    while to_do:
        node = to_do.pop()
        if node.is_impure() or getattr(node.target, "is_view", True):
            new = {*node.all_input_nodes} - found
            found |= new
            to_do += new
    return found


def _kind(program, node):
    """Return what two nodes have in common if they are equal."""
    if node.op == "get_attr":
        return id(getattr(program, node.target))
    if node.target is torch.ops.aten.lift_fresh_copy.default:
        # What Python makes of its own numbers, again in each layer.
        value = getattr(program, node.args[0].target)
        return value.dtype, value.device, str(value.tolist())
    # Nodes print as their names, which are unique.
    return node.target, repr(node.args), repr(node.kwargs)
