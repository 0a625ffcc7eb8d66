"""Tasks that come back from a file as they were saved."""

import keras


class RestoredTask:
    """Restores how a saved keras-hub task was compiled, or leaves it alone.

    A keras-hub task compiles itself with a default optimizer when it is made,
    and Keras then refuses to load the variables of the optimizer that was
    saved. With this class in front of the task's base class, `load_model`
    brings back optimizer, loss and metrics (not the sampler, which has no
    configuration), and `load_model(compile=False)` leaves the model
    uncompiled, ready to generate with the default sampler.
    """

    @classmethod
    def from_config(cls, config):
        model = super().from_config(config)
        model.optimizer = None
        model.compiled = False
        return model

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:  # Compiled for its sampler alone.
            self.optimizer.build(self.trainable_variables)
