"""State of a training run that is no weight of the model."""

import keras


class RunState(keras.layers.Layer):
    """Holds variables that a training step carries along, and nobody saves.

    They are neither counted nor written to a file, and they are not in
    PyTorch's `state_dict`. On PyTorch, which changes variables in place, they
    are therefore not in `variables`; the other backends carry along what is.

    Not used by itself: a subclass makes its variables in `build`.

    Args:
        **kwargs: arguments of `keras.layers.Layer`; the dtype is float32.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def add_state(self, name, shape=(), dtype="float32"):
        """Make a variable that starts at 0, the same on all replicas.

        Args:
            name: str.
            shape: tuple of ints.
            dtype: str.

        Returns:
            `keras.Variable`.
        """
        with keras.name_scope(self.name, caller=self):
            return keras.Variable(
                keras.initializers.Zeros(),
                shape=shape,
                dtype=dtype,
                trainable=False,
                autocast=False,
                name=name,
            )

    @property
    def variables(self):
        if keras.config.backend() == "torch":
            return []
        return super().variables

    @property
    def weights(self):
        return []

    @property
    def state(self):
        """All its variables, on every backend, to save and restore a run."""
        return super().variables

    def reset(self):
        """Set all variables to 0."""
        for variable in self.state:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))

    def save_own_variables(self, store):
        """Save nothing: the numbers belong to a run, not to the model."""

    def load_own_variables(self, store):
        """Load nothing."""
