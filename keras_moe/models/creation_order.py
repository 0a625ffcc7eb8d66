"""Weights in the order of their creation. The one file that uses `_tracker`.

On PyTorch keras-hub's models let Keras track no attribute before their
constructor has run (`_initialized`), so layers would come in the order of
their use, and weights in another order than on JAX and TensorFlow. Keras has
no public way to track a layer.
"""

import keras


class CreationOrder:
    """A model whose layers are tracked when they become its attributes.

    Stands before keras-hub's class.
    """

    def __setattr__(self, name, value):
        if (
            keras.config.backend() == "torch"
            and name != "_tracker"
            and not hasattr(self, "_initialized")
        ):
            if not hasattr(self, "_tracker"):
                self._initialize_tracker()
            value = self._tracker.track(value)
        super().__setattr__(name, value)
