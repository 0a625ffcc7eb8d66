"""PyTorch's ExportedProgram (`.pt2`): written and run by PyTorch.

Child processes load this file by its path; reading needs nothing of ours.
"""

# Sizes to trace with: 0 and 1 would become constants, and equal ones one size.
SIZES = (3, 5, 7, 11)


def write(stored, inputs, path):
    """Trace a model and write its program.

    Args:
        stored: dict from `keras_moe.export.stored_model.store_model`.
        inputs: list of `keras_moe.export.model_inputs.ModelInput` as lists.
        path: string, the file to write.
    """
    import torch

    from keras_moe.export.formats.samples import fill_shapes
    from keras_moe.export.model_inputs import ModelInput
    from keras_moe.export.saved_model_writer import make_endpoint
    from keras_moe.export.stored_model import load_stored_model

    model = load_stored_model(stored)
    answer = make_endpoint(model)

    class Program(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, inputs):
            with _gathering():
                return answer(inputs)

    inputs = [ModelInput(*each) for each in inputs]
    shapes = fill_shapes(inputs, SIZES)
    # The program takes one dict: names, and no order to remember.
    tensors = {
        each.name: torch.ones(
            shapes[each.name], dtype=getattr(torch, each.dtype)
        )
        for each in inputs
    }
    sizes = {
        each.name: {
            axis: torch.export.Dim.DYNAMIC
            for axis, size in enumerate(each.shape)
            if size is None
        }
        for each in inputs
    }
    with torch.no_grad():
        program = torch.export.export(
            Program(), (tensors,), dynamic_shapes=(sizes,)
        )
    torch.export.save(program, path)


def open_model(path):
    """Load a program.

    Args:
        path: string.

    Returns:
        A function from a dict of arrays to a dict of arrays.
    """
    import torch

    run = torch.export.load(path).module()

    def call(arrays):
        tensors = {name: torch.from_numpy(x) for name, x in arrays.items()}
        with torch.no_grad():
            outputs = run(tensors)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return call


def _gathering():
    """Return a context in which `take_along_dim` is a gather.

    PyTorch's own makes constants of the sizes that it broadcasts.
    """
    import torch

    class Gathering(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is torch.take_along_dim:
                return gather(*args, **(kwargs or {}))
            return function(*args, **(kwargs or {}))

    def gather(inputs, indices, dim):
        dim = dim % inputs.dim()
        sizes = [
            (ours, theirs) if axis != dim else (ours, ours)
            for axis, (ours, theirs) in enumerate(
                zip(inputs.shape, indices.shape, strict=True)
            )
        ]
        inputs = inputs.expand([_larger(*pair) for pair in sizes])
        sizes[dim] = (indices.shape[dim],) * 2
        indices = indices.expand([_larger(*pair) for pair in sizes])
        return torch.gather(inputs, dim, indices)

    return Gathering()


def _larger(size, other):
    """Choose between two sizes, one of which may be the number 1."""
    return other if isinstance(size, int) and size == 1 else size
