"""Losses that no other layer's losses are taken for."""

import keras


class KeptLosses(keras.layers.Layer):
    """A layer whose losses live until the next call.

    A step that JAX traces knows a layer's losses by their `id`, and Keras
    remembers these after the losses are gone. In the next trace, another
    layer's loss may get the same `id`, and is then taken away with those of
    the call before: some five of a hundred traces lost a loss.

    Not used by itself.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._kept_losses = []

    def add_loss(self, loss):
        """Add a loss of the running call.

        Args:
            loss: scalar tensor, or a list of them.
        """
        super().add_loss(loss)
        if keras.config.backend() == "jax":
            current = {id(each) for each in self.losses}
            kept = [each for each in self._kept_losses if id(each) in current]
            self._kept_losses = kept + keras.tree.flatten(loss)
