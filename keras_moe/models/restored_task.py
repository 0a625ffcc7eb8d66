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
        arguments = keras.saving.deserialize_keras_object(config)
        if keras.config.backend() == "torch":
            # Other backends write `True` for "auto"; here it would ask for
            # `torch.compile`.
            arguments.pop("jit_compile", None)
        self.compile(**arguments)
        if self.optimizer is not None:  # Compiled for its sampler alone.
            self.optimizer.load_own_variables = self._load_optimizer

    def _load_optimizer(self, store):
        """Load an optimizer's variables, which files know by number."""
        optimizer = self.optimizer
        del optimizer.load_own_variables
        if len(store.keys()) > len(optimizer.variables):  # It was trained.
            optimizer.build(self.trainable_variables)
        try:
            optimizer.load_own_variables(store)
        except ValueError:
            # PyTorch wrote them in the order of the layers' use once.
            other = type(optimizer).from_config(optimizer.get_config())
            other.build(_in_order_of_use(self))
            other.load_own_variables(store)
            values = {each.path: each.value for each in other.variables}
            for variable in optimizer.variables:
                variable.assign(values[variable.path])


def _in_order_of_use(task):
    layers: list[keras.layers.Layer] = []
    for layer in task.layers:
        layers += layer.layers if layer is task.backbone else [layer]
    variables = [v for layer in layers for v in layer.trainable_variables]
    return [*{id(each): each for each in variables}.values()]
