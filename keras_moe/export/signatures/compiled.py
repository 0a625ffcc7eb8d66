"""Run a function of a model as one program, where that is faster."""

import functools

import keras
import numpy as np

# Each program runs once, so compiling it costs more than running it.
QUICKLY_COMPILED = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def compiled(function):
    """Compile a function of a model and a dict of tensors, on JAX.

    There every single operation is compiled for itself otherwise, which takes
    longer than the whole. The other backends run it as it is.

    Args:
        function: of a model and a dict of tensors, that returns a dict of
            tensors. `max_new_tokens`, which makes a size, is given to it as
            an array of NumPy, and so is what is one already.

    Returns:
        Function of a model and a dict of tensors. What looks at the values of
        its other inputs runs as it is.
    """
    if keras.backend.backend() != "jax":
        return function
    import jax

    def run(model, tensors):
        known = {
            name: np.asarray(x)
            for name, x in tensors.items()
            if name == "max_new_tokens" or isinstance(x, np.ndarray)
        }
        traced = {name: x for name, x in tensors.items() if name not in known}
        variables = model.variables

        @functools.partial(jax.jit, compiler_options=QUICKLY_COMPILED)
        def program(values, traced):
            # Weights as inputs: as constants they would be there twice.
            state = zip(variables, values, strict=True)
            with keras.StatelessScope(state_mapping=state):
                return function(model, {**traced, **known})

        try:
            return program([each.value for each in variables], traced)
        except (
            jax.errors.ConcretizationTypeError,
            jax.errors.TracerArrayConversionError,
        ):
            return function(model, tensors)

    return run
